package machine

// A forking service: exec_start is a command of the reaper's program, and main
// is a process that it leaves behind. FindMain asks the manager for it.

// unnamed: nobody knows which process of a forking service is main.
func (s *step) unnamed() bool { return s.cfg.forks() && s.m.MainFrom == FromExec }

// awaitsPidFile: main will be known when the service has written its pid_file.
func (s *step) awaitsPidFile() bool { return s.unnamed() && s.cfg.PidFile }

// forked: exec_start is through. What it started well is the service.
func (s *step) forked(status Status, result Result) {
	s.m.Pending = false
	switch {
	case result != Success:
		s.m.Last = status
		s.enterSignal(StopSigterm, result)
	case s.unnamed():
		s.emit(FindMain{s.ref(), true})
	default: // MAINPID= was quicker
		s.daemonKnown()
	}
}

// daemonKnown goes on from start when both is so: exec_start is through, and
// main is known, dead or alive.
func (s *step) daemonKnown() {
	switch {
	case s.m.Pending:
	case s.m.Result != Success:
		s.enterSignal(StopSigterm, s.m.Result)
	default:
		s.enterStartPost()
	}
}

// onMainNamed: only a forking service may have been without a main so far.
func (s *step) onMainNamed(ev MainNamed) {
	if !s.m.MainAlive && !s.unnamed() || s.m.MainAlive && s.m.MainPID == ev.PID {
		return
	}
	fresh := !s.m.MainAlive
	before := s.m
	s.m.MainPID, s.m.MainAlive, s.m.MainFrom, s.m.MainMissing = ev.PID, true, ev.From, ""
	switch s.m.State {
	case Start:
		if fresh {
			s.daemonKnown()
		}
	case StartPost:
		if fresh && !s.m.Hook {
			s.enterRunning()
		}
	case Running, Reloading, Stop, StopPost:
	case StopWatchdog, StopSigterm, StopSigkill, FinalSigterm, FinalSigkill:
		if fresh {
			s.newcomer()
		}
	case Exited, Releasing:
		s.m = before
	case Inactive, Failed, AutoRestart, AutoRestartQueued:
		s.late()
		s.m = before
	case Checking, Launching, Condition, StartPre, Reached:
		s.bug()
	}
}

// onMainUnnamed: a guess has failed for good; a pid_file may come as long as
// there is anybody to write it.
func (s *step) onMainUnnamed(ev MainUnnamed) {
	if !s.unnamed() {
		return
	}
	s.m.MainMissing = ev.Why
	switch s.m.State {
	case Start:
		switch {
		case !s.cfg.PidFile, len(s.cfg.ExecStartPost) > 0:
			s.enterStartPost()
		case !s.m.Payload:
			s.enterSignal(StopSigterm, Protocol)
		}
	case StartPost:
		if s.cfg.PidFile && !s.m.Hook && !s.m.Payload {
			s.enterSignal(StopSigterm, Protocol)
		}
	case Running, Exited, Reloading, Stop, StopWatchdog, StopSigterm, StopSigkill, StopPost, FinalSigterm, FinalSigkill, Releasing:
	case Inactive, Failed, AutoRestart, AutoRestartQueued:
		s.late()
	case Checking, Launching, Condition, StartPre, Reached:
		s.bug()
	}
}

// daemonNews: the end of main is told once, though the record is read again.
func (s *step) daemonNews() bool {
	if !s.m.MainAlive && !s.unnamed() {
		return false
	}
	if s.unnamed() {
		s.m.MainFrom = FromPidFile // it had ended before it could be named
	}
	return true
}

// leftOthers: a guess was wrong where main ends well and others go on: the
// daemon forks once more than was to be seen.
func (s *step) leftOthers(ev MainExited) bool {
	return s.cfg.forks() && s.m.MainFrom == FromGuess && ev.Left && s.m.Why == StopNone
}
