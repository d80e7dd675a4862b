package machine

import (
	"syscall"
	"time"
)

func (s *step) onMainExited(ev MainExited) {
	if !s.mainNews(ev) {
		return
	}
	result := s.judgeMain(ev)
	if result == Success && s.leftOthers(ev) {
		result = Protocol
	}
	s.m.MainAlive, s.m.MainStatus = false, ev.Status
	if s.m.Result == Success && result != Success {
		s.m.Last = ev.Status
	}
	switch s.m.State {
	case Start:
		s.mainDone(result)
	case StartPost:
		s.fail(result) // the hook's end decides
	case Running:
		s.fail(result)
		if s.cfg.ExitType != "cgroup" || !s.m.Payload {
			s.enterRunning()
		}
	case Reloading:
		s.fail(result)
		if !s.m.Hook {
			s.reloaded(Success)
		}
	case Stop, StopPost, Releasing:
		s.fail(result)
	case StopWatchdog, StopSigterm, StopSigkill, FinalSigterm, FinalSigkill:
		s.fail(result)
		s.m.Pending = s.m.Pending && result == Success
		s.recheck()
	case Inactive, Failed, AutoRestart, AutoRestartQueued:
		s.late()
	case Checking, Launching, Condition, StartPre, Exited, Reached:
		s.bug()
	}
}

// mainNews reports whether that end of main has not been heard of.
func (s *step) mainNews(ev MainExited) bool {
	if s.cfg.forks() {
		return s.daemonNews()
	}
	if s.m.past(KindStart, ev.Index, true) {
		return false
	}
	s.at(KindStart, ev.Index, true)
	return true
}

// mainDone is the end of an exec_start line before the unit was good: the next
// line or success for a oneshot, too early for a notify service.
func (s *step) mainDone(result Result) {
	switch {
	case s.cfg.forks():
		s.fail(result)
		s.daemonKnown()
	case result != Success:
		s.m.Pending = false
		s.enterSignal(StopSigterm, result)
	case s.m.Pending: // the reaper starts the next line
	case s.cfg.Type == "oneshot":
		s.enterStartPost()
	case s.cfg.notifies():
		s.enterSignal(StopSigterm, Protocol)
	default:
		s.enterRunning()
	}
}

func (s *step) onPayloadEmpty() {
	s.m.Payload = false
	switch s.m.State {
	case Launching, Condition, StartPre, Exited, Reloading, Stop, StopPost, Releasing:
	case Start, StartPost:
		if s.awaitsPidFile() && !s.m.Pending && !s.m.Hook {
			s.emit(FindMain{s.ref(), true}) // for the last time
		}
	case Running:
		if (s.cfg.ExitType == "cgroup" || s.unnamed()) && !s.m.MainAlive {
			s.enterRunning()
		}
	case StopWatchdog, StopSigterm, StopSigkill, FinalSigterm, FinalSigkill:
		s.progress()
	case Inactive, Failed, AutoRestart, AutoRestartQueued: // of what is gone: no news
	case Checking, Reached:
		s.bug()
	}
}

// onReaperLost: with a PID namespace the payload died with its reaper; without,
// it is orphaned. Either way nothing can be joined or learned any more.
func (s *step) onReaperLost(ev ReaperLost) {
	s.m.Reaper, s.m.Pending = false, false
	if s.m.Result == Success && s.m.Held && s.m.State != Releasing {
		s.m.Last = ev.Status
	}
	if s.m.MainAlive {
		s.m.MainAlive, s.m.MainStatus = false, Status{Code: CodeUnknown}
	}
	switch s.m.State {
	case Launching, Condition, StartPre, Start, StartPost, Running, Exited, Reloading,
		Stop, StopWatchdog, StopSigterm:
		s.enterSignal(StopSigkill, ReaperGone)
	case StopSigkill:
		s.emit(KillAll{s.ref()})
		s.recheck()
	case StopPost, FinalSigterm:
		s.abortHook()
		s.fail(ReaperGone)
		s.enter(FinalSigkill)
		s.deadlineIn(s.stopTime())
		s.sendSignals()
	case FinalSigkill:
		s.emit(KillAll{s.ref()})
		s.recheck()
	case Releasing: // that is what Release does
	case Inactive, Failed, AutoRestart, AutoRestartQueued:
		s.late()
	case Checking, Reached:
		s.bug()
	}
}

// runHook starts a hook; the manager's report carries its number.
func (s *step) runHook(kind Kind, index int) {
	s.m.Run++
	s.m.Hook, s.m.HookKind, s.m.HookIndex, s.m.Payload = true, kind, index, true
	s.emit(RunHook{s.ref(), kind, index, s.m.Run})
}

// abortHook takes a running hook off the stage.
func (s *step) abortHook() {
	if s.m.Hook {
		s.emit(AbortHook{s.ref(), s.m.HookKind, s.m.HookIndex, s.m.Run})
		s.m.Hook = false
	}
}

// onHookEnd: the next hook of the list, or what follows the list. A failure
// ends the list, and the unit too, except for a reload.
func (s *step) onHookEnd(run uint64, result Result, status Status, setup Setup) {
	if run != s.m.Run || !s.m.Hook {
		return
	}
	kind, index := s.m.HookKind, s.m.HookIndex
	s.m.Hook = false
	if s.ignored(kind, index) {
		result = Success
	}
	if result != Success && kind != KindReload && s.m.Result == Success {
		s.m.Last, s.m.Setup = status, setup
	}
	more := result == Success && index+1 < len(s.lines(kind))
	switch s.m.State {
	case StartPost:
		s.nextHook(more, result, s.enterRunning)
	case Reloading:
		if more {
			s.runHook(kind, index+1)
			s.deadlineIn(s.cfg.TimeoutStart)
			return
		}
		if s.m.ReloadStatus = (Status{}); result != Success {
			s.m.ReloadStatus = status
		}
		s.reloaded(result)
	case Stop:
		s.nextHook(more, result, func() { s.enterSignal(StopSigterm, Success) })
	case StopPost:
		s.nextHook(more, result, s.enterFinal)
	case Inactive, Checking, Launching, Condition, StartPre, Start, Running, Exited, Reached,
		StopWatchdog, StopSigterm, StopSigkill, FinalSigterm, FinalSigkill, Releasing, Failed,
		AutoRestart, AutoRestartQueued:
		s.bug()
	}
}

func (s *step) nextHook(more bool, result Result, then func()) {
	deadline := s.cfg.TimeoutStop
	if s.m.State == StartPost {
		deadline = s.cfg.TimeoutStart
	}
	switch {
	case more:
		s.runHook(s.m.HookKind, s.m.HookIndex+1)
		s.deadlineIn(deadline)
	case result == Success:
		then()
	case s.m.State == StopPost:
		s.fail(result)
		then()
	default:
		s.enterSignal(StopSigterm, result)
	}
}

func (s *step) onReload() {
	switch s.m.State {
	case Running, Exited:
		if !s.cfg.reloads() {
			s.bug() // the engine refuses it
			return
		}
		s.m.ReloadResult, s.m.ReloadStatus = Success, Status{}
		s.enter(Reloading)
		s.feedWatchdog()
		s.deadlineIn(s.cfg.TimeoutStart)
		s.beginReload()
	case Inactive, Checking, Launching, Condition, StartPre, Start, StartPost, Reached, Reloading,
		Stop, StopWatchdog, StopSigterm, StopSigkill, StopPost, FinalSigterm, FinalSigkill, Releasing,
		Failed, AutoRestart, AutoRestartQueued:
		s.bug()
	}
}

// beginReload sends reload_signal, runs exec_reload, or does both, as systemd
// does. Where main is gone there is nobody to signal.
func (s *step) beginReload() {
	if s.cfg.Type == "notify-reload" && s.m.MainAlive {
		s.m.ReloadAt = s.now
		s.sendReload()
	}
	if len(s.cfg.ExecReload) > 0 {
		s.runHook(KindReload, 0)
	} else if s.m.ReloadAt == 0 {
		s.reloaded(Success)
	}
}

func (s *step) sendReload() {
	s.emit(Signal{s.ref(), s.cfg.ReloadSignal, WhomMain}, Signal{s.ref(), int(syscall.SIGCONT), WhomMain})
}

// reloaded ends a reload, good or bad: the service runs on. One that announced
// RELOADING=1 has the last word with READY=1.
func (s *step) reloaded(result Result) {
	if result != Success {
		s.m.ReloadResult, s.m.Notified, s.m.ReloadAt = result, false, 0
	}
	if (s.m.Notified || s.m.ReloadAt != 0) && s.m.MainAlive {
		return
	}
	s.m.Notified, s.m.ReloadAt = false, 0
	s.enterRunning()
	if s.cfg.PidFile && s.m.State == Running {
		s.emit(FindMain{Ref: s.ref()}) // it may have become another
	}
}

func (s *step) onOOM() {
	switch s.m.State {
	case Launching, Condition, StartPre, Start, StartPost, Running, Reloading:
		switch s.cfg.OOMPolicy {
		case "stop":
			s.enterSignal(StopSigterm, OOMKill)
		case "kill":
			s.enterSignal(StopSigkill, OOMKill)
		}
	case Stop, StopWatchdog, StopSigterm, StopSigkill, StopPost, FinalSigterm, FinalSigkill, Releasing:
		if s.m.Result == SignalFailure && s.m.Last.Code == CodeKilled && s.m.Last.Value == sigkill {
			s.m.Result = OOMKill // the kill was told before its cause
		} else if s.cfg.OOMPolicy != "continue" {
			s.fail(OOMKill)
		}
	case Exited, Inactive, Failed, AutoRestart, AutoRestartQueued:
	case Checking, Reached:
		s.bug()
	}
}

func (s *step) onNotify(ev Notify) {
	switch s.m.State {
	case Checking, Reached:
		s.bug()
		return
	case Inactive, Failed, AutoRestart, AutoRestartQueued, Releasing:
		return // datagrams may be late
	case Launching, Condition, StartPre, Start, StartPost, Running, Exited, Reloading,
		Stop, StopWatchdog, StopSigterm, StopSigkill, StopPost, FinalSigterm, FinalSigkill:
	}
	s.noteNotify(ev)
	switch {
	case ev.WatchdogTrigger && s.m.Watchdog != 0:
		s.enterSignal(StopWatchdog, WatchdogFailure)
	case ev.Stopping:
		s.notifyStopping()
	case ev.Ready:
		s.notifyReady()
	case ev.Reloading && s.m.State == Running:
		s.m.Notified, s.m.ReloadResult = true, Success
		s.enter(Reloading)
		s.deadlineIn(s.cfg.TimeoutStart)
	case ev.Reloading && s.m.State == Reloading && ev.ReloadingAt >= s.m.ReloadAt:
		s.m.Notified, s.m.ReloadAt = true, 0 // else it answers nothing that was sent
	}
}

// noteNotify takes over what changes no state.
func (s *step) noteNotify(ev Notify) {
	if ev.HasStatus {
		s.m.StatusText = ev.Status
	}
	if ev.Errno != 0 {
		s.m.NotifyErrno = ev.Errno
	}
	if ev.WatchdogPeriod > 0 {
		s.m.Period = int64(ev.WatchdogPeriod)
	}
	if s.m.Watchdog != 0 && (ev.Watchdog || ev.WatchdogPeriod > 0) || s.m.Watchdog == 0 && s.guarded() && ev.WatchdogPeriod > 0 {
		s.feedWatchdog()
	}
	if s.m.Deadline != 0 && ev.ExtendTimeout > 0 {
		s.m.Deadline = max(s.m.Deadline, s.now.after(min(ev.ExtendTimeout, 365*24*time.Hour)))
	}
}

// guarded: the watchdog watches in these states.
func (s *step) guarded() bool {
	return s.m.State == StartPost || s.m.State == Running || s.m.State == Reloading
}

// notifyReady: datagram and record are different descriptors, so READY=1 may
// overtake the news that main runs.
func (s *step) notifyReady() {
	if !s.cfg.notifies() {
		if s.m.State == Reloading && s.m.Notified {
			s.endNotified()
		}
		return
	}
	switch s.m.State {
	case Launching, Condition, StartPre:
		s.m.ReadyEarly = true
	case Start:
		s.enterStartPost()
	case Reloading:
		if s.m.ReloadAt == 0 {
			s.endNotified()
		}
	case Inactive, Checking, StartPost, Running, Exited, Reached, Stop, StopWatchdog, StopSigterm, StopSigkill,
		StopPost, FinalSigterm, FinalSigkill, Releasing, Failed, AutoRestart, AutoRestartQueued:
	}
}

func (s *step) endNotified() {
	s.m.Notified = false
	if !s.m.Hook {
		s.reloaded(Success)
	}
}

// notifyStopping: the service ends by itself; it is given the time, no signal.
func (s *step) notifyStopping() {
	switch s.m.State {
	case Running, Reloading:
		s.abortHook()
		s.m.Notified, s.m.ReloadAt = false, 0
		if s.m.Why == StopNone {
			s.m.Why = StopOwn
		}
		s.enter(StopSigterm)
		s.deadlineIn(s.cfg.TimeoutStop)
		s.progress()
	case Inactive, Checking, Launching, Condition, StartPre, Start, StartPost, Exited, Reached, Stop, StopWatchdog,
		StopSigterm, StopSigkill, StopPost, FinalSigterm, FinalSigkill, Releasing, Failed, AutoRestart, AutoRestartQueued:
	}
}
