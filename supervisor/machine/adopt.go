package machine

import "time"

// Adopt continues from what an earlier manager left: call it once, after Load,
// with every unit that has a state file or a generation.
//
// First every snapshot is put back, then the record is read as if it were news:
// what the dead manager had heard is dropped by comparison, the rest brings the
// machine up to date. A machine that this leaves where it was has its pending
// effects repeated, by these rules: exec_start_post and exec_stop_post go on from
// the command that was under way, for which RunHook is repeated; exec_reload
// counts as failed (reload result canceled); exec_stop is taken as done; signals
// are sent again.
func (e *Engine) Adopt(found []Adopted, now Instant) []Effect {
	e.begin(now)
	e.recall(found)
	for _, a := range found {
		i := e.graph.index[a.Snapshot.Unit]
		e.units[i].restore(a)
		e.closing = e.closing || a.Snapshot.JobWhy == StopShutdown && a.Snapshot.Job == VerbStop
		e.touch(i)
	}
	for _, a := range found {
		e.catchUp(e.graph.index[a.Snapshot.Unit], a.Observed)
	}
	for i := range e.units {
		e.look(i)
	}
	return e.finish()
}

// recall makes records for found units whose files are gone: they can be
// watched and stopped, under systemd's defaults.
func (e *Engine) recall(found []Adopted) {
	var set []Config
	units := e.units
	for _, u := range e.units {
		set = append(set, u.configLoaded())
	}
	for _, a := range found {
		name := a.Snapshot.Unit
		if _, known := e.graph.index[name]; known {
			continue
		}
		cfg := &Config{
			Name: name, Type: "simple", KillMode: "control-group", KillSignal: 15, FinalKillSignal: sigkill,
			SendSigkill: true, TimeoutStop: 90 * time.Second, OOMPolicy: "stop",
		}
		set, units = append(set, *cfg), append(units, &record{cfg: cfg, missing: true})
	}
	if len(units) != len(e.units) {
		e.install(set, units)
	}
}

// configLoaded is the definition that the graph is made of.
func (u *record) configLoaded() Config {
	if u.next != nil {
		return *u.next
	}
	return *u.cfg
}

// restore puts a snapshot back. Without one, what stands in the cgroup tree is
// taken for a start whose news have all been missed.
func (u *record) restore(a Adopted) {
	s, seen := a.Snapshot, a.Observed
	u.m = s.Machine
	u.published = s
	if s.Job != NoVerb {
		u.job = &job{verb: s.Job, running: s.JobRunning, deadline: s.JobDeadline, why: s.JobWhy, asked: s.JobAsked, auto: s.JobAuto}
	}
	if seen.Generation <= s.Generation {
		return
	}
	if u.job != nil && u.job.verb == VerbRestart {
		u.job.verb = VerbStart // its stop is done
	}
	u.m = u.m.before() // how far the last one was, and who was its main, does not count
	u.m.Generation, u.m.Held, u.m.Payload, u.m.Pending = seen.Generation, true, true, true
	u.m.State, u.m.Want = Launching, WantUp
	if !seen.Reaper && !seen.Populated {
		u.m.State, u.m.Want = Releasing, WantDown
	}
}

// catchUp tells the machine what it missed, then has it go on.
func (e *Engine) catchUp(i int, seen Observed) {
	u := e.units[i]
	if seen.Generation != u.m.Generation {
		seen = Observed{} // of an older start: this one left no trace yet
	}
	before := u.m.State
	for _, ev := range e.missed(u, seen) {
		e.apply(i, ev)
	}
	if u.m.State == before {
		e.apply(i, resumed{})
	}
}

// missed lists the news, oldest first.
func (e *Engine) missed(u *record, seen Observed) []Event {
	if !u.m.Held || u.m.State == Releasing {
		return nil
	}
	r := Ref{u.cfg.Name, u.m.Generation}
	var news []Event
	if seen.Reaper && !u.m.Reaper {
		news = append(news, Launched{r})
	}
	news = append(news, recorded(r, seen)...)
	news = append(news, named(r, seen.Named, u.cfg)...)
	if reaperLost(u.m.Reaper, seen) {
		news = append(news, ReaperLost{r, Status{Code: CodeUnknown}})
	}
	if !seen.Populated && (seen.Reaper || u.m.Reaper) {
		news = append(news, PayloadEmpty{r})
	}
	return news
}

// Lost reports whether the unit's reaper ended while no manager ran: killed
// together with it, say.
func (a Adopted) Lost() bool {
	s, seen := a.Snapshot, a.Observed
	if seen.Generation != s.Generation {
		return false // a start that the dead manager had not come to note
	}
	return s.Held && s.State != Releasing && reaperLost(s.Reaper, seen)
}

func reaperLost(had bool, seen Observed) bool { return !seen.Reaper && (had || seen.Populated) }

// recorded reads the record as events.
func recorded(r Ref, seen Observed) []Event {
	var news []Event
	for _, p := range seen.Programs {
		news = append(news, ProgramStarted{r, p.Kind, p.Index, p.PID})
		if p.Status.Code != CodeNone {
			news = append(news, ProgramExited{r, p.Kind, p.Index, p.Status})
		}
	}
	for _, p := range seen.Mains {
		news = append(news, MainStarted{r, p.Index, p.PID})
		if p.Status.Code != CodeNone {
			news = append(news, MainExited{Ref: r, Index: p.Index, Status: p.Status})
		}
	}
	if seen.Setup != (Setup{}) {
		news = append(news, SetupFailed{r, seen.Setup})
	}
	return news
}

// named reads what stands beside the record: the main process that an earlier
// manager named in a forking service.
func named(r Ref, p Program, cfg *Config) []Event {
	switch {
	case p == (Program{}):
		return nil
	case p.Status.Code != CodeNone:
		return []Event{MainExited{Ref: r, Status: p.Status}}
	}
	from := FromGuess
	if cfg.PidFile {
		from = FromPidFile
	}
	return []Event{MainNamed{r, p.PID, from}}
}

// resumed asks a machine to repeat the effects that it waits for.
type resumed struct{ Ref }

func (resumed) event() {}

func (s *step) onResumed() {
	if s.m.Watchdog != 0 {
		s.feedWatchdog() // nobody was there to hear it
	}
	switch s.m.State {
	case Start:
		if s.unnamed() && !s.m.Pending {
			s.emit(FindMain{s.ref(), true})
		}
	case Inactive, Condition, StartPre, Running, Exited, Reached, Failed, AutoRestart, AutoRestartQueued:
	case Checking:
		s.emit(CheckConditions{s.ref()})
	case Launching:
		if !s.m.Reaper {
			s.deadlineIn(s.cfg.TimeoutStart)
			s.emit(Launch{s.ref()})
		}
	case StartPost, StopPost:
		if s.m.Hook {
			s.runHook(s.m.HookKind, s.m.HookIndex)
		}
		if s.m.State == StartPost && s.awaitsPidFile() {
			s.emit(FindMain{s.ref(), true})
		}
	case Reloading:
		if s.m.Hook {
			s.m.Hook = false
			s.reloaded(Canceled)
		} else if s.m.ReloadAt != 0 {
			s.sendReload()
		}
	case Stop:
		s.m.Hook = false
		s.enterSignal(StopSigterm, Success)
	case StopWatchdog, StopSigterm, StopSigkill, FinalSigterm, FinalSigkill:
		if s.m.Pending && !s.m.Reaper {
			s.release(false) // the launch went down with its manager
			return
		}
		s.sendSignals()
		s.recheck()
	case Releasing:
		s.emit(Release{Ref: s.ref(), Keep: s.m.Kept})
	}
}
