package machine

import "time"

// onStart begins a new life; the engine sends it when its turn has come.
func (s *step) onStart(ev startUnit) {
	switch s.m.State {
	case Inactive, Failed, AutoRestart, AutoRestartQueued:
		s.begin(ev.auto)
	case Checking, Launching, Condition, StartPre, Start, StartPost, Running, Exited, Reached, Reloading,
		Stop, StopWatchdog, StopSigterm, StopSigkill, StopPost, FinalSigterm, FinalSigkill, Releasing:
		s.bug()
	}
}

// begin forgets the last run, keeps the counters, and looks at the start limit
// before anything else, so that no condition can busy-loop around it.
func (s *step) begin(auto bool) {
	old := s.m
	s.m = old.before()
	s.m.Want, s.m.StartedAt = WantUp, s.now
	if !auto {
		s.m.Restarts = 0
	}
	if !s.cfg.Target && !s.admit() {
		s.m.MainStatus, s.m.MainPID, s.m.Last = old.MainStatus, old.MainPID, old.Last
		s.m.Setup = old.Setup
		s.fail(StartLimitHit)
		s.rest()
		return
	}
	s.m.Generation++
	if s.cfg.Conditions {
		s.enter(Checking)
		s.emit(CheckConditions{s.ref()})
		return
	}
	s.proceed()
}

// before is what of a machine outlives its last run.
func (m Machine) before() Machine {
	return Machine{
		State: m.State, Since: m.Since,
		Generation: m.Generation, Run: m.Run, Restarts: m.Restarts,
		WindowStart: m.WindowStart, WindowCount: m.WindowCount,
		ActiveSince: m.ActiveSince, EndedAt: m.EndedAt,
		ReloadResult: m.ReloadResult,
	}
}

// admit is systemd's start limit: a fixed window that opens with its first
// start and lets burst of them pass.
func (s *step) admit() bool {
	interval, burst := s.cfg.StartLimitInterval, s.cfg.StartLimitBurst
	if interval <= 0 || burst <= 0 {
		return true
	}
	end := s.m.WindowStart.after(interval) // none: the window never closes
	if s.m.WindowCount == 0 || (end != 0 && s.now > end) {
		s.m.WindowStart, s.m.WindowCount = s.now, 1
		return true
	}
	if s.m.WindowCount >= burst {
		return false
	}
	s.m.WindowCount++
	return true
}

func (s *step) onConditions(ev ConditionsChecked) {
	switch s.m.State {
	case Checking:
		if ev.OK {
			s.proceed()
			return
		}
		s.m.Failed = ev.Failed
		if ev.Assert {
			s.fail(AssertFailed)
		} else {
			s.fail(ConditionFailed)
		}
		s.rest()
	case Inactive, Failed: // a stop was quicker than the answer
	case Launching, Condition, StartPre, Start, StartPost, Running, Exited, Reached, Reloading,
		Stop, StopWatchdog, StopSigterm, StopSigkill, StopPost, FinalSigterm, FinalSigkill, Releasing,
		AutoRestart, AutoRestartQueued:
		s.bug()
	}
}

// proceed follows the conditions. A target has nothing to launch.
func (s *step) proceed() {
	if s.cfg.Target {
		s.m.ActiveSince = s.now
		s.enter(Reached)
		return
	}
	s.m.Held, s.m.Payload, s.m.Pending = true, true, true
	s.enter(Launching)
	s.deadlineIn(s.cfg.TimeoutStart)
	s.emit(Launch{s.ref()})
}

func (s *step) onLaunched() {
	switch s.m.State {
	case Launching:
		s.m.Reaper = true
	case StopSigterm, StopSigkill, FinalSigterm, FinalSigkill:
		if s.m.Reaper {
			s.bug()
			return
		}
		s.m.Reaper = true // nobody wants it any more, and nothing of worth runs yet
		s.release(false)
	case Releasing: // Release waits for the launch by itself
	case Inactive, Failed, AutoRestart, AutoRestartQueued:
		s.late()
	case Checking, Condition, StartPre, Start, StartPost, Running, Exited, Reached, Reloading,
		Stop, StopWatchdog, StopPost:
		s.bug()
	}
}

func (s *step) onLaunchFailed(ev LaunchFailed) {
	switch s.m.State {
	case Launching:
		s.m.Setup = ev.Setup
		s.fail(Resources)
		s.gone()
	case StopSigterm, StopSigkill, FinalSigterm, FinalSigkill:
		if s.m.Reaper {
			s.bug()
			return
		}
		s.gone()
	case Releasing: // Released is still to come
	case Inactive, Failed, AutoRestart, AutoRestartQueued:
		s.late()
	case Checking, Condition, StartPre, Start, StartPost, Running, Exited, Reached, Reloading,
		Stop, StopWatchdog, StopPost:
		s.bug()
	}
}

func (s *step) onProgramStarted(ev ProgramStarted) {
	if s.m.past(ev.Kind, ev.Index, false) {
		return
	}
	s.at(ev.Kind, ev.Index, false)
	s.m.Payload = true
	switch s.m.State {
	case Launching, Condition, StartPre:
		s.m.Reaper = true
		s.enter(stateOf(ev.Kind))
		s.deadlineIn(s.cfg.TimeoutStart)
	case StopWatchdog, StopSigterm, StopSigkill, StopPost, FinalSigterm, FinalSigkill:
		s.newcomer()
	case Releasing:
	case Inactive, Failed, AutoRestart, AutoRestartQueued:
		s.late()
	case Checking, Start, StartPost, Running, Exited, Reached, Reloading, Stop:
		s.bug()
	}
}

// stateOf is where a command of the reaper's program runs.
func stateOf(kind Kind) State {
	switch kind {
	case KindCondition:
		return Condition
	case KindStart:
		return Start
	}
	return StartPre
}

func (s *step) onProgramExited(ev ProgramExited) {
	if s.m.past(ev.Kind, ev.Index, true) {
		return
	}
	s.at(ev.Kind, ev.Index, true)
	result := s.judgeProgram(ev)
	switch s.m.State {
	case Condition, StartPre:
		if result != Success {
			s.m.Last, s.m.Pending = ev.Status, false
			s.enterSignal(StopSigterm, result)
		}
	case Start:
		s.forked(ev.Status, result)
	case StopWatchdog, StopSigterm, StopSigkill, StopPost, FinalSigterm, FinalSigkill:
		if result != Success || ev.Kind == KindStart {
			s.m.Pending = false
		}
		s.recheck()
	case Releasing:
	case Inactive, Failed, AutoRestart, AutoRestartQueued:
		s.late()
	case Checking, Launching, StartPost, Running, Exited, Reached, Reloading, Stop:
		s.bug()
	}
}

func (s *step) onMainStarted(ev MainStarted) {
	if s.cfg.forks() {
		s.bug()
		return
	}
	if s.m.past(KindStart, ev.Index, false) {
		return
	}
	s.at(KindStart, ev.Index, false)
	s.m.MainPID, s.m.MainAlive, s.m.Payload = ev.PID, true, true
	s.m.Pending = s.moreLines(ev.Index)
	switch s.m.State {
	case Launching, Condition, StartPre, Start:
		s.m.Reaper = true
		s.mainRuns()
	case StopWatchdog, StopSigterm, StopSigkill, StopPost, FinalSigterm, FinalSigkill:
		s.newcomer()
	case Releasing:
	case Inactive, Failed, AutoRestart, AutoRestartQueued:
		s.late()
	case Checking, StartPost, Running, Exited, Reached, Reloading, Stop:
		s.bug()
	}
}

// moreLines: a oneshot has exec_start lines after this one.
func (s *step) moreLines(index int) bool {
	return s.cfg.Type == "oneshot" && index+1 < len(s.cfg.ExecStart)
}

// mainRuns decides whether that is enough to be good.
func (s *step) mainRuns() {
	waits := s.cfg.Type == "oneshot" || s.cfg.notifies() && !s.m.ReadyEarly
	if !waits {
		s.enterStartPost()
		return
	}
	s.enter(Start)
	s.deadlineIn(s.cfg.TimeoutStart)
}

// onSetupFailed: with "-" before it, a command that cannot be prepared is one
// that failed, and the reaper goes on.
func (s *step) onSetupFailed(ev SetupFailed) {
	kind, index := ev.Setup.Program, ev.Setup.Index
	if kind != NoKind && s.m.past(kind, index, true) {
		return
	}
	ignored := s.ignored(kind, index)
	if kind != NoKind {
		s.at(kind, index, true)
	}
	if !ignored || kind == KindStart && !s.moreLines(index) {
		s.m.Pending = false
	}
	switch s.m.State {
	case Launching, Condition, StartPre, Start:
		s.m.Reaper = true
		s.setupFailed(ev.Setup, ignored)
	case StopWatchdog, StopSigterm, StopSigkill, StopPost, FinalSigterm, FinalSigkill:
		s.recheck()
	case Releasing:
	case Inactive, Failed, AutoRestart, AutoRestartQueued:
		s.late()
	case Checking, StartPost, Running, Exited, Reached, Reloading, Stop:
		s.bug()
	}
}

func (s *step) setupFailed(f Setup, ignored bool) {
	switch {
	case !ignored:
		s.m.Setup = f
		s.enterSignal(StopSigterm, SetupFailure)
	case f.Program == KindStart && s.cfg.forks():
		s.forked(Status{}, Success)
	case f.Program == KindStart:
		s.mainDone(Success)
	}
}

// enterStartPost: main is good. The watchdog runs from here.
func (s *step) enterStartPost() {
	s.enter(StartPost)
	s.feedWatchdog()
	if len(s.cfg.ExecStartPost) == 0 {
		s.enterRunning()
		return
	}
	s.runHook(KindStartPost, 0)
	s.deadlineIn(s.cfg.TimeoutStart)
}

// enterRunning goes where a started service belongs: on, or down when it has
// failed or ended meanwhile.
func (s *step) enterRunning() {
	alive := s.m.MainAlive || (s.cfg.ExitType == "cgroup" || s.unnamed()) && s.m.Payload
	if s.m.Result != Success {
		s.enterSignal(StopSigterm, s.m.Result)
		return
	}
	if s.m.State == StartPost && s.awaitsPidFile() {
		s.emit(FindMain{s.ref(), true})
		return
	}
	if !alive && !s.cfg.RemainAfterExit {
		if s.unnamed() {
			s.fail(StatusUnknown)
		}
		s.enterStop()
		return
	}
	if s.m.State != Reloading {
		s.m.ActiveSince = s.now
	}
	if !alive {
		s.enter(Exited)
		return
	}
	s.enter(Running)
	s.m.Deadline = s.m.ActiveSince.after(s.cfg.RuntimeMax)
}

// feedWatchdog puts off the next WATCHDOG=1.
func (s *step) feedWatchdog() {
	period := s.cfg.Watchdog
	if s.m.Period > 0 {
		period = time.Duration(s.m.Period)
	}
	s.m.Watchdog = s.now.after(period)
}
