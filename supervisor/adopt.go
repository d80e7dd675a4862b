package supervisor

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/isolate/launch"
	"github.com/nsinit/nsinit/reaper"
	"github.com/nsinit/nsinit/supervisor/compile"
	"github.com/nsinit/nsinit/supervisor/logs"
	"github.com/nsinit/nsinit/supervisor/machine"
	"github.com/nsinit/nsinit/supervisor/notify"
	"github.com/nsinit/nsinit/unit"
)

// adopt goes on from what an earlier manager left. The index is the cgroup
// tree; no process ID from a file is trusted. At the first boot there is
// nothing, and nothing happens.
func (m *Manager) adopt() {
	found := m.storedStates()
	generations, err := m.cgroups.Find()
	if err != nil {
		m.problem(err)
	}
	m.instantiate(found, generations)
	slices.SortFunc(generations, func(a, b launch.Found) int { return cmp.Compare(a.Number, b.Number) })
	newest := map[string]uint64{}
	for _, f := range generations {
		newest[f.Unit] = f.Number
	}
	inherited := m.takeKept()
	dead := m.halfRemoved(found, generations)
	for _, f := range generations {
		a := found[f.Unit]
		a.Snapshot.Unit = f.Unit
		g := m.adoptGeneration(f)
		m.adoptKept(inherited, g)
		switch s := m.service(f.Unit); {
		case f.Number == newest[f.Unit] && isPresent(f.Number, a.Snapshot):
			s.gen, s.placed = g, true
			a.Observed = m.observe(g)
		case g.populated():
			s.leftovers[f.Number] = g
		default:
			m.disinherit(g.inherited)
			g.close()
			dead = append(dead, f)
			continue
		}
		found[f.Unit] = a
		if err := m.watch(g); err != nil {
			m.problem(err)
		}
	}
	for _, f := range dead { // once it is known what lives
		m.sweep(machine.Ref{Unit: f.Unit, Generation: f.Number}, f.Slice, func() {})
	}
	m.drop(inherited)
	for name, a := range found {
		if a.Lost() {
			m.lost = append(m.lost, name)
		}
	}
	slices.Sort(m.lost)
	m.startedWith()
	m.carryOut(m.engine.Adopt(slices.Collect(maps.Values(found)), now()))
	_, effects := m.install()
	m.carryOut(effects)
	m.handle(machine.Tick{})
	m.goOn()
}

// halfRemoved lists the starts before the last whose cgroups the dead manager had
// removed already, and their files not yet.
func (m *Manager) halfRemoved(found map[string]machine.Adopted, generations []launch.Found) (list []launch.Found) {
	for name, a := range found {
		entries, err := os.ReadDir(m.cfg.unitDir(name))
		if err != nil {
			m.problem(err)
		}
		for _, e := range entries {
			n, err := strconv.ParseUint(e.Name(), 10, 64)
			known := func(f launch.Found) bool { return f.Unit == name && f.Number == n }
			if err == nil && n < a.Snapshot.Generation && !slices.ContainsFunc(generations, known) {
				list = append(list, launch.Found{Unit: name, Number: n})
			}
		}
	}
	return list
}

// isPresent tells the start that a unit is in from an older one that was left
// alone. Without a state file (or with one from before) the newest is it.
func isPresent(number uint64, s machine.Snapshot) bool {
	return number > s.Generation || number == s.Generation && s.Held
}

// startedWith gives the engine the definitions that the services which are
// found run with; the loaded ones come in force when those are adopted, for
// their next start.
func (m *Manager) startedWith() {
	defs := maps.Clone(m.defs)
	for name, s := range m.services {
		if s.gen != nil && s.gen.def.Service.Type != "" { // else nobody knows any more
			defs[name] = s.gen.def
		}
	}
	_, effects := m.engine.Load(m.configsOf(defs), now())
	m.carryOut(effects)
}

// goOn does what the manager that died may not have come to.
func (m *Manager) goOn() {
	used := func(name string) bool { return m.usesNetwork(name) || m.links.has(name) }
	if err := m.links.net.Prune(used); err != nil {
		m.problem(err)
	}
	m.releaseGone()
	if err := m.links.adopt(m.attachedAs); err != nil {
		m.problem(err)
	}
	m.followNames()
	for _, s := range m.services {
		for _, g := range s.leftovers {
			m.disinherit(g.inherited)
			m.payload(g)
		}
		if g := s.gen; g != nil {
			m.disinherit(g.inherited) // what the engine has not asked for, it waits for no more
			m.readRecord(g)
		}
	}
}

// attachedAs is the definition that a unit's links were made for.
func (m *Manager) attachedAs(name string) *unit.Unit {
	if s := m.services[name]; s != nil && s.gen != nil {
		return s.gen.def
	}
	return m.defs[name]
}

// instantiate loads the instances of templates that somebody had asked for by
// name: no other unit names them.
func (m *Manager) instantiate(found map[string]machine.Adopted, generations []launch.Found) {
	names := slices.Collect(maps.Keys(found))
	for _, f := range generations {
		names = append(names, f.Unit)
	}
	before := len(m.defs)
	for _, name := range names {
		if m.defs[name] != nil {
			continue
		}
		if u, err := m.set.Resolve(name); err == nil && u.Name == name {
			m.defs[name] = u
		}
	}
	if len(m.defs) > before {
		_, effects := m.install()
		m.carryOut(effects)
	}
}

// storedStates reads every unit's state file of this boot.
func (m *Manager) storedStates() map[string]machine.Adopted {
	found := map[string]machine.Adopted{}
	dirs, err := os.ReadDir(filepath.Join(m.cfg.RuntimeDir, "units"))
	if err != nil {
		m.problem(err)
	}
	for _, d := range dirs {
		var st unitState
		ok, err := readState(filepath.Join(m.cfg.unitDir(d.Name()), "state.json"), &st)
		if err != nil {
			m.problem(err)
		}
		if !ok || st.Version != stateVersion || st.BootID != m.state.BootID || st.Snapshot.Unit != d.Name() {
			continue
		}
		if st.Snapshot.JobWhy == machine.StopShutdown { // that manager was killed while it stopped everything; this one runs
			st.Snapshot.JobWhy = machine.StopRequest
		}
		s := m.service(d.Name())
		s.snap, s.start = st.Snapshot, st.Start
		found[d.Name()] = machine.Adopted{Snapshot: st.Snapshot}
	}
	return found
}

// adoptGeneration takes back what a reaper keeps. What cannot be had is said
// in the unit's log, and the service runs on without it: a manager that starts
// never ends anything for want of knowledge.
func (m *Manager) adoptGeneration(f launch.Found) *generation {
	s := m.service(f.Unit)
	g := &generation{unit: f.Unit, number: f.Number, hooks: map[uint64]*hook{}, inherited: map[keptName]int{},
		dir: filepath.Join(m.cfg.unitDir(f.Unit), strconv.FormatUint(f.Number, 10))}
	if g.number == s.snap.Generation {
		g.since = s.start.RequestedAt
	}
	g.def = m.definition(s, g)
	s.def = g.def
	g.commands = commandsOf(g.def)
	m.hosts.note(g.def)
	m.openLog(s, true)
	missing := func(err error) {
		s.notice(logs.Warning, "after the manager's restart: %v", err)
		m.log.Warn().Str("unit", f.Unit).Uint64("generation", f.Number).Err(err).Msg("not everything could be taken over")
	}
	var err error
	if g.cgroup, err = m.cgroups.Open(f.Unit, f.Slice, f.Number); err != nil {
		missing(err)
	}
	if g.reaper, err = openReaper(g.cgroup); err != nil {
		g.gone = true
		missing(err)
		g.record, _ = unix.Open(filepath.Join(g.dir, "record"), unix.O_RDWR|unix.O_CLOEXEC, 0) // what it wrote last
		return g
	}
	if err := g.waitWritten(); err != nil {
		missing(err)
	} else if g.def.Network.Mode == unit.NetworkPrivate && !g.def.Network.Attached() { // it is in its namespaces
		if err := m.links.net.Repin(g.unit, g.reaper.PID); err != nil {
			missing(err)
		}
	}
	if err := errors.Join(g.takeBack(), m.adoptLogs(s, g)); err != nil {
		missing(err)
	}
	if g.facts, err = m.factsOf(g.def, g.dir, s.start.InvocationID); err != nil {
		g.stepsLost = true
		m.log.Warn().Str("unit", s.name).Err(err).Msg("commands around main cannot be run until it is started again")
	}
	return g
}

// populated reports whether the payload has processes.
func (g *generation) populated() bool {
	if g.cgroup == nil {
		return false
	}
	populated, err := g.cgroup.Populated()
	return populated || err != nil // who cannot be looked at is not taken for dead
}

// definition gives the unit as it was when the generation was started: the
// loaded one, unless its file has changed since.
func (m *Manager) definition(s *service, g *generation) *unit.Unit {
	if u := m.defs[s.name]; u != nil && g.number >= s.snap.Generation && m.config(u).Digest == s.start.Digest {
		return u
	}
	if u, err := unit.LoadSet([]string{filepath.Join(g.dir, "def")}, unit.Options{Lax: true}).Resolve(s.name); err == nil {
		return u
	}
	if u := m.defs[s.name]; u != nil {
		return u
	}
	return &unit.Unit{Name: s.name}
}

// openReaper finds the reaper by its cgroup.
func openReaper(c *launch.Generation) (*launch.Process, error) {
	if c == nil {
		return nil, fmt.Errorf("it has no cgroup")
	}
	proc, err := openListed(c.InitProcs)
	if proc == nil && err == nil {
		err = fmt.Errorf("it has no reaper")
	}
	return proc, err
}

// takeBack fetches the descriptors that the reaper keeps (pidfd_getfd(2)): the
// record itself, which may have lost its name, and the rest.
func (g *generation) takeBack() (err error) {
	get := func(n int) int {
		fd, e := unix.PidfdGetfd(g.reaper.PIDFD, n, 0)
		if e != nil {
			return 0
		}
		return fd
	}
	if g.record, g.doorbell = get(reaper.FDRecord), get(reaper.FDDoorbell); g.record == 0 || g.doorbell == 0 {
		return fmt.Errorf("cannot take the record from reaper %d (is kernel.yama.ptrace_scope 3, or CAP_SYS_PTRACE missing?)", g.reaper.PID)
	}
	if fd := get(reaper.FDNotify); fd != 0 {
		if g.notify, err = notify.FromFD(fd); err != nil {
			unix.Close(fd)
			return err
		}
	}
	return nil
}

// adoptLogs goes on reading where the staging files say that the last manager
// was.
func (m *Manager) adoptLogs(s *service, g *generation) error {
	for n, stream := range map[int]logs.Stream{reaper.FDStdout: logs.Stdout, reaper.FDStderr: logs.Stderr} {
		fd, err := unix.PidfdGetfd(g.reaper.PIDFD, n, 0)
		if err != nil {
			continue
		}
		if err := s.log.Attach(stream, fd); err != nil {
			return err
		}
	}
	if fd, err := unix.PidfdGetfd(g.reaper.PIDFD, reaper.FDSyslog, 0); err == nil {
		return s.log.AttachSyslog(fd)
	}
	return nil
}

// stepsOf gives the steps of the generation's start, for their names in errors.
// One that was adopted is compiled again, which only a start that was under way
// needs. Where that cannot be, or would give other steps, there is none.
func (m *Manager) stepsOf(g *generation) *isolate.Program {
	if g.program == nil && !g.stepsLost {
		svc, err := compile.Start(g.def, m.launcher.Host(), g.facts)
		if err == nil {
			g.program, err = isolate.Compile(svc.Spec, m.launcher.Host())
		}
		g.stepsLost = err != nil
	}
	return g.program
}
