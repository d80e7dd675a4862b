package supervisor

import (
	"encoding/binary"
	"fmt"
	"syscall"
	"time"

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
		m.ask(g)
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

// question waits for the reaper to write its record again.
type question struct {
	seq  uint64 // of the record when it was asked
	then func()
}

// askReaper calls then on the loop when the reaper has written the record anew:
// it has the exit of every process that has ended by now, which the cgroup's
// emptiness may overtake. One that is dying, and takes the payload with it, never
// answers; its loss is told by itself.
func (m *Manager) askReaper(g *generation, then func()) {
	q := question{then: then}
	if r, err := readRecord(g.record); err == nil {
		q.seq = r.Seq
	}
	g.asks = append(g.asks, q)
	m.ask(g)
}

// askPause is how long an answer of the reaper may take before it is asked again.
const askPause = 100 * time.Millisecond

// ask has the reaper write its record. A SIGCHLD that was pending there already,
// for a child that it has long reaped, hides ours: so it is repeated.
func (m *Manager) ask(g *generation) {
	g.reaper.Signal(syscall.SIGCHLD)
	time.AfterFunc(askPause, func() {
		m.poller.Post(func() {
			if m.present(g) && (g.asked || len(g.asks) > 0) {
				m.ask(g)
			}
		})
	})
}

// answer calls those whose question the record answers.
func (m *Manager) answer(g *generation) {
	asked := g.asks
	g.asks = nil
	for i, q := range asked {
		if g.last == nil || g.last.Seq <= q.seq {
			g.asks = append(g.asks, asked[i])
			continue
		}
		q.then()
	}
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
	depth := g.depth()
	for _, pid := range procs {
		if numberAt(pid, depth) != inside {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			return 0, 0
		}
		if numberAt(pid, depth) == inside && g.cgroup.Has(pid) { // else it ended, and the number is another's now
			return fd, pid
		}
		unix.Close(fd)
	}
	return 0, 0
}

// depth is how deep the reaper's PID namespace lies below this one's, from 1;
// 0 if nobody knows any more. What a service sees is counted there.
func (g *generation) depth() int {
	if g.reaper == nil || g.gone {
		return 0
	}
	return len(statusLine(g.reaper.PID, "NSpid:"))
}

// numberAt gives the number that process pid has in the PID namespace of that
// depth, the last of its own if that is 0 (NSpid, proc_pid_status(5)); 0 if there is
// no such process. One that made a namespace of its own has a further number.
func numberAt(pid, depth int) int {
	numbers := statusLine(pid, "NSpid:")
	switch {
	case depth == 0:
		return last(numbers)
	case depth > len(numbers):
		return 0
	}
	return numbers[depth-1]
}

// namedEnded reports whether the record has the end of the process that was
// named, and not of an earlier one of that number.
func (g *generation) namedEnded(r *reaper.Record) bool {
	return g.named != 0 && r.Named.PID == g.named && r.Named.Time >= g.namedAt
}

// fetchMain takes the pidfd of the program that runs now from its reaper
// (pidfd_getfd(2), Linux 5.6) and gives its process ID here.
func (g *generation) fetchMain(inside int32) int {
	g.dropMain()
	fd, err := 0, error(unix.ESRCH)
	if !g.gone {
		fd, err = unix.PidfdGetfd(g.reaper.PIDFD, reaper.FDMain, 0)
	}
	if err != nil { // the reaper is dead or dying, or it is forbidden (yama)
		fd, pid := g.findInside(int(inside))
		g.main, g.mainPID = fd, pid
		return pid
	}
	pid := pidOf(fd)
	if pid <= 0 {
		unix.Close(fd) // reaped already
		return 0
	}
	g.main, g.mainPID = fd, pid
	return pid
}

func (g *generation) dropMain() {
	g.forgetNamed()
	if g.main != 0 {
		unix.Close(g.main)
	}
	g.main, g.mainPID = 0, 0
}

// forgetNamed ends watching a main process that the service named.
func (g *generation) forgetNamed() {
	if g.forget != nil {
		g.forget()
		g.forget = nil
	}
	g.asked = false
}

// pidOf gives the process that a pidfd names, in this PID namespace: -1 if it
// has been reaped (proc_pid_fdinfo(5)).
func pidOf(pidfd int) int { return procField(fmt.Sprintf("/proc/self/fdinfo/%d", pidfd), "Pid:") }
