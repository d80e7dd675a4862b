package unit

// unitKeys is the [unit] table: what systemd has in [Unit].
func unitKeys() []*Key {
	keys := []*Key{
		key("description", text, "", `"nginx web server"`, "What the unit is, in a few words.").note("the unit's name"),
		key("documentation", texts, "", `["man:nginx(8)", "https://nginx.org"]`, "Where to read more: http, https, file, info or man URLs."),
		key("requires", unitNames, "", `["postgresql"]`, "Units that are started too; without them this one does not start, and stops when they stop."),
		key("requisite", unitNames, "", `["postgresql"]`, "Units that must be active already, or the start fails at once."),
		key("wants", unitNames, "", `["network-online"]`, "Units that are started too; their failure does not matter."),
		key("binds_to", unitNames, "", `["vpn"]`, "Like requires, and this unit stops whenever one of them goes away."),
		key("part_of", unitNames, "", `"postgresql"`, "Units whose stop and restart this unit follows."),
		key("upholds", unitNames, "", `["agent"]`, "Units that are started again whenever they are down while this one is up."),
		key("conflicts", unitNames, "", `["apache2"]`, "Units that cannot run at the same time; starting one stops the other."),
		key("before", unitNames, "", `"postgresql"`, "Units that wait for this one when both start; the reverse when both stop."),
		key("after", unitNames, "", `["network"]`, "Units that this one waits for when both start; the reverse when both stop."),
		key("on_failure", unitNames, "", `"alert"`, "Units that are started when this one fails."),
		key("on_success", unitNames, "", `"cleanup"`, "Units that are started when this one ends well."),
		key("propagates_reload_to", unitNames, "", `"worker"`, "Units that are reloaded with this one."),
		key("reload_propagated_from", unitNames, "", `"postgresql"`, "Units with which this one is reloaded."),
		key("propagates_stop_to", unitNames, "", `"worker"`, "Units that are stopped with this one."),
		key("stop_propagated_from", unitNames, "", `"postgresql"`, "Units with which this one is stopped."),
		key("requires_mounts_for", absolutePaths, "", `["/var/lib/postgresql"]`, "Paths whose mount points must be mounted; checked, not mounted."),
		key("default_dependencies", boolean, "true", "false", "Wait for basic, and stop at shutdown."),
		key("refuse_manual_start", boolean, "false", "true", "Start only as a dependency, not by hand."),
		key("refuse_manual_stop", boolean, "false", "true", "Stop only as a dependency, not by hand."),
		key("stop_when_unneeded", boolean, "false", "true", "Stop when no active unit needs this one."),
	}
	keys = append(keys, conditionKeys()...)
	return append(keys,
		key("start_limit_interval_sec", timespan, `"10s"`, `"1min"`, "Length of the window in which starts are counted; 0 does not count."),
		key("start_limit_burst", integer(0, 1<<30), "5", "3", "Starts allowed within start_limit_interval_sec."),
		key("start_limit_action", jobAction, `"none"`, `"reboot"`, "What happens to the machine when the start limit is reached."),
		key("failure_action", jobAction, `"none"`, `"reboot"`, "What happens to the machine when the unit fails."),
		key("success_action", jobAction, `"none"`, `"poweroff"`, "What happens to the machine when the unit ends well."),
		key("job_timeout_sec", timeout, `"infinity"`, `"5min"`, "How long a start or stop may wait for other units and run."),
	)
}

var conditionKinds = []struct{ name, example, doc string }{
	{"path_exists", `"!/etc/ssh/sshd_not_to_be_run"`, "the path exists"},
	{"path_exists_glob", `"/etc/cron.d/*"`, "a path matches the pattern"},
	{"path_is_directory", `"/srv/www"`, "the path is a directory"},
	{"path_is_symbolic_link", `"/etc/localtime"`, "the path is a symbolic link"},
	{"path_is_mount_point", `"/srv"`, "the path is a mount point"},
	{"path_is_read_write", `"/var"`, "the path is on a writable file system"},
	{"directory_not_empty", `"/etc/cron.d"`, "the directory has an entry"},
	{"file_not_empty", `"/etc/exports"`, "the path is a file that is not empty"},
	{"file_is_executable", `"/usr/sbin/nginx"`, "the path is an executable file"},
	{"architecture", `"x86-64"`, "the machine is of this architecture"},
	{"virtualization", `"!container"`, "the machine is virtual, or of this kind of virtual"},
	{"host", `"web*"`, "the host name or machine id matches"},
	{"kernel_command_line", `"!single"`, "the kernel command line has this word or assignment"},
	{"kernel_version", `">= 6.1"`, "the kernel's version compares so"},
	{"capability", `"CAP_NET_ADMIN"`, "the manager's bounding set has the capability"},
	{"security", `"apparmor"`, "the security technology is active"},
	{"ac_power", `"true"`, "the machine is on mains power, or has no battery"},
	{"memory", `">= 1G"`, "the machine's memory compares so"},
	{"cpus", `">= 2"`, "the number of processors compares so"},
	{"user", `"root"`, "the manager runs as this user"},
	{"group", `"adm"`, "the manager is in this group"},
	{"first_boot", `"true"`, "this is the first boot of the machine"},
	{"environment", `"LANG=C"`, "the manager's environment has this variable or assignment"},
	{"control_group_controller", `"memory"`, "the cgroup controllers are there"},
}

// conditionKeys are condition_X and assert_X: values accept "!" and "|".
func conditionKeys() []*Key {
	var keys []*Key
	for _, c := range conditionKinds {
		keys = append(keys, key("condition_"+c.name, conditions, "", c.example,
			"Skip the start unless "+c.doc+" (looked up on the host).").into("Conditions"))
	}
	for _, c := range conditionKinds {
		keys = append(keys, key("assert_"+c.name, conditions, "", c.example,
			"Fail the start unless "+c.doc+" (looked up on the host).").into("Asserts"))
	}
	return keys
}

// installKeys is the [install] table. It is in force for every loaded file:
// dropping a file in enables it.
func installKeys() []*Key {
	return []*Key{
		key("wanted_by", unitNames, "", `["default"]`, "Targets and units that want this one."),
		key("required_by", unitNames, "", `["storage"]`, "Targets and units that require this one."),
		key("also", unitNames, "", `["helper"]`, "Units that nsctl enable and disable take along."),
		key("alias", unitNames, "", `["sshd"]`, "Other names of the unit, for every verb and dependency."),
		key("default_instance", text, "", `"tty1"`, "Instance that enabling the bare template means."),
	}
}
