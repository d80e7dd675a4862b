package unit

import "slices"

// serviceKeys is the [service] table: what systemd has in [Service], less
// what describes the sandbox.
func serviceKeys() []*Key {
	return slices.Concat(programKeys(), restartKeys(), contextKeys(), limitKeys(), terminalKeys())
}

// programKeys say what runs, and when that counts as started.
func programKeys() []*Key {
	return []*Key{
		key("type", choice("simple", "exec", "oneshot", "notify", "notify-reload", "forking", "idle").soon("dbus"), `"simple"`, `"notify"`, "When the service counts as started."),
		key("activation", choice("boot").soon("demand"), `"boot"`, `"boot"`, "Whether the service starts with its targets or by its triggers.").ours(),
		key("exec_condition", commands, "", `"/usr/bin/test -e /etc/flag"`, "Commands that run first; exit status 1 to 254 skips the start."),
		key("exec_start_pre", commands, "", `"/usr/sbin/nginx -t"`, "Commands that run before exec_start."),
		key("exec_start", commands, "", `"/usr/sbin/nginx -g 'daemon off;'"`, "The program of the service; a oneshot may have several."),
		key("exec_start_post", commands, "", `"/usr/bin/logger up"`, "Commands that run once the service has started."),
		key("exec_reload", commands, "", `"/bin/kill -HUP $MAINPID"`, "Commands that make the service read its configuration again."),
		key("exec_stop", commands, "", `"/usr/bin/redis-cli shutdown"`, "Commands that ask the service to stop."),
		key("exec_stop_post", commands, "", `"/bin/rm -f /run/x.lock"`, "Commands that run after the service has ended, however it did."),
		key("pid_file", pidFile, "", `"/run/nginx.pid"`, "File in which a forking service names its main process; a relative path is below /run. It is removed after the stop."),
		key("guess_main_pid", boolean, "true", "false", "Without pid_file, take the one process that a forking service leaves to process 1 of its namespace for its main process."),
		later("bus_name", text, "", `"org.example.Daemon"`, "D-Bus name that a service of type dbus takes."),
		key("notify_access", choice("none", "main", "exec", "all"), "", `"all"`, "Whose messages on the notify socket count.").note(`"main" for the types notify and notify-reload, otherwise "none"`),
		key("reload_signal", signal, `"SIGHUP"`, `"SIGUSR1"`, "Signal that makes a service of type notify-reload reload."),
		key("remain_after_exit", boolean, "false", "true", "Count the service as active after its processes have ended."),
		key("exit_type", choice("main", "cgroup"), `"main"`, `"cgroup"`, "Whether the service ends with its main process or with its last one."),
		key("oom_policy", choice("continue", "stop", "kill"), `"stop"`, `"continue"`, "What follows when the kernel kills a process for lack of memory."),
		later("file_descriptor_store_max", integer(0, 1<<20), "0", "16", "How many descriptors the service may leave with the manager."),
		later("file_descriptor_store_preserve", choice("no", "yes", "restart"), `"restart"`, `"yes"`, "When descriptors left with the manager are closed."),
		key("open_file", openFiles, "", `"/etc/secret:secret:read-only"`, "Files that the manager opens and passes in."),
	}
}

// restartKeys say how the service starts again, and how it ends.
func restartKeys() []*Key {
	return []*Key{
		key("restart", choice("no", "always", "on-success", "on-failure", "on-abnormal", "on-abort", "on-watchdog"), "", `"always"`, "After which ends the service is started again.").note(`"on-failure"; "no" for a oneshot`),
		key("restart_sec", timespan, `"100ms"`, `"5s"`, "Pause before a restart."),
		key("restart_steps", integer(0, 1<<20), "0", "5", "Steps in which the pause grows to restart_max_delay_sec."),
		key("restart_max_delay_sec", timespan, `"infinity"`, `"1min"`, "Longest pause before a restart."),
		key("restart_randomized_delay_sec", timespan, "0", `"2s"`, "Random time added to the pause."),
		key("success_exit_status", exitStatuses, "", `["75", "SIGUSR1"]`, "Further exit codes and signals that count as success."),
		key("restart_prevent_exit_status", exitStatuses, "", "255", "Ends after which the service is never restarted."),
		key("restart_force_exit_status", exitStatuses, "", "133", "Ends after which the service is always restarted."),
		key("timeout_start_sec", timeout, "", `"5min"`, "How long a start may take.").note(`"90s"; "infinity" for a oneshot`),
		key("timeout_stop_sec", timeout, `"90s"`, `"30s"`, "How long a stop may take before final_kill_signal, and what is left after that; SIGKILL has 5 seconds at least."),
		key("timeout_abort_sec", timeout, "", `"30s"`, "How long an end by the watchdog may take.").note("timeout_stop_sec"),
		key("timeout_sec", timeout, "", `"30s"`, "Sets timeout_start_sec and timeout_stop_sec.").into("-"),
		key("runtime_max_sec", timeout, `"infinity"`, `"1d"`, "How long the service may run."),
		key("watchdog_sec", timespan, "0", `"30s"`, "Longest pause between the service's signs of life; 0 is no watchdog."),
		key("kill_mode", choice("control-group", "mixed", "process", "none"), `"control-group"`, `"mixed"`, "Which processes are killed at a stop."),
		key("kill_signal", signal, `"SIGTERM"`, `"SIGQUIT"`, "First signal of a stop."),
		key("restart_kill_signal", signal, "", `"SIGUSR2"`, "First signal of a stop that is part of a restart.").note("kill_signal"),
		key("final_kill_signal", signal, `"SIGKILL"`, `"SIGQUIT"`, "Signal after timeout_stop_sec."),
		key("watchdog_signal", signal, `"SIGABRT"`, `"SIGKILL"`, "Signal when the watchdog has run out."),
		key("send_sigkill", boolean, "true", "false", "Send final_kill_signal to what is left after timeout_stop_sec."),
		key("send_sighup", boolean, "false", "true", "Send SIGHUP right after kill_signal."),
	}
}

// contextKeys say as whom, where and with which priority programs run.
func contextKeys() []*Key {
	return []*Key{
		key("user", principal, "", `"www-data"`, "User that the service runs as, of its own /etc/passwd.").note("root"),
		key("group", principal, "", `"www-data"`, "Group that the service runs as.").note("the user's"),
		key("supplementary_groups", principals, "", `["ssl-cert"]`, "Further groups."),
		later("dynamic_user", boolean, "false", "true", "Make a user for the time that the service runs."),
		later("pam_name", text, "", `"login"`, "PAM service to open a session of."),
		key("set_login_environment", boolean, "", "true", "Set HOME, LOGNAME, SHELL and USER.").note("true where user is set"),
		key("working_directory", workingDirectory, `"/"`, `"-/srv/app"`, `Where the service starts; "~" is its user's home.`),
		key("umask", mode, `"0022"`, `"0077"`, "File mode creation mask."),
		key("environment", environ, "", `{ LANG = "C.UTF-8" }`, "Variables of the service."),
		key("environment_file", pathEntries, "", `"-/etc/default/nginx"`, "Files of further variables, read by the manager at each start; later wins."),
		key("unset_environment", texts, "", `["LANG"]`, "Variables, or assignments, that are taken out last."),
		key("pass_environment", texts, "", `["TZ"]`, "Variables of the manager that are passed on."),
		later("load_credential", texts, "", `"key:/etc/app.key"`, "Credentials read from files."),
		later("set_credential", texts, "", `"key:value"`, "Credentials given here."),
		later("import_credential", texts, "", `"app.*"`, "Credentials taken from the machine's."),
		later("non_blocking", boolean, "false", "true", "Set O_NONBLOCK on the sockets passed in."),
		key("nice", integer(-20, 19), "", "5", "Nice level.").note("the manager's"),
		key("oom_score_adjust", integer(-1000, 1000), "", "-900", "How readily the kernel kills the service for memory.").note("the manager's"),
		key("cpu_affinity", cpuSet, "", `"0-1"`, "Processors that the service may run on.").note("the manager's"),
		key("cpu_scheduling_policy", choice("other", "batch", "idle", "fifo", "rr"), "", `"batch"`, "Scheduling policy.").note("the manager's"),
		key("cpu_scheduling_priority", integer(1, 99), "", "50", "Priority for the policies fifo and rr.").note("1 for fifo and rr"),
		key("io_scheduling_class", choice("realtime", "best-effort", "idle"), "", `"idle"`, "I/O scheduling class.").note("the manager's"),
		key("io_scheduling_priority", integer(0, 7), "", "7", "I/O priority in its class, 0 is highest.").note("the manager's"),
		key("timer_slack_nsec", nanoseconds, "", `"1ms"`, "Slack of the service's timers; a number is nanoseconds.").note("the manager's"),
		key("ignore_sigpipe", boolean, "true", "false", "Start the service with SIGPIPE ignored."),
		key("coredump_filter", coredumpFilter, "", `"private-anonymous shared-anonymous"`, "Which mappings a core dump has.").note("the manager's"),
	}
}

// terminalKeys say what standard input is, and what is done to its terminal.
func terminalKeys() []*Key {
	return []*Key{
		key("standard_input", streamIn, `"null"`, `"tty"`, "Where standard input comes from: with a tty, the service has it as its controlling terminal."),
		key("tty_path", terminal, `"/dev/console"`, `"/dev/tty1"`, "Terminal of the service."),
		key("tty_reset", boolean, "false", "true", "Reset the terminal before and after."),
		key("tty_vhangup", boolean, "false", "true", "Disconnect others from the terminal before and after."),
		key("tty_vt_disallocate", boolean, "false", "true", "Clear the virtual terminal before and after."),
		key("tty_rows", integer(1, 65535), "", "40", "Rows of the terminal.").note("as the terminal has them"),
		key("tty_columns", integer(1, 65535), "", "132", "Columns of the terminal.").note("as the terminal has them"),
		key("utmp_identifier", utmpID, "", `"cons"`, "Identifier of the entry in utmp and wtmp, at most four bytes; without it there is none."),
		key("utmp_mode", choice("init", "login", "user"), `"init"`, `"login"`, "Kind of that entry: what the program expects to find."),
	}
}

// limitKeys are the resource limits of setrlimit(2).
func limitKeys() []*Key {
	var keys []*Key
	for _, l := range []struct{ name, example, doc string }{
		{"cpu", `"1h"`, "Processor time (see cpu_quota in [resources])."},
		{"fsize", `"1G"`, "Size of a file."},
		{"data", `"512M"`, "Size of the data segment (see memory_max in [resources])."},
		{"stack", `"8M"`, "Size of the stack."},
		{"core", `"infinity"`, "Size of a core dump."},
		{"rss", `"512M"`, "Without effect since Linux 2.4.30 (see memory_max in [resources])."},
		{"nofile", "65536", "Open files."},
		{"as", `"4G"`, "Address space (see memory_max in [resources])."},
		{"nproc", "512", "Processes of the user (see tasks_max in [resources])."},
		{"memlock", `"64M"`, "Locked memory."},
		{"locks", "64", "File locks; without effect since Linux 2.4.25."},
		{"sigpending", "1024", "Queued signals of the user."},
		{"msgqueue", `"819200"`, "Bytes in POSIX message queues of the user."},
		{"nice", `"+0"`, "Highest nice level that may be set."},
		{"rtprio", "10", "Highest real-time priority that may be set."},
		{"rttime", `"200ms"`, "Real-time processor time without a blocking call."},
	} {
		preset, note := "", "the manager's"
		if l.name == "nofile" {
			preset, note = `"1024:524288"`, `"1024:524288"`
		}
		k := key("limit_"+l.name, rlimit, preset, l.example, l.doc)
		k.Default = note
		keys = append(keys, k)
	}
	return keys
}
