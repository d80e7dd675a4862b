package supervisor

import (
	"github.com/nsinit/nsinit/supervisor/logs"
	"github.com/nsinit/nsinit/supervisor/machine"
	"github.com/nsinit/nsinit/supervisor/tty"
	"github.com/nsinit/nsinit/unit"
)

// terminalOf is what the unit wants done to its terminal: nothing, if no
// descriptor of it is one.
func terminalOf(u *unit.Unit) tty.Settings {
	if u == nil || !u.UsesTerminal() {
		return tty.Settings{}
	}
	s := &u.Service
	return tty.Settings{Path: s.TtyPath, Reset: s.TtyReset, Hangup: s.TtyVhangup, Disallocate: s.TtyVtDisallocate,
		Rows: s.TtyRows, Columns: s.TtyColumns}
}

// enterLogin keeps the unit's entry in utmp in step with its main process.
// Writing waits for a lock that any program may hold, so a goroutine does it,
// one after the other for a unit: the order counts.
func (m *Manager) enterLogin(s *service, before, snap machine.Snapshot) {
	if s.def == nil || s.def.Service.UtmpIdentifier == "" {
		return
	}
	if before.MainAlive == snap.MainAlive && before.MainPID == snap.MainPID {
		return
	}
	login := func(pid int) tty.Login {
		l := tty.Login{ID: s.def.Service.UtmpIdentifier, Mode: s.def.Service.UtmpMode, User: orElse(s.def.Service.User, "root"), PID: pid}
		if s.def.UsesTerminal() {
			l.Line = s.def.Service.TtyPath
		}
		return l
	}
	if before.MainAlive {
		old := login(before.MainPID)
		m.writeLogin(s, func() error { return old.End(m.cfg.Utmp) })
	}
	if snap.MainAlive {
		l := login(snap.MainPID)
		m.writeLogin(s, func() error { return l.Begin(m.cfg.Utmp) })
	}
}

func (m *Manager) writeLogin(s *service, write func() error) {
	earlier, done := s.login, make(chan struct{})
	s.login = done
	m.background(func() {
		defer close(done)
		if earlier != nil {
			<-earlier
		}
		if err := write(); err != nil {
			m.poller.Post(func() { s.notice(logs.Warning, "%v", err) })
		}
	})
}
