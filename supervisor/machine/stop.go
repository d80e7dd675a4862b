package machine

import (
	"syscall"
	"time"
)

// onStop: somebody decided. From here restart has no say.
func (s *step) onStop(ev stopUnit) {
	s.m.Want, s.m.Why, s.m.ForRestart = WantDown, ev.why, ev.restart
	switch s.m.State {
	case Checking, Reached:
		s.rest()
	case AutoRestart, AutoRestartQueued:
		if ev.why == StopDependency || ev.why == StopConflict {
			s.rest()
			return
		}
		s.m.EndedAt = s.now // on request: its failure has been dealt with
		s.enter(Inactive)
	case Launching, Condition, StartPre, Start, StartPost, Reloading:
		s.enterSignal(StopSigterm, Success)
	case Running, Exited:
		s.enterStop()
	case Stop, StopWatchdog, StopSigterm, StopSigkill, StopPost, FinalSigterm, FinalSigkill, Releasing:
	case Inactive, Failed:
		s.bug()
	}
}

// enterStop runs exec_stop, which a service that started well gets.
func (s *step) enterStop() {
	if s.m.Why == StopNone {
		s.m.Why = StopOwn
	}
	if len(s.cfg.ExecStop) == 0 || !s.m.Reaper {
		s.enterSignal(StopSigterm, Success)
		return
	}
	s.enter(Stop)
	s.runHook(KindStop, 0)
	s.deadlineIn(s.cfg.TimeoutStop)
}

// enterSignal begins or sharpens the end of the payload: state is StopSigterm,
// StopWatchdog or StopSigkill, and why it comes to that is the result.
func (s *step) enterSignal(state State, result Result) {
	s.fail(result)
	s.abortHook()
	if s.m.Why == StopNone {
		s.m.Why = StopOwn
	}
	s.enter(state)
	s.m.Notified, s.m.ReloadAt = false, 0
	if state == StopWatchdog {
		s.deadlineIn(s.cfg.TimeoutAbort)
	} else {
		s.deadlineIn(s.stopTime())
	}
	s.sendSignals()
	s.progress()
}

// killLeast is the least that SIGKILL gets, whatever timeout_stop_sec. That is
// how long the service may take; what comes after is the kernel's, which needs
// its time too on a busy machine, and a unit that was given up as unkillable is
// not started again.
const killLeast = 5 * time.Second

// stopTime is how long the present stopping state may last.
func (s *step) stopTime() time.Duration {
	if s.m.State == StopSigkill || s.m.State == FinalSigkill {
		return max(s.cfg.TimeoutStop, killLeast)
	}
	return s.cfg.TimeoutStop
}

// killMode is kill_mode while main is what there is to end. As long as the
// reaper may start something, everything has to go: nothing was started well.
func (s *step) killMode() string {
	if s.m.Pending {
		return "control-group"
	}
	return s.cfg.KillMode
}

// sendSignals says to the payload what the present state stands for.
func (s *step) sendSignals() {
	if s.m.Held && !s.m.Reaper && s.m.Pending {
		return // the launch is still under way: nobody to tell
	}
	switch s.m.State {
	case StopSigkill, FinalSigkill:
		s.sendFinal()
	case StopWatchdog:
		s.sendSoft(s.cfg.WatchdogSignal)
	case StopSigterm, FinalSigterm:
		if s.m.ForRestart && s.cfg.RestartKillSignal != 0 {
			s.sendSoft(s.cfg.RestartKillSignal)
		} else {
			s.sendSoft(s.cfg.KillSignal)
		}
	}
}

// sendSoft sends sig, SIGHUP if asked for, and SIGCONT, since a stopped process
// would not see the first two.
func (s *step) sendSoft(sig int) {
	whom := WhomAll
	switch s.killMode() {
	case "process", "mixed":
		whom = WhomMain
		if !s.m.MainAlive {
			return
		}
	case "none":
		return
	}
	s.emit(Signal{s.ref(), sig, whom})
	if s.cfg.SendSighup && s.m.State != StopWatchdog {
		s.emit(Signal{s.ref(), int(syscall.SIGHUP), whom})
	}
	if sig != int(syscall.SIGKILL) && sig != int(syscall.SIGCONT) {
		s.emit(Signal{s.ref(), int(syscall.SIGCONT), whom})
	}
	s.emit(CheckPayload{s.ref()})
}

// sendFinal sends final_kill_signal, to the whole cgroup at once if it is
// SIGKILL. A payload without its reaper belongs to nobody and always goes.
func (s *step) sendFinal() {
	sig := s.cfg.FinalKillSignal
	mode := s.killMode()
	switch {
	case !s.m.Reaper:
		s.emit(KillAll{s.ref()})
	case mode == "none":
		return
	case mode == "process":
		s.emit(Signal{s.ref(), sig, WhomMain})
	case sig == int(syscall.SIGKILL):
		s.emit(KillAll{s.ref()})
	default:
		s.emit(Signal{s.ref(), sig, WhomAll})
	}
	s.emit(CheckPayload{s.ref()})
}

// newcomer: the reaper started something after the decision to stop.
func (s *step) newcomer() {
	switch s.m.State {
	case StopPost:
		s.emit(KillAll{s.ref()})
	default:
		s.sendSignals()
	}
	s.progress()
}

// recheck asks again whether the payload is empty, unless that is known.
func (s *step) recheck() {
	if s.m.Payload {
		s.emit(CheckPayload{s.ref()})
	}
	s.progress()
}

// progress goes on when what a stopping state waits for is gone.
func (s *step) progress() {
	if s.m.Pending {
		return
	}
	switch s.m.State {
	case StopWatchdog, StopSigterm, StopSigkill:
		s.stopProgress()
	case FinalSigterm, FinalSigkill:
		if !s.m.Payload {
			s.release(false)
		}
	}
}

func (s *step) stopProgress() {
	mode := s.cfg.KillMode
	if !s.m.Reaper {
		mode = "control-group"
	}
	switch mode {
	case "none":
		s.enterStopPost()
	case "process":
		if !s.m.MainAlive {
			s.enterStopPost()
		}
	case "mixed":
		s.mixedProgress()
	default:
		if !s.m.MainAlive && !s.m.Payload {
			s.enterStopPost()
		}
	}
}

// mixedProgress: once main is gone, the rest is killed without a word.
func (s *step) mixedProgress() {
	switch {
	case s.m.MainAlive:
	case !s.m.Payload || !s.cfg.SendSigkill:
		s.enterStopPost()
	case s.m.State != StopSigkill:
		s.enterSignal(StopSigkill, Success)
	}
}

// enterStopPost runs exec_stop_post in the service's namespaces, so only while
// its reaper lives and its program is through.
func (s *step) enterStopPost() {
	if len(s.cfg.ExecStopPost) == 0 || !s.m.Reaper || s.m.Pending {
		s.enterFinal()
		return
	}
	s.enter(StopPost)
	s.runHook(KindStopPost, 0)
	s.deadlineIn(s.cfg.TimeoutStop)
}

// enterFinal ends what is left after the last hook.
func (s *step) enterFinal() {
	s.abortHook()
	leaves := s.m.Reaper && !s.m.Pending && (s.cfg.KillMode == "none" || s.cfg.KillMode == "process")
	switch {
	case leaves, !s.m.Payload && !s.m.Pending:
		s.release(leaves)
	case s.m.Result == TimedOut && !s.cfg.SendSigkill:
		s.release(true)
	case s.m.Unkillable || s.cfg.KillMode == "mixed":
		s.enterFinalSignal(FinalSigkill)
	default:
		s.enterFinalSignal(FinalSigterm)
	}
}

func (s *step) enterFinalSignal(state State) {
	if state == FinalSigkill && !s.cfg.SendSigkill {
		s.release(true)
		return
	}
	s.enter(state)
	s.deadlineIn(s.stopTime())
	s.sendSignals()
}

// release gives the generation back.
func (s *step) release(keep bool) {
	s.abortHook()
	s.enter(Releasing)
	s.m.Kept = keep
	s.emit(Release{s.ref(), keep, s.again()})
}

// again reports whether the unit comes back by itself as soon as this start is gone.
func (s *step) again() bool {
	delay, restarts := s.restartIn()
	return restarts && delay == 0
}

func (s *step) onReleased() {
	switch s.m.State {
	case Releasing:
		s.gone()
	case Inactive, Checking, Launching, Condition, StartPre, Start, StartPost, Running, Exited, Reached, Reloading,
		Stop, StopWatchdog, StopSigterm, StopSigkill, StopPost, FinalSigterm, FinalSigkill, Failed,
		AutoRestart, AutoRestartQueued:
		s.bug()
	}
}

// gone: nothing of the generation is left. It rests, or comes back.
func (s *step) gone() {
	s.m.Held, s.m.Reaper, s.m.Payload, s.m.Pending, s.m.MainAlive = false, false, false, false, false
	if delay, again := s.restartIn(); again {
		s.m.Restarts++
		s.m.EndedAt = s.now
		s.enter(AutoRestart)
		s.deadlineIn(delay)
		if s.m.Deadline == 0 {
			s.enter(AutoRestartQueued)
		}
		return
	}
	s.rest()
}

// rest is the end of a life; the actions that hang on it are asked for here.
func (s *step) rest() {
	s.m.Want, s.m.EndedAt = WantDown, s.now
	wasUp := s.m.Why != StopNone
	if s.m.Result.failed() {
		s.enter(Failed)
		s.act(s.cfg.FailureAction, "failure_action")
	} else {
		s.enter(Inactive)
		if s.m.Result == Success && wasUp && s.m.Why != StopShutdown {
			s.act(s.cfg.SuccessAction, "success_action")
		}
	}
	if s.m.Result == StartLimitHit {
		s.act(s.cfg.StartLimitAction, "start_limit_action")
	}
}

func (s *step) act(action, why string) {
	if action != "" && action != "none" {
		s.emit(Action{s.cfg.Name, action, why})
	}
}

func (s *step) onReset() {
	s.m.WindowStart, s.m.WindowCount, s.m.Restarts = 0, 0, 0
	switch s.m.State {
	case Failed:
		s.m.Result, s.m.ReloadResult, s.m.Setup, s.m.Failed, s.m.Last = Success, Success, Setup{}, "", Status{}
		s.enter(Inactive)
	case Inactive, Checking, Launching, Condition, StartPre, Start, StartPost, Running, Exited, Reached, Reloading,
		Stop, StopWatchdog, StopSigterm, StopSigkill, StopPost, FinalSigterm, FinalSigkill, Releasing,
		AutoRestart, AutoRestartQueued:
	}
}
