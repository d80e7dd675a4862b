package launch

import (
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/reaper"
)

// LaunchKeeper starts the process that holds the two ends of the keeper's
// socketpair, at the numbers of package reaper, in the cgroup whose directory is
// given. It returns once the process holds them and is idle, so that what is kept
// from then on is safe. An error has left nothing behind.
func (l *Launcher) LaunchKeeper(send, keep, cgroup int) (*Process, error) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("cannot start the keeper: %w", os.NewSyscallError("pipe2", err))
	}
	results := os.NewFile(uintptr(pipe[0]), "keeper")
	defer results.Close()
	p := isolate.CompileKeeper()
	from := map[int]int{joinFD: pipe[1], reaper.FDKeeperSend: send, reaper.FDKeeperKeep: keep}
	proc, err := l.cloneNow(p, handed{from: from}, unix.CLONE_CLEAR_SIGHAND|unix.CLONE_PIDFD|unix.CLONE_INTO_CGROUP, cgroup, roleKeeper, func(*image) {})
	unix.Close(pipe[1])
	if err != nil {
		return nil, fmt.Errorf("cannot start the keeper: %w", err)
	}
	b, _ := io.ReadAll(results) // to the end: the child closes it when it has said how it went
	var res joinResult
	whole := copy(unsafe.Slice((*byte)(unsafe.Pointer(&res)), unsafe.Sizeof(res)), b) == int(unsafe.Sizeof(res))
	if whole && res.Failed < 0 {
		return proc, nil
	}
	status, _ := proc.Wait() // it has ended, or is about to
	if !whole {
		return nil, fmt.Errorf("cannot start the keeper: it ended with status %#x before it was ready", uint32(status))
	}
	return nil, stepError(p, p.Setup, int(res.Failed), unix.Errno(res.Errno))
}
