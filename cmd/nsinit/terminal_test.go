package main_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a pty and what was printed on it.
type terminal struct {
	master *os.File
	mu     sync.Mutex
	text   strings.Builder
}

// openTerminal gives both ends (pts(4)).
func openTerminal(t *testing.T) (*terminal, *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{master: master}
	go term.read()
	return term, slave
}

func (term *terminal) read() {
	b := make([]byte, 4096)
	for {
		n, err := term.master.Read(b)
		term.mu.Lock()
		term.text.Write(b[:n])
		term.mu.Unlock()
		switch {
		case errors.Is(err, syscall.EIO): // nobody has the other end; somebody may
			time.Sleep(5 * time.Millisecond)
		case err != nil:
			return
		}
	}
}

// expect waits until the text is on the screen.
func (term *terminal) expect(t *testing.T, text string) {
	t.Helper()
	err := eventually(text, func() (bool, string) {
		term.mu.Lock()
		defer term.mu.Unlock()
		return strings.Contains(term.text.String(), text), term.text.String()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestExecTerminal: nsctl exec is a terminal for the command: keys, ctrl-C, the
// window's size and its changes, and the exit code pass.
func TestExecTerminal(t *testing.T) {
	in := testInstance(t, map[string]string{"web": "[service]\nexec_start = \"@PROBE@ run\"\n"})
	if out, stderr, code := in.nsctl("start", "web"); code != 0 {
		t.Fatalf("nsctl start: exit %d: %s%s", code, out, stderr)
	}
	term, slave := openTerminal(t)
	defer slave.Close()
	resize := func(rows, columns uint16) {
		if err := unix.IoctlSetWinsize(int(term.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
			t.Fatal(err)
		}
	}
	resize(33, 101)
	const script = `trap 'stty size' WINCH; trap 'echo caught; exit 42' INT; read line; echo "got $line"; stty size
		echo waiting; while :; do sleep 0.1; done`
	cmd := exec.Command(filepath.Join(in.bin, "nsctl"), "--socket", in.socket(), "exec", "web", "bash", "-c", script)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	defer cmd.Process.Kill()

	term.master.WriteString("hello\r")
	term.expect(t, "got hello")
	term.expect(t, "33 101")
	term.expect(t, "waiting")
	resize(40, 90)
	term.expect(t, "40 90")
	term.master.WriteString("\x03")
	term.expect(t, "caught")
	select {
	case <-ended:
		if code := cmd.ProcessState.ExitCode(); code != 42 {
			t.Errorf("nsctl exec exits %d, want 42", code)
		}
	case <-time.After(patience):
		t.Error("nsctl exec does not end though its command has")
	}
}
