package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate/launch"
	"github.com/nsinit/nsinit/supervisor/keeper"
)

// holder is the process that holds what the manager keeps: PID 1 of the
// machine, or a stub of the instance's own.
type holder struct {
	proc  *launch.Process
	child bool // the stub was started by this manager, which takes its exit
	init  bool // it is PID 1
	since time.Time
}

// openKeeper goes on with what an earlier manager kept, or begins with nothing.
// Without a holder everything works but what is kept dies with the manager.
func (m *Manager) openKeeper() {
	found, h, err := m.findHolder()
	if err != nil {
		m.problem(err)
	}
	if found == nil {
		m.hold()
		return
	}
	m.keeper.Close()
	m.keeper, m.holder = found, h
	if n := found.Foreign(); n > 0 {
		m.problem(fmt.Errorf("%d messages in the keeper were not the manager's, and were thrown away", n))
	}
	m.watchHolder()
}

// machineInstance is the one that PID 1 runs. Of others that have become its
// children each has a stub: there is one manager to a holder.
const machineInstance = "nsinit"

// findHolder finds PID 1, or the stub that an earlier manager has started.
// Neither being there is no error.
func (m *Manager) findHolder() (*keeper.Keeper, holder, error) {
	if m.cfg.Instance == machineInstance && os.Getppid() == 1 && runsOurProgram(1) {
		if fd, err := unix.PidfdOpen(1, 0); err == nil {
			if k, err := keeper.Open(fd); err == nil {
				return k, holder{proc: &launch.Process{PID: 1, PIDFD: fd}, init: true}, nil
			}
			unix.Close(fd)
		}
	}
	proc, err := openListed(m.cgroups.KeeperProcs)
	if proc == nil {
		return nil, holder{}, err
	}
	k, err := keeper.Open(proc.PIDFD)
	if err == nil {
		return k, holder{proc: proc}, nil
	}
	// Its manager died before it was ready, and so before anything was kept; or
	// nothing can be had of it.
	if killErr := m.cgroups.KillKeeper(); killErr == nil {
		waitFD(proc.PIDFD, unix.POLLIN, time.Now().Add(endWait))
	}
	unix.Close(proc.PIDFD)
	return nil, holder{}, fmt.Errorf("what the last manager kept is lost: %w", err)
}

// runsOurProgram reports whether a process runs a program of the same name as
// this one, be it of another version.
func runsOurProgram(pid int) bool {
	name := func(pid string) string {
		exe, _ := os.Readlink("/proc/" + pid + "/exe")
		return strings.TrimPrefix(filepath.Base(strings.TrimSuffix(exe, " (deleted)")), "memfd:") // see launch.ProtectBinary
	}
	return name(fmt.Sprint(pid)) == name("self")
}

// hold starts a stub for the keeper's sockets. What this manager has kept is in
// them, so that the place of one that was killed is simply taken by another.
func (m *Manager) hold() {
	dir, err := m.cgroups.MakeKeeper()
	if err == nil {
		defer unix.Close(dir)
		send, keep := m.keeper.Ends()
		m.holder = holder{child: true, since: time.Now()}
		m.holder.proc, err = m.launcher.LaunchKeeper(send, keep, dir)
	}
	if err != nil {
		m.holder = holder{}
		m.problem(fmt.Errorf("%w; what commands around main write is lost if the manager is killed", err))
		return
	}
	m.watchHolder()
}

// holderPause is how long a stub must have lived for another to be started at
// once in its place.
const holderPause = time.Second

// watchHolder has another stub started if this one is killed.
func (m *Manager) watchHolder() {
	h := m.holder
	err := m.poller.Add(h.proc.PIDFD, unix.EPOLLIN, func(uint32) {
		m.poller.Remove(h.proc.PIDFD)
		m.holder.end(time.Time{})
		m.log.Error().Int("pid", h.proc.PID).Msg("the keeper was killed; starting another")
		if time.Since(h.since) >= holderPause {
			m.hold()
			return
		}
		time.AfterFunc(holderPause, func() { m.poller.Post(m.hold) })
	})
	if err != nil {
		m.problem(fmt.Errorf("cannot watch the keeper: %w", err))
	}
}

// end takes the exit of a stub that has ended, or ends before the deadline.
func (h *holder) end(deadline time.Time) {
	ended := h.proc != nil && waitFD(h.proc.PIDFD, unix.POLLIN, deadline)
	switch {
	case h.proc == nil:
	case ended && h.child:
		h.proc.Wait() // killed
	default:
		unix.Close(h.proc.PIDFD)
	}
	*h = holder{}
}

// closeKeeper leaves nothing kept, and no stub.
func (m *Manager) closeKeeper() (err error) {
	if m.holder.init {
		err = m.keeper.Drop(m.keeper.Names()...)
		unix.Close(m.holder.proc.PIDFD)
	} else {
		err = m.cgroups.KillKeeper()
		m.holder.end(time.Now().Add(endWait))
	}
	m.keeper.Close()
	return err
}

// openListed opens the first of the processes that a cgroup lists. The process
// is opened, and only then is it made sure that it is still the one listed
// there. None is no error.
func openListed(list func() ([]int, error)) (*launch.Process, error) {
	pids, err := list()
	if err != nil {
		return nil, err
	}
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		again, err := list()
		if err == nil && slices.Contains(again, pid) {
			return &launch.Process{PID: pid, PIDFD: fd}, nil
		}
		unix.Close(fd)
	}
	return nil, nil
}
