package names

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/supervisor/inotify"
)

// Watch tells of changes of the machine's files (inotify(7)). The directories are
// watched, as the files are mostly replaced by renaming. It wakes nobody while
// nothing is written there.
type Watch struct {
	FD      int // readable when something has changed there; then call Changed
	machine Machine
	dirs    map[string]bool
	names   map[string]bool
}

// NewWatch begins to watch. Directories that are not there are not watched.
func NewWatch(machine Machine) (*Watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("cannot watch the machine's names: %w", os.NewSyscallError("inotify_init1", err))
	}
	w := &Watch{FD: fd, machine: machine, dirs: map[string]bool{}}
	w.look()
	return w, nil
}

// look watches the directories of the files, and of what they are links to.
func (w *Watch) look() {
	w.names = map[string]bool{}
	for _, path := range []string{w.machine.Hosts, w.machine.Resolv, w.machine.Upstream} {
		for range 8 { // of links, one after the other
			w.add(path)
			to, err := os.Readlink(path)
			if err != nil {
				break
			}
			if !filepath.IsAbs(to) {
				to = filepath.Join(filepath.Dir(path), to)
			}
			path = to
		}
	}
}

func (w *Watch) add(path string) {
	dir, name := filepath.Split(path)
	w.names[name] = true
	if w.dirs[dir] {
		return
	}
	const mask = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_CREATE | unix.IN_DELETE | unix.IN_ONLYDIR
	if _, err := unix.InotifyAddWatch(w.FD, dir, mask); err == nil {
		w.dirs[dir] = true
	}
}

// Changed takes the events that are there and reports whether one of them is
// about a file that matters.
func (w *Watch) Changed() bool {
	var buf [4096]byte
	changed := false
	for {
		n, err := unix.Read(w.FD, buf[:])
		if err != nil || n < unix.SizeofInotifyEvent {
			break
		}
		for e := range inotify.Events(buf[:n]) {
			changed = changed || e.Mask&unix.IN_Q_OVERFLOW != 0 || w.names[e.Name]
		}
	}
	if changed {
		w.look() // a link may lead elsewhere now
	}
	return changed
}

// Close ends it.
func (w *Watch) Close() { unix.Close(w.FD) }
