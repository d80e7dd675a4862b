package supervisor

import (
	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/supervisor/compile"
	"github.com/nsinit/nsinit/supervisor/logs"
	"github.com/nsinit/nsinit/unit"
)

// followIn says which files of its own the unit's log follows.
func (m *Manager) followIn(s *service, cfg *logs.Config) {
	if s.def == nil {
		return
	}
	cfg.Files = s.def.Log.Files
	if sig := s.def.Log.ReopenSignal; sig != 0 {
		cfg.Reopen = func() { // on the pump's goroutine
			m.poller.Post(func() {
				if err := m.kill(s, sig, "main"); err != nil {
					s.notice(logs.Warning, "log: the service was not told to open its files anew: %v", err)
				}
			})
		}
	}
}

// survey tells the log what its files held before the service can write to them.
func (b *birth) survey() {
	if u := b.g.def; len(u.Log.Files) > 0 {
		b.log.Expect(logs.Survey(orElse(u.Filesystem.RootDirectory, "/"), u.Log.Files))
	}
}

// makeOutputs makes the files for a service's output, where it could not: as
// systemd does, with root as their owner. Why one cannot be made, its opening says.
func makeOutputs(u *unit.Unit) {
	for _, name := range compile.OutputFiles(u) {
		fd, err := unix.Open(name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
		if err == nil {
			unix.Close(fd)
		}
	}
}

// follow hands the service's root over to its log, once the reaper is in it.
func (m *Manager) follow(g *generation) {
	s := m.services[g.unit]
	if g.followed || g.gone || g.reaper == nil || s.gen != g || s.log == nil || len(g.def.Log.Files) == 0 {
		return
	}
	g.followed = true
	root, err := g.reaperRoot()
	if err == nil {
		err = s.log.Follow(root)
	}
	if err != nil {
		s.notice(logs.Warning, "log: cannot follow the service's files: %v", err)
	}
}
