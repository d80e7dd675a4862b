package supervisor

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/supervisor/control"
)

// ownsMachine reports whether process 1 is nsinit's and this is its manager.
func (m *Manager) ownsMachine() bool { return m.cfg.OwnMachine && os.Getppid() == 1 }

// notOurs says who ends the machine where this manager does not.
func notOurs(action string) error {
	who := "its own init does that"
	if _, err := os.Stat("/run/systemd/system"); err == nil { // sd_booted(3)
		who = "systemctl " + action + " does"
	}
	return &control.Error{Code: control.CodeNotSupported, Message: "cannot " + action + ": this instance does not run the machine; " + who}
}

// endMachine gives process 1 the order to end the machine. It stops this
// manager in turn, and with it every unit.
func (m *Manager) endMachine(action string) error {
	if !m.ownsMachine() {
		return notOurs(action)
	}
	m.log.Warn().Str("action", action).Msg("ending the machine")
	if err := unix.Kill(1, control.EndSignals()[action]); err != nil {
		return &control.Error{Code: control.CodeInternal, Message: fmt.Sprintf("cannot %s: cannot signal process 1: %v", action, err)}
	}
	return nil
}

// Machine ends the machine, now or at a time, or takes that back.
func (b backend) Machine(ctx context.Context, action string, req control.MachineRequest) (reply control.MachineReply, err error) {
	m := b.m
	callErr := m.call(ctx, func() {
		switch {
		case action == control.MachineCancel:
			reply.Shutdown = m.state.Shutdown
			m.schedule(nil)
		case req.AtUsec == 0:
			if err = m.endMachine(action); err == nil {
				reply.Shutdown = &control.Shutdown{Action: action, AtUsec: time.Now().UnixMicro(), Message: req.Message}
			}
		default:
			if !m.ownsMachine() {
				err = notOurs(action)
				return
			}
			reply.Shutdown = &control.Shutdown{Action: action, AtUsec: req.AtUsec, Message: req.Message}
			m.schedule(reply.Shutdown)
		}
	})
	if callErr != nil {
		return control.MachineReply{}, callErr
	}
	return reply, err
}

// schedule replaces the end that waits for its time; the state file keeps it for
// the next manager.
func (m *Manager) schedule(s *control.Shutdown) {
	m.state.Shutdown = s
	m.storeInstance()
	if s != nil {
		m.log.Warn().Str("action", s.Action).Time("at", time.UnixMicro(s.AtUsec)).Str("message", s.Message).Msg("the end of the machine is scheduled")
	}
	m.awaitShutdown()
}

// clockPatience is how often the wall clock, which may be set, is looked at
// while an end is scheduled.
const clockPatience = 10 * time.Second

// awaitShutdown carries the scheduled end out when its time has come.
func (m *Manager) awaitShutdown() {
	if m.ending != nil {
		m.ending.Stop()
		m.ending = nil
	}
	s := m.state.Shutdown
	if s == nil {
		return
	}
	if wait := time.Until(time.UnixMicro(s.AtUsec)); wait > 0 {
		m.ending = time.AfterFunc(min(wait, clockPatience), func() { m.poller.Post(m.awaitShutdown) })
		return
	}
	m.state.Shutdown = nil
	m.storeInstance()
	if err := m.endMachine(s.Action); err != nil {
		m.problem(err)
	}
}

// inRescue reports whether the machine is in the hands of who repairs it.
func (m *Manager) inRescue() bool {
	for _, name := range []string{"rescue", "emergency"} {
		if s, _ := m.engine.State(name); s.State.Up() {
			return true
		}
	}
	return false
}
