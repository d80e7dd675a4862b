package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate/launch"
	"github.com/nsinit/nsinit/supervisor/control"
	"github.com/nsinit/nsinit/supervisor/machine"
)

// stateVersion is the layout of state files; others are set aside.
const stateVersion = 1

// unitState is what the kernel cannot tell of a unit.
type unitState struct {
	Version  int              `json:"version"`
	BootID   string           `json:"boot_id"`
	Snapshot machine.Snapshot `json:"snapshot"`
	Start    startState       `json:"start"`
}

// startState is what the manager itself remembers of the present generation.
type startState struct {
	InvocationID string `json:"invocation_id,omitempty"`
	LaunchNsec   int64  `json:"launch_nsec,omitempty"`
	RequestedAt  int64  `json:"requested_at,omitempty"` // machine.Instant
	Digest       string `json:"digest,omitempty"`       // of the definition that it runs with
}

// instanceState is the manager's own file: who ran last, and since when.
type instanceState struct {
	Version  int               `json:"version"`
	BootID   string            `json:"boot_id"`
	PID      int               `json:"pid"`
	BootUsec int64             `json:"boot_usec"` // when the first manager of this instance began
	Restarts int               `json:"restarts"`
	Booted   bool              `json:"booted,omitempty"`   // the start of the target is over, however it ended
	Shutdown *control.Shutdown `json:"shutdown,omitempty"` // that waits for its time
	Stopping bool              `json:"stopping,omitempty"` // it was told to stop everything, and to end
}

// writeState replaces a file as a whole: whoever reads it, a manager after a
// kill at any instant included, finds the old one or the new one. It is not
// synced: what it says holds for this boot only.
func writeState(path string, v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		err = writeNew(path+".new", append(b, '\n'))
	}
	if err == nil {
		err = unix.Rename(path+".new", path)
	}
	if err != nil {
		os.Remove(path + ".new")
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}

// writeNew is os.WriteFile by three system calls: package os would also try to
// poll the file, and this is written at every turn of a unit's life.
func writeNew(path string, b []byte) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// readState reads what writeState wrote. A file that is damaged is set aside
// as path.bad, so that it can be looked at, and is no reason to stop.
func readState(path string, v any) (found bool, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		os.Rename(path, path+".bad")
		return false, fmt.Errorf("cannot read %s (set aside as %[1]s.bad): %w", path, err)
	}
	return true, nil
}

// bootID tells one run of the machine from another (random(4)).
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return string(b[:min(len(b), 36)])
}

// lockInstance makes sure that one manager runs on a runtime directory. The
// lock goes with the process.
func lockInstance(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the runtime directory: %w", err)
	}
	return lockOr(f, fmt.Sprintf("another manager runs on %s; give this one a name of its own with --instance", dir))
}

// lockOr locks f for as long as this process lives, or closes it and says that
// it is taken.
func lockOr(f *os.File, taken string) (*os.File, error) {
	err := flock(f)
	if err == nil {
		return f, nil
	}
	f.Close()
	if err == unix.EWOULDBLOCK {
		return nil, errors.New("cannot start: " + taken)
	}
	return nil, fmt.Errorf("cannot lock %s: %w", f.Name(), err)
}

// lockPatience is how long a manager that was killed may still seem to be there.
const lockPatience = 2 * time.Second

// flock locks f, or gives EWOULDBLOCK. The lock of a manager that was killed in
// the middle of a launch lasts until the child, which has a copy of every
// descriptor, has closed it: that is worth waiting for.
func flock(f *os.File) error {
	got := make(chan error, 1)
	go func() { got <- unix.Flock(int(f.Fd()), unix.LOCK_EX) }() // ends with the process if it is refused
	select {
	case err := <-got:
		return err
	case <-time.After(lockPatience):
		return unix.EWOULDBLOCK
	}
}

// lockCgroups makes sure that one manager has the instance's cgroup, whatever
// its runtime directory: two would take each other's services over.
func lockCgroups(c *launch.Cgroups, instance string) (*os.File, error) {
	f, err := os.Open(filepath.Join(c.Mount(), c.Root()))
	if err != nil {
		return nil, fmt.Errorf("cannot lock the cgroup: %w", err)
	}
	return lockOr(f, fmt.Sprintf("another manager has the cgroup %s; give this one a name of its own with --instance (this one's is %s)", c.Root(), instance))
}

// now is CLOCK_BOOTTIME.
func now() machine.Instant {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(fmt.Sprintf("clock_gettime(CLOCK_BOOTTIME): %v", err)) // cannot fail on Linux 2.6.39 and later
	}
	return machine.Instant(ts.Nano())
}
