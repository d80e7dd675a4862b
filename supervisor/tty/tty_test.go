package tty

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// pair opens a pseudo-terminal (pts(4)).
func pair(t *testing.T) (master, slave int, path string) {
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
	path = fmt.Sprintf("/dev/pts/%d", n)
	if slave, err = unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(slave) })
	return master, slave, path
}

func TestHangupDisconnects(t *testing.T) {
	_, slave, path := pair(t)
	if err := (Settings{Path: path, Hangup: true}).Prepare(); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(slave, []byte("x")); err != unix.EIO {
		t.Errorf("whoever was there writes: %v, want EIO", err)
	}
}

func TestResetMakesItSane(t *testing.T) {
	_, slave, path := pair(t)
	raw, err := unix.IoctlGetTermios(slave, unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	raw.Lflag, raw.Oflag, raw.Iflag, raw.Cc[unix.VINTR] = 0, 0, 0, 7
	if err := unix.IoctlSetTermios(slave, unix.TCSETS, raw); err != nil {
		t.Fatal(err)
	}
	if err := (Settings{Path: path, Reset: true, Rows: 33, Columns: 101}).Prepare(); err != nil {
		t.Fatal(err)
	}
	got, err := unix.IoctlGetTermios(slave, unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	if got.Lflag&unix.ECHO == 0 || got.Lflag&unix.ICANON == 0 || got.Oflag&unix.ONLCR == 0 || got.Iflag&unix.ICRNL == 0 || got.Cc[unix.VINTR] != 3 {
		t.Errorf("after a reset: %+v", got)
	}
	if got.Cflag != raw.Cflag {
		t.Errorf("the line's own settings were %o, are %o", raw.Cflag, got.Cflag)
	}
	size, err := unix.IoctlGetWinsize(slave, unix.TIOCGWINSZ)
	if err != nil || size.Row != 33 || size.Col != 101 {
		t.Errorf("size %+v, %v", size, err)
	}
}

// A size that is given in part leaves the other part.
func TestRowsAlone(t *testing.T) {
	_, slave, path := pair(t)
	unix.IoctlSetWinsize(slave, unix.TIOCSWINSZ, &unix.Winsize{Row: 10, Col: 20})
	if err := (Settings{Path: path, Rows: 11}).Prepare(); err != nil {
		t.Fatal(err)
	}
	if size, err := unix.IoctlGetWinsize(slave, unix.TIOCGWINSZ); err != nil || size.Row != 11 || size.Col != 20 {
		t.Errorf("size %+v, %v", size, err)
	}
}

func TestDisallocateClears(t *testing.T) {
	master, _, path := pair(t)
	if err := (Settings{Path: path, Disallocate: true}).Release(); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	n, err := unix.Read(master, b)
	if err != nil || !strings.Contains(string(b[:n]), "\x1b[2J") {
		t.Errorf("the terminal got %q, %v", b[:max(n, 0)], err)
	}
}

func TestMissingTerminal(t *testing.T) {
	err := Settings{Path: "/dev/nst-no-terminal", Reset: true}.Prepare()
	if !errors.Is(err, syscall.ENOENT) || !strings.HasPrefix(err.Error(), "cannot open terminal /dev/nst-no-terminal") {
		t.Errorf("got %v", err)
	}
	if err := (Settings{Path: "/dev/null", Reset: true}).Prepare(); !errors.Is(err, syscall.ENOTTY) {
		t.Errorf("what is no terminal: %v", err)
	}
	if err := (Settings{Path: "/dev/nst-no-terminal"}).Prepare(); err != nil {
		t.Errorf("nothing to do: %v", err)
	}
}

// who(1) and last(1) read what is written: the layout is theirs.
func TestUtmp(t *testing.T) {
	dir := t.TempDir()
	f := UtmpFiles{filepath.Join(dir, "utmp"), filepath.Join(dir, "wtmp")}
	l := Login{ID: "p/5", Mode: "user", Line: "/dev/pts/5", User: "operator", PID: os.Getpid()}
	if err := l.Begin(f); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(f.Utmp); err == nil {
		t.Fatal("a file that was not there was made")
	}
	for _, name := range []string{f.Utmp, f.Wtmp} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	other := Login{ID: "tty1", Mode: "login", Line: "/dev/tty1", PID: os.Getpid()}
	for _, begin := range []Login{other, l} {
		if err := begin.Begin(f); err != nil {
			t.Fatal(err)
		}
	}
	reads := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
		return string(out)
	}
	pid := fmt.Sprint(os.Getpid())
	all := reads("who", "-a", f.Utmp)
	for _, line := range []string{"LOGIN", "operator", "pts/5", pid, "id=tty1"} {
		if !strings.Contains(all, line) {
			t.Errorf("who -a says nothing of %q:\n%s", line, all)
		}
	}
	if out := reads("last", "-f", f.Wtmp); !strings.Contains(out, "operator pts/5") {
		t.Errorf("last says:\n%s", out)
	}
	// What a getty or a login has made of the entry since is not undone by a
	// manager that takes the service over.
	if err := (Login{ID: "p/5", Mode: "init", Line: l.Line, PID: l.PID}).Begin(f); err != nil {
		t.Fatal(err)
	}
	if out := reads("who", f.Utmp); !strings.Contains(out, "operator") {
		t.Errorf("the session is lost:\n%s", out)
	}
	if err := l.End(f); err != nil {
		t.Fatal(err)
	}
	if out := reads("who", f.Utmp); strings.Contains(out, "operator") {
		t.Errorf("the session has ended, and who says:\n%s", out)
	}
	if out := reads("last", "-f", f.Wtmp); strings.Contains(out, "still logged in") || !strings.Contains(out, "operator") {
		t.Errorf("the session has ended, and last says:\n%s", out)
	}
	if size, _ := os.Stat(f.Utmp); size.Size() != int64(2*layout.size) {
		t.Errorf("utmp has %d bytes: an entry each", size.Size())
	}
}

// What is no terminal is not written to: it could be a disk.
func TestNoTerminal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := Settings{Path: path, Disallocate: true}.Prepare()
	if b, _ := os.ReadFile(path); err == nil || string(b) != "data" {
		t.Errorf("%v; it is %q", err, b)
	}
}
