package machine

// job is what is asked of a unit and not done. A unit has at most one; it is
// start, stop, restart (until the unit is down, then start) or reload.
type job struct {
	verb     Verb
	ids      []waiter
	running  bool // its event has been sent; now the machine decides
	asked    bool // for this very unit, not as part of something else
	auto     bool // it is the unit's own coming back, however many attempts that takes
	why      StopReason
	deadline Instant
	idle     Instant // type = "idle": it may start, and waits until then for the others
	quiet    bool    // and that is over
}

// waiter is a request that the job answers.
type waiter struct {
	id   uint64
	verb Verb
}

// stops: the job is in the phase that takes the unit down.
func (j *job) stops() bool { return j != nil && (j.verb == VerbStop || j.verb == VerbRestart) }

// starts: the job will want the unit up.
func (j *job) starts() bool { return j != nil && (j.verb == VerbStart || j.verb == VerbRestart) }

// put asks for a job of unit i. One that is there already is joined if it leads
// to the same end, and gives way if it does not.
func (e *Engine) put(i int, verb Verb, why StopReason) *job {
	u := e.units[i]
	e.touch(i)
	e.look(i)
	j := &job{verb: verb, why: why, deadline: e.now.after(u.cfg.JobTimeout)}
	old := u.job
	if old == nil {
		u.job = j
		return j
	}
	switch {
	case old.verb == verb, old.verb == VerbRestart && verb == VerbStart,
		old.starts() && verb == VerbReload:
		if verb == VerbStop && why == StopShutdown {
			old.why = why
		}
		old.auto = false
		return old
	case old.verb == VerbStart && verb == VerbRestart:
		if u.m.State.Down() {
			return old
		}
		old.verb, old.running, old.why = VerbRestart, false, why
		return old
	}
	e.endJob(i, JobCanceled, Reason{Text: "a " + string(verb) + " took its place"})
	u.job = j
	return j
}

// endJob answers whoever waits. A start that did not come about takes those
// along that cannot do without it and are still waiting.
func (e *Engine) endJob(i int, result JobResult, reason Reason) {
	u := e.units[i]
	j := u.job
	if j == nil {
		return
	}
	u.job = nil
	e.touch(i)
	for _, w := range j.ids {
		e.answer(w.id, w.verb, u.cfg.Name, result, reason)
	}
	e.lookAround(i)
	if j.verb == VerbStart && result != JobDoneOK && result != JobSkipped {
		e.failDependents(i, reason)
	}
}

func (e *Engine) answer(id uint64, verb Verb, unit string, result JobResult, reason Reason) {
	if id != 0 {
		e.done = append(e.done, JobDone{id, verb, unit, result, reason})
	}
}

// failDependents works outwards from a unit that did not start.
func (e *Engine) failDependents(from int, reason Reason) {
	if reason.Unit == "" {
		reason.Unit = e.units[from].cfg.Name
	}
	for work := []int{from}; len(work) > 0; {
		n := work[0]
		work = work[1:]
		for _, r := range []Relation{RequiredBy, RequisiteOf, BoundBy} {
			for _, d := range e.graph.edges[r][n] {
				u := e.units[d]
				if u.job == nil || u.job.verb != VerbStart || u.job.running {
					continue
				}
				j := u.job
				u.job = nil
				e.touch(d)
				for _, w := range j.ids {
					e.answer(w.id, w.verb, u.cfg.Name, JobDependency, reason)
				}
				e.lookAround(d)
				if u.m.State == AutoRestartQueued {
					e.apply(d, stopUnit{why: StopDependency}) // else it asks again at once
				}
				work = append(work, d)
			}
		}
	}
}

// lookAround: the jobs of these may have waited for unit i.
func (e *Engine) lookAround(i int) {
	for _, r := range []Relation{After, Before, Conflicts, ConflictedBy} {
		for _, n := range e.graph.edges[r][i] {
			if e.units[n].job != nil {
				e.look(n)
			}
		}
	}
}

// examine does for one unit what can be done now.
func (e *Engine) examine(i int) {
	u := e.units[i]
	if u.job == nil && u.m.State == AutoRestartQueued {
		e.comeBack(i)
	}
	if u.job == nil {
		return
	}
	switch u.job.verb {
	case VerbStop:
		e.driveStop(i)
	case VerbRestart:
		e.driveRestart(i)
	case VerbStart:
		e.driveStart(i)
	case VerbReload:
		e.driveReload(i)
	}
}

// comeBack asks for the start that ends auto-restart, with all that it needs.
func (e *Engine) comeBack(i int) {
	u := e.units[i]
	switch {
	case u.job.stops():
	case e.closing:
		e.put(i, VerbStop, StopShutdown)
	default:
		own := u.job == nil || u.job.auto
		e.startAll(i, waiter{}, false)
		if u.job != nil {
			u.job.auto = own
		}
	}
}

func (e *Engine) driveStop(i int) {
	u := e.units[i]
	switch {
	case u.m.State.Down():
		if u.m.Unkillable {
			e.endJob(i, JobFailed, Reason{Result: u.m.Result, Text: "some of its processes cannot be killed"})
			return
		}
		e.endJob(i, JobDoneOK, Reason{})
	case !u.job.running && !e.stopBlocked(i):
		u.job.running = true
		e.apply(i, stopUnit{why: u.job.why})
	}
}

func (e *Engine) driveRestart(i int) {
	u := e.units[i]
	switch {
	case u.m.State.Down():
		u.job.verb, u.job.running = VerbStart, false
		e.touch(i)
		e.lookAround(i)
		e.look(i)
	case !u.job.running && !e.stopBlocked(i):
		u.job.running = true
		e.apply(i, stopUnit{why: u.job.why, restart: true})
	}
}

// driveStart waits, in this order, for the unit's turn, and for the machine.
// A unit that is on its way down by itself is let go first.
func (e *Engine) driveStart(i int) {
	u, j := e.units[i], e.units[i].job
	switch s := u.m.State; {
	case s.Up():
		e.endJob(i, JobDoneOK, Reason{})
	case j.running && s == AutoRestart && j.auto:
		j.running = false
		e.touch(i)
	case j.running && (s.Down() || s == AutoRestart):
		result, reason := verdict(u.m)
		e.endJob(i, result, reason)
		e.look(i)
	case s.Down(), s == AutoRestartQueued, s == AutoRestart && j.asked:
		if e.startBlocked(i) {
			return
		}
		if reason, ok := e.mayStart(i); !ok {
			e.refuseStart(i, reason)
			return
		}
		if u.cfg.Type == "idle" && e.waitsForQuiet(j) {
			return
		}
		j.running = true
		e.apply(i, startUnit{auto: s == AutoRestartQueued})
	case s.Active() == "activating" && s != AutoRestart:
		if !j.running {
			j.running = true
			e.touch(i)
		}
	}
}

// refuseStart: a unit that waited in auto-restart rests then; it would ask
// again at once.
func (e *Engine) refuseStart(i int, reason Reason) {
	e.endJob(i, JobDependency, reason)
	if e.units[i].m.State == AutoRestartQueued {
		e.apply(i, stopUnit{why: StopDependency})
	}
}

// verdict is how a start ended that did not end up.
func verdict(m Machine) (JobResult, Reason) {
	reason := Reason{Result: m.Result, Status: m.Last, Setup: m.Setup, Text: m.Failed}
	switch {
	case m.Want == WantDown && m.Why == StopRequest:
		return JobCanceled, reason
	case m.Result == Success:
		return JobDoneOK, reason
	case m.Result == ConditionFailed || m.Result == ExecCondition:
		return JobSkipped, reason
	}
	return JobFailed, reason
}

func (e *Engine) driveReload(i int) {
	u, j := e.units[i], e.units[i].job
	switch s := u.m.State; {
	case j.running && s == Reloading:
	case j.running && s.Up() && u.m.ReloadResult == Success:
		e.endJob(i, JobDoneOK, Reason{})
	case j.running:
		e.endJob(i, JobFailed, Reason{Result: u.m.ReloadResult, Status: u.m.ReloadStatus, Text: "it runs on as it was"})
	case s == Running || s == Exited:
		j.running = true
		e.apply(i, reloadUnit{})
	case s != Reloading: // that one belongs to the service itself; ours follows
		e.endJob(i, JobFailed, Reason{Result: u.m.Result, Text: "it is not running"})
	}
}

// stopBlocked: what comes after this unit goes down before it.
func (e *Engine) stopBlocked(i int) bool {
	for _, d := range e.graph.edges[Before][i] {
		if e.units[d].job.stops() {
			return true
		}
	}
	return false
}

// startBlocked: everything that this unit comes after is settled, and what
// excludes it is gone.
func (e *Engine) startBlocked(i int) bool {
	for _, a := range e.graph.edges[After][i] {
		if j := e.units[a].job; j != nil && j.verb != VerbReload {
			return true
		}
	}
	for _, d := range e.graph.edges[Before][i] {
		if e.units[d].job.stops() {
			return true
		}
	}
	for _, r := range []Relation{Conflicts, ConflictedBy} {
		for _, c := range e.graph.edges[r][i] {
			if u := e.units[c]; u.job.stops() || u.m.Held && u.m.State.Active() == "deactivating" {
				return true
			}
		}
	}
	return false
}

// mayStart is the last look before the start: a cycle, a missing unit, and what
// has to be up by now.
func (e *Engine) mayStart(i int) (Reason, bool) {
	g := e.graph
	if g.cycles[i] != "" {
		return Reason{Text: "ordering cycle: " + g.cycles[i]}, false
	}
	if list := g.unknown[i]; len(list) > 0 {
		return Reason{Unit: list[0], Text: "there is no such unit"}, false
	}
	for _, r := range []Relation{Requisite, BindsTo, Requires} {
		for _, n := range g.edges[r][i] {
			if u := e.units[n]; !u.serves(r, has(g.edges[After][i], n)) {
				return Reason{Unit: u.cfg.Name, Result: u.m.Result, Text: "it is not active"}, false
			}
		}
	}
	return Reason{}, true
}

// serves: the unit is good enough for one that is about to start and stands in
// relation r to it. A oneshot that did its work serves requires, not binds_to.
func (u *record) serves(r Relation, ordered bool) bool {
	switch s := u.m.State; r {
	case Requisite:
		return s.Up()
	case BindsTo:
		return s.Up() || !ordered
	default:
		return !ordered || s != Failed && s != AutoRestart && s != AutoRestartQueued
	}
}
