package reaper

// What process 1 of a machine or a container and the manager that it starts
// agree on: options of the manager's command line, without their dashes, and a
// descriptor. The two may be of different builds after an upgrade.
const (
	OptionInitOf     = "init-of"     // InitOfMachine or InitOfContainer
	OptionKernelTook = "kernel-took" // a time.Duration: the kernel's time before process 1
	OptionStop       = "stop"        // stop in order what an earlier manager left, and end
	OptionUnit       = "unit"        // what the first start aims at
	OptionDebug      = "debug"       // log more
	OptionWatchdog   = "watchdog"    // seconds
	OptionManager    = "manager"     // be the manager even as process 1

	InitOfMachine   = "machine"
	InitOfContainer = "container"

	// FDReady is the descriptor that the manager says "ready" on, by writing a byte.
	FDReady = 3
)
