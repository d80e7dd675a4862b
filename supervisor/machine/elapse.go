package machine

// due is the earliest time at which the machine wants to be called.
func (m Machine) due() Instant {
	switch {
	case m.Deadline == 0:
		return m.Watchdog
	case m.Watchdog == 0:
		return m.Deadline
	}
	return min(m.Deadline, m.Watchdog)
}

// onElapsed does nothing unless something is due.
func (s *step) onElapsed() {
	if s.m.Watchdog != 0 && s.now >= s.m.Watchdog {
		s.enterSignal(StopWatchdog, WatchdogFailure)
		return
	}
	if s.m.Deadline == 0 || s.now < s.m.Deadline {
		return
	}
	switch s.m.State {
	case Launching, Condition, StartPre, Start, StartPost, Stop:
		s.enterSignal(StopSigterm, TimedOut)
	case Running: // runtime_max_sec
		s.fail(TimedOut)
		s.enterStop()
	case Reloading:
		s.abortHook()
		s.reloaded(TimedOut)
	case StopWatchdog, StopSigterm:
		s.softElapsed()
	case StopSigkill:
		s.killElapsed()
	case StopPost:
		s.fail(TimedOut)
		s.enterFinal()
	case FinalSigterm:
		s.fail(TimedOut)
		s.enterFinalSignal(FinalSigkill)
	case FinalSigkill:
		s.fail(TimedOut)
		s.m.Unkillable = true
		s.release(true)
	case AutoRestart:
		s.enter(AutoRestartQueued)
	case Inactive, Checking, Exited, Reached, Releasing, Failed, AutoRestartQueued:
		s.bug() // no time runs here
	}
}

func (s *step) softElapsed() {
	s.fail(TimedOut)
	if s.cfg.SendSigkill {
		s.enterSignal(StopSigkill, TimedOut)
		return
	}
	s.m.Unkillable = true
	s.enterStopPost()
}

// killElapsed: not even SIGKILL helped. Unless a hook ran in between, a second
// one would not either.
func (s *step) killElapsed() {
	s.fail(TimedOut)
	if s.m.Pending && !s.m.Reaper { // a launch that never answers
		s.release(false)
		return
	}
	s.m.Unkillable = true
	if len(s.cfg.ExecStopPost) == 0 || !s.m.Reaper || s.m.Pending {
		s.release(true)
		return
	}
	s.enterStopPost()
}
