package machine

// changed is what a change of state means for other units.
func (e *Engine) changed(i int, before Machine) {
	now := e.units[i].m
	e.lookAround(i)
	if e.closing {
		return
	}
	was, is := before.State, now.State
	left := was.Up() || was.Active() == "activating" && was != AutoRestart && was != AutoRestartQueued ||
		was.Active() == "deactivating"
	switch {
	case is.Up() && !was.Up():
		e.uphold(i)
	case is == AutoRestart:
		e.unbind(i, true)
	case is == AutoRestartQueued:
		if was != AutoRestart {
			e.unbind(i, true)
		}
		e.comeBack(i)
	case is.Down() && left:
		e.unbind(i, false)
		e.trigger(i, now)
		e.unneeded(i)
		e.reviveUpheld(i, now)
	case is.Down():
		e.trigger(i, now)
		e.unneeded(i)
	}
}

// unbind: units bound to one that went away by itself go too, or around with it
// when it comes back.
func (e *Engine) unbind(i int, comesBack bool) {
	if e.units[i].job.stops() {
		return // then the request has seen to them
	}
	for _, d := range e.graph.edges[BoundBy][i] {
		u := e.units[d]
		if u.m.State.Down() || u.job.stops() || !u.m.State.Up() && u.m.State.Active() != "activating" {
			continue
		}
		if comesBack {
			e.put(d, VerbRestart, StopDependency)
			e.expect(i)
			continue
		}
		e.stopWith(d, waiter{}, StopDependency)
	}
}

// expect gives a unit in auto-restart the job of coming back already now, for
// others to wait for.
func (e *Engine) expect(i int) {
	if e.units[i].job == nil {
		e.put(i, VerbStart, StopNone).auto = true
	}
}

// trigger starts what on_failure or on_success name.
func (e *Engine) trigger(i int, m Machine) {
	rel := OnFailure
	if m.State == Inactive {
		rel = OnSuccess
		if m.Result != Success || m.Why == StopNone {
			return
		}
	}
	for _, n := range e.graph.edges[rel][i] {
		e.startAll(n, waiter{}, false)
	}
}

// uphold starts what a unit that came up wants to keep up.
func (e *Engine) uphold(i int) {
	for _, n := range e.graph.edges[Upholds][i] {
		if u := e.units[n]; u.m.State.Down() && u.job == nil && mayRevive(u.m) {
			e.startAll(n, waiter{}, false)
		}
	}
}

// reviveUpheld: somebody that is up upholds this unit, which just went down.
func (e *Engine) reviveUpheld(i int, m Machine) {
	if e.units[i].job != nil && e.units[i].job.starts() || !mayRevive(m) {
		return
	}
	for _, n := range e.graph.edges[UpheldBy][i] {
		if u := e.units[n]; u.m.State.Up() && !u.job.stops() {
			if e.units[i].job.stops() {
				e.endJob(i, JobDoneOK, Reason{Text: "started again: " + u.cfg.Name + " upholds it"})
			}
			e.startAll(i, waiter{}, false)
			return
		}
	}
}

// mayRevive: starting it again is not known to be of no use.
func mayRevive(m Machine) bool {
	switch m.Result {
	case StartLimitHit, ConditionFailed, AssertFailed, ExecCondition:
		return false
	}
	switch m.Why {
	case StopConflict, StopDependency, StopUnneeded, StopShutdown:
		return false // the two would take turns for ever
	}
	return !m.Unkillable
}

// unneeded stops those with stop_when_unneeded that served only unit i.
func (e *Engine) unneeded(i int) {
	for _, r := range []Relation{Requires, Requisite, Wants, BindsTo, Upholds} {
		for _, n := range e.graph.edges[r][i] {
			u := e.units[n]
			if u.cfg.StopWhenUnneeded && u.m.State.Up() && u.job == nil && !e.needed(n) {
				e.stopWith(n, waiter{}, StopUnneeded)
			}
		}
	}
}

func (e *Engine) needed(i int) bool {
	for _, r := range []Relation{RequiredBy, RequisiteOf, WantedBy, BoundBy, UpheldBy} {
		for _, n := range e.graph.edges[r][i] {
			if u := e.units[n]; !u.m.State.Down() || u.job.starts() {
				return true
			}
		}
	}
	return false
}
