package supervisor

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nsinit/nsinit/reaper"
	"github.com/nsinit/nsinit/supervisor/control"
	"github.com/nsinit/nsinit/supervisor/machine"
	"github.com/nsinit/nsinit/unit"
)

// sight is what the loop knows of one unit, copied, so that everything that
// takes time (processes, cgroups, logs) can be looked up elsewhere. Units and
// records in it are never changed by anybody.
type sight struct {
	name     string
	known    bool // to the engine
	snap     machine.Snapshot
	unit     *unit.Unit // in force for the next start, nil if there is no good one
	ran      *unit.Unit // what the present or last start was made with, nil if none
	problems unit.List
	masked   bool
	enabled  string
	start    startState
	notices  []notice
	log      *control.LogStatus
	clock    clock
	loaded   time.Time // when the unit files were read

	live      bool // there is a generation with a reaper
	number    uint64
	slice     string
	record    *reaper.Record
	commands  []command
	mainPID   int // of the program that runs now: main, or what runs before it
	reaperPID int
	hookPID   int
	older     []leftover
}

// leftover is an older start that still has processes.
type leftover struct {
	number uint64
	slice  string
}

// clock relates the engine's time to the wall's, at one moment.
type clock struct {
	boot machine.Instant
	wall time.Time
}

// clockNow reads both. The difference is cut to milliseconds: the readings are
// microseconds apart, and one instant should be shown as the same time twice.
func clockNow() clock {
	boot, wall := now(), time.Now()
	apart := time.Duration(wall.UnixNano() - int64(boot)).Truncate(time.Millisecond)
	return clock{boot, time.Unix(0, int64(boot)+int64(apart))}
}

// at is when an instant was, or will be; none stays zero.
func (c clock) at(i machine.Instant) time.Time {
	if i == 0 {
		return time.Time{}
	}
	return c.wall.Add(time.Duration(i - c.boot))
}

func (c clock) usec(i machine.Instant) int64 {
	if i == 0 {
		return 0
	}
	return c.at(i).UnixMicro()
}

// look gathers what is known of the unit of that canonical name. It runs on
// the loop, and is cheap.
func (m *Manager) look(name string) *sight {
	s := &sight{name: name, unit: m.defs[name], masked: m.set.Masked(name), problems: m.set.Problems()[name], enabled: m.set.Enabled(name),
		clock: clockNow(), loaded: m.loadedAt}
	s.fill(m)
	return s
}

func (s *sight) fill(m *Manager) {
	s.snap, s.known = m.engine.State(s.name)
	s.snap.Unit = s.name
	v := m.services[s.name]
	if v == nil {
		return
	}
	s.start, s.notices, s.record = v.start, slices.Clone(v.notices), v.record
	s.log = logStatus(v.log)
	if s.snap.Generation > 0 {
		s.ran = v.def
	}
	for n, g := range v.leftovers {
		s.older = append(s.older, leftover{n, g.def.Resources.Slice})
	}
	slices.SortFunc(s.older, func(a, b leftover) int { return int(min(max(int64(a.number)-int64(b.number), -1), 1)) })
	if v.gen == nil || v.gen.cgroup == nil {
		return
	}
	g := v.gen
	s.live, s.number, s.slice, s.ran = true, g.number, g.def.Resources.Slice, g.def
	s.record, s.commands, s.mainPID = g.last, g.commands, g.mainPID
	if g.reaper != nil && !g.gone {
		s.reaperPID = g.reaper.PID
	}
	if h := g.hooks[s.snap.Run]; h != nil && h.proc != nil && s.snap.Hook {
		s.hookPID = h.proc.PID
	}
}

// def is the definition that describes the unit as it is now.
func (s *sight) def() *unit.Unit {
	if s.ran != nil && (s.unit == nil || !s.snap.State.Down()) {
		return s.ran
	}
	return s.unit
}

// outcome is the last run, for explaining.
func (s *sight) outcome(lines []string) outcome {
	u := s.ran
	if u == nil {
		u = s.unit
	}
	o := outcome{snap: s.snap, unit: u, lines: lines}
	if s.record != nil && s.record.Generation == s.snap.Generation && u != nil {
		o.took = tookOf(s.record, commandsOf(u), s.snap)
	}
	return o
}

// tookOf is how long the reaper's program ran that the engine heard of last.
func tookOf(r *reaper.Record, commands []command, snap machine.Snapshot) time.Duration {
	for i, c := range commands {
		if i < len(r.Programs) && c.kind == snap.Kind && c.index == snap.Index {
			if p := r.Programs[i]; p.State == reaper.Ended && p.Ended > p.Started && p.Started > 0 {
				return time.Duration(p.Ended - p.Started)
			}
		}
	}
	return 0
}

// seen is look for a name that somebody typed. A template is instantiated for
// those only who may also start it: each instance takes memory.
func (b backend) seen(ctx context.Context, name string) (s *sight, err error) {
	m := b.m
	mayLoad := control.PeerFrom(ctx).Role >= control.RoleOperator
	callErr := m.call(ctx, func() {
		canonical := m.set.Canonical(name)
		_, known := m.engine.State(canonical)
		if !known && m.defs[canonical] == nil && mayLoad {
			_, err = m.resolve(name)
		} else if !known && m.defs[canonical] == nil {
			err = m.unknown(canonical)
		}
		var ce *control.Error
		if errors.As(err, &ce) && ce.Code == control.CodeBadUnit {
			err = nil // it has a status: that it is bad
		}
		if err == nil {
			s = m.look(canonical)
		}
	})
	if callErr != nil {
		return nil, callErr
	}
	return s, err
}

// unknown tells a bad or masked unit from one that is not there.
func (m *Manager) unknown(name string) error {
	if m.set.Masked(name) || len(m.set.Problems()[name]) > 0 {
		return nil
	}
	return &control.Error{Code: control.CodeNoSuchUnit, Unit: name, Message: "cannot find a unit of this name in " + joinPaths(m.cfg.UnitPath),
		Hint: "after adding a file: nsctl daemon-reload"}
}
