package supervisor

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/isolate/launch"
	"github.com/nsinit/nsinit/supervisor/control"
	"github.com/nsinit/nsinit/unit"
)

// shell runs a command on std, as a joined one would run: a child of
// this process, known by pidfd.
func shell(t *testing.T, std *stdio, script string) (*Manager, *execProcess) {
	t.Helper()
	attr := &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{uintptr(std.child[0]), uintptr(std.child[1]), uintptr(std.child[2])},
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: std.pty != nil}}
	pid, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", script}, attr)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	std.closeChild()
	m := &Manager{}
	p := m.execProcess(&launch.Process{PID: pid, PIDFD: fd}, std)
	t.Cleanup(func() { p.Close(); m.running.Wait() })
	return m, p
}

func pipes(t *testing.T) *stdio {
	t.Helper()
	std, err := (&door{unit: &unit.Unit{}}).stdio(control.ExecRequest{}, isolate.Credentials{})
	if err != nil {
		t.Fatal(err)
	}
	return std
}

func ptyPair(t *testing.T) *stdio {
	t.Helper()
	std, err := (&door{unit: &unit.Unit{}}).stdio(control.ExecRequest{Terminal: true, Rows: 24, Columns: 80}, isolate.Credentials{})
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	return std
}

func waitFor(t *testing.T, p *execProcess) control.ExecExit {
	t.Helper()
	exit, err := p.Wait()
	if err != nil {
		t.Fatal(err)
	}
	return exit
}

func TestExecPipes(t *testing.T) {
	_, p := shell(t, pipes(t), `read x; echo "got $x"; echo bad >&2; exit 3`)
	io.WriteString(p.Stdin(), "hello\n")
	p.Stdin().Close()
	out, err := io.ReadAll(p.Stdout())
	if string(out) != "got hello\n" || err != nil {
		t.Errorf("stdout %q, %v", out, err)
	}
	if out, err = io.ReadAll(p.Stderr()); string(out) != "bad\n" || err != nil {
		t.Errorf("stderr %q, %v", out, err)
	}
	if exit := waitFor(t, p); exit != (control.ExecExit{Code: 3}) {
		t.Errorf("exit %+v", exit)
	}
	if err := p.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("a signal after the end: %v", err)
	}
	if err := p.Resize(1, 1); err == nil {
		t.Error("pipes were resized")
	}
}

func TestExecSignal(t *testing.T) {
	_, p := shell(t, pipes(t), "echo up; exec sleep 1000")
	io.ReadFull(p.Stdout(), make([]byte, 3))
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if exit := waitFor(t, p); exit != (control.ExecExit{Code: 143, Signal: 15}) {
		t.Errorf("exit %+v", exit)
	}
}

// Close ends the command, and the reads and writes that wait for it.
func TestExecClose(t *testing.T) {
	for name, std := range map[string]*stdio{"pipes": pipes(t), "terminal": ptyPair(t)} {
		t.Run(name, func(t *testing.T) {
			m, p := shell(t, std, "exec sleep 1000")
			read := make(chan error, 1)
			go func() {
				_, err := io.ReadAll(p.Stdout())
				read <- err
			}()
			p.Close()
			p.Close()
			select {
			case <-read:
			case <-time.After(10 * time.Second):
				t.Fatal("a read outlives Close")
			}
			if exit := waitFor(t, p); exit.Signal == 0 {
				t.Errorf("exit %+v", exit)
			}
			m.running.Wait()
		})
	}
}

// What the command leaves in the background keeps its output open, and does
// not keep Wait.
func TestExecBackground(t *testing.T) {
	_, p := shell(t, pipes(t), "sleep 1000 & echo $!")
	if exit := waitFor(t, p); exit.Code != 0 {
		t.Errorf("exit %+v", exit)
	}
	var text [16]byte
	n, _ := p.Stdout().Read(text[:])
	p.Close()
	pid, err := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("the background process has ended: %v", err)
	}
}

func TestExecTerminal(t *testing.T) {
	_, p := shell(t, ptyPair(t), `tty >/dev/null && stty size; trap 'stty size; exit 9' WINCH; echo ready; while :; do sleep 0.05; done`)
	text := readUntil(t, p.Stdout(), "ready\r\n")
	if !strings.HasPrefix(text, "24 80\r\n") {
		t.Errorf("the terminal says %q", text)
	}
	if p.Stderr() != nil {
		t.Error("a terminal has a second output")
	}
	p.Stdin().Close() // no hang-up
	if err := p.Resize(50, 132); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(p.Stdout())
	if !strings.Contains(string(out), "50 132") || err != nil {
		t.Errorf("after the resize: %q, %v", out, err)
	}
	if exit := waitFor(t, p); exit.Code != 9 {
		t.Errorf("exit %+v", exit)
	}
}

// A signal goes to what is in the foreground, which the shell has put into a
// process group of its own.
func TestExecForeground(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGUSR1} {
		t.Run(sig.String(), func(t *testing.T) {
			_, p := shell(t, ptyPair(t), `set -m; sh -c 'trap "exit 5" INT USR1; echo ready; while :; do sleep 0.05; done'; echo "inner $?"`)
			readUntil(t, p.Stdout(), "ready\r\n")
			if err := p.Signal(sig); err != nil {
				t.Fatal(err)
			}
			out, err := io.ReadAll(p.Stdout())
			if !strings.Contains(string(out), "inner 5") || err != nil {
				t.Errorf("output %q, %v", out, err)
			}
			if exit := waitFor(t, p); exit.Signal != 0 {
				t.Errorf("the shell was met: %+v", exit)
			}
		})
	}
}

func readUntil(t *testing.T, r io.Reader, end string) string {
	t.Helper()
	var text strings.Builder
	b := make([]byte, 256)
	for !strings.HasSuffix(text.String(), end) {
		n, err := r.Read(b)
		if err != nil {
			t.Fatalf("%v after %q", err, text.String())
		}
		text.Write(b[:n])
	}
	return text.String()
}

// Whatever a service puts in the place of ptmx is not opened.
func TestOpenMasterOfHostileRoot(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"nothing": func(string) error { return nil },
		"file":    func(path string) error { return os.WriteFile(path, nil, 0o666) },
		"fifo":    func(path string) error { return syscall.Mkfifo(path, 0o666) },
		"link":    func(path string) error { return os.Symlink("/dev/ptmx", path) }, // leads nowhere: it stays in the root
		"up":      func(path string) error { return os.Symlink("../../../../dev/ptmx", path) },
		"null":    func(path string) error { return syscall.Mknod(path, syscall.S_IFCHR|0o666, 1<<8|3) },
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if err := os.MkdirAll(root+"/dev/pts", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := put(root + "/dev/pts/ptmx"); err != nil {
				t.Skipf("cannot put it there: %v", err)
			}
			fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			if master, err := openMaster(fd, true); err == nil {
				unix.Close(master)
				t.Error("it was opened")
			}
		})
	}
}

func TestExecError(t *testing.T) {
	step := func(name string, errno syscall.Errno) error {
		return &launch.StepError{Unit: "web", Program: "exec", Step: name, Errno: errno, Class: isolate.ClassExec}
	}
	for _, tt := range []struct {
		err        error
		code, text string
	}{
		{step("execve /bin/x", unix.ENOENT), control.CodeNotFoundIn, "cannot run x: no such file or directory"},
		{step("execve /bin/x", unix.EACCES), control.CodeNotRunnable, "cannot run x: permission denied"},
		{step("chdir /nowhere", unix.ENOENT), control.CodeNotRunnable, "cannot run x: chdir /nowhere: no such file or directory"},
		{step("setns into the service's namespaces", unix.EPERM), control.CodeFailed,
			"cannot run x: exec: setns into the service's namespaces: operation not permitted (status 203/EXEC)"},
		{errors.New("web: cannot join: pipe2: too many open files"), control.CodeFailed, "cannot run x: pipe2: too many open files"},
		{&control.Error{Code: control.CodeNotFoundIn, Message: "m"}, control.CodeNotFoundIn, "m"},
	} {
		e := asControlError(execError("web", "x", tt.err))
		if e.Code != tt.code || e.Message != tt.text || e.Unit != "web" {
			t.Errorf("got %s %q, want %s %q", e.Code, e.Message, tt.code, tt.text)
		}
	}
}
