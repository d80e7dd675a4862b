package machine

import (
	"math"
	"syscall"
	"time"
)

const sigkill = int(syscall.SIGKILL)

// lines is the list of commands of a kind.
func (s *step) lines(kind Kind) []Line {
	switch kind {
	case KindCondition:
		return s.cfg.ExecCondition
	case KindStartPre:
		return s.cfg.ExecStartPre
	case KindStart:
		return s.cfg.ExecStart
	case KindStartPost:
		return s.cfg.ExecStartPost
	case KindReload:
		return s.cfg.ExecReload
	case KindStop:
		return s.cfg.ExecStop
	case KindStopPost:
		return s.cfg.ExecStopPost
	}
	return nil
}

// ignored: that line has the "-" prefix.
func (s *step) ignored(kind Kind, index int) bool {
	l := s.lines(kind)
	return index >= 0 && index < len(l) && l[index].IgnoreFailure
}

// judge turns the end of a process into a result. daemon allows the signals
// that are a clean end of one.
func (s *step) judge(st Status, daemon bool, also ExitSet) Result {
	switch {
	case also.has(st):
		return Success
	case st.Code == CodeExited && st.Value == 0:
		return Success
	case st.Code == CodeExited:
		return ExitCodeFailure
	case st.Code == CodeDumped:
		return CoreDump
	case st.Code == CodeKilled && daemon && cleanSignal(st.Value):
		return Success
	case st.Code == CodeKilled:
		return SignalFailure
	}
	return StatusUnknown
}

func cleanSignal(sig int) bool {
	switch syscall.Signal(sig) {
	case syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGPIPE:
		return true
	}
	return false
}

func (s *step) judgeMain(ev MainExited) Result {
	if s.ignored(KindStart, ev.Index) && !s.cfg.forks() {
		return Success
	}
	return s.judge(ev.Status, s.cfg.Type != "oneshot", s.cfg.SuccessExit)
}

// judgeHook: systemd calls SIGTERM and its like clean for hooks as well.
func (s *step) judgeHook(st Status) Result { return s.judge(st, true, ExitSet{}) }

// judgeProgram: an exec_condition that exits 1 to 254 skips the unit; 255 or a
// signal fails it. An exec_start_pre is a command like any other.
func (s *step) judgeProgram(ev ProgramExited) Result {
	switch {
	case s.ignored(ev.Kind, ev.Index):
		return Success
	case ev.Kind == KindCondition && ev.Status.Code == CodeExited && ev.Status.Value > 0 && ev.Status.Value < 255:
		return ExecCondition
	case ev.Kind == KindStart: // of a forking service
		return s.judge(ev.Status, true, s.cfg.SuccessExit)
	}
	return s.judge(ev.Status, false, ExitSet{})
}

// restartIn decides whether a unit that went down comes back, and when.
func (s *step) restartIn() (time.Duration, bool) {
	if s.m.Want != WantUp || s.m.Unkillable || !s.shallRestart() {
		return 0, false
	}
	delay := backoff(s.cfg, s.m.Restarts+1)
	if delay == Forever {
		return 0, false
	}
	return delay, true
}

// shallRestart is the table of restart= in systemd.service(5).
func (s *step) shallRestart() bool {
	r := s.m.Result
	switch r {
	case ExecCondition, ConditionFailed, AssertFailed, StartLimitHit, DependencyFail, Canceled:
		return false
	}
	if s.cfg.PreventExit.has(s.m.MainStatus) {
		return false
	}
	if s.cfg.ForceExit.has(s.m.MainStatus) {
		return true
	}
	switch s.cfg.Restart {
	case "always":
		return true
	case "on-success":
		return r == Success
	case "on-failure":
		return r != Success
	case "on-abnormal":
		return r != Success && r != ExitCodeFailure && r != SetupFailure
	case "on-abort":
		return r == SignalFailure || r == CoreDump || r == ReaperGone || r == StatusUnknown
	case "on-watchdog":
		return r == WatchdogFailure
	}
	return false
}

// backoff is the delay before the n-th automatic restart in a row, n from 1:
// restart_sec first, growing by the same factor each time, restart_max_delay_sec
// after restart_steps more. The random part is a function of Config.Seed and n.
func backoff(cfg *Config, n int) time.Duration {
	base, top := cfg.RestartSec, cfg.RestartMaxDelay
	delay := base
	if n > 1 && cfg.RestartSteps > 0 && top > 0 && top != Forever && base > 0 && base < top {
		delay = top
		if n <= cfg.RestartSteps {
			grown := float64(base) * math.Pow(float64(top)/float64(base), float64(n-1)/float64(cfg.RestartSteps))
			delay = min(top, time.Duration(grown))
		}
	}
	spread := cfg.RestartRandomDelay
	if spread <= 0 || spread == Forever || delay > Forever-spread {
		return delay
	}
	return delay + time.Duration(mix(cfg.Seed+uint64(n))%uint64(spread))
}

// mix is the finalizer of SplitMix64: neighbouring numbers become unrelated.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
