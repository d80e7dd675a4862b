package compile

import (
	"strings"
	"testing"

	"github.com/nsinit/nsinit/isolate"
)

func TestTerminalType(t *testing.T) {
	for _, tt := range []struct{ tty, console, line, want string }{
		{"/dev/tty1", "ttyS0", "xterm", "linux"},
		{"/dev/ttyS0", "tty0", "", "vt220"},
		{"/dev/pts/3", "tty0", "xterm", "vt220"},
		{"/dev/console", "tty0", "", "linux"},
		{"/dev/console", "ttyS0", "", "vt220"},
		{"/dev/console", "ttyS0", "xterm", "xterm"},
		{"/dev/console", "", "", "vt220"},
		{"/dev/hvc0", "", "", "vt220"},
	} {
		if got := terminalType(tt.tty, tt.console, tt.line); got != tt.want {
			t.Errorf("%+v: got %s", tt, got)
		}
	}
}

func TestCommandLineTerm(t *testing.T) {
	for line, want := range map[string]string{
		"root=/dev/vda quiet\n": "", "TERM=xterm console=ttyS0": "xterm", "TERM=a TERM=b": "b", "quiet -- TERM=c": "", "XTERM=d": "",
	} {
		if got := commandLineTerm(line); got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}

// Where /dev is the service's own, so are its pseudo-terminals.
func TestPrivateDevicesHaveNoOtherPseudoTerminals(t *testing.T) {
	text := minimal + "standard_input = \"tty\"\ntty_path = \"/dev/pts/5\"\n"
	if _, err := start(t, text, isolate.OldestHost()); err == nil || !strings.Contains(err.Error(), "private_devices = false") {
		t.Errorf("got %v", err)
	}
	if _, err := start(t, text+"[filesystem]\nprivate_devices = false\n", isolate.OldestHost()); err != nil {
		t.Error(err)
	}
}
