package supervisor

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate/launch"
	"github.com/nsinit/nsinit/supervisor/machine"
)

// release carries out the effect Release: the log is drained, then the reaper
// and whatever is left are ended, then the cgroups and files go. The engine
// hears of it when nothing is left; where a start follows at once, when nothing
// lives: the two share nothing but what a start waits for by itself. A terminal is
// shared: the hangup after the one would hit the next.
func (m *Manager) release(e machine.Release) {
	s := m.service(e.Unit)
	if s.launching {
		s.releaseWait = &e
		return
	}
	g := s.gen
	if g == nil || g.number != e.Generation {
		m.sweep(e.Ref, s.slice(), func() { m.handle(machine.Released{Ref: e.Ref}) })
		return
	}
	if g.def.Service.PidFile != "" && !g.cleared {
		g.cleared = true
		m.removePidFile(g, func() { m.release(e) })
		return
	}
	if e.Keep && g.populated() {
		s.gen = nil
		s.leftovers[g.number] = g
		m.handle(machine.Released{Ref: e.Ref})
		return
	}
	g.again = (e.Again || s.snap.Job == machine.VerbRestart) && !terminalOf(g.def).Releases()
	m.end(s, g, func() { m.handle(machine.Released{Ref: e.Ref}) })
}

// sweep removes what a manager that died has left of a generation that this
// one does not hold: the runtime directories too, which the next start would
// find as the dead one was removing them.
func (m *Manager) sweep(r machine.Ref, slice string, done func()) {
	s := m.service(r.Unit)
	var passing []string
	if s.gen == nil {
		passing = m.passingDirectories(s, "no")
	}
	dir := filepath.Join(m.cfg.unitDir(r.Unit), strconv.FormatUint(r.Generation, 10))
	gone := m.removing(passing)
	m.onWorker(m.work, func() {
		defer close(gone)
		half, err := m.cgroups.Named(r.Unit, slice, r.Generation)
		if err == nil {
			err = m.endGeneration(half, nil)
		}
		if hasRun(dir) {
			err = errors.Join(err, removeDirectories(passing))
		}
		if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
			m.log.Error().Str("unit", r.Unit).Uint64("generation", r.Generation).Err(err).Msg("cannot remove what an earlier manager left")
		}
		m.poller.Post(done)
	})
}

// hasRun reports whether a reaper has written its record in dir: a start that did
// not come so far has put nothing into its directories, and they may be refused ones.
func hasRun(dir string) bool {
	b, err := os.ReadFile(filepath.Join(dir, "record"))
	return err == nil && len(bytes.Trim(b, "\x00")) > 0
}

// slice is where the unit's cgroup is.
func (s *service) slice() string {
	if s.def == nil {
		return ""
	}
	return s.def.Resources.Slice
}

// end takes a generation down and calls done on the loop.
func (m *Manager) end(s *service, g *generation, done func()) {
	g.ended = append(g.ended, done)
	if g.releasing {
		return
	}
	g.releasing = true
	kill := func() {
		m.unwatch(g)
		cgroup, reaper := g.cgroup, g.handOver()
		var passing []string
		if s.gen == g && s.placed {
			passing = m.passingDirectories(s, "no")
		}
		gone := m.removing(passing)
		again := g.again && m.killPayload(cgroup, reaper)
		if again {
			m.ended(s, g)
		}
		m.background(func() {
			err := m.endGeneration(cgroup, reaper)
			err = errors.Join(err, terminalOf(g.def).Release(), removeDirectories(passing), g.removeDir())
			close(gone)
			m.poller.Post(func() {
				if err != nil {
					m.log.Error().Str("unit", g.unit).Uint64("generation", g.number).Err(err).Msg("cannot remove all of it")
				}
				if !again {
					m.ended(s, g)
				}
			})
		})
	}
	if s.log == nil {
		kill()
		return
	}
	s.log.Drain(func() { m.poller.Post(kill) })
}

// killPayload kills all of a generation, and reports whether its payload is dead
// already, as it mostly is where a service has ended by itself. Only the reaper
// may then still be on its way out.
func (m *Manager) killPayload(c *launch.Generation, r *ending) bool {
	if c == nil || r == nil || c.Kill() != nil || r.reaper.Signal(syscall.SIGKILL) != nil {
		return false
	}
	populated, err := c.Populated()
	return err == nil && !populated
}

// removeDir removes the generation's files.
func (g *generation) removeDir() error {
	g.inDir.Lock()
	defer g.inDir.Unlock()
	g.removed = true
	return os.RemoveAll(g.dir)
}

// ended forgets a generation of which nothing is left.
func (m *Manager) ended(s *service, g *generation) {
	g.close()
	if s.gen == g {
		s.gen, s.record = nil, g.last
	}
	delete(s.leftovers, g.number)
	if s.gen == nil && len(s.leftovers) == 0 && s.log != nil {
		s.log.Detach()
	}
	for _, done := range g.ended {
		done()
	}
}

// removing notes that runtime directories are being removed, until the channel
// is closed: a start that makes one of them again waits for it. Those that are gone
// are forgotten.
func (m *Manager) removing(paths []string) chan struct{} {
	maps.DeleteFunc(m.removals, func(_ string, gone chan struct{}) bool {
		select {
		case <-gone:
			return true
		default:
			return false
		}
	})
	gone := make(chan struct{})
	for _, p := range paths {
		m.removals[p] = gone
	}
	return gone
}

// removalsBefore lists the removals that a start of the unit has to wait for.
func (m *Manager) removalsBefore(s *service) (list []<-chan struct{}) {
	if s.dropped != nil {
		list = append(list, s.dropped)
	}
	for _, d := range s.def.Filesystem.RuntimeDirectory {
		for p, gone := range m.removals {
			if strings.HasPrefix(d.Path+"/", p+"/") || strings.HasPrefix(p+"/", d.Path+"/") {
				list = append(list, gone)
			}
		}
	}
	return list
}

// leftoverEmpty ends an older generation whose last process has gone.
func (m *Manager) leftoverEmpty(g *generation) {
	s := m.services[g.unit]
	if s == nil || s.leftovers[g.number] != g {
		return
	}
	m.end(s, g, func() {
		if s.snap.State.Down() {
			m.atRest(s)
		}
	})
}

// leftoverWait is how long processes that were left alone have to end when
// everything does.
const leftoverWait = 5 * time.Second

// endLeftovers ends what older starts have left, politely first, then calls done.
func (m *Manager) endLeftovers(done func()) {
	open := 1
	one := func() {
		if open--; open == 0 {
			done()
		}
	}
	for _, s := range m.services {
		for _, g := range s.leftovers {
			open++
			g.ended = append(g.ended, one)
			g.cgroup.Signal(unix.SIGTERM)
			g.cgroup.Signal(unix.SIGCONT)
			time.AfterFunc(leftoverWait, func() { m.poller.Post(func() { m.end(s, g, func() {}) }) })
			m.payload(g)
		}
	}
	one()
}

// endWait bounds how long a worker waits for processes that SIGKILL does not
// end (state D); the engine has given them up by then.
const endWait = 20 * time.Second

// ending is a reaper that is taken down: its descriptor is the worker's that
// does it.
type ending struct {
	reaper *launch.Process
	child  bool
}

// handOver gives the reaper away; the loop has none from then on.
func (g *generation) handOver() *ending {
	if g.gone {
		return nil
	}
	g.gone = true
	return &ending{g.reaper, g.child}
}

// end kills the reaper and takes its exit.
func (e *ending) end(deadline time.Time) {
	e.reaper.Signal(syscall.SIGKILL)
	if waitFD(e.reaper.PIDFD, unix.POLLIN, deadline) && e.child {
		e.reaper.Wait()
		return
	}
	unix.Close(e.reaper.PIDFD)
}

// endGeneration kills both leaves, waits for their processes, and removes the
// cgroups. r, where the manager holds one, is the reaper to wait for.
func (m *Manager) endGeneration(c *launch.Generation, r *ending) error {
	deadline := time.Now().Add(endWait)
	var err error
	if c != nil {
		err = errors.Join(c.Kill(), c.KillInit())
	}
	if r != nil {
		r.end(deadline)
	}
	if c == nil {
		return nil
	}
	waitEmpty(filepath.Join(m.cgroups.Mount(), c.Path()), deadline)
	if removeErr := c.Remove(); removeErr != nil {
		return errors.Join(err, removeErr)
	}
	return nil // a cgroup that is gone had nobody to kill
}

// waitEmpty waits until nobody lives in a cgroup and those below it.
func waitEmpty(dir string, deadline time.Time) {
	events, err := unix.Open(filepath.Join(dir, "cgroup.events"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return // it is gone already, or its removal will tell
	}
	defer unix.Close(events)
	for bytes.Contains(readEvents(events), []byte("populated 1")) && waitFD(events, unix.POLLPRI, deadline) {
	}
}

// waitFD waits until fd has events, and reports false at the deadline.
func waitFD(fd int, events int16, deadline time.Time) bool {
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return false
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, int(left.Milliseconds())+1)
		if err == unix.EINTR {
			continue
		}
		return n > 0
	}
}
