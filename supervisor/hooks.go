package supervisor

import (
	"errors"
	"fmt"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/isolate/launch"
	"github.com/nsinit/nsinit/supervisor/compile"
	"github.com/nsinit/nsinit/supervisor/logs"
	"github.com/nsinit/nsinit/supervisor/machine"
)

// hook is a command around main: exec_start_post, exec_reload, exec_stop or
// exec_stop_post, a child of the manager in the service's namespaces.
type hook struct {
	run     uint64
	proc    *launch.Process // nil while it is being made
	aborted bool
}

var hookKinds = map[machine.Kind]isolate.ExecKind{machine.KindStartPost: isolate.ExecStartPost, machine.KindReload: isolate.ExecReload,
	machine.KindStop: isolate.ExecStop, machine.KindStopPost: isolate.ExecStopPost}

// runHook carries out the effect RunHook: a goroutine joins the command into
// the service, the loop waits for its pidfd.
func (m *Manager) runHook(e machine.RunHook) {
	g := m.find(e.Ref)
	if g == nil || g.gone {
		m.handle(machine.HookFailed{Ref: e.Ref, Run: e.Run, Setup: machine.Setup{Program: e.Kind, Index: e.Index, Text: "the service's namespaces are gone"}})
		return
	}
	if m.resumeHook(g, e) {
		return
	}
	h := &hook{run: e.Run}
	g.hooks[e.Run] = h
	j, err := m.prepareHook(g, e)
	if err != nil {
		m.handle(m.hookFailure(g, e, err))
		return
	}
	m.background(func() {
		proc, err := j.join(m.launcher)
		m.poller.Post(func() { m.hookJoined(g, e, h, proc, err) })
	})
}

// joining is a command that is about to enter a service.
type joining struct {
	program *isolate.Program
	files   launch.JoinFiles
	owned   []int
}

func (j *joining) join(l *launch.Launcher) (*launch.Process, error) {
	defer j.close()
	return l.Join(j.program, j.files)
}

func (j *joining) close() {
	for _, fd := range j.owned {
		unix.Close(fd)
	}
	j.owned = nil
}

// prepareHook compiles the command and gathers its descriptors: copies, which
// last whatever becomes of the generation meanwhile.
func (m *Manager) prepareHook(g *generation, e machine.RunHook) (*joining, error) {
	spec, err := compile.RunHook(g.def, m.launcher.Host(), g.facts, hookKinds[e.Kind], e.Index, m.hookFacts(g))
	if err != nil {
		return nil, err
	}
	j := &joining{}
	if j.program, err = isolate.CompileJoin(spec, m.launcher.Host()); err != nil {
		return nil, err
	}
	dup := func(fd int) int {
		n, e := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, firstOwn)
		if e != nil {
			err = errors.Join(err, e)
			return 0
		}
		j.owned = append(j.owned, n)
		return n
	}
	j.files.Reaper, j.files.Cgroup = dup(g.reaper.PIDFD), dup(g.cgroup.MainFD())
	if m.mainLives(g) {
		j.files.Main = dup(g.main)
	}
	for stream, fd := range map[logs.Stream]*int{logs.Stdout: &j.files.Stdout, logs.Stderr: &j.files.Stderr} {
		w, e := m.keptPipe(g, stream)
		if e != nil {
			err = errors.Join(err, e)
			continue
		}
		*fd = w
		j.owned = append(j.owned, w)
	}
	if err != nil {
		j.close()
		return nil, err
	}
	return j, nil
}

// mainLives reports whether main runs, and its pidfd is here.
func (m *Manager) mainLives(g *generation) bool {
	return g.main != 0 && m.services[g.unit].snap.MainAlive
}

// hookFacts tells a command of the service: MAINPID, and how it ended.
func (m *Manager) hookFacts(g *generation) compile.Hook {
	h := compile.Hook{}
	snap := m.services[g.unit].snap
	if g.last != nil {
		if p, ok := g.last.Main(); ok && snap.MainAlive && !g.forks() {
			h.MainPID = int(p.PID)
		}
	}
	if g.named != 0 && snap.MainAlive {
		h.MainPID = int(g.named)
	}
	if snap.State != machine.StartPost && snap.State != machine.Reloading {
		h.ServiceResult = snap.Result.String()
		h.ExitCode = string(snap.MainStatus.Code)
		if snap.MainStatus.Code == machine.CodeExited {
			h.ExitStatus = strconv.Itoa(snap.MainStatus.Value)
		} else if snap.MainStatus.Code != machine.CodeNone {
			h.ExitStatus = signalName(syscall.Signal(snap.MainStatus.Value))
		}
	}
	return h
}

func (m *Manager) hookFailure(g *generation, e machine.RunHook, err error) machine.HookFailed {
	delete(g.hooks, e.Run)
	s := launchFailure(err, g.unit)
	s.Program, s.Index = e.Kind, e.Index
	if s.Text == "" {
		s.Text = fmt.Sprint(err)
	}
	return machine.HookFailed{Ref: e.Ref, Run: e.Run, Setup: s}
}

// hookJoined watches the command that a goroutine has joined in.
func (m *Manager) hookJoined(g *generation, e machine.RunHook, h *hook, proc *launch.Process, err error) {
	if err != nil {
		m.handle(m.hookFailure(g, e, err))
		return
	}
	h.proc = proc
	if h.aborted {
		proc.Signal(syscall.SIGKILL)
	}
	name := hookName(e.Ref, e.Kind, e.Index)
	m.keep(name, proc.PIDFD)
	err = m.poller.Add(proc.PIDFD, unix.EPOLLIN, func(uint32) {
		m.poller.Remove(proc.PIDFD)
		m.dropKept(name)
		status := waitStatus(unknownStatus) // unless the wait says better
		if ws, err := proc.Wait(); err == nil {
			status = waitStatus(uint32(ws))
		}
		delete(g.hooks, e.Run)
		m.handle(machine.HookExited{Ref: e.Ref, Run: e.Run, Status: status})
	})
	if err != nil { // nobody would hear of its end: it is not to go on
		proc.Signal(syscall.SIGKILL)
		m.dropKept(name)
		m.background(func() { proc.Wait() })
		m.handle(m.hookFailure(g, e, fmt.Errorf("cannot wait for %s: %w", e.Kind, err)))
	}
}

func (m *Manager) abortHook(e machine.AbortHook) {
	g := m.find(e.Ref)
	if g == nil {
		return
	}
	h := g.hooks[e.Run]
	if h == nil {
		if fd, ok := g.inherited[hookName(e.Ref, e.Kind, e.Index)]; ok {
			unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		}
		return
	}
	h.aborted = true
	if h.proc != nil {
		h.proc.Signal(syscall.SIGKILL)
	}
}
