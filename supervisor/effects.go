package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/supervisor/condition"
	"github.com/nsinit/nsinit/supervisor/control"
	"github.com/nsinit/nsinit/supervisor/logs"
	"github.com/nsinit/nsinit/supervisor/machine"
	"github.com/nsinit/nsinit/unit"
)

func (m *Manager) effect(e machine.Effect) {
	switch e := e.(type) {
	case machine.Publish:
		m.publish(e.Snapshot)
	case machine.CheckConditions:
		m.checkConditions(e)
	case machine.Launch:
		m.launchUnit(e)
	case machine.RunHook:
		m.runHook(e)
	case machine.FindMain:
		m.findMain(e)
	case machine.AbortHook:
		m.abortHook(e)
	case machine.Signal:
		m.signal(e)
	case machine.KillAll:
		m.killAll(e)
	case machine.CheckPayload:
		m.checkPayload(e)
	case machine.Release:
		m.release(e)
	case machine.JobDone:
		if done := m.waiters[e.ID]; done != nil {
			delete(m.waiters, e.ID)
			m.storeStates() // what is told has been stored
			done(e)
		}
	case machine.Action:
		m.action(e)
	case machine.Bug:
		m.log.Error().Str("unit", e.Unit).Stringer("state", e.State).Str("event", e.Event).Msg("bug: this cannot happen; the event was ignored")
	}
}

// publish stores a unit's new state and tells those who listen.
func (m *Manager) publish(snap machine.Snapshot) {
	s := m.service(snap.Unit)
	before := s.snap
	s.snap = snap
	m.unstored[s] = true
	m.enterLogin(s, before, snap)
	m.tell(before, snap)
	m.noticeBooted(before, snap)
	if before.State != snap.State || before.Generation != snap.Generation || before.MainPID != snap.MainPID {
		m.events.publish(control.Event{Unit: snap.Unit, Type: "state", ActiveState: string(snap.State.Active()), SubState: snap.State.Sub(),
			Result: snap.Result.String(), MainPID: snap.MainPID, Generation: snap.Generation, Text: snap.StatusText})
		m.narrate(s, before, snap)
	}
	if snap.State.Down() && !before.State.Down() {
		m.poller.Post(func() { // after the effects of this change
			if s.snap.State.Down() {
				m.atRest(s)
			}
		})
	}
}

// narrate writes the turns of a unit's life into its log.
func (m *Manager) narrate(s *service, before, snap machine.Snapshot) {
	if before.State == snap.State {
		return
	}
	switch snap.State {
	case machine.Running, machine.Exited:
		if before.State.Up() {
			return
		}
		s.notice(logs.Info, "start %d: ready in %v (launch %v)", snap.Generation,
			rounded(time.Duration(snap.ActiveSince-snap.StartedAt)), rounded(time.Duration(s.start.LaunchNsec)))
	case machine.Failed:
		s.notice(logs.Err, "failed: %s", explainResult(snap))
	case machine.AutoRestart:
		s.notice(logs.Warning, "ended: %s; starting again", explainResult(snap))
	case machine.Inactive:
		if before.State != machine.Inactive {
			s.notice(logs.Info, "stopped")
		}
	default:
	}
}

// rounded cuts a duration to what people read: 38.2ms, 1.84s.
func rounded(d time.Duration) time.Duration {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond)
	case d >= time.Millisecond:
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(time.Microsecond)
}

// storeStates writes the state of every unit that has changed, once for all
// that one event has led to: a unit on its way through several states is stored
// where it has come to rest. A manager that is killed before finds the older
// state and what the cgroup tree says, as if it had been killed a little earlier.
func (m *Manager) storeStates() {
	for s := range m.unstored {
		if m.services[s.name] == s { // else its files are being removed
			m.storeState(s)
		}
	}
	clear(m.unstored)
}

// storeState writes the unit's state file. A failure is shown and does not
// stop supervision: the cgroup tree still tells most of it.
func (m *Manager) storeState(s *service) {
	dir := m.cfg.unitDir(s.name)
	path := filepath.Join(dir, "state.json")
	if s.snap.Machine == (machine.Machine{}) && s.snap.Job == machine.NoVerb {
		os.Remove(path)
		return
	}
	st := unitState{Version: stateVersion, BootID: m.state.BootID, Snapshot: s.snap, Start: s.start}
	err := writeState(path, st)
	if errors.Is(err, os.ErrNotExist) {
		if err = os.MkdirAll(dir, 0o755); err == nil {
			err = writeState(path, st)
		}
	}
	if err != nil {
		m.log.Error().Str("unit", s.name).Err(err).Msg("cannot store the state; a manager that is killed now would not know it")
	}
}

func (m *Manager) checkConditions(e machine.CheckConditions) {
	def := m.defs[e.Unit]
	if def == nil {
		m.handle(machine.ConditionsChecked{Ref: e.Ref, OK: true}) // Launch will say what is wrong
		return
	}
	host := m.host
	m.onWorker(m.work, func() {
		ev := conditions(e.Ref, def, host)
		m.poller.Post(func() { m.handle(ev) })
	})
}

// conditions evaluates the unit's conditions, mount points included. It may
// wait for a file system, so it is not for the loop.
func conditions(ref machine.Ref, def *unit.Unit, host condition.Host) machine.ConditionsChecked {
	if f := condition.Check(def.Conditions, host); f != nil {
		return machine.ConditionsChecked{Ref: ref, Failed: "condition_" + f.Error()}
	}
	if f := condition.Check(def.Asserts, host); f != nil {
		return machine.ConditionsChecked{Ref: ref, Assert: true, Failed: "assert_" + f.Error()}
	}
	for _, path := range def.RequiresMountsFor {
		if _, err := os.Stat(path); err != nil {
			return machine.ConditionsChecked{Ref: ref, Assert: true, Failed: fmt.Sprintf("requires_mounts_for = %q does not hold: %v", path, err)}
		}
	}
	return machine.ConditionsChecked{Ref: ref, OK: true}
}

// signal sends by pidfd: never to another process that has the number now.
func (m *Manager) signal(e machine.Signal) {
	g := m.find(e.Ref)
	if g == nil || g.cgroup == nil {
		return
	}
	sig := syscall.Signal(e.Signal)
	if e.Whom == machine.WhomMain {
		if p, ok := g.lastMain(); ok && g.main == 0 && !g.forks() {
			g.fetchMain(p.PID) // it could not be had when it was started
		}
		if g.main != 0 {
			unix.PidfdSendSignal(g.main, sig, nil, 0)
		}
		return
	}
	if err := g.cgroup.Signal(sig); err != nil {
		m.log.Warn().Str("unit", e.Unit).Err(err).Msg("cannot signal every process")
	}
}

func (m *Manager) killAll(e machine.KillAll) {
	g := m.find(e.Ref)
	if g == nil || g.cgroup == nil {
		return
	}
	if err := g.cgroup.Kill(); err != nil {
		m.log.Error().Str("unit", e.Unit).Err(err).Msg("cannot kill the payload")
	}
}

func (m *Manager) checkPayload(e machine.CheckPayload) {
	g := m.find(e.Ref)
	if g == nil || g.cgroup == nil {
		return
	}
	m.poller.Post(func() {
		if g.cgroup != nil && !g.releasing {
			m.payload(g)
		}
	})
}

func (m *Manager) find(r machine.Ref) *generation {
	s := m.services[r.Unit]
	if s == nil {
		return nil
	}
	return s.generationOf(r.Generation)
}

// action carries out start_limit_action and its like. The words with -force and
// -immediate end the machine in order too: there is no end that spares the disks
// more.
func (m *Manager) action(e machine.Action) {
	l := m.log.Error().Str("unit", e.Unit).Str("action", e.Action).Str("key", e.Why)
	word, _, _ := strings.Cut(e.Action, "-")
	if word == "exit" {
		l.Msg("ending this instance, as the unit asks")
		m.poller.Post(m.shutdown)
		return
	}
	if err := m.endMachine(word); err != nil {
		l.Err(err).Msg("cannot carry out")
		return
	}
	l.Msg("ending the machine, as the unit asks")
}
