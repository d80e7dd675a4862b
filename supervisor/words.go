package supervisor

import (
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// signalName gives systemd's word for a signal in EXIT_STATUS: "TERM".
func signalName(sig syscall.Signal) string { return strings.TrimPrefix(unix.SignalName(sig), "SIG") }

// trimUnit takes "web: cannot start: " off a message that is shown beside the
// unit's name anyway.
func trimUnit(text, unit string) string {
	text = strings.TrimPrefix(text, unit+": ")
	return strings.TrimPrefix(text, "cannot start: ")
}
