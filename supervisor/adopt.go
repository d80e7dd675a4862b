package supervisor

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

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
			m.sweep(machine.Ref{Unit: f.Unit, Generation: f.Number}, f.Slice, func() {})
			continue
		}
		found[f.Unit] = a
		if err := m.watch(g); err != nil {
			m.problem(err)
		}
	}
	m.drop(inherited)
	m.startedWith()
	m.carryOut(m.engine.Adopt(slices.Collect(maps.Values(found)), now()))
	_, effects := m.install()
	m.carryOut(effects)
	m.handle(machine.Tick{})
	m.goOn()
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
	if err := m.netns.Prune(m.usesNetwork); err != nil {
		m.problem(err)
	}
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
	} else if g.def.Network.Mode == unit.NetworkPrivate { // it is in its namespaces
		if err := m.netns.Repin(g.unit, g.reaper.PID); err != nil {
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

// observe reads what the engine wants to know of a generation that was found.
// What it reads counts as reported.
func (m *Manager) observe(g *generation) machine.Observed {
	o := machine.Observed{Generation: g.number, Reaper: !g.gone, Populated: g.populated()}
	r, err := readRecord(g.record)
	if err != nil && !g.gone {
		r, err = g.askRecord()
	}
	if err != nil {
		m.services[g.unit].notice(logs.Warning, "the reaper's record is lost until its next entry: %v", err)
		return o
	}
	g.last = r
	g.matchCommands(int(r.Count))
	if r.Phase == reaper.SetupFailed {
		g.setup = true
		o.Setup = m.setupFailure(g, r)
		return o
	}
	for i := range min(int(r.Count), len(g.commands)) {
		m.observeProgram(g, r, i, &o)
	}
	g.observeNamed(r, &o)
	if g.named != 0 {
		m.watchNamed(g)
	}
	m.tellMain(g)
	return o
}

// matchCommands has as many commands as the reaper has programs. Where the
// definition that it was started with is lost they are guessed: the last is
// main, which is what matters for its supervision.
func (g *generation) matchCommands(count int) {
	if len(g.commands) == count {
		return
	}
	g.stepsLost, g.commands = true, make([]command, count)
	for i := range g.commands {
		g.commands[i] = command{machine.KindStartPre, i}
	}
	if count > 0 {
		g.commands[count-1] = command{machine.KindStart, 0}
	}
}

// firstWrite bounds how long a launch that was under way when the manager was
// killed may take to its first entry in the record.
const firstWrite = 2 * time.Second

// waitWritten waits for a reaper that is still in its first steps: until it has
// written, its descriptors may not be where they belong. The record is whole
// zeros then, as it was allocated.
func (g *generation) waitWritten() error {
	path := filepath.Join(g.dir, "record")
	events, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("cannot watch the record: %w", os.NewSyscallError("inotify_init1", err))
	}
	defer unix.Close(events)
	if _, err := unix.InotifyAddWatch(events, path, unix.IN_MODIFY); err != nil {
		return nil // it has lost its name, so it was there for long
	}
	deadline := time.Now().Add(firstWrite)
	for unwritten(path) {
		if !waitFD(events, unix.POLLIN, deadline) {
			return fmt.Errorf("reaper %d has written nothing for %v: a step of its set-up hangs", g.reaper.PID, firstWrite)
		}
		var b [4096]byte
		unix.Read(events, b[:])
	}
	return nil
}

// unwritten reports whether a record is as it was allocated: of full size, and
// empty.
func unwritten(path string) bool {
	b, err := os.ReadFile(path)
	return err == nil && len(b) >= reaper.NamedOffset && len(bytes.Trim(b, "\x00")) == 0
}

// askRecord has the reaper write its record again, after somebody has damaged
// the file: a SIGCHLD from outside its namespace is the one thing that it
// listens to.
func (g *generation) askRecord() (*reaper.Record, error) {
	for range 3 { // one that was pending already hides ours
		if err := g.reaper.Signal(syscall.SIGCHLD); err != nil {
			return nil, err
		}
		waitFD(g.doorbell, unix.POLLIN, time.Now().Add(time.Second))
		if r, err := readRecord(g.record); err == nil {
			return r, nil
		}
	}
	return readRecord(g.record)
}

// observeNamed looks after a main process that the service named itself
// (MAINPID=): its number stands beside the record.
func (g *generation) observeNamed(r *reaper.Record, o *machine.Observed) {
	var b [4]byte
	if n, err := unix.Pread(g.record, b[:], reaper.NamedOffset); err != nil || n != len(b) || len(o.Mains) == 0 {
		return
	}
	named := int32(binary.NativeEndian.Uint32(b[:]))
	if named == 0 {
		return
	}
	last := &o.Mains[len(o.Mains)-1]
	if r.Named.PID == named {
		last.PID, last.Status = 0, waitStatus(r.Named.Status)
		return
	}
	if fd, pid := g.findInside(int(named)); pid != 0 {
		g.dropMain()
		g.main, g.mainPID, g.named = fd, pid, named
		last.PID, last.Status = pid, machine.Status{}
	}
}

func (m *Manager) observeProgram(g *generation, r *reaper.Record, i int, o *machine.Observed) {
	p, c := r.Programs[i], g.commands[i]
	g.seen = append(g.seen, p.State)
	switch p.State {
	case reaper.NotStarted:
		return
	case reaper.CloneFailed, reaper.NotExecuted:
		o.Setup = m.programFailure(g, r, i)
		return
	case reaper.Executed, reaper.Ended:
	}
	seen := machine.Program{Kind: c.kind, Index: c.index}
	if p.State == reaper.Executed {
		seen.PID = g.fetchMain(p.PID)
	} else {
		seen.Status = waitStatus(p.Status)
	}
	if c.kind == machine.KindStart {
		o.Mains = append(o.Mains, seen)
	} else {
		o.Programs = append(o.Programs, seen)
	}
}
