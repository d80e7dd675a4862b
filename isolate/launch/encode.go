package launch

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/reaper"
)

// The numbers that descriptors have in the child between its set-up and its
// last execve; those that outlive it are in package reaper.
const (
	slotStdin = reaper.FDLast + 1 + iota
	slotStdout
	slotStderr
	slotCgroup
	slotPassed // and on, what main is passed
)

// lowest is the first number that the manager's own descriptors can have: what
// is below is the child's, see reserve. What is lent to a child lies from lending
// on.
const (
	lending = 64
	lowest  = lending + desks*deskSize
)

// Every number that a program can be passed a descriptor at lies below lending.
const _ = uint(lending - slotPassed - isolate.MaxPassed)

var sysNumber = [isolate.CallCount]uintptr{
	isolate.CallMount:        unix.SYS_MOUNT,
	isolate.CallUmount2:      unix.SYS_UMOUNT2,
	isolate.CallMoveMount:    unix.SYS_MOVE_MOUNT,
	isolate.CallOpenTree:     unix.SYS_OPEN_TREE,
	isolate.CallMountSetattr: unix.SYS_MOUNT_SETATTR,
	isolate.CallPivotRoot:    unix.SYS_PIVOT_ROOT,
	isolate.CallMkdir:        unix.SYS_MKDIRAT,
	isolate.CallSymlink:      unix.SYS_SYMLINKAT,
	isolate.CallChmod:        unix.SYS_FCHMODAT,
	isolate.CallChown:        unix.SYS_FCHOWNAT,
	isolate.CallUnlink:       unix.SYS_UNLINKAT,
	isolate.CallChroot:       unix.SYS_CHROOT,
	isolate.CallUnshare:      unix.SYS_UNSHARE,
	isolate.CallSetns:        unix.SYS_SETNS,
	isolate.CallSethostname:  unix.SYS_SETHOSTNAME,
	isolate.CallPrctl:        unix.SYS_PRCTL,
	isolate.CallCapset:       unix.SYS_CAPSET,
	isolate.CallSetresuid:    unix.SYS_SETRESUID,
	isolate.CallSetresgid:    unix.SYS_SETRESGID,
	isolate.CallSetgroups:    unix.SYS_SETGROUPS,
	isolate.CallSetsid:       unix.SYS_SETSID,
	isolate.CallSetpgid:      unix.SYS_SETPGID,
	isolate.CallIoctl:        unix.SYS_IOCTL,
	isolate.CallUmask:        unix.SYS_UMASK,
	isolate.CallChdir:        unix.SYS_CHDIR,
	isolate.CallOpen:         unix.SYS_OPENAT,
	isolate.CallWrite:        unix.SYS_WRITE,
	isolate.CallClose:        unix.SYS_CLOSE,
	isolate.CallDup3:         unix.SYS_DUP3,
	isolate.CallFchown:       unix.SYS_FCHOWN,
	isolate.CallPrlimit:      unix.SYS_PRLIMIT64,
	isolate.CallSigaction:    unix.SYS_RT_SIGACTION,
	isolate.CallSigprocmask:  unix.SYS_RT_SIGPROCMASK,
	isolate.CallSetpriority:  unix.SYS_SETPRIORITY,
	isolate.CallSetscheduler: unix.SYS_SCHED_SETSCHEDULER,
	isolate.CallSetaffinity:  unix.SYS_SCHED_SETAFFINITY,
	isolate.CallIoprioSet:    unix.SYS_IOPRIO_SET,
	isolate.CallExecve:       unix.SYS_EXECVE,
	isolate.CallCloseRange:   unix.SYS_CLOSE_RANGE,
	isolate.CallMknod:        unix.SYS_MKNODAT,
	isolate.CallSocket:       unix.SYS_SOCKET,
	isolate.CallNanosleep:    unix.SYS_NANOSLEEP,
	isolate.CallVerifyDir:    opVerifyDir,
	isolate.CallTellPID:      opTellPID,
}

// opened is a descriptor that a program's steps may name.
type opened struct {
	fd    int
	isDir bool
}

// encoder lays a program out in the arena.
type encoder struct {
	a         *arena
	files     map[isolate.Desc]opened
	stage     *stage  // stands for the steps marked Ahead; nil: there is none
	listenPID uintptr // where the variable is in the arena, once a step needs it
}

// prologueIndex marks the launcher's own steps, which are no part of the
// program that plan shows.
const prologueIndex = 1<<16 - 1

func raw(nr uintptr, args ...uintptr) rawStep {
	s := rawStep{nr: nr, index: prologueIndex, class: uint8(isolate.ClassNamespace)}
	copy(s.a[:], args)
	return s
}

// steps encodes one list, with the launcher's own steps around it. Steps whose
// descriptor is not there, or is not what they need, are left out.
func (e *encoder) steps(before []rawStep, steps []isolate.Step, after []rawStep) (rawSteps, error) {
	out := before
	entered := false
	for i, s := range steps {
		if s.Ahead && e.stage != nil {
			if !entered {
				out = append(out, e.stage.enter(i)...)
			}
			entered = true
			continue
		}
		if !e.holds(s.If) {
			continue
		}
		r, err := e.step(s)
		if err != nil {
			return rawSteps{}, err
		}
		r.index = uint16(i)
		out = append(out, r)
	}
	out = append(out, after...)
	p := e.a.alloc(uintptr(len(out)) * unsafe.Sizeof(rawStep{}))
	copy(unsafe.Slice((*rawStep)(p), len(out)), out)
	return rawSteps{first: (*rawStep)(p), count: uintptr(len(out))}, nil
}

// enter gives the steps into the stage, in place of step i and those like it.
func (s *stage) enter(i int) (out []rawStep) {
	for _, n := range s.fds {
		r := raw(unix.SYS_SETNS, uintptr(n.fd), n.flag)
		r.index = uint16(i)
		out = append(out, r)
	}
	return out
}

func (e *encoder) holds(n isolate.Need) bool {
	if n.Desc == "" {
		return true
	}
	f, ok := e.files[n.Desc]
	switch n.Node {
	case isolate.IsDirectory:
		return ok && f.isDir
	case isolate.IsOther:
		return ok && !f.isDir
	}
	return ok
}

func (e *encoder) step(s isolate.Step) (rawStep, error) {
	r := rawStep{nr: sysNumber[s.Call], skipFail: uint8(s.SkipFail), skipDone: uint8(s.SkipDone), back: uint8(s.Back), class: uint8(s.Class)}
	for i, t := range s.Tolerate {
		r.tolerate[i] = uint16(t)
	}
	if s.Save {
		r.save = 1
	}
	for i, arg := range s.Args {
		switch arg.Kind {
		case isolate.ArgInt:
			r.a[i] = uintptr(arg.N)
		case isolate.ArgString:
			r.a[i] = e.a.cstring(arg.S)
		case isolate.ArgBytes:
			r.a[i] = e.a.bytes(arg.B)
		case isolate.ArgVector:
			r.a[i] = e.a.vector(arg.V, isolate.ListenPID, e.listenPID)
		case isolate.ArgListenPID:
			e.listenPID = e.a.cstring(isolate.ListenPID)
			r.a[i] = e.listenPID + uintptr(len("LISTEN_PID="))
		case isolate.ArgResult:
			r.savedInput |= 1 << i
		case isolate.ArgDesc:
			f, ok := e.files[isolate.Desc(arg.S)]
			if !ok {
				return r, fmt.Errorf("cannot %s: no descriptor %q was handed in", s, arg.S)
			}
			r.a[i] = uintptr(f.fd)
		}
	}
	return r, nil
}

// programs encodes the unit's programs; each is cloned sharing the reaper's
// memory until its execve, straight into the payload's cgroup.
func (e *encoder) programs(img *image, execs []isolate.ExecProgram, parent bool) error {
	p := e.a.alloc(uintptr(len(execs)) * unsafe.Sizeof(rawProgram{}))
	img.programs, img.count = (*rawProgram)(p), int32(len(execs))
	img.entry = programEntry()
	for i, x := range execs {
		e.listenPID = 0
		steps, err := e.steps(nil, x.Steps, nil)
		if err != nil {
			return err
		}
		c := cloneArgs{
			flags: unix.CLONE_VM | unix.CLONE_VFORK | unix.CLONE_CLEAR_SIGHAND | unix.CLONE_INTO_CGROUP,
			stack: uint64(e.a.start() + arenaKept), stackSize: stackSize,
			cgroup: slotCgroup,
		}
		if parent {
			c.flags |= unix.CLONE_PARENT // the manager's child; its exit signal is the joiner's
		} else {
			c.flags |= unix.CLONE_PIDFD
			c.pidFD = uint64(uintptr(unsafe.Pointer(&img.pidFD)))
			c.exitSignal = uint64(syscall.SIGCHLD)
		}
		*program(img, int32(i)) = rawProgram{steps: steps, clone: c, okCodes: x.Success.Codes,
			okSignals: x.Success.Signals, ignoreFail: x.IgnoreFailure}
	}
	return nil
}

// unmap leaves the child text, read-only data and the arena.
func (l *Launcher) unmap() []rawStep {
	return []rawStep{
		raw(unix.SYS_MUNMAP, l.keepEnd, l.arena.start()-l.keepEnd),
		raw(unix.SYS_MUNMAP, l.arena.end(), l.top-l.arena.end()),
	}
}

// place gives descriptors their numbers in the child, and closes what else is
// below end.
func place(null, end int, from map[int]int) []rawStep {
	steps := []rawStep{raw(unix.SYS_CLOSE_RANGE, 3, uintptr(end-1), 0)}
	for n := range 3 {
		steps = append(steps, raw(unix.SYS_DUP3, uintptr(null), uintptr(n), 0))
	}
	for to := 3; to < lowest; to++ {
		if fd, ok := from[to]; ok {
			steps = append(steps, raw(unix.SYS_DUP3, uintptr(fd), uintptr(to), dupCloexec))
		}
	}
	return steps
}
