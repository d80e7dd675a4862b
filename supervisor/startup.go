package supervisor

import (
	"context"

	"github.com/nsinit/nsinit/supervisor/control"
	"github.com/nsinit/nsinit/supervisor/machine"
)

// Jobs lists what is under way.
func (b backend) Jobs(ctx context.Context) (list []control.Job, err error) {
	m := b.m
	err = m.call(ctx, func() {
		for _, name := range m.engine.Names() {
			if s, _ := m.engine.State(name); s.Job != machine.NoVerb {
				list = append(list, control.Job{Unit: name, Type: string(s.Job), Running: s.JobRunning, Text: m.waitsFor(s)})
			}
		}
	})
	return list, err
}

// Startup tells of the last start of each unit. All of it stands in the state
// files too, so that it outlives the manager.
func (b backend) Startup(ctx context.Context) (st control.Startup, err error) {
	m := b.m
	err = m.call(ctx, func() {
		c := clockNow()
		st.Target = m.set.Canonical(m.cfg.Target)
		st.OriginUsec = m.state.BootUsec
		if took := m.cfg.KernelTook; took > 0 {
			st.OriginUsec, st.KernelNsec = c.usec(machine.Instant(took)), int64(took)
		}
		for _, name := range m.engine.Names() {
			s, _ := m.engine.State(name)
			if s.StartedAt == 0 {
				continue
			}
			if name == st.Target && s.State.Up() {
				st.TargetUsec = c.usec(s.ActiveSince)
			}
			st.Units = append(st.Units, m.startOf(s, c))
		}
	})
	return st, err
}

func (m *Manager) startOf(s machine.Snapshot, c clock) control.StartupUnit {
	u := control.StartupUnit{Name: s.Unit, ActivatingUsec: c.usec(s.StartedAt), Failed: s.State == machine.Failed}
	if s.ActiveSince >= s.StartedAt {
		u.ActiveUsec = c.usec(s.ActiveSince)
	}
	if s.EndedAt >= s.StartedAt {
		u.EndedUsec = c.usec(s.EndedAt)
	}
	if def := m.defs[s.Unit]; def != nil {
		u.Target, u.BuiltIn = def.IsTarget(), def.Path == ""
	}
	u.After = m.engine.Graph().Related(s.Unit, machine.After)
	return u
}
