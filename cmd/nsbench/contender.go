package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"syscall"
	"time"
)

// contender is one way to start a program. To add one, write these four methods
// and name it in contenders.
type contender interface {
	name() string
	// setup makes what a user would have ready before the request. An error means
	// that this machine cannot measure it; the report gives it as the reason.
	setup(*lab) error
	// start asks for one start of the probe, waits for its end, and returns both
	// instants, CLOCK_MONOTONIC in ns: of the request and of the first instruction.
	start(context.Context) (requested, first int64, err error)
	close() error
}

// The namespaces of nsinit's default profile.
const sixNamespaces = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET |
	syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS | syscall.CLONE_NEWCGROUP

const (
	plainName = "plain exec (no namespace)"
	floorName = "the kernel's floor (exec.Cmd, same clone flags, no set-up)"
)

func contenders() []contender {
	return []contender{
		&command{title: plainName, argv: func(l *lab) []string { return []string{l.probe} }},
		&command{title: floorName, cloneFlags: sixNamespaces, argv: func(l *lab) []string { return []string{l.probe} }},
		&command{title: "unshare(1), same namespaces, /proc", argv: unshareArgv},
		&command{title: "bubblewrap, same namespaces and mounts", argv: bubblewrapArgv},
		// crun of Debian 12 refuses a hybrid cgroup hierarchy. Without cgroups it has less to do, not more.
		&bundle{runtime: "crun", unified: true, global: []string{"--cgroup-manager", "disabled"}},
		&bundle{runtime: "runc"},
		&launcher{},
		socketStart(),
		nsctlStart(),
	}
}

// command starts the probe through a command line whose standard output it keeps.
type command struct {
	title      string
	argv       func(*lab) []string
	cloneFlags uintptr

	path string
	args []string
	out  *stampReader
}

func (c *command) name() string { return c.title }

func (c *command) setup(l *lab) (err error) {
	c.args = c.argv(l)
	if c.path, err = exec.LookPath(c.args[0]); err != nil {
		return err
	}
	c.out, err = newStampReader()
	return err
}

func (c *command) start(ctx context.Context) (requested, first int64, err error) {
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, c.path, c.args[1:]...)
	cmd.Stdout, cmd.Stderr = c.out.writer, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: c.cloneFlags}
	requested = monotonic()
	if err := cmd.Run(); err != nil {
		return 0, 0, fmt.Errorf("%w: %s", err, bytes.TrimSpace(said.Bytes()))
	}
	first, err = c.out.next(ctx)
	return requested, first, err
}

func (c *command) close() error {
	if c.out != nil {
		c.out.close()
	}
	return nil
}

func unshareArgv(l *lab) []string {
	return []string{"unshare", "--mount", "--pid", "--fork", "--net", "--ipc", "--uts", "--cgroup", "--mount-proc", l.probe}
}

// bubblewrapArgv gives bubblewrap the tree of nsinit's default profile.
func bubblewrapArgv(l *lab) []string {
	argv := []string{"bwrap", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup",
		"--hostname", "probe", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--mqueue", "/dev/mqueue"}
	for _, dir := range hiddenDirectories() {
		argv = append(argv, "--tmpfs", dir)
	}
	for _, path := range readOnlyKernelPaths() {
		argv = append(argv, "--ro-bind", path, path)
	}
	for _, path := range maskedKernelFiles() {
		argv = append(argv, "--ro-bind", "/dev/null", path)
	}
	return append(argv, l.probe)
}

// settleTime is left between two starts: the kernel takes namespaces apart in
// the background, and nobody should pay for another's.
const settleTime = 15 * time.Millisecond

// measureStart runs each contender's start o.runs times and returns ns by
// contender. They take turns in an order drawn anew for each round, so that a
// change of the machine's mood, and what a neighbour leaves, meets all of them.
func measureStart(ctx context.Context, l *lab, cs []contender, r *report) (_ map[string][]float64, err error) {
	var able []contender
	for _, c := range cs {
		defer func() { err = errors.Join(err, c.close()) }()
		if err := c.setup(l); err != nil {
			r.missing(c.name(), err)
			continue
		}
		if _, _, err := c.start(ctx); err != nil { // also warms its files up
			r.missing(c.name(), err)
			continue
		}
		able = append(able, c)
	}
	samples := map[string][]float64{}
	random := rand.New(rand.NewPCG(1, 2))
	for range l.runs {
		random.Shuffle(len(able), func(i, j int) { able[i], able[j] = able[j], able[i] })
		for _, c := range able {
			if err := wait(ctx, settleTime); err != nil {
				return nil, err
			}
			requested, first, err := c.start(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name(), err)
			}
			samples[c.name()] = append(samples[c.name()], float64(first-requested))
		}
	}
	return samples, nil
}

func measureStarts(ctx context.Context, l *lab, r *report) (err error) {
	r.starts, err = measureStart(ctx, l, contenders(), r)
	return err
}
