package launch

import (
	"fmt"
	"io"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
)

// JoinFiles are the descriptors of a command inside a running service; 0 is none.
type JoinFiles struct {
	Reaper                int // its pidfd, for setns(2)
	Main                  int // the pidfd of the main process, whose cgroup namespace is joined; without one the command makes its own
	Cgroup                int // the directory of the payload's cgroup
	Stdin, Stdout, Stderr int
}

// Join runs p, made by isolate.CompileJoin, inside the namespaces of a live
// reaper and returns once its command has been executed. The command is a
// child of this process, so its exit is this process's to take, whatever
// becomes of the service.
func (l *Launcher) Join(p *isolate.Program, f JoinFiles) (*Process, error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("%s: cannot join: %w", p.Unit, os.NewSyscallError("pipe2", err))
	}
	results := os.NewFile(uintptr(pipe[0]), "join")
	defer results.Close()
	named := stdioFiles(map[isolate.Desc]opened{isolate.DescTarget: {fd: f.Reaper}}, f.Stdin, f.Stdout, f.Stderr)
	if f.Main != 0 {
		named[isolate.DescMain] = opened{fd: slotPassed}
	}
	from := present(map[int]int{joinFD: pipe[1], slotPassed: f.Main, slotStdin: f.Stdin, slotStdout: f.Stdout, slotStderr: f.Stderr, slotCgroup: f.Cgroup})
	joiner, err := l.cloneNow(p, handed{from: from, files: named}, unix.CLONE_CLEAR_SIGHAND|unix.CLONE_PIDFD, 0, roleJoiner, func(*image) {})
	unix.Close(pipe[1])
	if err != nil {
		return nil, fmt.Errorf("%s: cannot join: %w", p.Unit, err)
	}
	var res joinResult
	b := unsafe.Slice((*byte)(unsafe.Pointer(&res)), unsafe.Sizeof(res))
	_, readErr := io.ReadFull(results, b)
	status, waitErr := joiner.Wait()
	switch {
	case readErr != nil || waitErr != nil:
		return nil, fmt.Errorf("%s: cannot join: the joiner ended with status %#x before it reported", p.Unit, uint32(status))
	case res.PID == 0:
		return nil, joinError(p, p.Setup, res, "")
	}
	return commandOf(p, res)
}

// commandOf takes over the command that a joiner has made.
func commandOf(p *isolate.Program, res joinResult) (*Process, error) {
	fd, err := unix.PidfdOpen(int(res.PID), 0)
	if err != nil {
		// It is our child and not reaped, so the number is still its own.
		unix.Kill(int(res.PID), unix.SIGKILL)
		syscall.Wait4(int(res.PID), nil, 0x40000000 /* __WALL */, nil)
		return nil, fmt.Errorf("%s: cannot join: %w", p.Unit, os.NewSyscallError("pidfd_open", err))
	}
	proc := &Process{PID: int(res.PID), PIDFD: fd}
	if res.Failed >= 0 {
		if _, err := proc.Wait(); err != nil {
			return nil, err
		}
		return nil, joinError(p, p.Execs[0].Steps, res, p.Execs[0].Label())
	}
	return proc, nil
}

func joinError(p *isolate.Program, steps []isolate.Step, res joinResult, label string) error {
	e := stepError(p, steps, int(res.Failed), syscall.Errno(res.Errno))
	if res.PID == 0 && res.Failed < 0 {
		e.Step = "clone3"
		e.Hint = cloneHint(e.Errno)
	}
	e.Program = label
	return e
}
