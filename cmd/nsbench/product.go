package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/supervisor/control"
)

// instance is a running manager of nsinit with directories of its own.
type instance struct {
	lab  *lab
	name string
	dir  string // units and logs, on the disk
	run  string // the runtime directory, in memory
	cmd  *exec.Cmd
	said bytes.Buffer
	own  bool // it has a mount namespace of its own

	thread *thread // in whose namespaces it runs, or nil

	client *control.Client
}

// newInstance makes the directories; units maps a unit's name to its file.
func newInstance(l *lab, name string, units map[string]string) (*instance, error) {
	for _, binary := range []string{l.nsinit, l.nsctl} {
		if _, err := os.Stat(binary); err != nil {
			return nil, err
		}
	}
	dir, err := l.sub(name)
	if err != nil {
		return nil, err
	}
	l.instances++
	i := &instance{lab: l, name: fmt.Sprintf("nsbench-%d-%s%d", os.Getpid(), name, l.instances), dir: dir}
	if i.run, err = l.runtimeDir(name); err != nil {
		return nil, err
	}
	for _, sub := range []string{i.unitDir(), i.logDir()} {
		if err := os.Mkdir(sub, 0o755); err != nil {
			return nil, err
		}
	}
	i.client = control.NewClient(i.socket())
	for unit, text := range units {
		if err := os.WriteFile(filepath.Join(i.unitDir(), unit+".toml"), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	return i, nil
}

func (i *instance) unitDir() string { return filepath.Join(i.dir, "units") }
func (i *instance) logDir() string  { return filepath.Join(i.dir, "log") }
func (i *instance) socket() string  { return filepath.Join(i.run, "control.sock") }

// start runs the manager and returns the instant of the request.
func (i *instance) start() (requested int64, err error) {
	i.said.Reset()
	i.cmd = exec.Command(i.lab.nsinit, "--instance", i.name, "--unit-path", i.unitDir(),
		"--runtime-dir", i.run, "--log-dir", i.logDir())
	i.cmd.Stderr = &i.said
	i.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if i.own {
		i.cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNS
	}
	if i.thread == nil {
		requested = monotonic()
		return requested, i.cmd.Start()
	}
	i.thread.do(func() {
		requested = monotonic()
		err = i.cmd.Start()
	})
	return requested, err
}

// up starts the manager and returns once it answers.
func (i *instance) up(ctx context.Context) error {
	if _, err := i.start(); err != nil {
		return err
	}
	if err := i.await(ctx); err != nil {
		return errors.Join(err, i.stop())
	}
	return nil
}

// nsctl runs one command of nsctl against the instance.
func (i *instance) nsctl(ctx context.Context, args ...string) ([]byte, error) {
	argv := append([]string{"--instance", i.name, "--socket", i.socket()}, args...)
	out, err := exec.CommandContext(ctx, i.lab.nsctl, argv...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("nsctl %v: %w: %s", args, err, bytes.TrimSpace(out))
	}
	return out, nil
}

// await returns once the manager answers.
func (i *instance) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		_, err := i.nsctl(ctx, "status")
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cannot reach the manager: %w\n%s", err, i.said.String())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// stop is the orderly stop of the manager and everything below it.
func (i *instance) stop() error {
	if i == nil || i.cmd == nil {
		return nil
	}
	i.client.Close()
	below := descendants(i.cmd.Process.Pid)
	err := i.cmd.Process.Signal(unix.SIGTERM)
	if e := i.cmd.Wait(); e != nil {
		err = errors.Join(err, fmt.Errorf("the manager ended with %w\n%s", e, i.said.String()))
	}
	err = errors.Join(err, awaitEnd(below), os.RemoveAll(i.dir), os.RemoveAll(i.run))
	if i.thread != nil {
		i.thread.end()
	}
	return err
}

// logged is what every probe of the unit wrote so far, in order. The log of a
// unit is read as text: the line that the probe wrote stands in it unchanged.
func (i *instance) logged(unit string) []int64 {
	text, _ := os.ReadFile(filepath.Join(i.logDir(), unit, "current")) // none yet is none
	return stamps(text)
}

// awaitLogged waits until a unit's log has more than n instants and returns them.
func (i *instance) awaitLogged(ctx context.Context, unit string, n int) ([]int64, error) {
	deadline := time.Now().Add(patience)
	for {
		if all := i.logged(unit); len(all) > n {
			return all, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("cannot read the probe: nothing in the log of %s for %v\n%s", unit, patience, i.said.String())
		}
		time.Sleep(time.Millisecond) // the instant itself is in the log: waiting does not change it
	}
}

const holdUnit = `[unit]
start_limit_interval_sec = 0
[service]
exec_start = "%s"
restart = "always"
restart_sec = 0
[install]
wanted_by = "default"
`

// nsinitCrowd is n units of the default profile.
type nsinitCrowd struct {
	*instance
	n    int
	seen []int // instants already taken from each unit's log
}

func (c *nsinitCrowd) name() string { return nsinitName }

func unitName(i int) string { return fmt.Sprintf("s%04d", i) }

func (c *nsinitCrowd) setup(l *lab, n int) (err error) {
	units := map[string]string{}
	for i := range n {
		units[unitName(i)] = fmt.Sprintf(holdUnit, l.hold)
	}
	c.n, c.seen = n, make([]int, n)
	c.instance, err = newInstance(l, "crowd", units)
	return err
}

func (c *nsinitCrowd) root() int { return c.cmd.Process.Pid }

// firsts reads the logs: a unit's output goes nowhere else.
func (c *nsinitCrowd) firsts(ctx context.Context, n int) ([]int64, error) {
	var all []int64
	deadline := time.Now().Add(patience)
	for len(all) < n {
		for i := range c.n {
			news := c.logged(unitName(i))[c.seen[i]:]
			all = append(all, news...)
			c.seen[i] += len(news)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%d of %d services ran\n%s", len(all), n, c.said.String())
		}
		if len(all) < n {
			// The instants themselves are in the logs: looking seldom changes none
			// of them, looking often would slow down what is measured.
			time.Sleep(time.Duration(c.n) * 200 * time.Microsecond)
		}
	}
	return all, nil
}

const (
	socketStartName   = "nsinit, default profile, start over its socket"
	socketRestartName = "nsinit, default profile, restart of a running one over its socket"
	nsctlStartName    = "nsinit, default profile, the command `nsctl start`"
)

// request is a start that a running manager is asked for.
type request struct {
	title   string
	restart bool // of a service that runs, its stop included; else the start of one that does not
	ask     func(ctx context.Context, i *instance, verb, unit string) error
	*instance
	seen int
}

// nsctlStart is the whole way of a person's request: nsctl's own start, the
// socket, the manager, the launch. socketStart begins at the socket.
func nsctlStart() *request { return &request{title: nsctlStartName, ask: askCommand} }

func socketStart() *request { return &request{title: socketStartName, ask: askSocket} }

func socketRestart() *request {
	return &request{title: socketRestartName, restart: true, ask: askSocket}
}

func askCommand(ctx context.Context, i *instance, verb, unit string) error {
	_, err := i.nsctl(ctx, verb, unit)
	return err
}

func askSocket(ctx context.Context, i *instance, verb, unit string) error {
	for progress, err := range i.client.Act(ctx, control.ActRequest{Verb: verb, Units: []string{unit}}) {
		if err != nil {
			return err
		}
		if progress.Error != nil {
			return progress.Error
		}
	}
	return nil
}

func (s *request) name() string { return s.title }

// setup runs a manager in a mount namespace of its own: it watches the mount
// table, where other contenders pin network namespaces.
func (s *request) setup(l *lab, program string) (err error) {
	kind := "oneshot"
	if s.restart {
		kind = "simple"
		if program == l.probe {
			program = l.hold
		} else {
			program = l.dynamicHold
		}
	}
	text := fmt.Sprintf("[unit]\nstart_limit_interval_sec = 0\n[service]\ntype = %q\nexec_start = %q\n", kind, program)
	if s.instance, err = newInstance(l, "start", map[string]string{"probe": text}); err != nil {
		return err
	}
	s.seen, s.own = 0, true
	if _, err = s.instance.start(); err != nil {
		return err
	}
	return s.await(context.Background())
}

func (s *request) start(ctx context.Context) (requested, first int64, err error) {
	verb := control.VerbStart
	if s.restart {
		verb = control.VerbRestart
	}
	requested = monotonic()
	if err := s.ask(ctx, s.instance, verb, "probe"); err != nil {
		return 0, 0, err
	}
	all, err := s.awaitLogged(ctx, "probe", s.seen)
	if err != nil {
		return 0, 0, err
	}
	s.seen = len(all)
	return requested, all[len(all)-1], nil
}

func (s *request) close() error { return s.instance.stop() }
