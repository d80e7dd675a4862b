package supervisor

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/supervisor/control"
	"github.com/nsinit/nsinit/supervisor/machine"
	"github.com/nsinit/nsinit/unit"
)

// backend answers nsctl. Its methods are called from many goroutines: what the
// loop owns is copied on the loop, and everything slow is done outside of it.
type backend struct{ m *Manager }

var _ control.Backend = backend{}

// Manager gives the manager's own state.
func (b backend) Manager(ctx context.Context) (control.ManagerStatus, error) {
	m := b.m
	st := control.ManagerStatus{Instance: m.cfg.Instance, Version: m.cfg.Version, PID: os.Getpid(), SinceUsec: m.began.UnixMicro(),
		Target: m.cfg.Target, Counts: map[string]int{}, KernelVersion: kernelRelease(),
		UnitPath: m.cfg.UnitPath, RuntimeDir: m.cfg.RuntimeDir, LogDir: m.cfg.LogDir}
	err := m.call(ctx, func() {
		st.BootUsec, st.ManagerRestarts, st.LastEnd = m.state.BootUsec, m.state.Restarts, m.lastEnd
		st.LostUnits = slices.Clone(m.lost)
		st.Problems = slices.Clone(m.problems)
		st.OwnsMachine, st.Shutdown = m.ownsMachine(), m.state.Shutdown
		for _, name := range m.unitNames() {
			if u := m.defs[name]; u == nil || u.Path != "" {
				st.Counts[m.countedAs(name)]++
			}
		}
		target, _ := m.engine.State(m.set.Canonical(m.cfg.Target))
		if target.State.Up() {
			st.TargetNsec = max(1, (clockNow().usec(target.ActiveSince)-st.BootUsec)*1000)
		}
		st.State = instanceWord(m.stopping, m.inRescue(), target, st.Counts)
	})
	if err != nil {
		return control.ManagerStatus{}, err
	}
	st.Load1, st.MemoryUsed, st.MemoryTotal = machineLoad()
	return st, nil
}

// instanceWord is what systemctl is-system-running would say.
func instanceWord(stopping, rescue bool, target machine.Snapshot, counts map[string]int) string {
	switch {
	case stopping:
		return "stopping"
	case rescue:
		return "maintenance"
	case target.Job == machine.VerbStart:
		return "starting"
	case counts["failed"]+counts["bad-file"] > 0:
		return "degraded"
	}
	return "running"
}

// unitNames lists everything with a name: what the engine knows, and what is
// bad. Problems that belong to no unit are listed by path, and are none.
func (m *Manager) unitNames() []string {
	names := m.engine.Names()
	for name := range m.set.Problems() {
		if !strings.Contains(name, "/") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (m *Manager) countedAs(name string) string {
	snap, known := m.engine.State(name)
	switch {
	case known && !snap.State.Down():
		return string(snap.State.Active())
	case m.defs[name] != nil:
		return string(snap.State.Active())
	case len(m.set.Problems()[name]) > 0:
		return "bad-file"
	}
	return "not-found"
}

// machineLoad reads the load average and the memory in use (proc_loadavg(5),
// proc_meminfo(5)); zeros where that fails.
func machineLoad() (load1 float64, used, total uint64) {
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		first, _, _ := strings.Cut(string(b), " ")
		load1, _ = strconv.ParseFloat(first, 64)
	}
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return load1, 0, 0
	}
	var available uint64
	for line := range strings.Lines(string(b)) {
		var n uint64
		if k, v, _ := strings.Cut(line, ":"); k == "MemTotal" || k == "MemAvailable" {
			fmt.Sscan(v, &n)
			if n *= 1024; k == "MemTotal" {
				total = n
			} else {
				available = n
			}
		}
	}
	return load1, total - min(available, total), total
}

// List gives the units that match, by name.
func (b backend) List(ctx context.Context, q control.ListQuery) ([]control.UnitListEntry, error) {
	m := b.m
	var sights []*sight
	err := m.call(ctx, func() {
		for _, name := range m.unitNames() {
			sights = append(sights, m.look(name))
		}
	})
	if err != nil {
		return nil, err
	}
	var out []control.UnitListEntry
	for _, s := range sights {
		if e := s.entry(); selected(e, q) {
			m.cost(s, &e)
			out = append(out, e)
		}
	}
	m.listNetworks(out)
	return out, nil
}

// entry is the line of a unit, without what its cgroup tells.
func (s *sight) entry() control.UnitListEntry {
	var st control.UnitStatus
	s.loadState(&st)
	e := control.UnitListEntry{Name: s.name, Kind: "service", Description: s.name, LoadState: st.LoadState,
		ActiveState: string(s.snap.State.Active()), SubState: s.snap.State.Sub(), StateSinceUsec: s.clock.usec(s.snap.Since), Restarts: s.snap.Restarts}
	if s.snap.Generation > 0 || s.snap.Result != machine.Success {
		e.Result = s.snap.Result.String()
	}
	if s.snap.MainAlive {
		e.MainPID = s.snap.MainPID
	}
	if u := s.def(); u != nil {
		e.Description, e.Aliases, e.Network = u.Description, u.Aliases, u.Network.Text()
		if u.IsTarget() {
			e.Kind, e.BuiltIn = kindOf(u), u.Path == ""
		}
	}
	e.Note = s.note()
	return e
}

// note is what takes the description's place where something is wrong. Readers
// see it, so it quotes no arguments and no log.
func (s *sight) note() string {
	switch {
	case len(s.problems) > 0:
		p := s.problems[0]
		if p.Line == 0 {
			return fmt.Sprintf("%s: %s", p.File, p.Msg)
		}
		return fmt.Sprintf("%s:%d:%d %s", p.File, p.Line, p.Col, p.Msg)
	case s.snap.State == machine.Failed, s.snap.State == machine.AutoRestart:
		text := s.snap.Result.String()
		if s.snap.Last != (machine.Status{}) {
			text += ": " + codeStatus(s.snap.Last)
		} else if s.snap.Setup.Text != "" {
			text += ": " + s.snap.Setup.Text
		}
		return text + "; see: nsctl status " + s.name
	case s.snap.Cycle != "":
		return "ordering cycle: " + s.snap.Cycle
	}
	return ""
}

// selected applies patterns and states.
func selected(e control.UnitListEntry, q control.ListQuery) bool {
	if len(q.Patterns) > 0 && !slices.ContainsFunc(q.Patterns, func(p string) bool {
		matches := func(name string) bool { ok, err := path.Match(p, name); return ok && err == nil }
		return matches(e.Name) || slices.ContainsFunc(e.Aliases, matches)
	}) {
		return false
	}
	return len(q.States) == 0 || slices.ContainsFunc(q.States, func(s string) bool {
		return s == e.ActiveState || s == e.SubState || s == e.LoadState
	})
}

// cost is what a running unit takes.
func (m *Manager) cost(s *sight, e *control.UnitListEntry) {
	if !s.live {
		return
	}
	c, err := m.cgroups.Open(s.name, s.slice, s.number)
	if err != nil {
		return
	}
	defer c.Close()
	if stat, err := c.Stat(); err == nil {
		e.Tasks, e.MemoryCurrent, e.CPUUsageNsec = stat.Tasks, stat.Memory, stat.CPUNsec
	}
}

// Kill sends a signal to processes of a unit. Main and commands are met by
// pidfd, the others by their cgroup.
func (b backend) Kill(ctx context.Context, req control.KillRequest) error {
	m := b.m
	var err error
	callErr := m.call(ctx, func() {
		name := m.set.Canonical(req.Unit)
		if _, known := m.engine.State(name); !known {
			if err = m.unknown(name); err != nil {
				return
			}
		}
		err = m.kill(m.services[name], syscall.Signal(req.Signal), req.Whom)
		var ce *control.Error
		if err != nil && !errors.As(err, &ce) {
			err = &control.Error{Code: control.CodeFailed, Message: fmt.Sprintf("cannot send %s: %v", signalText(req.Signal), err)}
		}
		if errors.As(err, &ce) {
			ce.Unit = name
		}
	})
	if callErr != nil {
		return callErr // err is the loop's still
	}
	return err
}

func (m *Manager) kill(s *service, sig syscall.Signal, whom string) error {
	nothing := func(what string) error {
		return &control.Error{Code: control.CodeNotActive, Message: "cannot send " + signalText(int(sig)) + ": " + what}
	}
	if s == nil || s.gen == nil && len(s.leftovers) == 0 {
		return nothing("it has no processes")
	}
	switch g := s.gen; whom {
	case "main":
		if g == nil || g.main == 0 || !s.snap.MainAlive {
			return nothing("it has no main process")
		}
		return unix.PidfdSendSignal(g.main, sig, nil, 0)
	case "control":
		return g.signalControl(s.snap, sig, nothing)
	}
	return s.signalAll(sig)
}

// beforeMain reports whether the program that runs now is one before main.
func beforeMain(snap machine.Snapshot, u *unit.Unit) bool {
	switch snap.State {
	case machine.Condition, machine.StartPre:
		return true
	case machine.Start:
		return u.Service.Type == "forking" && !snap.Ended && !snap.MainAlive
	}
	return false
}

// signalControl signals what runs beside or before main.
func (g *generation) signalControl(snap machine.Snapshot, sig syscall.Signal, nothing func(string) error) error {
	if g != nil && beforeMain(snap, g.def) && g.main != 0 {
		return unix.PidfdSendSignal(g.main, sig, nil, 0)
	}
	if g == nil || g.hooks[snap.Run] == nil || g.hooks[snap.Run].proc == nil {
		return nothing("it has no control process")
	}
	return g.hooks[snap.Run].proc.Signal(sig)
}

// signalAll signals every process, those of older starts too.
func (s *service) signalAll(sig syscall.Signal) error {
	var errs []error
	signal := func(g *generation) {
		switch {
		case g == nil || g.cgroup == nil:
		case sig == syscall.SIGKILL:
			errs = append(errs, g.cgroup.Kill())
		default:
			errs = append(errs, g.cgroup.Signal(sig))
		}
	}
	signal(s.gen)
	for _, g := range s.leftovers {
		signal(g)
	}
	return errors.Join(errs...)
}

// ResetFailed forgets failures and start counters; no unit means all.
func (b backend) ResetFailed(ctx context.Context, units []string) error {
	m := b.m
	var err error
	callErr := m.call(ctx, func() {
		names := m.engine.Names()
		if len(units) > 0 {
			names = nil
		}
		for _, u := range units {
			name := m.set.Canonical(u)
			if _, known := m.engine.State(name); known {
				names = append(names, name)
			} else if e := m.unknown(name); err == nil {
				err = e
			}
		}
		for _, name := range names {
			m.request(machine.VerbResetFailed, name, func(machine.JobDone) {})
		}
	})
	if callErr != nil {
		return callErr
	}
	return err
}

// Events gives what happens from now on.
func (b backend) Events(ctx context.Context, q control.EventQuery) iter.Seq2[control.Event, error] {
	return func(yield func(control.Event, error) bool) {
		units, err := b.canonical(ctx, q.Units)
		if err != nil {
			yield(control.Event{}, err)
			return
		}
		for e, err := range b.m.events.subscribe(ctx) {
			if err == nil && len(units) > 0 && !slices.Contains(units, e.Unit) {
				continue
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// canonical replaces aliases by the names that they stand for.
func (b backend) canonical(ctx context.Context, names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	out := make([]string, len(names))
	err := b.m.call(ctx, func() {
		for i, n := range names {
			out[i] = b.m.set.Canonical(n)
		}
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
