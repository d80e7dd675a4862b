package control

// UnitStatus is everything that is known of one unit. Its JSON names are the
// names that `nsctl show -p` takes, and never change.
type UnitStatus struct {
	Name          string   `json:"name"`
	Aliases       []string `json:"aliases,omitempty"`
	Description   string   `json:"description"`
	Documentation []string `json:"documentation,omitempty"`
	// Kind is "service", "target", or "slice": a target with limits.
	Kind string `json:"kind"`

	// LoadState is "loaded", "not-found", "bad-file" or "masked".
	LoadState string `json:"load_state"`
	// LoadError has the loader's lines when LoadState is "bad-file", or when a
	// running unit's newer file is bad.
	LoadError     string   `json:"load_error,omitempty"`
	Path          string   `json:"path,omitempty"`
	DropIns       []string `json:"drop_ins,omitempty"`
	ChangedOnDisk bool     `json:"changed_on_disk,omitempty"`
	// ChangedUsec is the newest modification time among the changed files.
	ChangedUsec int64 `json:"changed_usec,omitempty"`
	// Enabled is "enabled", "disabled", "static" (nothing would want it) or "masked".
	Enabled string `json:"enabled,omitempty"`
	// Preset is what a preset file says of a package's unit: "enabled" or "disabled".
	Preset string `json:"preset,omitempty"`
	// Profile is "strict", "daemon" or "host".
	Profile string `json:"profile,omitempty"`

	// ActiveState is systemd's: "active", "reloading", "inactive", "failed",
	// "activating" or "deactivating".
	ActiveState string `json:"active_state"`
	// SubState is finer: "running", "exited", "dead", "start-pre", "start",
	// "start-post", "auto-restart", "stop", "stop-post", "listening" ...
	SubState string `json:"sub_state"`
	// Result is "success" or why it failed: "exit-code", "signal",
	// "core-dump", "timeout", "watchdog", "oom-kill", "start-limit",
	// "setup", "dependency", "condition", "reaper-lost", "status-unknown".
	Result             string `json:"result,omitempty"`
	StateSinceUsec     int64  `json:"state_since_usec,omitempty"`
	ActiveSinceUsec    int64  `json:"active_since_usec,omitempty"`
	InactiveSinceUsec  int64  `json:"inactive_since_usec,omitempty"`
	StartRequestedUsec int64  `json:"start_requested_usec,omitempty"`

	// MainPID is the pid seen from the manager, MainPIDInside the same
	// process seen from inside the service.
	MainPID       int    `json:"main_pid,omitempty"`
	MainPIDInside int    `json:"main_pid_inside,omitempty"`
	MainCommand   string `json:"main_command,omitempty"`
	// MainPIDSource says how main was found when it was not simply started
	// ("pid_file /run/nginx.pid").
	MainPIDSource string `json:"main_pid_source,omitempty"`
	// ControlPID runs now beside or before main: an exec_start_pre, a reload.
	ControlPID     int    `json:"control_pid,omitempty"`
	ControlCommand string `json:"control_command,omitempty"`
	ReaperPID      int    `json:"reaper_pid,omitempty"`
	StatusText     string `json:"status_text,omitempty"`

	// StartCount counts all starts, Restarts only the automatic ones.
	StartCount int `json:"start_count,omitempty"`
	Restarts   int `json:"restarts,omitempty"`
	// Generation is the number of the current or last start; LeftOvers are
	// older ones that still have processes.
	Generation  uint64     `json:"generation,omitempty"`
	LeftOvers   []LeftOver `json:"left_overs,omitempty"`
	ReadyNsec   int64      `json:"ready_nsec,omitempty"`
	LaunchNsec  int64      `json:"launch_nsec,omitempty"`
	PreNsec     int64      `json:"pre_nsec,omitempty"`
	Deadlines   []Deadline `json:"deadlines,omitempty"`
	LastExit    *Exit      `json:"last_exit,omitempty"`
	Failure     *Failure   `json:"failure,omitempty"`
	Notices     []Notice   `json:"notices,omitempty"`
	Problems    []string   `json:"problems,omitempty"`
	Log         *LogStatus `json:"log,omitempty"`
	Relaxations []string   `json:"relaxations,omitempty"`

	Tasks         uint64 `json:"tasks,omitempty"`
	TasksLimit    uint64 `json:"tasks_limit,omitempty"`
	MemoryCurrent uint64 `json:"memory_current,omitempty"`
	MemoryMax     uint64 `json:"memory_max,omitempty"`
	MemoryPeak    uint64 `json:"memory_peak,omitempty"`
	CPUUsageNsec  uint64 `json:"cpu_usage_nsec,omitempty"`
	IOReadBytes   uint64 `json:"io_read_bytes,omitempty"`
	IOWriteBytes  uint64 `json:"io_write_bytes,omitempty"`

	Hostname   string      `json:"hostname,omitempty"`
	Namespaces []Namespace `json:"namespaces,omitempty"`
	// CapabilityCount is the size of the bounding set.
	CapabilityCount int         `json:"capability_count"`
	NoNewPrivileges bool        `json:"no_new_privileges"`
	Listening       []Listening `json:"listening,omitempty"`
	Network         *Network    `json:"network,omitempty"`
	// ControlGroup is the payload's cgroup below the v2 mount, without a
	// leading slash ("nsinit/nginx/4/main").
	ControlGroup string `json:"control_group,omitempty"`
	// Processes are those of the payload's cgroup, in the order of their pids.
	Processes []Process `json:"processes,omitempty"`
}

// LogStatus is what is wrong with the log of a unit, since the manager started;
// of one that is in order nothing is said.
type LogStatus struct {
	// Degraded says why nothing can be written now; it passes by itself.
	Degraded string `json:"degraded,omitempty"`
	// DroppedLines were too many in their time (log_rate_limit_burst).
	DroppedLines uint64 `json:"dropped_lines,omitempty"`
	// DroppedBytes and DroppedMessages had no room while nothing could be written.
	DroppedBytes    uint64 `json:"dropped_bytes,omitempty"`
	DroppedMessages uint64 `json:"dropped_messages,omitempty"`
	// NotForwarded are records that another log did not take, for Forwarding.
	NotForwarded uint64 `json:"not_forwarded,omitempty"`
	// Forwarding says which log is out of reach, and why.
	Forwarding string `json:"forwarding,omitempty"`
}

// LeftOver is an earlier start whose processes outlived it (kill_mode
// "process" or "none").
type LeftOver struct {
	Generation uint64 `json:"generation"`
	PIDs       []int  `json:"pids"`
}

// Deadline is something that the manager will do at a time unless something
// else happens first; Name is the key that set it ("timeout_start_sec",
// "restart_sec", "watchdog_sec").
type Deadline struct {
	Name   string `json:"name"`
	AtUsec int64  `json:"at_usec"`
}

// Exit is how a process ended.
type Exit struct {
	PID int `json:"pid,omitempty"`
	// Code is "exited", "killed" or "dumped", as CLD_* of waitid(2).
	Code string `json:"code"`
	// Status is the exit status, or the signal's number.
	Status int `json:"status"`
	// Name is the signal's name ("SIGSEGV"), or that of a set-up status
	// ("226/NAMESPACE"), or empty.
	Name   string `json:"name,omitempty"`
	AtUsec int64  `json:"at_usec,omitempty"`
}

// Failure is why the last start or stop failed.
type Failure struct {
	// Program is the key of the program that failed: "exec_start",
	// "exec_start_pre"; empty when nothing was run yet.
	Program string `json:"program,omitempty"`
	// Step names the step of the launch program that failed, Args its
	// arguments; Index counts from 1, Of is the number of steps.
	Step  string   `json:"step,omitempty"`
	Args  []string `json:"args,omitempty"`
	Index int      `json:"index,omitempty"`
	Of    int      `json:"of,omitempty"`
	Errno int      `json:"errno,omitempty"`
	// Text is the whole cause in one sentence, without the unit's name
	// ("cannot start: mount tmpfs on /dev/shm: operation not permitted").
	Text string `json:"text"`
	// Hint says what to do; it may have several lines.
	Hint string `json:"hint,omitempty"`
	// ExitClass is systemd's name of the set-up status ("226/NAMESPACE").
	ExitClass string `json:"exit_class,omitempty"`
	// Lines are the last that the failed program wrote.
	Lines []string `json:"lines,omitempty"`
}

// Notice is something worth knowing that is not an error ("start 4: ready in 38 ms").
type Notice struct {
	AtUsec int64  `json:"at_usec"`
	Text   string `json:"text"`
}

// Namespace is one that the unit's main runs in. Inode is that of
// /proc/PID/ns/TYPE; Private is false where it is the manager's own.
type Namespace struct {
	Type    string `json:"type"`
	Inode   uint64 `json:"inode"`
	Private bool   `json:"private"`
}

// Listening is a socket that the service listens on.
type Listening struct {
	// Protocol is "tcp", "udp", "unix" ...; Address as ss(8) shows it.
	Protocol string `json:"protocol"`
	Address  string `json:"address"`
	// Note marks what surprises ("inside only: network is private").
	Note string `json:"note,omitempty"`
}

// Process is one process of a unit, with pids as the manager sees them.
type Process struct {
	PID       int `json:"pid"`
	PPID      int `json:"ppid"`
	PIDInside int `json:"pid_inside,omitempty"`
	// Name is the comm; Command the arguments joined with spaces, left out
	// for readers, since arguments may hold secrets.
	Name    string `json:"name,omitempty"`
	Command string `json:"command,omitempty"`
}
