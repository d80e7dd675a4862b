package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/isolate/launch"
	"github.com/nsinit/nsinit/network"
	"github.com/nsinit/nsinit/reaper"
	"github.com/nsinit/nsinit/supervisor/compile"
	"github.com/nsinit/nsinit/supervisor/logs"
	"github.com/nsinit/nsinit/unit"
)

const launchName = "nsinit, default profile, launch"

// launcher does in this process what the manager's worker does for one start:
// it gathers facts, makes the start's files, socket, network namespace, cgroups
// and log pipes, compiles the unit, and clones the child. The way to the manager
// is not in it, as the command's own start is not in exec.Cmd's. Each start is
// the first of its unit: its network namespace comes from the ready ones.
type launcher struct {
	lab     *lab
	unit    *unit.Unit
	facts   compile.Reader
	cgroups *launch.Cgroups
	netns   *network.Namespaces
	dir     string // stands for /run/<instance>
	serial  uint64
	unwatch func()
}

func (c *launcher) name() string { return launchName }

func (c *launcher) setup(l *lab, program string) (err error) {
	if l.launcher == nil {
		return l.launcherErr
	}
	c.lab = l
	units, err := l.sub("launch")
	if err != nil {
		return err
	}
	if c.dir, err = l.runtimeDir("launch"); err != nil {
		return err
	}
	text := fmt.Sprintf("[service]\nexec_start = \"%s\"\n", program)
	if err := os.WriteFile(filepath.Join(units, "probe.toml"), []byte(text), 0o644); err != nil {
		return err
	}
	if c.unit, err = unit.LoadSet([]string{units}, unit.Options{}).Resolve("probe"); err != nil {
		return err
	}
	if c.cgroups, err = launch.OpenCgroups(fmt.Sprintf("nsbench-%d", os.Getpid()), launch.CgroupOptions{}); err != nil {
		return err
	}
	if c.netns, err = network.OpenNamespaces(c.dir); err != nil {
		return err
	}
	if l.crowded { // the manager of the crowd watches this mount table already
		return nil
	}
	c.unwatch, err = l.launcher.WatchMounts(c.dir)
	return err
}

func (c *launcher) start(ctx context.Context) (requested, first int64, err error) {
	c.serial++
	requested = monotonic()
	g := &generation{c: c, dir: filepath.Join(c.dir, strconv.FormatUint(c.serial, 10))}
	defer func() { err = errors.Join(err, g.end()) }()
	if err := g.make(c.serial); err != nil {
		return 0, 0, err
	}
	first, err = g.answer()
	return requested, first, err
}

func (c *launcher) close() error {
	if c.unwatch != nil {
		c.unwatch()
	}
	if c.netns != nil {
		c.netns.Close(true)
	}
	if c.cgroups == nil {
		return nil
	}
	return c.cgroups.RemoveRoot()
}

// generation is what one start has of its own.
type generation struct {
	c       *launcher
	dir     string
	facts   compile.Facts
	program *isolate.Program
	cgroup  *launch.Generation
	files   launch.Files
	syslog  int
	process *launch.Process
}

// make does what the manager's worker does, in its order and with its two halves
// at once: what the kernel makes takes as long as what is made here.
func (g *generation) make(number uint64) (err error) {
	kernel := make(chan error, 1)
	go func() { kernel <- g.places(number) }()
	err = g.prepare()
	if err = errors.Join(err, <-kernel); err != nil {
		return err
	}
	if g.process, err = g.c.lab.launcher.Launch(g.program, number, g.files); err != nil {
		return err
	}
	return g.c.netns.Pin(g.c.unit.Name, g.files.NetNS)
}

// places makes the network namespace and the cgroups.
func (g *generation) places(number uint64) (err error) {
	u := g.c.unit
	if g.files.NetNS, _, err = g.c.netns.Private(u.Name); err != nil {
		return err
	}
	if g.cgroup, err = g.c.cgroups.Create(u.Name, "", number, limitsOf(u)); err != nil {
		return err
	}
	g.files.Init, g.files.Main = g.cgroup.InitFD(), g.cgroup.MainFD()
	return nil
}

// prepare makes the start's own files and pipes, and its program.
func (g *generation) prepare() (err error) {
	u, host := g.c.unit, g.c.lab.launcher.Host()
	if g.facts, err = g.c.facts.Gather(u); err != nil {
		return err
	}
	g.facts.NetNS = true
	if err := g.directory(); err != nil {
		return err
	}
	if g.files.StdoutRead, g.files.Stdout, err = logs.Pipe(); err != nil {
		return err
	}
	if g.files.StderrRead, g.files.Stderr, err = logs.Pipe(); err != nil {
		return err
	}
	service, err := compile.Start(u, host, g.facts)
	if err != nil {
		return err
	}
	g.program, err = isolate.Compile(service.Spec, host)
	return err
}

// directory makes the record, the doorbell and the socket of /dev/log.
func (g *generation) directory() (err error) {
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return err
	}
	record := filepath.Join(g.dir, "record")
	if g.files.Record, err = unix.Open(record, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600); err != nil {
		return fmt.Errorf("cannot make %s: %w", record, err)
	}
	if err := unix.Fallocate(g.files.Record, 0, 0, reaper.NamedOffset+8); err != nil {
		return fmt.Errorf("cannot make room in %s: %w", record, err)
	}
	if g.files.Doorbell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return err
	}
	g.facts.LogSocket = filepath.Join(g.dir, "log.sock")
	g.syslog, err = logs.ListenSyslog(g.facts.LogSocket, 0o666)
	g.files.Syslog, g.files.Dir = g.syslog, g.dir
	return err
}

// limitsOf are the limits of a unit that sets none.
func limitsOf(u *unit.Unit) launch.Limits {
	return launch.Limits{CPUWeight: uint64(u.Resources.CpuWeight), IOWeight: uint64(u.Resources.IoWeight),
		TasksMaxDefault: true, OOMGroup: u.Service.OomPolicy == "kill"}
}

// answer reads the probe's line from the log pipe.
func (g *generation) answer() (int64, error) {
	pipe := os.NewFile(uintptr(g.files.StdoutRead), "log pipe")
	g.files.StdoutRead = 0
	defer pipe.Close()
	unix.Close(g.files.Stdout) // so that a start that fails is an end of file
	g.files.Stdout = 0
	if err := pipe.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	line := make([]byte, 256)
	n, err := pipe.Read(line)
	if all := stamps(line[:n]); len(all) == 1 {
		return all[0], nil
	}
	return 0, errors.Join(err, g.failure())
}

// failure is what the reaper's record says went wrong.
func (g *generation) failure() error {
	data := make([]byte, reaper.Size)
	if _, err := unix.Pread(g.files.Record, data, 0); err != nil {
		return err
	}
	record, err := reaper.Decode(data)
	if err != nil {
		return fmt.Errorf("cannot read the record: %w", err)
	}
	if record.Phase == reaper.SetupFailed {
		return launch.SetupError(g.program, record)
	}
	return fmt.Errorf("the reaper is in phase %d; its first program: %+v", record.Phase, record.Programs[0])
}

// end takes the start back: the reaper and all below it, files, cgroups, and
// the network namespace, as a stop does.
func (g *generation) end() error {
	var err error
	if g.process != nil {
		err = errors.Join(err, g.process.Signal(unix.SIGKILL))
		_, e := g.process.Wait()
		err = errors.Join(err, e)
	}
	for _, fd := range []int{g.files.Record, g.files.Doorbell, g.syslog, g.files.NetNS,
		g.files.StdoutRead, g.files.Stdout, g.files.StderrRead, g.files.Stderr} {
		if fd != 0 {
			unix.Close(fd)
		}
	}
	if g.cgroup != nil {
		g.cgroup.Close()
		err = errors.Join(err, g.cgroup.Remove())
	}
	return errors.Join(err, g.c.netns.Drop(g.c.unit.Name), os.RemoveAll(g.dir))
}
