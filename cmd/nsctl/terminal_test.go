package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/supervisor/control"
)

// openPTY gives both ends of a pseudo-terminal of rows x columns (pty(7)).
func openPTY(t *testing.T, rows, columns uint16) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	if slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	resize(t, slave, rows, columns)
	return master, slave
}

func resize(t *testing.T, f *os.File, rows, columns uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(f.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
		t.Fatal(err)
	}
}

func canonical(t *testing.T, f *os.File) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ICANON != 0
}

// terminalCommand reports sizes, and ends at the first key.
type terminalCommand struct {
	*command
	sizes chan control.Size
}

func (c *terminalCommand) Stderr() io.Reader { return nil }
func (c *terminalCommand) Resize(rows, columns uint16) error {
	c.sizes <- control.Size{Rows: rows, Columns: columns}
	return nil
}

func newTerminalCommand() *terminalCommand {
	c := &terminalCommand{command: &command{done: make(chan struct{})}, sizes: make(chan control.Size, 8)}
	c.inR, c.inW = io.Pipe()
	c.outR, c.outW = io.Pipe()
	go func() {
		io.ReadFull(c.inR, make([]byte, 1))
		c.outW.Close()
		close(c.done)
	}()
	return c
}

// On a terminal exec is raw, knows the size and its changes, and leaves the
// terminal as it was.
func TestExecOnTerminal(t *testing.T) {
	master, slave := openPTY(t, 50, 132)
	c := newCtl(t, control.RoleAdmin)
	proc := newTerminalCommand()
	started := make(chan control.ExecRequest, 1)
	c.b.exec = func(req control.ExecRequest) control.ExecProcess { started <- req; return proc }
	done := make(chan int, 1)
	go func() {
		a := &app{stdin: slave, stdout: slave, out: slave, err: slave, env: func(name string) string {
			return map[string]string{"NSCTL_SOCKET": c.socket, "TERM": "vt220"}[name]
		}}
		done <- run(a, []string{"exec", "nginx", "sh"})
	}()
	req := <-started
	if !req.Terminal || req.Rows != 50 || req.Columns != 132 || req.Environment[0] != "TERM=vt220" {
		t.Errorf("%+v", req)
	}
	if canonical(t, slave) {
		t.Error("the terminal is not raw")
	}
	resize(t, slave, 24, 80)
	unix.Kill(os.Getpid(), syscall.SIGWINCH) // it is not our controlling terminal
	select {
	case size := <-proc.sizes:
		if size != (control.Size{Rows: 24, Columns: 80}) {
			t.Errorf("%+v", size)
		}
	case <-time.After(5 * time.Second):
		t.Error("the new size did not arrive")
	}
	io.WriteString(master, "\x03") // a key like any other
	if code := <-done; code != 7 {
		t.Errorf("exit code %d", code)
	}
	if !canonical(t, slave) {
		t.Error("the terminal is still raw")
	}
}

func TestColourOnlyOnTerminal(t *testing.T) {
	_, slave := openPTY(t, 24, 77)
	for _, tt := range []struct {
		stdout *os.File
		env    string
		colour bool
		width  int
	}{{slave, "", true, 77}, {slave, "NO_COLOR=1", false, 77}, {slave, "TERM=dumb", false, 77}, {slave, "NSCTL_COLORS=0", false, 77}, {nil, "", false, 0}} {
		a := &app{stdout: tt.stdout, env: func(name string) string {
			if key, value, _ := strings.Cut(tt.env, "="); key == name {
				return value
			}
			return ""
		}}
		if v := a.view(); v.Colour != tt.colour || v.Width != tt.width {
			t.Errorf("%q: %+v", tt.env, v)
		}
	}
	full := &app{stdout: slave, full: true, env: func(string) string { return "" }}
	if v := full.view(); v.Width != 0 || !v.Colour {
		t.Errorf("full: %+v", v)
	}
}
