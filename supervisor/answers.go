package supervisor

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nsinit/nsinit/supervisor/control"
	"github.com/nsinit/nsinit/supervisor/machine"
	"github.com/nsinit/nsinit/unit"
)

// doneText is "restarted in 41 ms, main pid 8127 -> 9031".
func doneText(verb string, before, after machine.Snapshot, took time.Duration) string {
	started := after.Generation != before.Generation
	switch verb {
	case control.VerbStop:
		if before.State.Down() {
			return "was not running"
		}
		return "stopped"
	case control.VerbReload:
		return "reloaded in " + span(took)
	case control.VerbReloadOrRestart:
		if !started && before.State.Up() {
			return "reloaded in " + span(took)
		}
	case control.VerbStart:
		if before.State.Up() && !started {
			return "runs already" + mainText(machine.Snapshot{}, after)
		}
	}
	word := "started"
	if verb != control.VerbStart && !before.State.Down() {
		word = "restarted"
	}
	if verb == control.VerbIsolate {
		word = "isolated"
	}
	if after.State == machine.Reached {
		return word
	}
	return word + " in " + span(took) + mainText(before, after)
}

func mainText(before, after machine.Snapshot) string {
	switch {
	case !after.MainAlive:
		return ""
	case before.MainAlive && before.MainPID != after.MainPID:
		return fmt.Sprintf(", main pid %d -> %d", before.MainPID, after.MainPID)
	}
	if after.MainPID == 0 {
		return "" // it has ended already
	}
	return fmt.Sprintf(", main pid %d", after.MainPID)
}

// failedText tells how a unit failed that has come down by being stopped.
func failedText(before machine.Snapshot, st control.UnitStatus) string {
	if before.State.Down() || st.ActiveState != "failed" || st.Failure == nil {
		return ""
	}
	return ", and has failed: " + st.Failure.Text
}

// leftText tells of processes that a stop left alone.
func leftText(st control.UnitStatus, u *unit.Unit) string {
	var b strings.Builder
	for _, l := range st.LeftOvers {
		processes := "processes"
		if len(l.PIDs) == 1 {
			processes = "process"
		}
		fmt.Fprintf(&b, "; %d %s left over from start %d", len(l.PIDs), processes, l.Generation)
	}
	if b.Len() > 0 && u != nil {
		fmt.Fprintf(&b, " (kill_mode = %q)", u.Service.KillMode)
	}
	return b.String()
}

// jobError is why a request did not come about. f is how the unit's last run
// failed, nil if it did not; other is the cause with a unit that it needs.
func jobError(name, verb string, d machine.JobDone, f *control.Failure, other string) *control.Error {
	e := &control.Error{Code: control.CodeConflict, Unit: name}
	cannot := "cannot " + verb + ": "
	text := strings.TrimPrefix(d.Reason.Text, cannot)
	switch d.Result {
	case machine.JobDependency:
		e.Code, e.Message = control.CodeFailed, cannot+orElse(text, orElse(other, string(d.Reason.Result)))
		if u := d.Reason.Unit; u != "" {
			e.Message = cannot + "it needs " + u + ": " + orElse(other, text)
			e.Hint = "nsctl status " + u
		}
	case machine.JobCanceled:
		e.Message = cannot + orElse(text, "another request took its place")
	case machine.JobTimeout:
		e.Code, e.Message = control.CodeFailed, cannot+orElse(text, "job_timeout_sec has passed")
	default:
		failedJob(e, cannot, text, verb, d, f)
	}
	return e
}

// failedJob is the case of a unit's own failure, or of a refusal.
func failedJob(e *control.Error, cannot, text, verb string, d machine.JobDone, f *control.Failure) {
	switch {
	case verb == control.VerbReload && d.Reason.Result != machine.Success && text == "it runs on as it was":
		how := "failed (" + string(d.Reason.Result) + ")" // no end of a process: a time limit, say
		if d.Reason.Status != (machine.Status{}) {
			how = ended(d.Reason.Status)
		}
		e.Code, e.Message = control.CodeFailed, fmt.Sprintf("%sexec_reload %s; %s", cannot, how, text)
		e.Hint = "nsctl logs -u " + e.Unit
	case verb == control.VerbReload && strings.Contains(text, "not running"):
		e.Code, e.Message = control.CodeNotActive, cannot+text
	case f != nil && verb != control.VerbStop && d.Reason.Result != machine.Success:
		e.Code, e.Message, e.Hint, e.Failure = control.CodeFailed, cannot+f.Text, f.Hint, f
		if d.Reason.Result == machine.StartLimitHit {
			e.Message = cannot + "start limit hit: " + f.Text
		}
	case text != "" && d.Reason.Result == machine.Success:
		e.Message = cannot + text // a refusal
	default:
		e.Code, e.Message = control.CodeFailed, cannot+orElse(text, "it failed")
	}
}

// waitsFor says what a unit that is to change waits for. It runs on the loop.
func (m *Manager) waitsFor(s machine.Snapshot) string {
	if s.Job == machine.NoVerb {
		return ""
	}
	if s.JobRunning {
		return stateText(s.State)
	}
	first := machine.After
	if s.Job == machine.VerbStop || s.Job == machine.VerbRestart {
		first = machine.Before
	}
	for _, r := range []machine.Relation{first, machine.Before, machine.Conflicts, machine.ConflictedBy} {
		for _, name := range m.engine.Graph().Related(s.Unit, r) {
			if o, _ := m.engine.State(name); o.Job != machine.NoVerb && o.Job != machine.VerbReload {
				return "waiting for " + name + ": " + orElse(stateText(o.State), string(o.Job))
			}
		}
	}
	if def := m.defs[s.Unit]; def != nil && def.Service.Type == "idle" && s.Job == machine.VerbStart {
		return "waiting until other jobs are done"
	}
	return ""
}

// stateText is what a unit that changes is doing.
func stateText(s machine.State) string {
	switch s {
	case machine.Checking:
		return "checking its conditions"
	case machine.Launching:
		return "making its namespaces"
	case machine.Condition, machine.StartPre, machine.StartPost:
		return "exec_" + strings.ReplaceAll(s.String(), "-", "_")
	case machine.Start:
		return "waiting for it to be ready"
	case machine.Reloading:
		return "exec_reload"
	case machine.Stop:
		return "exec_stop"
	case machine.StopPost:
		return "exec_stop_post"
	case machine.StopSigterm, machine.StopWatchdog, machine.FinalSigterm:
		return "waiting for its processes to end"
	case machine.StopSigkill, machine.FinalSigkill:
		return "its processes did not end in time and are killed"
	case machine.Releasing:
		return "taking it down"
	case machine.AutoRestart, machine.AutoRestartQueued:
		return "waiting to start again"
	default:
		return ""
	}
}

// explained is why the unit is not up, empty where nothing has failed.
func (s *sight) explained() string {
	if s == nil || !failing(s.snap.Result) {
		return ""
	}
	return s.outcome(nil).cause()
}

// asControlError gives any error the API's form.
func asControlError(err error) *control.Error {
	var ce *control.Error
	if errors.As(err, &ce) {
		return ce
	}
	return &control.Error{Code: control.CodeInternal, Message: err.Error()}
}
