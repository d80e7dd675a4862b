package control

import "syscall"

// The ends of a machine, and what takes a scheduled one back.
const (
	MachinePoweroff = "poweroff"
	MachineReboot   = "reboot"
	MachineHalt     = "halt"
	MachineKexec    = "kexec"
	MachineCancel   = "cancel"
)

// EndSignals are the orders to process 1, as systemd's takes them too:
// SIGRTMIN+3 to +6, SIGRTMIN being the C library's 34 (signal(7)).
func EndSignals() map[string]syscall.Signal {
	return map[string]syscall.Signal{MachineHalt: 37, MachinePoweroff: 38, MachineReboot: 39, MachineKexec: 40}
}

// Shutdown is an end of the machine at its time.
type Shutdown struct {
	// Action is "poweroff", "reboot", "halt" or "kexec".
	Action string `json:"action"`
	AtUsec int64  `json:"at_usec"`
	// Message is for whoever asks.
	Message string `json:"message,omitempty"`
}

// MachineRequest asks for an end of the machine: at once, or at AtUsec.
type MachineRequest struct {
	AtUsec  int64  `json:"at_usec,omitempty"`
	Message string `json:"message,omitempty"`
}

// MachineReply is what was accepted, or with "cancel" what was taken back (absent:
// nothing was scheduled).
type MachineReply struct {
	Shutdown *Shutdown `json:"shutdown,omitempty"`
}
