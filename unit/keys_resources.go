package unit

// resourcesKeys is the [resources] table: limits of the unit's cgroup.
func resourcesKeys() []*Key {
	return []*Key{
		key("memory_min", amount, "", `"64M"`, "Memory that is never reclaimed."),
		key("memory_low", amount, "", `"128M"`, "Memory that is reclaimed last."),
		key("memory_high", amount, "", `"400M"`, "Memory above which the service is slowed down."),
		key("memory_max", amount, "", `"512M"`, "Most memory the service can have."),
		key("memory_swap_max", amount, "", `"0"`, "Most swap the service can have."),
		key("tasks_max", tasks, `"15%"`, `"512"`, "Most processes and threads."),
		key("cpu_weight", cpuWeight, "", "200", `Share of processor time, 1 to 10000, or "idle".`).note("100"),
		key("cpu_quota", cpuQuota, "", `"150%"`, "Most processor time, of one processor."),
		key("allowed_cpus", cpuSet, "", `"0-3"`, "Processors that the unit may run on."),
		key("io_weight", integer(1, 10000), "", "200", "Share of I/O.").note("100"),
		key("io_read_bandwidth_max", ioBytes, "", `["/dev/sda 5M"]`, "Most bytes read a second, by device."),
		key("io_write_bandwidth_max", ioBytes, "", `["/dev/sda 5M"]`, "Most bytes written a second, by device."),
		key("io_read_iops_max", ioOperations, "", `["/dev/sda 1K"]`, "Most reads a second, by device."),
		key("io_write_iops_max", ioOperations, "", `["/dev/sda 1K"]`, "Most writes a second, by device."),
		key("delegate", delegate, "", `["memory", "pids"]`, "Whether, or with which controllers, the service manages cgroups below its own.").note("false"),
		key("slice", sliceName, "", `"web"`, "Named group of units that the cgroup is in; a unit file web.slice.toml has its limits."),
		key("best_effort", boolean, "false", "true", "Start without the limits whose controller is missing.").ours(),
	}
}

// logKeys is the [log] table.
func logKeys() []*Key {
	return []*Key{
		key("standard_output", streamOut, `"log"`, `"append:/var/log/app.log"`, "Where standard output goes."),
		key("standard_error", streamOut, `"inherit"`, `"null"`, "Where standard error goes; inherit is where standard output goes."),
		key("syslog_identifier", text, "", `"nginx"`, "Name in forwarded records.").note("the unit's name"),
		key("log_level_max", logLevel, `"debug"`, `"notice"`, "Least important level that is kept."),
		key("log_rate_limit_interval_sec", timespan, "30", `"10s"`, "Length of the window in which records are counted; 0 does not limit."),
		key("log_rate_limit_burst", integer(0, 1<<31-1), "10000", "1000", "Records kept in one window."),
		key("max_size", size, `"10M"`, `"100M"`, "Size at which the log is rotated.").ours(),
		key("max_files", integer(1, 1000), "5", "10", "Files of the log that are kept.").ours(),
		key("compress", boolean, "true", "false", "Compress rotated files.").ours(),
		key("forward", forwards, "", `["journal", "tcp:192.0.2.7:514"]`, "Where else records go.").ours().note("the instance's"),
		key("files", filePatterns, "", `["/var/log/nginx/*.log"]`, "Files that the service writes itself, to follow; the last component may be a pattern.").ours(),
		key("reopen_signal", signal, "", `"SIGUSR1"`, "Signal on which main opens such files anew; with it they are rotated.").ours(),
	}
}

// healthKeys are the [health.NAME] tables.
func healthKeys() []*Key {
	return []*Key{
		later("exec", commands, "", `"/usr/bin/redis-cli ping"`, "Command that succeeds while the service is well.").ours(),
		later("http", text, "", `"http://localhost/health"`, "URL that answers while the service is well.").ours(),
		later("tcp", text, "", `"localhost:5432"`, "Port that accepts while the service is well.").ours(),
		later("unix", text, "", `"/run/app.sock"`, "Socket that accepts while the service is well.").ours(),
		later("interval_sec", timespan, `"10s"`, `"30s"`, "Pause between checks.").ours(),
		later("timeout_sec", timespan, `"5s"`, `"1s"`, "How long a check may take.").ours(),
		later("start_period_sec", timespan, `"30s"`, `"1min"`, "Time after the start in which failures do not count.").ours(),
		later("retries", integer(1, 1000), "3", "5", "Failures in a row that count.").ours(),
		later("on_failure", choice("restart", "none"), `"restart"`, `"none"`, "What follows.").ours(),
	}
}
