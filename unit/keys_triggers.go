package unit

// socketKeys are the [socket.NAME] tables: what systemd has in [Socket].
func socketKeys() []*Key {
	return []*Key{
		later("listen_stream", texts, "", `["0.0.0.0:80"]`, "Addresses of stream sockets."),
		later("listen_datagram", texts, "", `["514"]`, "Addresses of datagram sockets."),
		later("listen_sequential_packet", texts, "", `"/run/app.sock"`, "Addresses of sequential packet sockets."),
		later("listen_fifo", texts, "", `"/run/app.fifo"`, "Paths of FIFOs."),
		later("listen_netlink", texts, "", `"kobject-uevent 1"`, "Netlink families and groups."),
		later("listen_special", texts, "", `"/dev/input/event0"`, "Special files."),
		later("accept", boolean, "false", "true", "One instance for every connection."),
		later("max_connections", integer(0, 1<<20), "64", "256", "Connections at the same time, with accept."),
		later("max_connections_per_source", integer(0, 1<<20), "0", "8", "The same from one address."),
		later("backlog", integer(0, 1<<31-1), "4096", "128", "Length of the queue of connections."),
		later("socket_user", text, "", `"www-data"`, "Owner of the socket's file."),
		later("socket_group", text, "", `"www-data"`, "Group of the socket's file."),
		later("socket_mode", mode, `"0666"`, `"0660"`, "Access mode of the socket's file."),
		later("directory_mode", mode, `"0755"`, `"0750"`, "Access mode of directories made for it."),
		later("free_bind", boolean, "false", "true", "Bind to addresses that are not there yet."),
		later("reuse_port", boolean, "false", "true", "Let several sockets bind to one port."),
		later("bind_ipv6_only", choice("default", "both", "ipv6-only"), `"default"`, `"both"`, "Whether [::] takes IPv4 too."),
		later("keep_alive", boolean, "false", "true", "Send keep-alive probes."),
		later("pass_credentials", boolean, "false", "true", "Let the service see who sends."),
		later("receive_buffer", size, "", `"1M"`, "Size of the receive buffer."),
		later("send_buffer", size, "", `"1M"`, "Size of the send buffer."),
		later("symlinks", texts, "", `"/run/app.old.sock"`, "Links to the socket's file."),
		later("remove_on_stop", boolean, "true", "false", "Remove the socket's file at the stop."),
		later("trigger_limit_interval_sec", timespan, `"2s"`, `"10s"`, "Length of the window in which activations are counted."),
		later("trigger_limit_burst", integer(0, 1<<20), "20", "5", "Activations in one window."),
		later("namespace", choice("host", "unit"), `"host"`, `"unit"`, "Whose network the socket is opened in.").ours(),
	}
}

// timerKeys is the [timer] table: what systemd has in [Timer].
func timerKeys() []*Key {
	return []*Key{
		later("on_calendar", texts, "", `"daily"`, "Times of the calendar."),
		later("on_boot_sec", texts, "", `"15min"`, "Time after the boot."),
		later("on_startup_sec", texts, "", `"15min"`, "Time after the start of the manager."),
		later("on_active_sec", texts, "", `"1h"`, "Time after the timer was armed."),
		later("on_unit_active_sec", texts, "", `"1h"`, "Time after the unit was last started."),
		later("on_unit_inactive_sec", texts, "", `"1h"`, "Time after the unit last ended."),
		later("accuracy_sec", timespan, `"1min"`, `"1s"`, "How exact the time must be."),
		later("randomized_delay_sec", timespan, "0", `"1h"`, "Random time added."),
		later("fixed_random_delay", boolean, "false", "true", "The same random time always."),
		later("persistent", boolean, "false", "true", "Make up for a time that was missed."),
		later("wake_system", boolean, "false", "true", "Wake the machine."),
		later("unit", text, "this unit", `"backup"`, "Unit that is started."),
	}
}

// pathKeys is the [path] table: what systemd has in [Path].
func pathKeys() []*Key {
	return []*Key{
		later("path_exists", texts, "", `"/run/job"`, "Start when the path exists."),
		later("path_exists_glob", texts, "", `"/var/spool/app/*"`, "Start when a path matches."),
		later("path_changed", texts, "", `"/etc/app.conf"`, "Start when the path has changed."),
		later("path_modified", texts, "", `"/etc/app.conf"`, "The same, and at every write."),
		later("directory_not_empty", texts, "", `"/var/spool/app"`, "Start when the directory has an entry."),
		later("make_directory", boolean, "false", "true", "Make the directory that is watched."),
		later("unit", text, "this unit", `"worker"`, "Unit that is started."),
	}
}
