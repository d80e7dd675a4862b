package supervisor

import (
	"encoding/binary"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/reaper"
	"github.com/nsinit/nsinit/supervisor/machine"
)

// nameMain makes another process main, which has this number inside: it finds
// it among those of the payload, and tells the reaper, so that its exit is kept
// apart. It reports false if there is no such process.
func (m *Manager) nameMain(g *generation, inside int, from machine.MainFrom) bool {
	at := int64(now())
	fd, pid := g.findInside(inside)
	if pid == 0 || g.forks() && !g.forkStarted() {
		if pid != 0 {
			unix.Close(fd)
		}
		return false
	}
	g.dropMain()
	g.main, g.mainPID, g.named, g.namedAt = fd, pid, int32(inside), at
	b := binary.NativeEndian.AppendUint32(nil, uint32(inside))
	if _, err := unix.Pwrite(g.record, b, reaper.NamedOffset); err != nil {
		m.problem(fmt.Errorf("%s: cannot name main process %d to the reaper: %w", g.unit, inside, err))
	}
	m.tellMain(g)
	m.watchNamed(g)
	m.handle(machine.MainNamed{Ref: g.ref(), PID: pid, From: from})
	return true
}

// forkStarted reports whether exec_start of a forking service has been executed:
// before it there is nobody who could be main.
func (g *generation) forkStarted() bool {
	n := len(g.seen)
	return n > 0 && n == len(g.commands) && g.seen[n-1] >= reaper.Executed
}

// watchNamed hears of the end of a main process that the service named. The
// reaper may have taken its exit and not written it yet, so it is asked: what
// it writes then has every exit before. A process that has another parent is
// waited for by that: its status is what the kernel still tells of it.
func (m *Manager) watchNamed(g *generation) {
	fd, pid := g.main, g.mainPID
	g.forget = func() { m.poller.Remove(fd) }
	err := m.poller.Add(fd, unix.EPOLLIN, func(uint32) {
		m.poller.Remove(fd)
		if g.gone {
			return // nobody left to ask; the loss of the reaper says all
		}
		g.asked = true
		g.reaper.Signal(syscall.SIGCHLD)
	})
	if err != nil {
		m.problem(fmt.Errorf("%s: cannot watch main process %d: %w", g.unit, pid, err))
	}
}

// namedAnswered draws the conclusion from a record that was asked for.
func (m *Manager) namedAnswered(g *generation) {
	if g.asked && g.named != 0 {
		m.lastWords(g) // which may name another
	}
	if !g.asked {
		return
	}
	g.asked = false
	if g.named == 0 || parentOf(g.mainPID) == g.reaper.PID {
		return
	}
	e, reaped := g.last.ExitOf(g.named)
	g.named = 0
	if reaped && e.Time >= g.namedAt { // before it could read the name
		m.mainEnded(g, g.mainIndex(), e.Status)
		return
	}
	m.mainEnded(g, g.mainIndex(), statusOf(g.main))
}

// unknownStatus is no status that wait(2) gives.
const unknownStatus = 0x7f

// parentOf gives the parent of a process, 0 if there is no such process
// (proc_pid_status(5)).
func parentOf(pid int) int { return statusField(pid, "PPid:") }

// findInside opens the payload's process that has this number inside.
func (g *generation) findInside(inside int) (pidfd, pid int) {
	if g.cgroup == nil {
		return 0, 0
	}
	procs, err := g.cgroup.Procs()
	if err != nil {
		return 0, 0
	}
	for _, pid := range procs {
		if g.insidePID(pid) != inside {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			return 0, 0
		}
		if g.insidePID(pid) == inside && g.cgroup.Has(pid) { // else it ended, and the number is another's now
			return fd, pid
		}
		unix.Close(fd)
	}
	return 0, 0
}

// insidePID gives the number that process pid has in the PID namespace of the
// reaper, 0 if there is no such process: one that made a namespace of its own
// has further numbers.
func (g *generation) insidePID(pid int) int {
	numbers := statusLine(pid, "NSpid:")
	depth := len(numbers)
	if g.reaper != nil && !g.gone {
		depth = len(statusLine(g.reaper.PID, "NSpid:"))
	}
	if depth == 0 || depth > len(numbers) {
		return 0
	}
	return numbers[depth-1]
}
