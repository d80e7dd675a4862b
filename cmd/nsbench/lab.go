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
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate/launch"
)

//go:embed probe/probe.c
var probeSource []byte

//go:embed probe/dynamic.c
var dynamicSource []byte

// lab is where a run happens: directories of its own and four tiny programs.
type lab struct {
	options
	dir    string // under /var/lib: a service's private /tmp, /run and /home would hide it
	memory string // on a tmpfs, which /run is on a machine that was booted; for runtime directories
	probe  string // writes its first line and exits
	hold   string // writes its first line and sleeps for ever

	dynamic, dynamicHold string // the same two, linked with libc

	launcher    *launch.Launcher // a process has one
	launcherErr error            // why there is none
	crowded     bool             // nsinit's crowd runs in this mount namespace
	instances   int              // that were made
}

// newLab makes the directory and builds the programs with gcc.
func newLab(o options) (*lab, error) {
	// What a supervisor orphans comes to this process, so that close finds it.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("cannot become a subreaper: %w", err)
	}
	l := &lab{options: o}
	// Before any file is opened: it reserves the low descriptors.
	l.launcher, l.launcherErr = launch.New(func() {})
	var err error
	if l.dir, err = os.MkdirTemp("/var/lib", "nsbench."); err != nil {
		return nil, fmt.Errorf("cannot make the work directory: %w", err)
	}
	if l.memory, err = os.MkdirTemp("/dev/shm", "nsbench."); err == nil {
		err = l.build()
	}
	if err != nil {
		return nil, errors.Join(err, l.remove())
	}
	return l, nil
}

func (l *lab) build() error {
	if err := os.Chmod(l.dir, 0o755); err != nil {
		return err
	}
	bare := []string{"-static", "-nostdlib", "-fno-stack-protector", "-mgeneral-regs-only", "-Wl,--build-id=none"}
	for _, p := range []struct {
		out    *string
		name   string
		source []byte
		flags  []string
	}{
		{&l.probe, "probe", probeSource, append(bare, "-DPROBE")},
		{&l.hold, "hold", probeSource, append(bare, "-DHOLD")},
		{&l.dynamic, "dynamic", dynamicSource, nil},
		{&l.dynamicHold, "dynamic-hold", dynamicSource, []string{"-DHOLD"}},
	} {
		*p.out = filepath.Join(l.dir, p.name)
		source := *p.out + ".c"
		if err := os.WriteFile(source, p.source, 0o644); err != nil {
			return err
		}
		argv := slices.Concat([]string{"-Os", "-s"}, p.flags, []string{"-o", *p.out, source})
		if out, err := exec.Command("gcc", argv...).CombinedOutput(); err != nil {
			return fmt.Errorf("cannot build %s: gcc: %w\n%s", p.name, err, out)
		}
	}
	return nil
}

// sub makes a fresh directory for one measurement, on the disk.
func (l *lab) sub(name string) (string, error) {
	return os.MkdirTemp(l.dir, name+".")
}

// runtimeDir makes a fresh directory in memory.
func (l *lab) runtimeDir(name string) (string, error) {
	return os.MkdirTemp(l.memory, name+".")
}

func (l *lab) remove() error {
	err := os.RemoveAll(l.dir)
	if l.memory != "" {
		err = errors.Join(err, os.RemoveAll(l.memory))
	}
	return err
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
	return errors.Join(err, l.remove())
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
