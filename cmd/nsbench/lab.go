package main

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate/launch"
)

//go:embed probe/probe.c
var probeSource []byte

// lab is where a run happens: a directory of its own and two tiny programs.
type lab struct {
	options
	dir   string // under /var/lib: a service's private /tmp, /run and /home would hide it
	probe string // writes its first line and exits
	hold  string // writes its first line and sleeps for ever

	launcher *launch.Launcher // made by the first that needs it
}

// newLab makes the directory and builds the programs with gcc.
func newLab(o options) (*lab, error) {
	// What a supervisor orphans comes to this process, so that close finds it.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("cannot become a subreaper: %w", err)
	}
	dir, err := os.MkdirTemp("/var/lib", "nsbench.")
	if err != nil {
		return nil, fmt.Errorf("cannot make the work directory: %w", err)
	}
	l := &lab{options: o, dir: dir, probe: filepath.Join(dir, "probe"), hold: filepath.Join(dir, "hold")}
	if err := l.build(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return l, nil
}

func (l *lab) build() error {
	if err := os.Chmod(l.dir, 0o755); err != nil {
		return err
	}
	source := filepath.Join(l.dir, "probe.c")
	if err := os.WriteFile(source, probeSource, 0o644); err != nil {
		return err
	}
	for _, p := range []struct{ out, define string }{{l.probe, "-DPROBE"}, {l.hold, "-DHOLD"}} {
		out, err := exec.Command("gcc", "-Os", "-static", "-nostdlib", "-fno-stack-protector", "-mgeneral-regs-only",
			"-Wl,--build-id=none", "-s", p.define, "-o", p.out, source).CombinedOutput()
		if err != nil {
			return fmt.Errorf("cannot build the probe: gcc: %w\n%s", err, out)
		}
	}
	return nil
}

// sub makes a fresh directory for one measurement.
func (l *lab) sub(name string) (string, error) {
	return os.MkdirTemp(l.dir, name+".")
}

// close kills what is left of this process's descendants and removes the
// directory. A process that had to be killed is an error: a peer's stop failed.
func (l *lab) close() error {
	var err error
	for {
		left := descendants(os.Getpid())
		if len(left) == 0 {
			break
		}
		for _, p := range left {
			if p.state != 'Z' {
				err = fmt.Errorf("cannot leave nothing behind: %s (pid %d) had to be killed", p.name, p.pid)
				unix.Kill(p.pid, unix.SIGKILL)
			}
		}
		reapAll()
	}
	return errors.Join(err, os.RemoveAll(l.dir))
}

// reapAll waits for at least one child and takes every other that has ended.
func reapAll() {
	var status unix.WaitStatus
	flags := 0
	for {
		pid, err := unix.Wait4(-1, &status, flags, nil)
		if err == unix.EINTR {
			continue
		}
		if pid <= 0 {
			return
		}
		flags = unix.WNOHANG
	}
}

const privateMark = "NSBENCH_PRIVATE_MOUNTS"

// privateMounts runs this program again in a mount namespace of its own and does
// not return from the first: a mount that a bundle needs then cannot outlive the
// run. The copy stays a slave, so that the machine's own unmounts reach it.
func privateMounts() error {
	if os.Getenv(privateMark) != "" {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
			return fmt.Errorf("cannot make the mounts private: %w", err)
		}
		return nil
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), privateMark+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	runtime.LockOSThread() // Pdeathsig is about the thread that started the child
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot enter a mount namespace (root is needed): %w", err)
	}
	go func() {
		for s := range signals {
			cmd.Process.Signal(s)
		}
	}()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	os.Exit(max(cmd.ProcessState.ExitCode(), btoi(err != nil)))
	return nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
