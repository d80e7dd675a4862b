package compile

import "github.com/nsinit/nsinit/unit"

// Facts are what a compilation needs to know of the machine and of this start
// besides the unit. The zero value is a start without any of it.
type Facts struct {
	InvocationID string   // 32 hexadecimal digits, new at each start
	Accounts     Accounts // of the service's root
	Environ      []string // the manager's environment, for pass_environment

	// EnvironmentFile has the variables of environment_file, in order.
	EnvironmentFile []unit.EnvAssignment

	MachineName string   // the machine's host name
	Hosts       string   // /etc/hosts of the service's root; "" if it has none
	RunTargets  []string // files below /run that links of the host lead to (/etc/resolv.conf)

	Console     string // the terminal behind /dev/console, "tty0" or "ttyS0"; "" if the kernel does not say
	ConsoleTerm string // TERM= of the kernel's command line, which is the console's

	// Names are bound in place of what is there, such as the hosts file of a bridge.
	Names []NameFile

	// Devices has the machine's devices that device_allow could mean.
	Devices []Device

	// Missing has the targets of binds and the like that the service's root lacks.
	Missing []MissingTarget

	NetNS        bool     // the launcher hands in a network namespace for mode private too
	NotifySocket string   // on the host; not for a unit whose notify_access is none
	Passed       []string // names of the descriptors that main is passed, of open_file
	LogSocket    string   // on the host, what /dev/log is to be; "" for none
}

// Hook is what a command around main knows of the service (systemd.exec(5)).
type Hook struct {
	MainPID int // as seen inside; 0 if there is none

	// Of a service that has ended, for exec_stop and exec_stop_post; empty
	// otherwise.
	ServiceResult string // success, timeout, exit-code, signal, core-dump, ...
	ExitCode      string // exited, killed, dumped
	ExitStatus    string // "1", "TERM"
}
