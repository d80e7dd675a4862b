package supervisor

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/reaper"
	"github.com/nsinit/nsinit/supervisor/logs"
	"github.com/nsinit/nsinit/supervisor/machine"
	"github.com/nsinit/nsinit/supervisor/notify"
	"github.com/nsinit/nsinit/unit"
)

// notifyBatch is how many datagrams of one service are taken at a wake-up, so
// that a flood delays nobody but its sender.
const notifyBatch = 32

// notified takes what a service says of itself (sd_notify(3)).
func (m *Manager) notified(g *generation) {
	m.readRecord(g) // who sends was started first
	m.listen(g, notifyBatch)
}

// lastWordsMost bounds what is taken before an end: more than the queue of a
// socket holds, net.unix.max_dgram_qlen, which is 10, or 512 under systemd.
const lastWordsMost = 1024

// lastWords takes what was sent before a main process ended: a daemon that says
// READY=1 and MAINPID= and ends at once has handed over, whichever of the two
// the manager comes to look at first.
func (m *Manager) lastWords(g *generation) { m.listen(g, lastWordsMost) }

// listen takes at most so many datagrams. One whose sender is not known yet
// waits, and all behind it, for the reaper's next news.
func (m *Manager) listen(g *generation, most int) {
	for range most {
		if g.notify == nil {
			return
		}
		r, err := m.receive(g)
		var dropped *notify.Dropped
		switch {
		case errors.Is(err, notify.ErrAgain):
			return
		case errors.As(err, &dropped):
			m.services[g.unit].notice(logs.Warning, "a notification was dropped: %v", dropped.Cause)
			continue
		case err != nil:
			m.poller.Remove(g.notify.FD())
			m.problem(fmt.Errorf("%s: notifications are no longer read: %w", g.unit, err))
			return
		}
		switch {
		case !ours(g, r.Sender):
		case g.overtaken(r.Sender):
			g.early = &r
			m.poller.Modify(g.notify.FD(), 0)
			return
		case m.accepts(g, r.Sender):
			m.handle(m.notification(g, r))
		default:
			m.refuse(g, r.Sender)
		}
		r.Done()
	}
}

// receive takes the datagram that had to wait, else the next.
func (m *Manager) receive(g *generation) (r notify.Received, err error) {
	if g.early == nil {
		return g.notify.Receive()
	}
	r, g.early = *g.early, nil
	return r, m.poller.Modify(g.notify.FD(), unix.EPOLLIN)
}

// overtaken reports whether main may have been started and its reaper not have
// said so yet: then nobody knows whether it is main that speaks.
func (g *generation) overtaken(s notify.Sender) bool {
	access := g.def.Service.NotifyAccess
	if access != "main" && access != "exec" && !g.forks() || g.gone || s.PID == g.mainPID {
		return false
	}
	if g.last == nil {
		return g.child // else its record is damaged, and may stay so
	}
	return g.last.Phase < reaper.Stopped
}

// socketsByPath reports whether a service reaches its notify socket by its path
// on the host, so that others can find it too.
func socketsByPath(u *unit.Unit) bool {
	root := u.Filesystem.RootDirectory
	return !u.Isolation.Namespaces.Mount || !u.Filesystem.PrivateRun && (root == "" || root == "/")
}

// ours tells a service's own words from those that another user of the machine
// puts in its mouth, where the socket can be found. A sender that has ended has
// no cgroup any more: then it is its user that counts.
func ours(g *generation, s notify.Sender) bool {
	if !socketsByPath(g.def) || s.UID == 0 {
		return true
	}
	if cgroup, err := cgroupOf(s.PID); err == nil {
		return strings.Contains(cgroup+"/", "/"+g.cgroup.Path()+"/")
	}
	var st unix.Stat_t
	return g.mainPID != 0 && unix.Stat(fmt.Sprintf("/proc/%d", g.mainPID), &st) == nil && st.Uid == s.UID
}

// accepts applies notify_access. The socket tells which service it is; which
// of its processes, only the kernel's credentials do, and root inside can
// write any process of the service there.
func (m *Manager) accepts(g *generation, s notify.Sender) bool {
	switch g.def.Service.NotifyAccess {
	case "all":
		return true
	case "exec":
		if s.PID == g.mainPID || g.mainPID == 0 {
			return true
		}
		for _, h := range g.hooks {
			if h.proc != nil && h.proc.PID == s.PID {
				return true
			}
		}
		return false
	case "main":
		return g.mainPID == 0 || s.PID == g.mainPID
	}
	return false
}

// refuse tells, once a start, that a process may not speak for its service: a
// script whose systemd-notify is a process of its own waits for ready in vain.
func (m *Manager) refuse(g *generation, s notify.Sender) {
	if g.refused {
		return
	}
	g.refused = true
	m.services[g.unit].notice(logs.Warning, "a notification of process %d was refused: notify_access = %q; write notify_access = \"all\" in [service] to take those of every process of it",
		s.PID, g.def.Service.NotifyAccess)
}

// notification puts a datagram in the engine's words.
func (m *Manager) notification(g *generation, r notify.Received) machine.Notify {
	msg := r.Message
	n := machine.Notify{Ref: g.ref(), Ready: msg.Ready, Reloading: msg.Reloading, ReloadingAt: bootTime(msg.MonotonicUsec), Stopping: msg.Stopping,
		HasStatus: msg.HasStatus, Status: msg.Status, Errno: msg.Errno, Watchdog: msg.Watchdog == notify.WatchdogPing,
		WatchdogTrigger: msg.Watchdog == notify.WatchdogTrigger, ExtendTimeout: msg.ExtendTimeout}
	if msg.HasWatchdogUsec && msg.WatchdogUsec >= minWatchdog {
		n.WatchdogPeriod = msg.WatchdogUsec
	}
	if msg.MainPID != 0 && !m.nameMain(g, msg.MainPID, machine.FromNotify) {
		m.services[g.unit].notice(logs.Warning, "MAINPID=%d is no process of this service", msg.MainPID)
	}
	for _, p := range msg.Problems {
		m.services[g.unit].notice(logs.Warning, "a line of a notification was ignored: %s", p)
	}
	for _, k := range msg.Unsupported {
		m.services[g.unit].notice(logs.Warning, "%s in a notification is not supported yet", k)
	}
	return n
}

// bootTime puts MONOTONIC_USEC=, microseconds of the service's CLOCK_MONOTONIC,
// in the engine's terms; 0 if there is none.
func bootTime(usec uint64) machine.Instant {
	if usec == 0 {
		return 0
	}
	var monotonic unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &monotonic)
	apart := int64(now()) - monotonic.Nano()
	return machine.Instant(int64(min(usec, 1<<51))*1000 + 999 + apart) // its sender cut it off to microseconds
}

// minWatchdog is the shortest period that a service may ask for: below it the
// manager would do nothing else.
const minWatchdog = 10 * time.Millisecond

// insidePID gives the number that process pid has in its own PID namespace: the
// last of NSpid (proc_pid_status(5)); 0 if there is no such process.
func insidePID(pid int) int { return statusField(pid, "NSpid:") }

// statusField reads the last number of a line of /proc/PID/status.
func statusField(pid int, key string) int { return procField(fmt.Sprintf("/proc/%d/status", pid), key) }

// procField reads the last number of the line that begins with key, 0 if there
// is none.
func procField(path, key string) int {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	return last(numbersOf(string(b), key))
}

func last(numbers []int) int {
	if len(numbers) == 0 {
		return 0
	}
	return numbers[len(numbers)-1]
}

// statusLine reads the numbers of a line of /proc/PID/status.
func statusLine(pid int, key string) []int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil
	}
	return numbersOf(string(b), key)
}

// numbersOf reads the numbers of the line that begins with key.
func numbersOf(text, key string) (numbers []int) {
	for line := range strings.Lines(text) {
		v, ok := strings.CutPrefix(line, key)
		if !ok {
			continue
		}
		for _, field := range strings.Fields(v) {
			n, _ := strconv.Atoi(field)
			numbers = append(numbers, n)
		}
		break
	}
	return numbers
}
