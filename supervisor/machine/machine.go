// Package machine decides what a unit does next. It is pure: no clock, no
// input or output, no log, no goroutine. Events go in, effects come out, and
// time is a number that the caller brings along.
//
// # The state model
//
// Three values say where a unit stands, and they are kept apart on purpose.
// State is what it is doing. Want is what it is meant to be. Why is the reason
// of the last stop. A fourth, Result, remembers the first thing that went wrong
// in this run.
//
// At rest (nothing of the unit exists, nothing is planned):
//
//   - inactive, wanted down: it was never started, was stopped, ended well, or
//     was skipped by a condition.
//   - failed, wanted down: the same with a Result that counts as failure.
//     reset-failed makes it inactive.
//
// Neither is ever wanted up: who wants it up starts it, and the engine keeps
// the wish as a job while its turn has not come.
//
// Coming up, wanted up:
//
//   - checking: the manager looks at the conditions. Nothing exists yet, so a
//     stop leads straight to inactive.
//   - launching: Launch is out. Until Launched there may or may not be a
//     reaper. A stop must wait for the answer, in stop-sigterm.
//   - condition, start-pre: the reaper runs those commands, one after the other.
//   - start: main runs; a notify service has not said READY=1, or a oneshot
//     is not through its lines. In a forking service exec_start runs, which is
//     a command like those before; then main is looked for, and its pid_file
//     waited for.
//   - start-post: main is good, the hooks after it run. A pid_file that one of
//     them should have written is waited for here.
//
// Up, wanted up:
//
//   - running: main runs (or, with exit_type cgroup, anything does). In a
//     forking service whose main is not known, anything does too: its last
//     process ends it, and how it ended is unknown.
//   - exited: main ended well and remain_after_exit is set.
//   - reached: a target; there is nothing behind it.
//   - reload: exec_reload runs, reload_signal was sent, or the service said
//     RELOADING=1. However it ends, running follows, with ReloadResult.
//
// Going down. Wanted up here means that the unit ended by itself (Why is own)
// and restart has a say at the end; wanted down means that somebody decided.
// A stop that arrives here changes only Want and Why.
//
//   - stop: the exec_stop hooks run, after a good start only.
//   - stop-sigterm: asked to end by kill_signal. Also the waiting room of a
//     launch that is no longer wanted.
//   - stop-watchdog: the same with watchdog_signal and timeout_abort_sec.
//   - stop-sigkill: the last word.
//   - stop-post: the exec_stop_post hooks run, while the reaper lives.
//   - final-sigterm, final-sigkill: what the hooks left behind is asked, told.
//   - releasing: the manager takes the generation down. It cannot fail, so it
//     has no deadline.
//
// Between two lives, wanted up:
//
//   - auto-restart: waiting for the back-off; a stop leads to inactive.
//   - auto-restart-queued: the wait is over, the engine settles the graph and
//     starts the unit as if asked to.
//
// # Rules that hold in every state
//
// A generation is held from Launch to Released, and only then can the next one
// be launched: two payloads of one unit cannot be, except where kill_mode
// leaves the old one alone. Payload means "not known to be empty"; only
// PayloadEmpty clears it, and every command started sets it. Pending means that
// the reaper will start something yet, so an empty payload proves nothing, or
// that exec_start of a forking service is at it: nothing was started well.
// MainFrom tells whether main was named, which a forking service has none
// without; one that was named is known for the rest of the start, dead or alive.
// Every state but those at rest, up, checking, releasing and
// auto-restart-queued has a deadline, unless its timeout is infinite; the
// others wait for the manager, which always answers, or for nothing.
package machine

import (
	"slices"
	"time"
)

// step is one transition under way.
type step struct {
	cfg *Config
	m   Machine
	now Instant
	out []Effect
	bad bool // the pair of state and event cannot be
}

// next is the machine: what becomes of m through ev at the time now, and what
// is to be done. Facts about another generation change nothing.
func next(cfg *Config, m Machine, ev Event, now Instant) (Machine, []Effect) {
	if r, ok := ev.(interface{ ref() Ref }); ok && isFact(ev) && r.ref().Generation != m.Generation {
		return m, nil
	}
	s := &step{cfg: cfg, m: m, now: now}
	s.dispatch(ev)
	if s.bad {
		return m, []Effect{Bug{Ref: Ref{cfg.Name, m.Generation}, State: m.State, Event: eventName(ev)}}
	}
	return s.m, s.out
}

// isFact tells news about a generation from decisions, which have none.
func isFact(ev Event) bool {
	switch ev.(type) {
	case startUnit, stopUnit, reloadUnit, resetUnit, elapsed, resumed:
		return false
	}
	return true
}

func (s *step) dispatch(ev Event) {
	switch ev := ev.(type) {
	case startUnit:
		s.onStart(ev)
	case stopUnit:
		s.onStop(ev)
	case reloadUnit:
		s.onReload()
	case resetUnit:
		s.onReset()
	case elapsed:
		s.onElapsed()
	case resumed:
		s.onResumed()
	case ConditionsChecked:
		s.onConditions(ev)
	case Launched:
		s.onLaunched()
	case LaunchFailed:
		s.onLaunchFailed(ev)
	case SetupFailed:
		s.onSetupFailed(ev)
	case ProgramStarted:
		s.onProgramStarted(ev)
	case ProgramExited:
		s.onProgramExited(ev)
	case MainStarted:
		s.onMainStarted(ev)
	case MainExited:
		s.onMainExited(ev)
	case MainNamed:
		s.onMainNamed(ev)
	case MainUnnamed:
		s.onMainUnnamed(ev)
	case PayloadEmpty:
		s.onPayloadEmpty()
	case ReaperLost:
		s.onReaperLost(ev)
	case Released:
		s.onReleased()
	case HookExited:
		s.onHookEnd(ev.Run, s.judgeHook(ev.Status), ev.Status, Setup{})
	case HookFailed:
		s.onHookEnd(ev.Run, SetupFailure, Status{}, ev.Setup)
	case OOMKilled:
		s.onOOM()
	case Notify:
		s.onNotify(ev)
	case Request, Tick:
		s.bug() // the engine's own; no machine sees them
	}
}

// bug marks the pair as impossible; next then reports it and changes nothing.
func (s *step) bug() { s.bad = true }

func (s *step) ref() Ref                   { return Ref{s.cfg.Name, s.m.Generation} }
func (s *step) emit(e ...Effect)           { s.out = append(s.out, e...) }
func (s *step) deadlineIn(d time.Duration) { s.m.Deadline = s.now.after(d) }

// enter changes the state; deadlines belong to states and go with them.
func (s *step) enter(state State) {
	if s.m.State != state {
		s.m.Since = s.now
	}
	s.m.State = state
	s.m.Deadline = 0
	switch state {
	case StartPost, Running, Reloading:
	default:
		s.m.Watchdog = 0
	}
}

// fail notes the first thing that went wrong.
func (s *step) fail(r Result) {
	if s.m.Result == Success {
		s.m.Result = r
	}
}

// past reports whether the program is known to have got that far already: the
// record is read again after a crash, and old lines must not count twice.
func (m Machine) past(kind Kind, index int, ended bool) bool {
	have := []int{m.Kind.rank(), m.Index, bit(m.Ended)}
	return slices.Compare([]int{kind.rank(), index, bit(ended)}, have) <= 0
}

// at moves the program's position.
func (s *step) at(kind Kind, index int, ended bool) {
	s.m.Kind, s.m.Index, s.m.Ended = kind, index, ended
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// late is for facts that reach a unit at rest: they are about processes that
// the last Release left alone, or they cannot be.
func (s *step) late() {
	if !s.m.Kept {
		s.bug()
	}
}
