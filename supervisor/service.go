package supervisor

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/nsinit/nsinit/reaper"
	"github.com/nsinit/nsinit/supervisor/logs"
	"github.com/nsinit/nsinit/supervisor/machine"
	"github.com/nsinit/nsinit/unit"
)

// service is what the manager holds of a unit that has run, besides the state
// machine's own values. It belongs to the loop.
type service struct {
	name string
	def  *unit.Unit // the definition that it was launched with
	log  *logs.Log
	snap machine.Snapshot // as last published

	gen       *generation            // the present start, from Launch to Released
	leftovers map[uint64]*generation // older starts with processes that were left alone

	dropped     chan struct{}    // closed when what the last rest took away is gone; nil: nothing was
	placed      bool             // its directories are in place, and its own to remove
	launching   bool             // a launch of this unit is under way on a worker
	releaseWait *machine.Release // that came meanwhile
	start       startState
	login       chan struct{}  // closed when the last entry in utmp is written
	notices     []notice       // about the present start
	record      *reaper.Record // of the last start, once it has ended
}

// notice is a line for status.
type notice struct {
	at   int64 // Unix microseconds
	text string
}

// service gives the unit's record, made when first needed.
func (m *Manager) service(name string) *service {
	s := m.services[name]
	if s == nil {
		s = &service{name: name, def: m.defs[name], leftovers: map[uint64]*generation{}}
		m.services[name] = s
	}
	return s
}

// openLog takes the unit's log in use; it stays so until the unit is at rest.
func (m *Manager) openLog(s *service, adopted bool) {
	cfg := logs.Config{Unit: s.name, Dir: filepath.Join(m.cfg.LogDir, s.name), StagingDir: filepath.Join(m.cfg.unitDir(s.name), "log"),
		Adopted: adopted, LevelMax: logs.Debug}
	if s.def != nil {
		l := s.def.Log
		cfg.MaxSize, cfg.MaxFiles, cfg.Compress = int64(l.MaxSize), l.MaxFiles, l.Compress
		cfg.RateInterval, cfg.RateBurst, cfg.LevelMax = l.LogRateLimitIntervalSec, l.LogRateLimitBurst, logs.Priority(l.LogLevelMax)
		cfg.Forward, cfg.Identifier = l.Forward, l.SyslogIdentifier
	}
	m.followIn(s, &cfg)
	if s.log != nil {
		if !adopted { // in use since an earlier start, whose file may have said something else
			s.log.Configure(cfg)
		}
		return
	}
	s.log = m.pump.Add(cfg)
}

// tellMain lets the unit's log know whose lines it holds.
func (m *Manager) tellMain(g *generation) {
	if s := m.services[g.unit]; s != nil && s.log != nil {
		s.log.Main(g.mainPID)
	}
}

// notice writes a line of the manager's own into the unit's log.
func (s *service) notice(p logs.Priority, format string, args ...any) {
	if s.log != nil {
		s.log.Notice(p, format, args...)
	}
}

// atRest lets go of what only a unit in use needs.
func (m *Manager) atRest(s *service) {
	if s.gen != nil || s.launching || len(s.leftovers) > 0 {
		return
	}
	if s.log != nil {
		s.log.Remove(nil)
		s.log = nil
	}
	// Unmounting the namespace's pin waits for the kernel, so it is a worker's;
	// the next start waits for that.
	dropped := make(chan struct{})
	s.dropped = dropped
	var passing []string
	if s.placed {
		passing = m.passingDirectories(s, "restart")
	}
	s.placed = false
	gone := m.removing(passing)
	networks := m.networksToDrop(s)
	for _, name := range networks {
		m.service(name).dropped = dropped // the next start waits for that
	}
	m.onWorker(m.tidying, func() {
		defer close(dropped)
		defer close(gone)
		err := removeDirectories(passing)
		for _, name := range networks {
			err = errors.Join(err, m.links.release(name))
		}
		if err != nil {
			m.log.Warn().Str("unit", s.name).Err(err).Msg("cannot remove what a unit at rest needs no more")
		}
	})
}

// inUse reports whether there is, or will be, anything of the unit that lives.
func (s *service) inUse() bool {
	return !s.snap.State.Down() || s.gen != nil || s.launching || len(s.leftovers) > 0
}

// usesNetwork reports whether a unit, or one that joins it, needs the unit's
// network namespace.
func (m *Manager) usesNetwork(name string) bool {
	for _, s := range m.services {
		if s.inUse() && (s.name == name || s.joins() == name) {
			return true
		}
	}
	return false
}

// keepsNetwork reports whether the unit's links are kept while it does not run:
// as long as it has a file that asks for them, be that a bad one by now.
func (m *Manager) keepsNetwork(name string) bool {
	if !m.links.has(name) {
		return false
	}
	u := m.defs[name]
	return u != nil && u.Network.Attached() || u == nil && len(m.set.Problems()[name]) > 0
}

// releaseGone gives up the links of units that have no file any more, or whose
// file does not ask for them. A unit in use has them until it is at rest.
func (m *Manager) releaseGone() {
	var gone []string
	for _, name := range m.links.all() {
		if !m.usesNetwork(name) && !m.keepsNetwork(name) {
			gone = append(gone, name)
		}
	}
	if len(gone) == 0 {
		return
	}
	dropped := make(chan struct{})
	var before []<-chan struct{}
	for _, name := range gone {
		s := m.service(name)
		if s.dropped != nil {
			before = append(before, s.dropped)
		}
		s.dropped = dropped
	}
	m.onWorker(m.tidying, func() {
		defer close(dropped)
		if err := m.links.release(gone...); err != nil {
			m.log.Warn().Strs("units", gone).Err(err).Msg("cannot give up the networks of units that are gone")
		}
	}, before...)
}

// joins is the unit whose network namespace this one is in, if it is another's.
func (s *service) joins() string {
	if s.def == nil || s.def.Network.Mode != unit.NetworkUnit {
		return ""
	}
	return s.def.Network.Unit
}

// networksToDrop lists the units whose network namespaces nobody needs any more
// now that s is at rest: its own, and that which it had joined.
func (m *Manager) networksToDrop(s *service) (names []string) {
	for _, name := range []string{s.name, s.joins()} {
		if name != "" && !m.usesNetwork(name) && !m.keepsNetwork(name) {
			names = append(names, name)
		}
	}
	return names
}

// undoDirectories removes the runtime directories of a start that failed.
func (m *Manager) undoDirectories(s *service) {
	passing := m.passingDirectories(s, "no")
	gone := m.removing(passing)
	m.onWorker(m.tidying, func() {
		defer close(gone)
		removeDirectories(passing)
	})
}

// closeAll closes every descriptor of the unit, without touching its processes.
func (s *service) closeAll() {
	if s.gen != nil {
		s.gen.close()
	}
	for _, g := range s.leftovers {
		g.close()
	}
}

// generationOf finds the start that an effect or event is about.
func (s *service) generationOf(n uint64) *generation {
	if s.gen != nil && s.gen.number == n {
		return s.gen
	}
	return s.leftovers[n]
}

func joinPaths(paths []string) string {
	switch len(paths) {
	case 0:
		return "(no unit path)"
	case 1:
		return paths[0]
	}
	return fmt.Sprintf("%s and %s", strings.Join(paths[:len(paths)-1], ", "), paths[len(paths)-1])
}
