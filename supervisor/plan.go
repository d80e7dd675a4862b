package supervisor

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/supervisor/compile"
	"github.com/nsinit/nsinit/supervisor/control"
	"github.com/nsinit/nsinit/unit"
)

// Plan compiles the next start of a unit for this host, and does nothing of it.
func (b backend) Plan(ctx context.Context, name string) (control.Plan, error) {
	m := b.m
	var u *unit.Unit
	var number uint64
	var err error
	callErr := m.call(ctx, func() {
		var canonical string
		if canonical, err = m.resolve(name); err != nil {
			return
		}
		snap, _ := m.engine.State(canonical)
		u, number = m.defs[canonical], snap.Generation+1
		if u == nil {
			err = &control.Error{Code: control.CodeBadUnit, Unit: canonical, Message: "cannot plan: it runs, and its file is gone or bad"}
		}
	})
	if callErr != nil {
		return control.Plan{}, callErr
	}
	if err != nil {
		return control.Plan{}, err
	}
	if u.IsTarget() {
		return control.Plan{}, &control.Error{Code: control.CodeConflict, Unit: u.Name, Message: "cannot plan: it is a target, and starts nothing itself"}
	}
	return m.plan(u, number)
}

func (m *Manager) plan(u *unit.Unit, number uint64) (control.Plan, error) {
	host := m.launcher.Host()
	svc, program, err := m.compileFor(u, host, number)
	if err != nil {
		return control.Plan{}, planError(u.Name, err)
	}
	p := control.Plan{Unit: u.Name, Path: u.Path, DropIns: len(u.DropIns), Profile: u.Profile,
		Host:    "this host, Linux " + kernelRelease(),
		Relaxed: u.Relaxations, Needs: needs(u, m.cgroups.Controllers(), svc.Spec.Namespaces)}
	for _, l := range m.planLines(u, svc, program, number) {
		p.Steps = append(p.Steps, control.PlanStep(l))
	}
	return p, nil
}

// compileFor makes the program of a start as launchUnit would.
func (m *Manager) compileFor(u *unit.Unit, host isolate.Host, number uint64) (*compile.Service, *isolate.Program, error) {
	dir := filepath.Join(m.cfg.unitDir(u.Name), strconv.FormatUint(number, 10))
	facts, err := m.factsOf(u, dir, strings.Repeat("0", 32)) // a new one at each start
	if err != nil {
		return nil, nil, err
	}
	svc, err := compile.Start(u, host, facts)
	if err != nil {
		return nil, nil, err
	}
	program, err := isolate.Compile(svc.Spec, host)
	return svc, program, err
}

func planError(name string, err error) *control.Error {
	e := &control.Error{Code: control.CodeFailed, Unit: name, Message: "cannot start: " + trimUnit(err.Error(), name)}
	var ce *compile.Error
	if errors.As(err, &ce) && ce.Key != "" {
		e.Hint = "The key is " + ce.Key + ": nsctl cat --resolved " + name
	}
	return e
}

// planLines lists everything that a start does: what the manager makes for it,
// then the program, with the clone where the manager's part of that ends.
func (m *Manager) planLines(u *unit.Unit, svc *compile.Service, p *isolate.Program, number uint64) []isolate.Line {
	var out []isolate.Line
	add := func(call, args string) { out = append(out, isolate.Line{By: "manager", Call: call, Args: args}) }
	for _, d := range svc.Spec.Directory {
		add("mkdir", fmt.Sprintf("%s mode %04o owner %d:%d (if it is not there)", d.Path, d.Mode, d.UID, d.GID))
	}
	if u.Network.Attached() {
		for _, line := range m.links.plan(u) {
			add("network", line)
		}
	}
	if u.Network.Mode != unit.NetworkHost {
		add("network", u.Network.Text()+" -> fd netns")
	}
	group := filepath.Join(m.cgroups.Root(), u.Resources.Slice, u.Name, strconv.FormatUint(number, 10))
	add("mkdir", "cgroup "+group+"/{init,main}")
	for i, f := range u.Service.OpenFile {
		add("open", fmt.Sprintf("%s -> fd %s, named %s", f.Path, isolate.DescPassed(i), f.Name))
	}
	lines := p.Lines()
	out = append(out, lines[:len(p.Open)]...)
	args := "cgroup " + group + "/init"
	if p.Namespaces.Has(isolate.PID) {
		args = "NEWPID  " + args
	}
	add("clone3", args)
	return append(out, lines[len(p.Open):]...)
}

// needs lists what a start takes of the machine, for nsctl plan.
func needs(u *unit.Unit, controllers []string, namespaces isolate.Namespaces) []string {
	out := []string{"root"}
	if names := namespaces.Names(); len(names) > 0 {
		out = append(out, strings.Join(names, " ")+" namespaces (this kernel: all present)")
	}
	for _, c := range controllersOf(u) {
		text := "controller " + c
		switch {
		case slices.Contains(controllers, c):
			text += " (present)"
		case u.Resources.BestEffort:
			text += " (missing here; best_effort: the limit is left out)"
		default:
			text += " (missing here: the start fails)"
		}
		out = append(out, text)
	}
	return out
}

// controllersOf lists the cgroup controllers that [resources] of u needs.
func controllersOf(u *unit.Unit) []string {
	r := u.Resources
	var out []string
	for _, c := range []struct {
		name string
		used bool
	}{
		{"cpu", r.CpuWeight != 0 || r.CpuQuota != 0},
		{"cpuset", len(r.AllowedCpus) > 0},
		{"io", r.IoWeight != 0 || len(r.IoReadBandwidthMax)+len(r.IoWriteBandwidthMax)+len(r.IoReadIopsMax)+len(r.IoWriteIopsMax) > 0},
		{"memory", r.MemoryMin.Set || r.MemoryLow.Set || r.MemoryHigh.Set || r.MemoryMax.Set || r.MemorySwapMax.Set},
		{"pids", len(u.Origins("resources.tasks_max")) > 0},
	} {
		if c.used {
			out = append(out, c.name)
		}
	}
	return out
}
