package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"syscall"
)

// contender is one way to start a program. To add one, write these four methods
// and name it in contenders.
type contender interface {
	name() string
	// setup makes what a user would have ready before the request. An error means
	// that this machine cannot measure it; the report gives it as the reason.
	setup(l *lab, program string) error
	// start asks for one start of the probe, waits for its end, and returns both
	// instants, CLOCK_MONOTONIC in ns: of the request and of the first instruction.
	start(context.Context) (requested, first int64, err error)
	close() error
}

// The namespaces of nsinit's default profile.
const sixNamespaces = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET |
	syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS | syscall.CLONE_NEWCGROUP

const (
	plainName      = "plain exec (no namespace)"
	floorName      = "the kernel's floor: exec.Cmd, same clone flags, no set-up"
	bubblewrapName = "bubblewrap, same namespaces and mounts"
)

func contenders() []contender {
	return []contender{
		&command{title: plainName, argv: plainArgv},
		&command{title: floorName, cloneFlags: sixNamespaces, argv: plainArgv},
		&command{title: "unshare(1), same namespaces, /proc", argv: unshareArgv},
		&command{title: bubblewrapName, argv: bubblewrapArgv},
		&bundle{runtime: "crun"},
		&bundle{runtime: "runc"},
		&launcher{},
		socketStart(),
		socketRestart(),
		nsctlStart(),
	}
}

// command starts the probe through a command line whose standard output it keeps.
type command struct {
	title      string
	argv       func(program string) []string
	cloneFlags uintptr

	path string
	args []string
	out  *stampReader
}

func (c *command) name() string { return c.title }

func (c *command) setup(_ *lab, program string) (err error) {
	c.args = c.argv(program)
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

func plainArgv(program string) []string { return []string{program} }

func unshareArgv(program string) []string {
	return []string{"unshare", "--mount", "--pid", "--fork", "--net", "--ipc", "--uts", "--cgroup", "--mount-proc", program}
}

// bubblewrapArgv gives bubblewrap the tree and the capabilities of nsinit's
// default profile. It cannot mount sysfs: /sys is the host's, read-only. Of
// /proc it makes bus, irq, sys and sysrq-trigger read-only by itself.
func bubblewrapArgv(program string) []string {
	argv := []string{"bwrap", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup",
		"--hostname", "probe", "--cap-drop", "ALL"}
	for _, name := range keptCapabilities() {
		argv = append(argv, "--cap-add", name)
	}
	argv = append(argv, "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/dev/shm", "--mqueue", "/dev/mqueue")
	for _, dir := range append(hiddenDirectories(), maskedKernelDirectories()...) {
		argv = append(argv, "--tmpfs", dir)
	}
	for _, path := range existing("/etc/hosts", "/proc/fs", "/proc/tty") {
		argv = append(argv, "--ro-bind", path, path)
	}
	for _, path := range maskedKernelFiles() {
		argv = append(argv, "--ro-bind", "/dev/null", path)
	}
	return append(argv, program)
}

// startSet is one round of starts: the same program by every contender.
type startSet struct {
	title   string
	beside  bool                 // 500 services of nsinit run meanwhile
	static  bool                 // the program
	samples map[string][]float64 // ns by contender
}

// programs are what is started. The static one stamps its very first
// instruction; the other is what services mostly are, and stamps the first line
// of main, after the dynamic linker and libc.
func programs(l *lab) []struct{ title, path string } {
	return []struct{ title, path string }{
		{"a static program, first instruction", l.probe},
		{"a program that links libc, first line of main", l.dynamic},
	}
}

// measureStart runs each contender's start o.runs times. They take turns in an
// order drawn anew for each round, so that a change of the machine's mood, and
// what a neighbour leaves, meets all of them.
func measureStart(ctx context.Context, l *lab, program string, r *report) (_ map[string][]float64, err error) {
	var able []contender
	for _, c := range contenders() {
		defer func() { err = errors.Join(err, c.close()) }()
		if err := c.setup(l, program); err != nil {
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
			calm, err := awaitQuiet(ctx)
			if err != nil {
				return nil, err
			}
			r.measured++
			if !calm {
				r.unquiet++
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

func measureStarts(ctx context.Context, l *lab, r *report) error {
	for i, p := range programs(l) {
		set := startSet{title: p.title, beside: l.crowded, static: i == 0}
		var err error
		if set.samples, err = measureStart(ctx, l, p.path, r); err != nil {
			return err
		}
		r.starts = append(r.starts, set)
	}
	return nil
}
