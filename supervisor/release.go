package supervisor

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate/launch"
	"github.com/nsinit/nsinit/supervisor/machine"
)

// release carries out the effect Release: the log is drained, then the reaper
// and whatever is left are ended, then the cgroups and files go. The engine
// hears of it when nothing is left.
func (m *Manager) release(e machine.Release) {
	s := m.service(e.Unit)
	if s.launching {
		s.releaseWait = &e
		return
	}
	g := s.gen
	if g == nil || g.number != e.Generation {
		m.sweep(e.Ref, func() { m.handle(machine.Released{Ref: e.Ref}) })
		return
	}
	if e.Keep && g.populated() {
		s.gen = nil
		s.leftovers[g.number] = g
		m.news(machine.Released{Ref: e.Ref})
		return
	}
	m.end(s, g, func() { m.handle(machine.Released{Ref: e.Ref}) })
}

// sweep removes what a manager that died has left of a generation that this
// one does not hold.
func (m *Manager) sweep(r machine.Ref, done func()) {
	m.onWorker(m.work, func() {
		if found, err := m.cgroups.Open(r.Unit, m.slice(r.Unit), r.Generation); err == nil {
			endGeneration(found, nil)
			found.Close()
		}
		os.RemoveAll(filepath.Join(m.cfg.unitDir(r.Unit), strconv.FormatUint(r.Generation, 10)))
		m.poller.Post(done)
	})
}

func (m *Manager) slice(name string) string {
	if u := m.defs[name]; u != nil {
		return u.Resources.Slice
	}
	return ""
}

// end takes a generation down and calls done on the loop.
func (m *Manager) end(s *service, g *generation, done func()) {
	if g.releasing {
		return
	}
	g.releasing = true
	kill := func() {
		m.unwatch(g)
		var passing []string
		if s.gen == g {
			passing = m.passingDirectories(s, "no")
		}
		m.background(func() {
			err := endGeneration(g.cgroup, g)
			err = errors.Join(err, removeDirectories(passing), os.RemoveAll(g.dir))
			m.poller.Post(func() {
				if err != nil {
					m.log.Error().Str("unit", g.unit).Uint64("generation", g.number).Err(err).Msg("cannot remove all of it")
				}
				m.ended(s, g)
				done()
			})
		})
	}
	if s.log == nil {
		kill()
		return
	}
	s.log.Drain(func() { m.poller.Post(kill) })
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

// endWait bounds how long a worker waits for processes that SIGKILL does not
// end (state D); the engine has given them up by then.
const endWait = 20 * time.Second

// endGeneration kills both leaves, waits for their processes, and removes the
// cgroups. g, where the manager holds one, has the reaper to wait for.
func endGeneration(c *launch.Generation, g *generation) error {
	if c == nil {
		return nil
	}
	if err := c.Kill(); err != nil {
		return err
	}
	if err := c.KillInit(); err != nil {
		return err
	}
	deadline := time.Now().Add(endWait)
	if g != nil && !g.gone {
		g.reaper.Signal(syscall.SIGKILL)
		if waitFD(g.reaper.PIDFD, unix.POLLIN, deadline) {
			g.waitReaper()
		}
	}
	events, err := c.EventsFD()
	if err != nil {
		return err
	}
	defer unix.Close(events)
	for bytes.Contains(readEvents(events), []byte("populated 1")) && waitFD(events, unix.POLLPRI, deadline) {
	}
	return c.Remove()
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
