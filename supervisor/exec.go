package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/isolate/launch"
	"github.com/nsinit/nsinit/reaper"
	"github.com/nsinit/nsinit/supervisor/compile"
	"github.com/nsinit/nsinit/supervisor/control"
	"github.com/nsinit/nsinit/unit"
)

// firstOwn is the lowest number that a descriptor for a child may have: those
// below are the child's (launch reserves them).
const firstOwn = 64

// Exec runs a command in the namespaces, cgroup, user and environment of a
// unit whose reaper lives; main may have ended.
func (b backend) Exec(ctx context.Context, req control.ExecRequest) (control.ExecProcess, error) {
	d, err := b.door(ctx, req.Unit)
	if err != nil {
		return nil, err
	}
	defer d.close()
	program, cred, err := d.compile(b.m.launcher.Host(), req)
	if err != nil {
		return nil, execError(d.unit.Name, req.Argv[0], err)
	}
	if !req.AllowRoot && (!cred.SetIDs || cred.UID == 0) {
		return nil, &control.Error{Code: control.CodeForbidden, Unit: d.unit.Name, Message: "cannot exec: the service runs as root, and running a command as root inside needs admin",
			Hint: "run it as root"}
	}
	std, err := d.stdio(req, cred)
	if err != nil {
		return nil, execError(d.unit.Name, req.Argv[0], err)
	}
	proc, err := b.m.launcher.Join(program, launch.JoinFiles{Reaper: d.reaper, Main: d.main, Cgroup: d.cgroup,
		Stdin: std.child[0], Stdout: std.child[1], Stderr: std.child[2]})
	std.closeChild()
	if err != nil {
		std.closeParent()
		return nil, execError(d.unit.Name, req.Argv[0], err)
	}
	return b.m.execProcess(proc, std), nil
}

// door is what it takes to enter a service: copies, which last whatever becomes
// of it meanwhile.
type door struct {
	unit      *unit.Unit
	facts     compile.Facts
	mainPID   int // as seen inside
	reaperPID int
	reaper    int // its pidfd
	main      int // main's pidfd, 0 if it does not live
	cgroup    int // the directory of the payload's cgroup
	root      int // the service's root directory, O_PATH

	mu        sync.Mutex
	abandoned bool // who asked has gone: the loop must not open anything any more
}

func (d *door) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, fd := range []*int{&d.reaper, &d.main, &d.cgroup, &d.root} {
		if *fd != 0 {
			unix.Close(*fd)
			*fd = 0
		}
	}
	d.abandoned = true
}

// door opens the way into a unit, or says why there is none.
func (b backend) door(ctx context.Context, name string) (*door, error) {
	d := &door{}
	var err error
	callErr := b.m.call(ctx, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if !d.abandoned {
			err = b.m.fillDoor(d, b.m.set.Canonical(name))
		}
	})
	if callErr != nil {
		d.close()
		return nil, callErr
	}
	if err == nil {
		err = d.openRoot()
	}
	if err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// fillDoor copies what the loop holds of a unit's present start. A start whose
// namespaces are still being made has no door: who entered now would be in
// half of them.
func (m *Manager) fillDoor(d *door, name string) error {
	s := m.services[name]
	closed := func(text string) error {
		return &control.Error{Code: control.CodeNotActive, Unit: name, Message: "cannot exec: " + text, Hint: "nsctl status " + name}
	}
	if s == nil || s.gen == nil || s.gen.reaper == nil {
		if _, known := m.engine.State(name); !known {
			if err := m.unknown(name); err != nil {
				return err
			}
		}
		return closed("it is not running")
	}
	g := s.gen
	switch {
	case g.gone || g.releasing:
		return closed("it is being taken down")
	case g.last == nil || g.last.Phase < reaper.Running || g.last.Phase == reaper.SetupFailed:
		return closed("its namespaces are not complete")
	}
	d.unit, d.facts, d.reaperPID, d.mainPID = g.def, g.facts, g.reaper.PID, m.hookFacts(g).MainPID
	var err error
	if d.reaper, err = dupOwn(g.reaper.PIDFD); err != nil {
		return err
	}
	if m.mainLives(g) {
		if d.main, err = dupOwn(g.main); err != nil {
			return err
		}
	}
	d.cgroup, err = dupOwn(g.cgroup.MainFD())
	return err
}

func dupOwn(fd int) (int, error) {
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, firstOwn)
	if err != nil {
		return 0, fmt.Errorf("cannot copy a descriptor: %w", os.NewSyscallError("fcntl", err))
	}
	return n, nil
}

// openRoot opens the reaper's root directory. The number was the reaper's all
// the while if the pidfd says afterwards that it lives.
func (d *door) openRoot() error {
	fd, err := openRoot(rootOf(d.reaperPID))
	if err == nil {
		d.root = fd
	}
	if ended, pollErr := readable(d.reaper); pollErr != nil || ended {
		return &control.Error{Code: control.CodeNotActive, Unit: d.unit.Name, Message: "cannot exec: it has ended meanwhile"}
	}
	return err
}

// readable reports whether a descriptor has something to read now; of a pidfd,
// whether the process has ended.
func readable(fd int) (bool, error) {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		if err == unix.EINTR {
			continue
		}
		return n > 0, err
	}
}

// compile makes the program of the command.
func (d *door) compile(h isolate.Host, req control.ExecRequest) (*isolate.Program, isolate.Credentials, error) {
	var none isolate.Credentials
	if req.Directory != "" && !path.IsAbs(req.Directory) {
		return nil, none, &control.Error{Code: control.CodeBadRequest, Message: "cannot exec: the directory must be an absolute path"}
	}
	file, err := d.find(h, req.Argv[0])
	if err != nil {
		return nil, none, err
	}
	spec, err := compile.RunCommand(d.unit, h, d.facts, compile.ExecRequest{Path: file, Argv: req.Argv, User: req.User,
		Dir: req.Directory, Env: req.Environment, TTY: req.Terminal, Privileged: req.Privileged}, compile.Hook{MainPID: d.mainPID})
	if err != nil {
		return nil, none, err
	}
	program, err := isolate.CompileJoin(spec, h)
	return program, spec.Exec.Cred, err
}

// find looks the program up along the service's PATH, in its own tree.
func (d *door) find(h isolate.Host, name string) (string, error) {
	if strings.Contains(name, "/") {
		if !path.IsAbs(name) {
			return "", &control.Error{Code: control.CodeBadRequest, Message: fmt.Sprintf("cannot run %q: write a name or an absolute path", name)}
		}
		return name, nil
	}
	search, err := compile.SearchPath(d.unit, h, d.facts)
	if err != nil {
		return "", err
	}
	file, err := compile.FindProgram(fmt.Sprintf("/proc/self/fd/%d", d.root), search, name)
	if err != nil {
		return "", &control.Error{Code: control.CodeNotFoundIn, Message: err.Error(), Hint: "It is looked for inside the service, along its PATH."}
	}
	return file, nil
}

// execError puts the error of a command that was not run in the API's words.
func execError(name, command string, err error) error {
	var ce *control.Error
	if errors.As(err, &ce) {
		ce.Unit = name
		return ce
	}
	e := &control.Error{Code: control.CodeFailed, Unit: name, Message: "cannot run " + command + ": " + trimJoin(err.Error(), name)}
	var step *launch.StepError
	if !errors.As(err, &step) {
		return e
	}
	call, _, _ := strings.Cut(step.Step, " ")
	switch {
	case call == "execve" && step.Errno == unix.ENOENT:
		e.Code = control.CodeNotFoundIn
	case call == "execve", call == "chdir", call == "getcwd":
		e.Code = control.CodeNotRunnable
	default:
		return e
	}
	e.Message, e.Hint = fmt.Sprintf("cannot run %s: %v", command, step.Errno), step.Hint
	if call != "execve" {
		e.Message = fmt.Sprintf("cannot run %s: %s: %v", command, step.Step, step.Errno)
	}
	return e
}

func trimJoin(text, name string) string {
	return strings.TrimPrefix(trimUnit(text, name), "cannot join: ")
}
