package supervisor

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate/launch"
	"github.com/nsinit/nsinit/supervisor/machine"
)

// resumeHook waits for a command that an earlier manager has started, in place
// of running it a second time. It reports false where there is none.
//
// The command is no child of this process. How it ended is what its pidfd tells
// (Linux 6.15); where that is not to be had it is run again after its end, as is
// one that had not begun.
func (m *Manager) resumeHook(g *generation, e machine.RunHook) bool {
	name := hookName(e.Ref, e.Kind, e.Index)
	fd, ok := g.inherited[name]
	if !ok {
		return false
	}
	delete(g.inherited, name)
	h := &hook{run: e.Run, proc: &launch.Process{PID: pidBehind(fd), PIDFD: fd}}
	g.hooks[e.Run] = h
	err := m.poller.Add(fd, unix.EPOLLIN, func(uint32) {
		status, told := exitOf(fd)
		if told == notYet {
			m.poller.Modify(fd, 0) // EPOLLHUP, which always comes, says that it was waited for
			return
		}
		m.poller.Remove(fd)
		unix.Close(fd)
		m.dropKept(name)
		delete(g.hooks, e.Run)
		if told == never && !h.aborted {
			m.runHook(e)
			return
		}
		m.handle(machine.HookExited{Ref: e.Ref, Run: e.Run, Status: waitStatus(status)})
	})
	if err != nil {
		delete(g.hooks, e.Run)
		unix.Close(fd)
		m.log.Warn().Str("unit", g.unit).Err(err).Msg("cannot wait for a command of the last manager; running it again")
	}
	return err == nil
}

// told says whether a process that ended tells how.
type told uint8

const (
	known  told = iota
	notYet      // nobody has waited for it
	never
)

// exitOf asks the pidfd of a process that has ended for its wait status.
func exitOf(fd int) (status uint32, t told) {
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	switch err := unix.IoctlPidfdInfo(fd, &info); {
	case err != nil:
		return unknownStatus, never
	case info.Mask&unix.PIDFD_INFO_EXIT == 0:
		return unknownStatus, notYet
	}
	return uint32(info.Exit_code), known
}

// statusOf gives the wait status of a process that has ended and is somebody
// else's child: what its pidfd tells once it was waited for (Linux 6.15), and
// before that /proc. It is unknownStatus where neither does.
func statusOf(fd int) uint32 {
	status, t := exitOf(fd)
	if t == known {
		return status
	}
	if status, ok := zombieStatus(fd); ok {
		return status
	}
	status, _ = exitOf(fd) // it was waited for meanwhile
	return status
}

// zombieStatus reads the field exit_code of proc_pid_stat(5), which is 0 for
// who may not trace the process.
func zombieStatus(fd int) (status uint32, ok bool) {
	const state, exitCode = 3 - 3, 52 - 3 // of the fields behind the name
	pid := pidBehind(fd)
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil || pidBehind(fd) != pid { // else the number is another's now
		return 0, false
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) <= exitCode || f[state] != "Z" {
		return 0, false
	}
	n, err := strconv.ParseUint(f[exitCode], 10, 32)
	return uint32(n), err == nil && (n != 0 || mayTrace())
}

// mayTrace reports whether this process has CAP_SYS_PTRACE.
func mayTrace() bool {
	var data [2]unix.CapUserData
	err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0])
	return err == nil && data[0].Effective&(1<<unix.CAP_SYS_PTRACE) != 0
}

// pidBehind gives the number of the process behind a pidfd, -1 if it has ended
// (proc_pid_fdinfo(5)).
func pidBehind(fd int) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	_, rest, _ := strings.Cut(string(b), "\nPid:\t")
	line, _, _ := strings.Cut(rest, "\n")
	if pid, err := strconv.Atoi(line); err == nil {
		return pid
	}
	return -1
}
