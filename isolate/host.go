package isolate

// Host is what is known of the kernel and the machine: a value, so that
// Compile is a pure function. isolate/launch probes the real one.
type Host struct {
	Kernel     [2]int     // major and minor version
	Namespaces Namespaces // those that the kernel has
	LastCap    int        // /proc/sys/kernel/cap_last_cap
	Caps       uint64     // the manager's effective capabilities

	Rlimits     [16]Rlimit // the manager's limits, by RLIMIT_ number
	OOMScoreAdj int        // the manager's
	Nice        int        // the manager's
	Ignored     uint64     // signals that the manager ignores, bit N-1 is signal N: execve(2) passes them on

	ProcFiles []string // of MaskedFiles and ReadOnlyPaths, those that exist here
	ProcDirs  []string

	CgroupMount string // where the host has cgroup2 mounted
	NSDelegate  bool   // and with nsdelegate (cgroups(7))
	PIDMaxPerNS bool   // pid_max is per PID namespace (Linux 6.14)
}

// MaskedFiles and the lists beside it are the kernel's paths that tell a
// service of the machine, or let it change the machine.
var (
	// MaskedFiles read as empty.
	MaskedFiles = []string{"/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
		"/proc/timer_stats", "/proc/sched_debug"}
	// MaskedDirs are empty and closed. (What other file systems are mounted on
	// below the host's /sys is not in the service's fresh one.)
	MaskedDirs = []string{"/proc/acpi", "/proc/asound", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"}
	// TunableDirs are read-only under protect_kernel_tunables.
	TunableDirs = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/tty", "/proc/mtd", "/proc/dynamic_debug"}
	// TunableFiles likewise.
	TunableFiles = []string{"/proc/sysrq-trigger", "/proc/mtrr", "/proc/apm"}
	// LogFiles are masked under protect_kernel_logs.
	LogFiles = []string{"/proc/kmsg"}
	// BaseDevices are the nodes of every private /dev.
	BaseDevices = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"}
)

// OldestHost describes the oldest kernel that nsinit supports, Linux 6.1, with
// every namespace: what plans are made for where no manager answers.
func OldestHost() Host {
	h := Host{
		Kernel:     [2]int{6, 1},
		Namespaces: Mount | PID | IPC | UTS | Cgroup | Net | User | Time,
		LastCap:    40,
		Caps:       1<<41 - 1,
		ProcFiles:  []string{"/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sysrq-trigger", "/proc/kmsg"},
		ProcDirs: []string{"/proc/acpi", "/proc/scsi", "/sys/firmware", "/proc/bus", "/proc/fs",
			"/proc/irq", "/proc/sys", "/proc/tty"},
		CgroupMount: "/sys/fs/cgroup",
		NSDelegate:  true,
	}
	for i := range h.Rlimits {
		h.Rlimits[i] = Rlimit{Resource: i, Soft: Unlimited, Hard: Unlimited}
	}
	h.Rlimits[7] = Rlimit{Resource: 7, Soft: 1024, Hard: 524288} // RLIMIT_NOFILE
	return h
}
