package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/reaper"
	"github.com/nsinit/nsinit/supervisor/machine"
	"github.com/nsinit/nsinit/supervisor/pidfile"
)

// seek is the search for the main process of a forking service by its pid_file:
// the file is read again whenever the kernel says that it may have changed. It
// belongs to the loop; the reading is a goroutine's, since the service's file
// systems may be its own and slow.
type seek struct {
	events int  // inotify(7)
	busy   bool // the file is being read
	again  bool // it has changed meanwhile
	over   bool // nobody wants to know any more
}

// forks reports whether exec_start of the unit leaves its main process behind.
func (g *generation) forks() bool { return g.def.Service.Type == "forking" }

// findMain carries out the effect FindMain.
func (m *Manager) findMain(e machine.FindMain) {
	g := m.find(e.Ref)
	switch {
	case g == nil || g.gone: // the loss of its reaper says all
	case g.forks() && g.named != 0:
		m.handle(machine.MainNamed{Ref: g.ref(), PID: g.mainPID, From: machine.FromNotify})
	case g.def.Service.PidFile == "":
		m.guessMain(g)
	case e.Wait:
		m.seekMain(g)
	default:
		m.readPidFile(g, 0, func(f pidfile.File, err error) {
			if err == nil && g.fresh(f) {
				m.nameMain(g, f.PID, machine.FromPidFile)
			}
		})
	}
}

// guessMain takes the one process that the reaper is the parent of, as systemd
// takes its only child. Who is named runs in the payload's cgroup.
func (m *Manager) guessMain(g *generation) {
	var left []int
	if g.def.Service.GuessMainPid {
		left = g.orphans()
	}
	if len(left) == 1 {
		if inside := g.insidePID(left[0]); inside != 0 && m.nameMain(g, inside, machine.FromGuess) {
			return
		}
	}
	why := m.whyUnnamed(g, left)
	if g.empty() { // the cause before its effect: the start is not to look good for a moment
		m.handle(machine.PayloadEmpty{Ref: g.ref()})
	}
	m.handle(machine.MainUnnamed{Ref: g.ref(), Why: why})
}

// orphans are the processes of the payload whose parent is the reaper.
func (g *generation) orphans() (left []int) {
	procs, err := g.cgroup.Procs()
	if err != nil {
		return nil
	}
	for _, pid := range procs {
		if parentOf(pid) == g.reaper.PID {
			left = append(left, pid)
		}
	}
	slices.Sort(left)
	return left
}

func (m *Manager) whyUnnamed(g *generation, left []int) string {
	switch {
	case !g.def.Service.GuessMainPid:
		return "there is no pid_file, and guess_main_pid is false"
	case len(left) > 1:
		return fmt.Sprintf("exec_start left %d processes (%s), and which of them is main cannot be told without pid_file", len(left), joinNumbers(left))
	case g.empty():
		return "what exec_start left had ended before it could be named, and which process was main is unknown without pid_file" + g.endings()
	}
	return "exec_start left no process of its own; pid_file can name main"
}

// endings tells how the last processes ended that the reaper has taken in.
func (g *generation) endings() string {
	r := g.last
	if r == nil {
		return ""
	}
	var list []string
	for i := range min(r.Exits, reaper.RingSize) {
		e := r.Ring[(r.Exits-1-i)%reaper.RingSize]
		ours := slices.ContainsFunc(r.Programs[:], func(p reaper.Program) bool { return p.PID == e.PID })
		if !ours && len(list) < 3 {
			list = append(list, fmt.Sprintf("%d %s", e.PID, ended(waitStatus(e.Status))))
		}
	}
	if len(list) == 0 {
		return ""
	}
	slices.Reverse(list)
	return ": " + strings.Join(list, ", ")
}

func joinNumbers(list []int) string {
	words := make([]string, len(list))
	for i, n := range list {
		words[i] = strconv.Itoa(n)
	}
	return strings.Join(words, ", ")
}

// seekMain looks into pid_file, and goes on looking.
func (m *Manager) seekMain(g *generation) {
	if g.seek == nil {
		events, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
		if err == nil {
			k := &seek{events: events}
			g.seek = k
			err = m.poller.Add(events, unix.EPOLLIN, func(uint32) { m.pidFileChanged(g, k) })
		}
		if err != nil {
			g.endSeek(m)
			m.problem(fmt.Errorf("%s: cannot wait for pid_file: %w", g.unit, err))
			m.handle(machine.MainUnnamed{Ref: g.ref(), Why: "pid_file cannot be waited for: " + err.Error()})
			return
		}
	}
	m.lookAgain(g, g.seek)
}

func (m *Manager) pidFileChanged(g *generation, k *seek) {
	var b [4096]byte
	for {
		if n, err := unix.Read(k.events, b[:]); n <= 0 || err != nil {
			break
		}
	}
	m.lookAgain(g, k)
}

// lookAgain reads the file once more, once at a time.
func (m *Manager) lookAgain(g *generation, k *seek) {
	if k.busy {
		k.again = true
		return
	}
	k.busy, k.again = true, false
	m.readPidFile(g, k.events, func(f pidfile.File, err error) {
		k.busy = false
		switch {
		case k.over:
			unix.Close(k.events)
		case m.mainRead(g, f, err):
			g.endSeek(m)
		case k.again:
			m.lookAgain(g, k)
		}
	})
}

// endSeek stops looking. A read that is under way closes behind itself.
func (g *generation) endSeek(m *Manager) {
	k := g.seek
	if k == nil {
		return
	}
	g.seek, k.over = nil, true
	m.poller.Remove(k.events)
	if !k.busy {
		unix.Close(k.events)
	}
}

// readPidFile reads the unit's pid_file, watched by the inotify descriptor
// events if that is not 0, and calls done on the loop.
func (m *Manager) readPidFile(g *generation, events int, done func(pidfile.File, error)) {
	root, err := g.root()
	if err != nil {
		m.poller.Post(func() { done(pidfile.File{}, err) })
		return
	}
	name := g.def.Service.PidFile
	m.background(func() {
		defer unix.Close(root)
		var watchErr error
		if events != 0 {
			watchErr = pidfile.Watch(events, root, name)
		}
		f, err := pidfile.Read(root, name)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || watchErr == nil {
			watchErr = nil
		}
		m.poller.Post(func() { done(f, errors.Join(err, watchErr)) })
	})
}

// root opens the root of the service, as it is behind the reaper's. Before the
// set-up is through that may be the machine's.
func (g *generation) root() (int, error) {
	switch {
	case !g.def.Isolation.Namespaces.Mount:
		return openRoot("/")
	case g.gone || g.reaper == nil || g.last == nil || g.last.Phase <= reaper.SetupFailed:
		return 0, errors.New("cannot open the service's root: its reaper is not there")
	}
	fd, err := openRoot(fmt.Sprintf("/proc/%d/root", g.reaper.PID))
	if err == nil && g.reaper.Signal(0) != nil { // the number may be another's now
		unix.Close(fd)
		err = errors.New("cannot open the service's root: its reaper has ended")
	}
	return fd, err
}

func openRoot(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("cannot open the service's root: %w", &os.PathError{Op: "open", Path: path, Err: err})
	}
	return fd, nil
}

// mainRead draws the conclusion from what stands in pid_file, and reports
// whether there is a main process now, be it one that has ended: then it is the
// reaper that knows how.
func (m *Manager) mainRead(g *generation, f pidfile.File, err error) bool {
	if g.gone || g.releasing {
		return true // nobody waits any more
	}
	m.readRecord(g)
	snap, _ := m.engine.State(g.unit)
	if snap.Generation != g.number || snap.MainFrom != machine.FromExec || !snap.State.Up() && snap.State.Active() != "activating" {
		return true
	}
	if err != nil {
		m.handle(machine.MainUnnamed{Ref: g.ref(), Why: "pid_file: " + err.Error()})
		return false
	}
	if g.fresh(f) && m.nameMain(g, f.PID, machine.FromPidFile) {
		return true
	}
	e, ended := g.last.ExitOf(int32(f.PID))
	if ended && (g.empty() || g.fresh(f) && e.Status != 0) { // a good end may hand over to another that is about to write
		m.handle(machine.MainExited{Ref: g.ref(), Status: waitStatus(e.Status)})
		return true
	}
	m.handle(machine.MainUnnamed{Ref: g.ref(), Why: g.whyNot(f, e, ended)})
	return false
}

// whyNot says why the process that pid_file names is not main.
func (g *generation) whyNot(f pidfile.File, e reaper.Exit, hasEnded bool) string {
	name := g.def.Service.PidFile
	switch {
	case !g.fresh(f):
		return fmt.Sprintf("pid_file: %s names process %d, and is older than this start", name, f.PID)
	case hasEnded:
		return fmt.Sprintf("pid_file: %s names process %d, which %s", name, f.PID, ended(waitStatus(e.Status)))
	}
	return fmt.Sprintf("pid_file: %s, a file of user %d, names process %d, which is no process of this service", name, f.UID, f.PID)
}

// ctimeStep is how much a file's time may lie before the clock's: it is the
// kernel's coarse clock (current_time, fs/inode.c).
const ctimeStep = 10 * time.Millisecond

// fresh reports whether a file was changed since the start. What an earlier one
// left names a number that may be another's by now, and in a PID namespace mostly
// is. The clock may have been set meanwhile: older counts only by both of its
// readings, that of today and that of the start, which made the record's file.
func (g *generation) fresh(f pidfile.File) bool {
	if f.Changed.IsZero() {
		return false
	}
	changed := f.Changed.Add(ctimeStep)
	if !changed.Before(clockNow().at(machine.Instant(g.since))) {
		return true
	}
	var st unix.Statx_t
	err := unix.Statx(g.record, "", unix.AT_EMPTY_PATH, unix.STATX_BTIME, &st)
	return err == nil && st.Mask&unix.STATX_BTIME != 0 && !changed.Before(time.Unix(st.Btime.Sec, int64(st.Btime.Nsec)))
}

// succeeded looks whether main, which has ended, has put another in its place:
// one that pid_file names (forking daemons that re-execute themselves do, as
// systemd's manual has it). If not, then is called.
func (m *Manager) succeeded(g *generation, then func()) {
	if g.def.Service.PidFile == "" || g.releasing || g.gone || g.empty() {
		then()
		return
	}
	m.readPidFile(g, 0, func(f pidfile.File, err error) {
		if err == nil && g.named == 0 && g.fresh(f) && m.nameMain(g, f.PID, machine.FromPidFile) {
			return
		}
		then()
	})
}

// removePidFile removes pid_file, which is out of date, and calls done on the loop.
func (m *Manager) removePidFile(g *generation, done func()) {
	root, err := g.root()
	if err != nil {
		done() // with its root, or before it had one
		return
	}
	m.background(func() {
		err := pidfile.Remove(root, g.def.Service.PidFile)
		unix.Close(root)
		m.poller.Post(func() {
			if err != nil {
				m.log.Warn().Str("unit", g.unit).Err(err).Msg("pid_file stays")
			}
			done()
		})
	})
}
