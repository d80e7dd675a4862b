package supervisor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/reaper"
	"github.com/nsinit/nsinit/supervisor/machine"
	"github.com/nsinit/nsinit/supervisor/pidfile"
)

// forks reports whether exec_start of the unit leaves its main process behind.
func (g *generation) forks() bool { return g.def.Service.Type == "forking" }

// findMain carries out the effect FindMain.
func (m *Manager) findMain(e machine.FindMain) {
	g := m.find(e.Ref)
	switch {
	case g == nil || g.gone: // the loss of its reaper says all
	case e.Wait && g.named != 0:
		m.handle(machine.MainNamed{Ref: g.ref(), PID: g.mainPID, From: machine.FromNotify})
	case g.def.Service.PidFile == "":
		m.guessMain(g)
	case e.Wait:
		m.seekMain(g)
	default:
		m.readPidFile(g, 0, func(f pidfile.File, err error) {
			if err == nil && m.present(g) && g.fresh(f) {
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
		if inside := numberAt(left[0], g.depth()); inside != 0 && m.nameMain(g, inside, machine.FromGuess) {
			return
		}
	}
	if !g.empty() {
		m.handle(machine.MainUnnamed{Ref: g.ref(), Why: m.whyUnnamed(g, left)})
		return
	}
	m.askReaper(g, func() { // the cause before its effect: the start is not to look good for a moment
		m.handle(machine.PayloadEmpty{Ref: g.ref()})
		m.handle(machine.MainUnnamed{Ref: g.ref(), Why: m.whyUnnamed(g, left)})
	})
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

// mainRead draws the conclusion from what stands in pid_file, and reports
// whether the search is over. Where nobody is left it is the reaper that knows
// who there was.
func (m *Manager) mainRead(g *generation, f pidfile.File, err error) bool {
	m.readRecord(g)
	switch {
	case !m.wantsMain(g):
		return true
	case err == nil && g.fresh(f) && m.nameMain(g, f.PID, machine.FromPidFile):
		return true
	case g.empty():
		m.askReaper(g, func() {
			if m.mainUnnamed(g, f, err) {
				g.endSeek(m)
			}
		})
		return false
	}
	return m.mainUnnamed(g, f, err)
}

// wantsMain reports whether the unit still waits for its main process.
func (m *Manager) wantsMain(g *generation) bool {
	snap, _ := m.engine.State(g.unit)
	waits := snap.State == machine.Start || snap.State == machine.StartPost
	return waits && snap.Generation == g.number && snap.MainFrom == machine.FromExec && m.present(g)
}

// mainUnnamed is mainRead where no process of the payload is named: one that has
// ended may be.
func (m *Manager) mainUnnamed(g *generation, f pidfile.File, err error) bool {
	if !m.wantsMain(g) {
		return true
	}
	if err != nil {
		m.handle(machine.MainUnnamed{Ref: g.ref(), Why: "pid_file: " + err.Error()})
		return false
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

// present reports whether the generation still is its unit's, and not being
// taken down.
func (m *Manager) present(g *generation) bool { return !g.gone && !g.releasing && m.find(g.ref()) == g }

// succeeded looks whether main, which has ended, has put another in its place:
// one that pid_file names (forking daemons that re-execute themselves do, as
// systemd's manual has it). If not, then is called.
func (m *Manager) succeeded(g *generation, then func()) {
	snap, _ := m.engine.State(g.unit)
	if g.def.Service.PidFile == "" || !snap.State.Up() && snap.State.Active() != "activating" || !m.present(g) || g.empty() {
		then() // who is to end shall have no successor
		return
	}
	m.readPidFile(g, 0, func(f pidfile.File, err error) {
		if !m.present(g) {
			return // how it ended makes no difference any more
		}
		if err == nil && g.named == 0 && g.fresh(f) && m.nameMain(g, f.PID, machine.FromPidFile) {
			return
		}
		then()
	})
}
