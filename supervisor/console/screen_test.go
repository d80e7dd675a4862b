package console

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// pseudo opens a pseudo-terminal (pts(4)); keep holds its other end open.
func pseudo(t *testing.T) (master int, path string) {
	t.Helper()
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(master) })
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	return master, fmt.Sprintf("/dev/pts/%d", n)
}

func shown(master int) string {
	b := make([]byte, 1<<16)
	n, _ := unix.Read(master, b)
	return string(b[:max(n, 0)])
}

func open(t *testing.T, path string, quiet bool, term string) *Screen {
	t.Helper()
	t.Setenv("NO_COLOR", "")
	s, err := Open(path, quiet, term)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestTerminalHasColours(t *testing.T) {
	master, path := pseudo(t)
	s := open(t, path, false, "linux")
	s.Wait("A start job is running for web (6s / no limit)", 1)
	s.Wait("A start job is running for web (7s / no limit)", 2)
	s.Print(Line{OK, "Started web."})
	want := "\x1b[?7h[\x1b[0;31m *    \x1b[0m] A start job is running for web (6s / no limit)" +
		"\r\x1b[K[\x1b[0;31m  *   \x1b[0m] A start job is running for web (7s / no limit)" +
		"\r\x1b[K[\x1b[0;32m  OK  \x1b[0m] Started web.\r\n"
	if got := shown(master); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	s.Done()
	if got := shown(master); got != "" {
		t.Errorf("nothing waited, and yet: %q", got)
	}
}

func TestDumbTerminal(t *testing.T) {
	master, path := pseudo(t)
	s := open(t, path, false, "dumb")
	s.Wait("A start job is running for web (6s / no limit)", 1)
	s.Wait("A start job is running for web (7s / no limit)", 2)
	s.Print(Line{Failed, "no"})
	if got := shown(master); strings.Contains(got, "\x1b") || strings.Count(got, "running for") != 1 {
		t.Errorf("got %q", got)
	}
}

func TestFileAndQuiet(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console")
	if err := os.WriteFile(path, []byte("before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, quiet := range []bool{false, true} {
		s := open(t, path, quiet, "linux")
		s.Print(Line{OK, "Started web."})
		s.Print(Line{NoTag, "Starting db..."})
		s.Print(Line{Time, "Timed out starting db."})
	}
	got, err := os.ReadFile(path)
	want := "before\n[  OK  ] Started web.\n         Starting db...\n[ TIME ] Timed out starting db.\n[ TIME ] Timed out starting db.\n"
	if err != nil || string(got) != want {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := Open(filepath.Join(path, "x"), false, ""); err == nil || !strings.HasPrefix(err.Error(), "cannot open the console") {
		t.Errorf("got %v", err)
	}
}

// A terminal that takes nothing loses lines and stops nobody; afterwards the
// first one stands on a line of its own.
func TestStoppedTerminalIsNotWaitedFor(t *testing.T) {
	master, path := pseudo(t)
	s := open(t, path, false, "dumb")
	for n := range 2000 { // far more than its buffer takes; a blocking write would hang here
		s.Print(Line{OK, fmt.Sprintf("Started unit number %d.", n)})
	}
	got := shown(master)
	for more := got; more != ""; more = shown(master) {
		got += more
	}
	if strings.Contains(got, "number 1999") {
		t.Fatal("nothing was dropped: this tests nothing")
	}
	s.Print(Line{OK, "Started the last."})
	if got := shown(master); got != "\r\n[  OK  ] Started the last.\r\n" && got != "[  OK  ] Started the last.\r\n" {
		t.Errorf("after it goes on: %q", got)
	}
}

// A getty hangs the console up before it takes it.
func TestHangupIsSurvived(t *testing.T) {
	master, path := pseudo(t)
	s := open(t, path, false, "dumb")
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetInt(fd, unix.TIOCVHANGUP, 0); err != nil {
		t.Fatal(err)
	}
	s.Print(Line{OK, "Stopped web."})
	if got := shown(master); got != "[  OK  ] Stopped web.\r\n" {
		t.Errorf("got %q", got)
	}
	unix.Close(fd)
}
