package unit

// isolationKeys is the [isolation] table.
func isolationKeys() []*Key {
	return []*Key{
		key("profile", choice(ProfileStrict, ProfileDaemon, ProfileHost), `"strict"`, `"daemon"`, "Which defaults hold for everything about isolation.").ours(),
		key("namespaces", namespaces, "", `["+ipc", "~pid"]`, "Namespaces of its own: names, or +name and ~name against the profile's.").ours().note("the profile's: mount pid ipc uts cgroup; in host cgroup"),
		key("hostname", text, "", `"web1"`, "Host name that the service sees.").ours().note("the unit's name; in profile daemon the machine's"),
		key("pid_max", integer(301, 1<<22), "", "4096", "Highest process number in the PID namespace (Linux 6.14).").ours(),
		later("boot_time_offset", timespan, "", `"1d"`, "Offset of the boot-time clock in a time namespace.").ours(),
		later("monotonic_offset", timespan, "", `"1d"`, "Offset of the monotonic clock in a time namespace.").ours(),
	}
}

// filesystemKeys is the [filesystem] table.
func filesystemKeys() []*Key {
	keys := []*Key{
		key("protect_system", choice("strict", "full", "true", "false").orBool(), `"strict"`, `"full"`, "What is read-only: everything, /usr /boot and /etc, /usr and /boot, nothing."),
		key("protect_home", choice("true", "read-only", "tmpfs", "false").orBool(), "true", `"read-only"`, "Whether /home, /root and /run/user are hidden, read-only or empty."),
		key("private_tmp", boolean, "true", "false", "Own /tmp and /var/tmp."),
		key("private_devices", boolean, "true", "false", "Own /dev with nothing but the pseudo devices."),
		key("private_run", boolean, "true", "false", "Own /run with nothing but the unit's runtime directories.").ours(),
		key("read_only_paths", pathEntries, "", `["/srv"]`, "Paths that are read-only."),
		key("read_write_paths", pathEntries, "", `["-/var/spool/app"]`, "Paths that are writable."),
		key("inaccessible_paths", pathEntries, "", `["/srv/secret"]`, "Paths that are hidden."),
		key("exec_paths", pathEntries, "", `["/usr"]`, "Paths from which programs may be executed."),
		key("no_exec_paths", pathEntries, "", `["/"]`, "Paths from which nothing may be executed."),
		key("bind_paths", binds, "", `["/run/postgresql"]`, "Paths of the host shown at another place: source:destination:rbind."),
		key("bind_read_only_paths", binds, "", `["/srv/www:/var/www"]`, "The same, read-only."),
		key("temporary_file_system", tmpfsMounts, "", `["/var/cache:size=64M"]`, "Places of empty file systems in memory."),
		key("root_directory", absolutePath, "", `"/srv/chroot"`, "Directory that is the root of the service."),
		later("root_image", text, "", `"/srv/app.img"`, "Image that is the root of the service."),
		later("root_overlay", text, `"none"`, `"tmpfs"`, "Where writes to the root go.").ours(),
		key("mount_flags", choice("private", "slave", "shared").same("rprivate", "private", "rslave", "slave", "rshared", "shared"), `"private"`, `"slave"`, "Whether later mounts and unmounts of the host are seen."),
	}
	for _, d := range []struct{ name, example, base string }{
		{"runtime", `"sshd"`, "/run"},
		{"state", `[{ path = "app", owner = "app:app" }]`, "/var/lib"},
		{"cache", `"man"`, "/var/cache"},
		{"logs", `"nginx"`, "/var/log"},
		{"configuration", `"app"`, "/etc"},
	} {
		dir := key(d.name+"_directory", directories, "", d.example, "Writable directories below "+d.base+", made at the start.")
		m := key(d.name+"_directory_mode", mode, `"0755"`, `"0750"`, "Access mode of "+d.name+"_directory.")
		dir.section, m.section = "Service", "Service"
		keys = append(keys, dir, m)
	}
	return append(keys,
		key("runtime_directory_preserve", choice("no", "yes", "restart").same("true", "yes", "false", "no").orBool(), `"no"`, `"restart"`, "Whether runtime directories outlive the stop."))
}

// securityKeys is the [security] table.
func securityKeys() []*Key {
	keys := []*Key{
		key("capability_bounding_set", capabilities, "", `["+CAP_NET_ADMIN", "~CAP_CHOWN"]`, "Capabilities that the service can ever have: names, or +name and ~name against the profile's.").note("the profile's; none with user and no_new_privileges"),
		key("ambient_capabilities", capabilities, "", `"CAP_NET_BIND_SERVICE"`, "Capabilities that a service with user starts with."),
		key("no_new_privileges", boolean, "", "false", "Nothing that is executed can gain privileges.").note("true; in profile host false"),
		key("secure_bits", secureBits, "", `["noroot", "noroot-locked"]`, "Securebits of capabilities(7)."),
		later("system_call_filter", texts, "", `["@system-service"]`, "System calls that are allowed."),
		later("system_call_architectures", texts, "native", `"native"`, "Architectures whose system calls are allowed."),
		later("system_call_error_number", text, "", `"EPERM"`, "Error of a refused system call."),
		later("system_call_log", texts, "", `["@mount"]`, "System calls that are logged."),
		later("restrict_address_families", texts, "", `["AF_UNIX", "AF_INET"]`, "Socket families that are allowed."),
		later("restrict_namespaces", boolean, "", "true", "Whether namespaces may be made."),
		later("restrict_realtime", boolean, "", "true", "Whether real-time scheduling is refused."),
		later("restrict_suid_sgid", boolean, "", "true", "Whether setuid files may be made."),
		later("lock_personality", boolean, "", "true", "Whether the execution domain is locked."),
		later("memory_deny_write_execute", boolean, "", "true", "Whether writable and executable memory is refused."),
		later("remove_ipc", boolean, "", "true", "Whether IPC objects are removed at the stop."),
		later("keyring_mode", text, "", `"private"`, "Which session keyring the service has."),
	}
	for _, p := range []struct{ name, doc string }{
		{"protect_kernel_tunables", "Kernel variables below /proc and /sys are read-only."},
		{"protect_kernel_modules", "Kernel modules cannot be loaded, nor seen."},
		{"protect_kernel_logs", "The kernel's log is out of reach."},
		{"protect_control_groups", "Cgroups below /sys/fs/cgroup are read-only."},
		{"protect_clock", "The clocks of the machine cannot be set."},
	} {
		keys = append(keys, key(p.name, boolean, "", "false", p.doc).note("true; in profile host false"))
	}
	return append(keys,
		key("protect_proc", choice("noaccess", "invisible", "ptraceable", "default"), "", `"default"`, "Which processes of others /proc shows.").note(`"invisible"; in profile host "default"`),
		key("proc_subset", choice("all", "pid"), `"all"`, `"pid"`, "Whether /proc shows anything but processes."),
		key("device_allow", deviceRules, "", `["/dev/fuse rw"]`, "Devices, or classes of them, that may be used."),
		key("device_policy", choice("auto", "closed", "strict"), "", `"strict"`, "Which devices may be used without device_allow: the pseudo devices, or none.").note(`"closed"; in profile host "auto"`),
	)
}
