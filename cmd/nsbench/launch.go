package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/isolate/launch"
	"github.com/nsinit/nsinit/reaper"
	"github.com/nsinit/nsinit/supervisor/compile"
	"github.com/nsinit/nsinit/unit"
)

const launchName = "nsinit, default profile, as the manager launches"

// launcher does in this process what the manager does for one start: it compiles
// the unit, makes the start's cgroups and files, and clones the child. The way
// to the manager is not in it, as the command's own start is not in exec.Cmd's.
type launcher struct {
	*launch.Launcher
	unit   *unit.Unit
	cgroup string
	dir    string
	serial uint64
	out    *stampReader
}

func (c *launcher) name() string { return launchName }

func (c *launcher) setup(l *lab) (err error) {
	if c.dir, err = l.sub("launch"); err != nil {
		return err
	}
	units := filepath.Join(c.dir, "units")
	if err := os.Mkdir(units, 0o755); err != nil {
		return err
	}
	text := fmt.Sprintf("[service]\nexec_start = \"%s\"\n", l.probe)
	if err := os.WriteFile(filepath.Join(units, "probe.toml"), []byte(text), 0o644); err != nil {
		return err
	}
	if c.unit, err = unit.LoadSet([]string{units}, unit.Options{}).Resolve("probe"); err != nil {
		return err
	}
	if l.launcher == nil { // a process has one
		if l.launcher, err = launch.New(); err != nil {
			return err
		}
	}
	c.Launcher = l.launcher
	mount, _, err := launch.CgroupMount()
	if err != nil {
		return err
	}
	cgroup := filepath.Join(mount, fmt.Sprintf("nsbench-%d", os.Getpid()))
	if err := os.Mkdir(cgroup, 0o755); err != nil {
		return err
	}
	c.cgroup = cgroup
	c.out, err = newStampReader()
	return err
}

func (c *launcher) start(ctx context.Context) (requested, first int64, err error) {
	c.serial++
	requested = monotonic()
	g := &generation{dir: filepath.Join(c.cgroup, strconv.FormatUint(c.serial, 10)), record: filepath.Join(c.dir, "record")}
	defer func() { err = errors.Join(err, g.end()) }()
	if err := g.make(int(c.out.writer.Fd())); err != nil {
		return 0, 0, err
	}
	program, err := c.compile()
	if err != nil {
		return 0, 0, err
	}
	if g.process, err = c.Launch(program, c.serial, g.files); err != nil {
		return 0, 0, err
	}
	if first, err = c.out.next(ctx); err != nil {
		err = errors.Join(err, g.failure(program))
	}
	return requested, first, err
}

func (c *launcher) compile() (*isolate.Program, error) {
	facts, err := compile.Gather(c.unit)
	if err != nil {
		return nil, err
	}
	service, err := compile.Start(c.unit, c.Host(), facts)
	if err != nil {
		return nil, err
	}
	return isolate.Compile(service.Spec, c.Host())
}

func (c *launcher) close() error {
	if c.out != nil {
		c.out.close()
	}
	if c.cgroup == "" {
		return nil
	}
	return os.Remove(c.cgroup)
}

// generation is what one start has of its own.
type generation struct {
	dir     string // of its cgroups
	record  string
	files   launch.Files
	process *launch.Process
}

// make makes the cgroups of reaper and payload, the record's file and the
// doorbell. Standard output of the service is the pipe given.
func (g *generation) make(stdout int) (err error) {
	for _, leaf := range []string{"", "init", "main"} {
		if err := os.Mkdir(filepath.Join(g.dir, leaf), 0o755); err != nil {
			return err
		}
	}
	for _, f := range []struct {
		fd    *int
		path  string
		flags int
	}{
		{&g.files.Init, filepath.Join(g.dir, "init"), unix.O_DIRECTORY},
		{&g.files.Main, filepath.Join(g.dir, "main"), unix.O_DIRECTORY},
		{&g.files.Record, g.record, unix.O_RDWR | unix.O_CREAT | unix.O_TRUNC},
		{&g.files.Stdin, os.DevNull, unix.O_RDWR},
	} {
		if *f.fd, err = unix.Open(f.path, f.flags|unix.O_CLOEXEC, 0o600); err != nil {
			return fmt.Errorf("cannot open %s: %w", f.path, err)
		}
	}
	if err := unix.Ftruncate(g.files.Record, int64(reaper.Size)); err != nil {
		return err
	}
	g.files.Stdout, g.files.Stderr = stdout, stdout
	g.files.Doorbell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	return err
}

// failure is what the reaper's record says went wrong.
func (g *generation) failure(p *isolate.Program) error {
	data, err := os.ReadFile(g.record)
	if err != nil {
		return err
	}
	record, err := reaper.Decode(data)
	if err != nil {
		return fmt.Errorf("cannot read the record: %w", err)
	}
	if record.Phase == reaper.SetupFailed {
		return launch.SetupError(p, record)
	}
	return fmt.Errorf("the reaper is in phase %d; its first program: %+v", record.Phase, record.Programs[0])
}

// end takes the start back: the reaper and all below it, files, cgroups.
func (g *generation) end() error {
	var err error
	if g.process != nil {
		err = errors.Join(err, g.process.Signal(unix.SIGKILL))
		_, e := g.process.Wait()
		err = errors.Join(err, e)
	}
	for _, fd := range []int{g.files.Init, g.files.Main, g.files.Record, g.files.Stdin, g.files.Doorbell} {
		if fd != 0 {
			unix.Close(fd)
		}
	}
	for _, leaf := range []string{"init", "main", ""} {
		err = errors.Join(err, os.Remove(filepath.Join(g.dir, leaf)))
	}
	return err
}
