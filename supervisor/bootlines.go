package supervisor

import (
	"os"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/nsinit/nsinit/supervisor/console"
	"github.com/nsinit/nsinit/supervisor/machine"
	"github.com/nsinit/nsinit/unit"
)

// watched is the machine's console while it comes up or goes down. It belongs
// to the loop.
type watched struct {
	screen *console.Screen // nil: nobody looks
	told   map[string]bool // units whose trouble has been told
	ticks  bool            // the clock for what takes long runs
	step   int
}

// openConsole takes the console in use. A machine without one comes up too.
func (m *Manager) openConsole() {
	if m.cfg.Console == "" {
		return
	}
	screen, err := console.Open(m.cfg.Console, m.cfg.Quiet, os.Getenv("TERM"))
	if err != nil {
		m.problem(err)
		return
	}
	m.watched.screen, m.watched.told = screen, map[string]bool{}
}

// watching reports whether the console is the manager's to write to: between
// boot and shutdown it is the users'.
func (m *Manager) watching() bool {
	return m.watched.screen != nil && (m.booting() || m.stopping)
}

// unlessTold is the level of what a boot's console lines say too. A machine's log
// is the kernel's, which is on the same console, and one line is enough.
func (m *Manager) unlessTold(level zerolog.Level) zerolog.Level {
	if m.cfg.Boot && m.watching() {
		return zerolog.InfoLevel
	}
	return level
}

// tell shows a change of a unit on the console.
func (m *Manager) tell(before, after machine.Snapshot) {
	if !m.watching() {
		return
	}
	u := m.titled(after.Unit)
	line, ok := console.Turn(u, before, after, console.Known{Told: m.watched.told[after.Unit], Unmet: m.unmet(after.Unit),
		Why: outcome{snap: after, unit: m.defs[after.Unit]}.cause})
	switch {
	case after.State.Up():
		delete(m.watched.told, after.Unit)
	case ok && line.Tag == console.Failed:
		m.watched.told[after.Unit] = true
	}
	if ok && !m.builtIn(after.Unit, line) {
		m.watched.screen.Print(line)
	}
	m.tickConsole()
}

// unmet reports whether a unit that this one cannot do without is not up.
func (m *Manager) unmet(name string) bool {
	graph := m.engine.Graph()
	for _, r := range []machine.Relation{machine.Requires, machine.Requisite, machine.BindsTo} {
		for _, needed := range graph.Related(name, r) {
			if o, known := m.engine.State(needed); !known || !o.State.Up() {
				return true
			}
		}
	}
	return false
}

// builtIn: a line about a target that no file defines, and that nobody has to
// hear of: it is no news that an empty group was reached.
func (m *Manager) builtIn(name string, line console.Line) bool {
	def := m.defs[name]
	return def != nil && def.Path == "" && line.Tag == console.OK && name != m.set.Canonical(m.cfg.Target)
}

func (m *Manager) titled(name string) console.Unit {
	def := m.defs[name]
	if def == nil {
		return console.Unit{Name: name}
	}
	s := &def.Service
	return console.Unit{Name: name, Description: def.Description, Target: def.IsTarget(), Oneshot: s.Type == "oneshot",
		Takes: s.Type == "oneshot" || s.Type == "forking" || s.Notifies() || len(s.ExecStartPre)+len(s.ExecCondition)+len(s.ExecStartPost) > 0}
}

// tellBadUnits names the unit files that cannot be used, and why.
func (m *Manager) tellBadUnits(problems []machine.Problem) {
	if !m.watching() {
		return
	}
	bad := m.set.Problems()
	names := make([]string, 0, len(bad))
	for name := range bad {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		m.watched.screen.Print(console.Line{Tag: console.Failed, Text: "Cannot load " + name + ": " + badText(bad[name])})
	}
	for _, p := range problems {
		m.watched.screen.Print(console.Line{Tag: console.Warn, Text: p.Text})
	}
}

// tellNoTarget says that there is no such unit as the boot was to aim at.
func (m *Manager) tellNoTarget(meant string, err error, next string) {
	if m.watching() {
		m.watched.screen.Print(console.Line{Tag: console.Failed, Text: "Cannot start " + meant + ", at which this boot aims: " + err.Error() + "; " + next})
	}
}

// badText is the first error of a file; nsctl verify has the others.
func badText(list unit.List) string {
	text, _, _ := strings.Cut(list[0].Error(), "\n")
	if len(list) > 1 {
		text += " (and more: nsctl verify " + list[0].File + ")"
	}
	return text
}

// tickConsole keeps a clock while anything is under way: what takes long is
// shown with the time that it has taken.
func (m *Manager) tickConsole() {
	if m.watched.ticks || !m.watching() || len(m.busy()) == 0 {
		return
	}
	m.watched.ticks = true
	time.AfterFunc(time.Second, func() {
		m.poller.Post(func() { // refused when the loop has ended
			m.watched.ticks = false
			m.showBusy()
			m.tickConsole()
		})
	})
}

func (m *Manager) showBusy() {
	if m.watched.screen == nil {
		return
	}
	m.watched.step++
	if text, ok := console.Waiting(m.busy(), m.watched.step); ok && m.watching() {
		m.watched.screen.Wait(text, m.watched.step)
	} else {
		m.watched.screen.Done()
	}
}

// busy lists the units that are on their way up or down, longest first.
func (m *Manager) busy() []console.Busy {
	var list []console.Busy
	at := now()
	for name, s := range m.services {
		active := s.snap.State.Active()
		stop := active == "deactivating"
		if !stop && (active != "activating" || s.snap.State == machine.AutoRestart) {
			continue
		}
		since := s.snap.StartedAt
		if stop {
			since = s.snap.Since
		}
		b := console.Busy{Unit: m.titled(name), Stop: stop, For: time.Duration(at - since)}
		if s.snap.Deadline > since {
			b.Limit = time.Duration(s.snap.Deadline - since)
		}
		list = append(list, b)
	}
	slices.SortFunc(list, func(a, b console.Busy) int {
		return int(min(max(b.For-a.For, -1), 1))
	})
	return list
}

// booting reports whether the start of the target is still under way.
func (m *Manager) booting() bool { return !m.state.Booted }

// booted notes that it is over. A manager that is started again later is no boot.
func (m *Manager) booted() {
	m.collect()
	if m.state.Booted {
		return
	}
	m.state.Booted = true
	m.storeInstance()
	if m.watched.screen != nil {
		m.watched.screen.Done()
	}
}

// noticeBooted is booted for a manager that took the boot over from one that
// was killed: nobody answers the first one's request.
func (m *Manager) noticeBooted(before, snap machine.Snapshot) {
	if snap.Unit == m.set.Canonical(m.cfg.Target) && before.Job == machine.VerbStart && snap.Job == machine.NoVerb {
		m.poller.Post(m.booted) // other units' changes of this moment are still to be told
	}
}
