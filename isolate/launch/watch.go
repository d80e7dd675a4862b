package launch

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// WatchMounts makes coming starts see what is mounted on the host from now on,
// by dropping the templates whenever the mount table changes outside the
// directories own (the supervisor's runtime directory, where it pins network
// namespaces). On a host that propagates mounts they reach the templates by
// themselves, and only the stages are dropped: those would keep a file system in
// use that was unmounted. It wakes only when something is mounted or unmounted
// (proc_pid_mountinfo(5): poll), never for a start. stop ends it.
func (l *Launcher) WatchMounts(own ...string) (stop func(), err error) {
	w := &mountWatch{own: own, seed: maphash.MakeSeed()}
	if w.table, err = openMounts(); err != nil {
		return nil, fmt.Errorf("cannot watch the host's mounts: %w", err)
	}
	sum, propagates, err := w.read()
	if err != nil {
		w.table.Close()
		return nil, err
	}
	changed := l.DropTemplates
	if propagates {
		changed = func() { l.stages.discard(func(*stage) bool { return true }) }
	}
	if w.quit, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		w.table.Close()
		return nil, fmt.Errorf("cannot watch the host's mounts: %w", os.NewSyscallError("eventfd", err))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.run(sum, changed)
	}()
	return func() {
		unix.Write(w.quit, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		<-done
		unix.Close(w.quit)
		w.table.Close()
	}, nil
}

// openMounts opens the mount table out of reach of Go's own poller. A change is
// told to one poll of an open file only, so what that one looks at is lost here
// (mounts_poll in fs/namespace.c).
func openMounts() (*os.File, error) {
	const path = "/proc/self/mountinfo"
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil // a blocking one is not polled
}

// gather is how many milliseconds of changes are looked at together.
const gather = 100

type mountWatch struct {
	table *os.File
	own   []string
	quit  int
	seed  maphash.Seed
}

// run calls changed for every change, until quit is rung.
func (w *mountWatch) run(sum uint64, changed func()) {
	fds := []unix.PollFd{{Fd: int32(w.table.Fd()), Events: unix.POLLPRI}, {Fd: int32(w.quit), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return // no memory for a poll: daemon-reload still drops the templates
		}
		if fds[1].Revents != 0 {
			return
		}
		if fds[0].Revents == 0 {
			continue
		}
		// The supervisor's own pins change the table too, one a start: many are
		// looked at together, since every look takes the lock that mounts need.
		if n, _ := unix.Poll(fds[1:], gather); n > 0 {
			return
		}
		// What cannot be read may have changed.
		if now, _, err := w.read(); err != nil || now != sum {
			sum = now
			changed()
		}
	}
}

// read sums up the mounts that are not the supervisor's own, and reports
// whether the root's propagate.
func (w *mountWatch) read() (sum uint64, propagates bool, err error) {
	if _, err := w.table.Seek(0, 0); err != nil {
		return 0, false, fmt.Errorf("cannot read the host's mounts: %w", err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(w.table); err != nil {
		return 0, false, fmt.Errorf("cannot read the host's mounts: %w", err)
	}
	for line := range strings.Lines(b.String()) {
		f := strings.Fields(line)
		if len(f) < 7 || slices.ContainsFunc(w.own, func(dir string) bool { return f[4] == dir || strings.HasPrefix(f[4], dir+"/") }) {
			continue
		}
		propagates = propagates || f[4] == "/" && strings.HasPrefix(f[6], "shared:")
		sum ^= maphash.String(w.seed, line) // whatever the order
	}
	return sum, propagates, nil
}
