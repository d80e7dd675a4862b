package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/reaper"
	"github.com/nsinit/nsinit/supervisor/machine"
	"github.com/nsinit/nsinit/supervisor/pidfile"
)

// seek is the search for the main process of a forking service by its pid_file:
// the file is read again whenever the kernel says that it may have changed. It
// belongs to the loop; the reading is a goroutine's, since the service's file
// systems may be its own and slow.
type seek struct {
	events int  // inotify(7)
	busy   bool // the file is being read
	again  bool // it has changed meanwhile
	over   bool // nobody wants to know any more
}

// seekMain looks into pid_file, and goes on looking.
func (m *Manager) seekMain(g *generation) {
	if g.seek == nil {
		events, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
		if err == nil {
			k := &seek{events: events}
			g.seek = k
			err = m.poller.Add(events, unix.EPOLLIN, func(uint32) { m.pidFileChanged(g, k) })
		}
		if err != nil {
			g.endSeek(m)
			m.problem(fmt.Errorf("%s: cannot wait for pid_file: %w", g.unit, err))
			m.handle(machine.MainUnnamed{Ref: g.ref(), Why: "pid_file cannot be waited for: " + err.Error()})
			return
		}
	}
	m.lookAgain(g, g.seek)
}

func (m *Manager) pidFileChanged(g *generation, k *seek) {
	var b [4096]byte
	for {
		if n, err := unix.Read(k.events, b[:]); n <= 0 || err != nil {
			break
		}
	}
	m.lookAgain(g, k)
}

// lookAgain reads the file once more, once at a time.
func (m *Manager) lookAgain(g *generation, k *seek) {
	if k.busy {
		k.again = true
		return
	}
	k.busy, k.again = true, false
	m.readPidFile(g, k.events, func(f pidfile.File, err error) {
		k.busy = false
		switch {
		case k.over:
			unix.Close(k.events)
		case m.mainRead(g, f, err):
			g.endSeek(m)
		case k.again:
			m.lookAgain(g, k)
		}
	})
}

// endSeek stops looking. A read that is under way closes behind itself.
func (g *generation) endSeek(m *Manager) {
	k := g.seek
	if k == nil {
		return
	}
	g.seek, k.over = nil, true
	m.poller.Remove(k.events)
	if !k.busy {
		unix.Close(k.events)
	}
}

// readPidFile reads the unit's pid_file, watched by the inotify descriptor
// events if that is not 0, and calls done on the loop.
func (m *Manager) readPidFile(g *generation, events int, done func(pidfile.File, error)) {
	root, err := g.root()
	if err != nil {
		m.poller.Post(func() { done(pidfile.File{}, err) })
		return
	}
	name := g.def.Service.PidFile
	m.background(func() {
		defer unix.Close(root)
		var watchErr error
		if events != 0 {
			watchErr = pidfile.Watch(events, root, name)
		}
		f, err := pidfile.Read(root, name)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || watchErr == nil {
			watchErr = nil
		}
		m.poller.Post(func() { done(f, errors.Join(err, watchErr)) })
	})
}

// root opens the root of the service, as it is behind the reaper's. Before the
// set-up is through that may be the machine's.
func (g *generation) root() (int, error) {
	switch {
	case !g.def.Isolation.Namespaces.Mount:
		return openRoot("/")
	case g.gone || g.reaper == nil || g.last == nil || g.last.Phase <= reaper.SetupFailed:
		return 0, errors.New("cannot open the service's root: its reaper is not there")
	}
	return g.reaperRoot()
}

// reaperRoot opens the root of the reaper.
func (g *generation) reaperRoot() (int, error) {
	fd, err := openRoot(rootOf(g.reaper.PID))
	if err == nil && g.reaper.Signal(0) != nil { // the number may be another's now
		unix.Close(fd)
		err = errors.New("cannot open the service's root: its reaper has ended")
	}
	return fd, err
}

// rootOf leads to the root directory of a process (proc_pid_root(5)).
func rootOf(pid int) string { return fmt.Sprintf("/proc/%d/root", pid) }

func openRoot(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("cannot open the service's root: %w", &os.PathError{Op: "open", Path: path, Err: err})
	}
	return fd, nil
}

// removePidFile removes pid_file, which is out of date, and calls done on the loop.
func (m *Manager) removePidFile(g *generation, done func()) {
	root, err := g.root()
	if err != nil {
		done() // with its root, or before it had one
		return
	}
	m.background(func() {
		err := pidfile.Remove(root, g.def.Service.PidFile)
		unix.Close(root)
		m.poller.Post(func() {
			if err != nil {
				m.log.Warn().Str("unit", g.unit).Err(err).Msg("pid_file stays")
			}
			done()
		})
	})
}
