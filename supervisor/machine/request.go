package machine

import "slices"

func has(list []int, n int) bool {
	_, found := slices.BinarySearch(list, n)
	return found
}

// request turns what somebody asks for into jobs, or answers at once.
func (e *Engine) request(r Request) {
	w := waiter{r.ID, r.Verb}
	if r.Verb == VerbStopAll {
		e.stopAll(r.ID)
		return
	}
	i, ok := e.graph.index[r.Unit]
	if !ok {
		e.answer(r.ID, r.Verb, r.Unit, JobFailed, Reason{Text: "there is no such unit"})
		return
	}
	if text := e.refusal(i, r.Verb); text != "" {
		e.answer(r.ID, r.Verb, r.Unit, JobFailed, Reason{Text: text})
		return
	}
	u := e.units[i]
	running := !u.m.State.Down()
	switch r.Verb {
	case VerbStart:
		e.startAll(i, w, true)
	case VerbIsolate:
		e.isolate(i, w)
	case VerbStop:
		e.stopWith(i, w, StopRequest)
	case VerbRestart:
		e.restartAll(i, w)
	case VerbTryRestart:
		if !running && u.job == nil {
			e.answer(r.ID, r.Verb, r.Unit, JobSkipped, Reason{Text: "it is not running"})
			return
		}
		e.restartAll(i, w)
	case VerbReload:
		e.reload(i, w)
	case VerbReloadOrRestart:
		if u.m.State.Up() && u.cfg.reloads() {
			e.reload(i, w)
			return
		}
		e.restartAll(i, w)
	case VerbResetFailed:
		e.apply(i, resetUnit{})
		e.answer(r.ID, r.Verb, r.Unit, JobDoneOK, Reason{})
	default:
		e.answer(r.ID, r.Verb, r.Unit, JobFailed, Reason{Text: "unknown verb"})
	}
}

// refusal is why a request is turned down out of hand, or "".
func (e *Engine) refusal(i int, verb Verb) string {
	cfg := e.units[i].cfg
	starts := verb == VerbStart || verb == VerbIsolate || verb == VerbRestart || verb == VerbTryRestart || verb == VerbReloadOrRestart
	stops := verb == VerbStop || verb == VerbRestart || verb == VerbTryRestart
	switch {
	case starts && e.closing:
		return "everything is being stopped"
	case starts && cfg.RefuseManualStart:
		return "refuse_manual_start is set"
	case stops && cfg.RefuseManualStop:
		return "refuse_manual_stop is set"
	}
	return ""
}

// join makes w wait for the job that unit i has now.
func (e *Engine) join(i int, w waiter) {
	u := e.units[i]
	if w.verb == NoVerb {
		return
	}
	u.job.asked = true
	if w.id != 0 {
		u.job.ids = append(u.job.ids, w)
	}
}

// startAll settles the whole graph that starting unit i takes, then puts the
// jobs; nothing runs before all of them stand.
func (e *Engine) startAll(i int, w waiter, asked bool) {
	plan := e.plan(i)
	if plan.conflict != "" {
		e.answer(w.id, w.verb, e.units[i].cfg.Name, JobFailed, Reason{Text: plan.conflict})
		if e.units[i].m.State == AutoRestartQueued {
			e.apply(i, stopUnit{why: StopConflict})
		}
		return
	}
	for _, c := range plan.stop {
		e.stopWith(c, waiter{}, StopConflict)
	}
	for _, n := range plan.start {
		if s := e.units[n].m.State; n != i && s.Up() && !e.units[n].job.stops() {
			continue
		}
		e.put(n, VerbStart, StopNone)
	}
	e.put(i, VerbStart, StopNone)
	if asked {
		e.join(i, w)
	}
}

// isolate starts a target with what it pulls in, and stops everything else.
func (e *Engine) isolate(i int, w waiter) {
	name := e.units[i].cfg.Name
	if !e.units[i].cfg.Target {
		e.answer(w.id, w.verb, name, JobFailed, Reason{Text: "only a target can be isolated"})
		return
	}
	plan := e.plan(i)
	if plan.conflict == "" {
		for n, u := range e.units {
			if !slices.Contains(plan.start, n) && (!u.m.State.Down() || u.job != nil) {
				e.put(n, VerbStop, StopConflict)
			}
		}
	}
	e.startAll(i, w, true) // which answers what is wrong with the plan
}

// stopWith stops unit i and everything that cannot be without it.
func (e *Engine) stopWith(i int, w waiter, why StopReason) {
	for _, n := range e.graph.reach(i, RequiredBy, RequisiteOf, BoundBy, ConsistsOf, StopTo) {
		if u := e.units[n]; !u.m.State.Down() || u.job != nil {
			e.put(n, VerbStop, StopDependency)
		}
	}
	if u := e.units[i]; w.verb == NoVerb && u.m.State.Down() && u.job == nil {
		return
	}
	e.put(i, VerbStop, why)
	e.join(i, w)
}

// restartAll restarts unit i, and with it those of its dependents that are up;
// what it needs itself is started if it is not there, and else left alone.
func (e *Engine) restartAll(i int, w waiter) {
	for _, n := range e.graph.reach(i, RequiredBy, RequisiteOf, BoundBy, ConsistsOf) {
		if !e.units[n].m.State.Down() && !e.units[n].job.stops() {
			e.put(n, VerbRestart, StopDependency)
		}
	}
	if e.units[i].m.State.Down() && !e.units[i].job.stops() {
		e.startAll(i, w, true)
		return
	}
	e.put(i, VerbRestart, StopRequest)
	e.join(i, w)
	e.startNeeds(i)
}

// startNeeds puts jobs for what unit i needs and is not up.
func (e *Engine) startNeeds(i int) {
	plan := e.plan(i)
	if plan.conflict != "" {
		return
	}
	for _, c := range plan.stop {
		e.stopWith(c, waiter{}, StopConflict)
	}
	for _, n := range plan.start {
		if n != i && !e.units[n].m.State.Up() {
			e.put(n, VerbStart, StopNone)
		}
	}
}

// reload reloads unit i and whatever takes part; the others only if they can.
func (e *Engine) reload(i int, w waiter) {
	u := e.units[i]
	name := u.cfg.Name
	switch {
	case !u.cfg.reloads():
		e.answer(w.id, w.verb, name, JobFailed, Reason{Text: "cannot reload: it has no exec_reload"})
		return
	case u.job != nil && u.job.verb == VerbStop:
		e.answer(w.id, w.verb, name, JobFailed, Reason{Text: "cannot reload: it is being stopped"})
		return
	case !u.m.State.Up() && u.job == nil:
		e.answer(w.id, w.verb, name, JobFailed, Reason{Text: "cannot reload: it is not running"})
		return
	}
	e.put(i, VerbReload, StopNone)
	e.join(i, w)
	for _, n := range e.graph.reach(i, ReloadTo) {
		o := e.units[n]
		if o.m.State.Up() && o.cfg.reloads() && (o.job == nil || o.job.verb == VerbReload) {
			e.put(n, VerbReload, StopNone)
		}
	}
}

// stopAll stops everything in reverse order and lets nothing start again.
func (e *Engine) stopAll(id uint64) {
	e.closing = true
	if id != 0 {
		e.waiters = append(e.waiters, id)
	}
	for i, u := range e.units {
		if !u.m.State.Down() || u.job != nil {
			e.put(i, VerbStop, StopShutdown)
		}
	}
}

func (e *Engine) answerClosing() {
	if !e.closing || len(e.waiters) == 0 {
		return
	}
	for _, u := range e.units {
		if u.job != nil || !u.m.State.Down() {
			return
		}
	}
	for _, id := range e.waiters {
		e.answer(id, VerbStopAll, "", JobDoneOK, Reason{})
	}
	e.waiters = nil
}

// plan is what starting a unit takes.
type plan struct {
	start    []int // to be up, the unit itself first
	stop     []int // to be down
	conflict string
}

// plan settles requirements and exclusions over the whole graph. Of two that
// exclude each other the one that is only wanted stays away, and with it what
// needs it; if both are needed, the start is refused.
func (e *Engine) plan(i int) plan {
	g := e.graph
	hard := map[int]bool{i: true}
	for _, n := range g.reach(i, Requires, BindsTo) {
		hard[n] = true
	}
	all := append([]int{i}, g.reach(i, Requires, BindsTo, Wants, Upholds)...)
	in := make(map[int]bool, len(all))
	for _, n := range all {
		in[n] = true
	}
	var p plan
	for _, n := range all {
		for _, r := range []Relation{Conflicts, ConflictedBy} {
			for _, c := range g.edges[r][n] {
				switch {
				case !in[n] || !in[c]:
				case hard[n] && hard[c]:
					p.conflict = g.names[n] + " and " + g.names[c] + " exclude each other, and both are needed"
					return p
				case hard[c]:
					e.leaveOut(in, n)
				default:
					e.leaveOut(in, c)
				}
			}
		}
	}
	for _, n := range all {
		if !in[n] {
			continue
		}
		p.start = append(p.start, n)
		for _, r := range []Relation{Conflicts, ConflictedBy} {
			p.stop = append(p.stop, g.edges[r][n]...)
		}
	}
	return p
}

// leaveOut takes a unit out of the set, with those in it that need it.
func (e *Engine) leaveOut(in map[int]bool, n int) {
	in[n] = false
	for _, d := range e.graph.reach(n, RequiredBy, BoundBy) {
		if in[d] {
			in[d] = false
		}
	}
}
