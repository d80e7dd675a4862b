package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/isolate/launch"
	"github.com/nsinit/nsinit/reaper"
	"github.com/nsinit/nsinit/supervisor/compile"
	"github.com/nsinit/nsinit/supervisor/machine"
	"github.com/nsinit/nsinit/supervisor/notify"
	"github.com/nsinit/nsinit/unit"
)

// generation is one start of a unit: its cgroups, its reaper, and what the
// manager holds of both. A new manager makes the same from what it finds.
type generation struct {
	unit     string
	number   uint64
	def      *unit.Unit
	dir      string     // below the runtime directory
	inDir    sync.Mutex // held by workers while they make or remove files there
	removed  bool       // nothing is to be made in dir any more; under inDir
	facts    compile.Facts
	program  *isolate.Program // of the start, until main runs; see stepsOf
	commands []command        // what the record's programs are, in order

	since     int64 // when it was asked for, nanoseconds of CLOCK_BOOTTIME; 0: nobody knows
	stepsLost bool  // nobody knows the program any more, nor can it be made again

	cgroup *launch.Generation
	reaper *launch.Process
	child  bool // the reaper is a child of this manager, to be waited for
	gone   bool // it has ended and was waited for

	record   int // the record's file
	doorbell int
	events   int // main/cgroup.events
	memory   int // main/memory.events, 0 without the memory controller
	oomKills uint64
	notify   *notify.Socket
	followed bool // its log follows the files that it writes itself

	seen    []reaper.ProgramState // what was reported of each program
	last    *reaper.Record
	setup   bool // a failed set-up was reported
	main    int  // pidfd of the main process, 0 if it is not known
	mainPID int  // its number here; named is its number inside, if it was named and not started as main
	named   int32
	namedAt int64            // when that was, nanoseconds of CLOCK_BOOTTIME
	seek    *seek            // the search for it, while there is one
	cleared bool             // pid_file was removed
	asks    []question       // of the reaper
	forget  func()           // ends watching a named main process
	asked   bool             // it has ended, and the reaper was asked what it knows
	early   *notify.Received // a datagram from before the news of its sender
	refused bool             // a notification was refused, and the log says so
	hooks   map[uint64]*hook

	inherited map[keptName]int // commands around main that an earlier manager started, by their pidfds

	releasing bool
	again     bool     // another start follows as soon as nothing of it lives
	ended     []func() // to be called when nothing of it is left
}

// command is what stands at one place of a reaper's program.
type command struct {
	kind  machine.Kind
	index int
}

func (g *generation) ref() machine.Ref { return machine.Ref{Unit: g.unit, Generation: g.number} }

// commandsOf lists what the reaper runs for u, in order.
func commandsOf(u *unit.Unit) (list []command) {
	for _, k := range []struct {
		kind machine.Kind
		n    int
	}{{machine.KindCondition, len(u.Service.ExecCondition)}, {machine.KindStartPre, len(u.Service.ExecStartPre)}, {machine.KindStart, len(u.Service.ExecStart)}} {
		for i := range k.n {
			list = append(list, command{k.kind, i})
		}
	}
	return list
}

// watch has the loop hear of everything that the kernel and the reaper say.
func (m *Manager) watch(g *generation) error {
	if g.cgroup == nil {
		return fmt.Errorf("cannot watch generation %d of %s: it has no cgroup", g.number, g.unit)
	}
	var err error
	if g.events, err = g.cgroup.EventsFD(); err != nil {
		return err
	}
	add := func(fd int, events uint32, f func()) {
		if fd != 0 && err == nil {
			err = m.poller.Add(fd, events, func(uint32) { f() })
		}
	}
	add(g.doorbell, unix.EPOLLIN, func() { m.rung(g) })
	add(g.events, unix.EPOLLPRI, func() { m.payload(g) })
	if !g.gone {
		add(g.reaper.PIDFD, unix.EPOLLIN, func() { m.reaperEnded(g) })
	}
	if g.notify != nil {
		add(g.notify.FD(), unix.EPOLLIN, func() { m.notified(g) })
	}
	g.watchOOM(add, m)
	if err != nil {
		return fmt.Errorf("cannot watch generation %d: %w", g.number, err)
	}
	return nil
}

// watchOOM listens to memory.events, where there is a memory controller.
func (g *generation) watchOOM(add func(int, uint32, func()), m *Manager) {
	if _, err := g.cgroup.OOMKills(); err != nil {
		return
	}
	// The first look counts from 0: what was killed before it, by a launch that
	// was quick or while no manager ran, has not been told.
	path := filepath.Join(m.cgroups.Mount(), g.cgroup.Path(), "main", "memory.events")
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	g.memory = fd
	add(fd, unix.EPOLLPRI, func() { m.oom(g) })
}

func (m *Manager) oom(g *generation) {
	readEvents(g.memory)
	kills, err := g.cgroup.OOMKills()
	if err == nil && kills > g.oomKills {
		g.oomKills = kills
		m.handle(machine.OOMKilled{Ref: g.ref()})
	}
}

// rung reads the doorbell and then the record.
func (m *Manager) rung(g *generation) {
	var b [8]byte
	unix.Read(g.doorbell, b[:])
	m.readRecord(g)
	if g.early != nil {
		m.listen(g, notifyBatch)
	}
	m.namedAnswered(g)
	m.answer(g)
}

// payload passes on that the payload's cgroup has become empty. The record's
// news goes first: main's end explains the emptiness.
func (m *Manager) payload(g *generation) {
	if !g.empty() {
		return
	}
	m.readRecord(g)
	if g.empty() { // still: the record may have told of a program that was started since
		m.handle(machine.PayloadEmpty{Ref: g.ref()})
		m.leftoverEmpty(g)
	}
}

// empty reports whether the payload has no process, by the watched file, which
// is quiet then until that changes.
func (g *generation) empty() bool {
	if events := readEvents(g.events); events != nil {
		return bytes.Contains(events, []byte("populated 0"))
	}
	return !g.populated() // it was removed by somebody, or cannot be watched
}

// readEvents reads a cgroup's event file from its start: only that makes the
// descriptor quiet again until the next event (cgroups v2, kernfs_generic_poll).
func readEvents(fd int) []byte {
	b := make([]byte, 512)
	n, err := unix.Pread(fd, b, 0)
	if err != nil {
		return nil
	}
	return b[:n]
}

// reaperEnded takes the reaper's exit. Nobody but a release should have ended
// it, so how it ended is told: the rest has to be looked for outside.
func (m *Manager) reaperEnded(g *generation) {
	m.poller.Remove(g.reaper.PIDFD)
	if g.releasing {
		return // the release waits for it
	}
	m.readRecord(g)
	status := waitStatus(g.waitReaper())
	m.log.Error().Str("unit", g.unit).Uint64("generation", g.number).Msg("the reaper " + ended(status))
	m.handle(machine.ReaperLost{Ref: g.ref(), Status: status})
}

// waitReaper takes the exit of a reaper that has ended, and gives its status.
func (g *generation) waitReaper() (status uint32) {
	if g.gone {
		return unknownStatus
	}
	g.gone = true
	if !g.child {
		defer unix.Close(g.reaper.PIDFD)
		return statusOf(g.reaper.PIDFD)
	}
	ws, err := g.reaper.Wait()
	if err != nil {
		return unknownStatus
	}
	return uint32(ws)
}

// readRecord reads the reaper's record and tells the engine what is new in it.
func (m *Manager) readRecord(g *generation) {
	r, err := readRecord(g.record)
	if err != nil {
		return // truncated or being written: the next write is whole again, and rings
	}
	g.last = r
	if r.Phase == reaper.SetupFailed && !g.setup {
		g.setup = true
		m.handle(machine.SetupFailed{Ref: g.ref(), Setup: m.setupFailure(g, r)})
		return
	}
	m.follow(g)
	for i := range min(int(r.Count), len(g.commands)) {
		m.program(g, r, i)
	}
	if g.namedEnded(r) {
		m.lastWords(g)
	}
	if g.namedEnded(r) { // still: it has named no successor
		g.named = 0
		m.mainEnded(g, g.mainIndex(), r.Named.Status)
	}
	if g.throughWithoutMain(r) {
		m.withoutMain(g)
	}
}

// mainIndex is the line of exec_start that main is of.
func (g *generation) mainIndex() int {
	if n := len(g.commands); n > 0 && g.commands[n-1].kind == machine.KindStart {
		return g.commands[n-1].index
	}
	return 0
}

// lastMain is the record's entry of a main that runs.
func (g *generation) lastMain() (reaper.Program, bool) {
	if g.last == nil || g.gone {
		return reaper.Program{}, false
	}
	p, ok := g.last.Main()
	return p, ok && p.State == reaper.Executed
}

// throughWithoutMain reports whether everything that the reaper was to run has
// ended and there was no exec_start among it.
func (g *generation) throughWithoutMain(r *reaper.Record) bool {
	if n := len(g.commands); n > 0 && g.commands[n-1].kind == machine.KindStart || r.Phase < reaper.Stopped {
		return false
	}
	for _, s := range g.seen {
		if s == reaper.NotStarted || s == reaper.Executed {
			return false
		}
	}
	return len(g.seen) == len(g.commands)
}

// withoutMain has a oneshot without exec_start, of which the record has nothing
// to tell, be done with it.
func (m *Manager) withoutMain(g *generation) {
	snap, _ := m.engine.State(g.unit)
	if snap.Generation != g.number {
		return
	}
	switch snap.State {
	case machine.Launching, machine.Condition, machine.StartPre:
		m.handle(machine.MainStarted{Ref: g.ref()})
		m.handle(machine.MainExited{Ref: g.ref(), Status: machine.Status{Code: machine.CodeExited}})
	default: // it is through already, or a command before failed
	}
}

// tornReads is how often a record is read that is being written, which takes
// microseconds. One that stays so was left half-written, and must not hold the loop.
const tornReads = 1000

// readRecord reads until the reaper is not writing.
func readRecord(fd int) (*reaper.Record, error) {
	b := make([]byte, reaper.Size)
	for try := 1; ; try++ {
		n, err := unix.Pread(fd, b, 0)
		if err != nil {
			return nil, os.NewSyscallError("pread", err)
		}
		r, err := reaper.Decode(b[:n])
		if !errors.Is(err, reaper.ErrTorn) || try == tornReads {
			return r, err
		}
	}
}

// program tells what is new of program i.
func (m *Manager) program(g *generation, r *reaper.Record, i int) {
	p, c := r.Programs[i], g.commands[i]
	for len(g.seen) <= i {
		g.seen = append(g.seen, reaper.NotStarted)
	}
	if g.seen[i] == p.State {
		return
	}
	before := g.seen[i]
	g.seen[i] = p.State
	switch p.State {
	case reaper.NotStarted:
	case reaper.CloneFailed, reaper.NotExecuted:
		m.handle(machine.SetupFailed{Ref: g.ref(), Setup: m.programFailure(g, r, i)})
	case reaper.Executed, reaper.Ended:
		if before == reaper.NotStarted {
			m.programStarted(g, r, i)
		}
		if p.State != reaper.Ended {
			return
		}
		if c.kind != machine.KindStart || g.forks() {
			if c.kind == machine.KindStart {
				m.lastWords(g) // which may name main
			}
			if g.named == 0 {
				g.dropMain()
			}
			m.handle(machine.ProgramExited{Ref: g.ref(), Kind: c.kind, Index: c.index, Status: waitStatus(p.Status)})
			return
		}
		m.lastWords(g)
		if g.named == 0 || i < len(g.commands)-1 {
			m.mainEnded(g, c.index, p.Status)
		}
	}
}

func (m *Manager) programStarted(g *generation, r *reaper.Record, i int) {
	c := g.commands[i]
	pid := 0
	if g.named != 0 {
		pid = g.mainPID // MAINPID= overtook the reaper's news of who sent it
	} else if uint32(i) == r.Count-1 || r.Programs[i+1].State == reaper.NotStarted {
		pid = g.fetchMain(r.Programs[i].PID)
	}
	if uint32(i) == r.Count-1 {
		g.program = nil // no step is left that could fail, and it is large
	}
	if c.kind == machine.KindStart && !g.forks() {
		m.tellMain(g)
		m.handle(machine.MainStarted{Ref: g.ref(), Index: c.index, PID: pid})
		return
	}
	m.handle(machine.ProgramStarted{Ref: g.ref(), Kind: c.kind, Index: c.index, PID: pid})
}

func (m *Manager) mainEnded(g *generation, index int, status uint32) {
	g.dropMain()
	m.succeeded(g, func() {
		m.handle(machine.MainExited{Ref: g.ref(), Index: index, Status: waitStatus(status), Left: !g.empty()})
	})
}

// waitStatus puts a status of wait(2) in the engine's words.
func waitStatus(status uint32) machine.Status {
	ws := syscall.WaitStatus(status)
	switch {
	case ws.Exited():
		return machine.Status{Code: machine.CodeExited, Value: ws.ExitStatus()}
	case ws.CoreDump():
		return machine.Status{Code: machine.CodeDumped, Value: int(ws.Signal())}
	case ws.Signaled():
		return machine.Status{Code: machine.CodeKilled, Value: int(ws.Signal())}
	}
	return machine.Status{Code: machine.CodeUnknown}
}

// setupFailure says where the namespaces' set-up failed.
func (m *Manager) setupFailure(g *generation, r *reaper.Record) machine.Setup {
	p := m.stepsOf(g)
	if p == nil {
		return machine.Setup{Errno: int(r.SetupErrno), Class: int(isolate.ClassNamespace),
			Text: fmt.Sprintf("step %d of the set-up: %v", r.SetupStep+1, syscall.Errno(r.SetupErrno))}
	}
	return setupOf(launch.SetupError(p, r))
}

// programFailure says at which step program i was not executed.
func (m *Manager) programFailure(g *generation, r *reaper.Record, i int) machine.Setup {
	c := g.commands[i]
	s := machine.Setup{Errno: int(r.Programs[i].Errno), Text: fmt.Sprintf("step %d: %v", r.Programs[i].Step+1, syscall.Errno(r.Programs[i].Errno))}
	if p := m.stepsOf(g); p != nil && i < len(p.Execs) {
		s = setupOf(launch.ProgramError(p, r, i))
	}
	s.Program, s.Index = c.kind, c.index
	return s
}

func setupOf(e *launch.StepError) machine.Setup {
	return machine.Setup{Step: e.Step, Errno: int(e.Errno), Class: int(e.Class), Text: strings.TrimPrefix(e.Error(), e.Unit+": cannot start: ")}
}

// close closes what the manager holds of the generation; the processes, if
// any, are not touched.
func (g *generation) close() {
	g.dropMain()
	for _, fd := range []int{g.record, g.doorbell, g.events, g.memory} {
		if fd != 0 {
			unix.Close(fd)
		}
	}
	if g.early != nil {
		g.early.Done()
		g.early = nil
	}
	if g.notify != nil {
		g.notify.Close()
	}
	if g.reaper != nil && !g.gone {
		unix.Close(g.reaper.PIDFD)
	}
	if g.cgroup != nil {
		g.cgroup.Close()
	}
	g.record, g.doorbell, g.events, g.memory, g.notify, g.cgroup, g.gone = 0, 0, 0, 0, nil, nil, true
}

// unwatch has the loop hear no more of the generation.
func (m *Manager) unwatch(g *generation) {
	g.forgetNamed()
	g.endSeek(m)
	for _, fd := range []int{g.doorbell, g.events, g.memory} {
		if fd != 0 {
			m.poller.Remove(fd)
		}
	}
	if g.notify != nil {
		m.poller.Remove(g.notify.FD())
	}
	if g.reaper != nil && !g.gone {
		m.poller.Remove(g.reaper.PIDFD)
	}
}
