package supervisor

import (
	"context"
	"iter"
	"strings"
	"time"

	"github.com/nsinit/nsinit/supervisor/control"
	"github.com/nsinit/nsinit/supervisor/logs"
	"github.com/nsinit/nsinit/supervisor/machine"
)

// Act starts, stops, restarts or reloads units. What the engine has accepted
// goes on when the consumer stops listening.
func (b backend) Act(ctx context.Context, req control.ActRequest) iter.Seq2[control.Progress, error] {
	return func(yield func(control.Progress, error) bool) {
		a := &action{m: b.m, ctx: ctx, req: req, yield: yield, answers: make(chan answer, len(req.Units))}
		a.run()
	}
}

// action is a request under way, in the goroutine that streams its progress.
type action struct {
	m       *Manager
	ctx     context.Context
	req     control.ActRequest
	yield   func(control.Progress, error) bool
	tasks   []*task
	answers chan answer // one for each task; the loop never waits to send
}

// task is one unit of the request.
type task struct {
	asked, name string
	err         error // it was not accepted
	began       machine.Instant
	before      machine.Snapshot
	now         machine.Snapshot
	waits       string // what it waits for
	shown       string
	open        bool // it has been accepted and not been answered
	ending      bool // --wait: it is up, and is waited for to end
}

// answer is a job's end and the unit at that moment; other is the unit whose
// fault it was, if that is another one.
type answer struct {
	t     *task
	done  machine.JobDone
	at    machine.Instant
	s     *sight
	other *sight
}

func (a *action) run() {
	woken, stop := a.m.events.watch()
	defer stop()
	if err := a.m.call(a.ctx, a.accept); err != nil {
		a.yield(control.Progress{}, err)
		return
	}
	if len(a.tasks) == 1 && a.tasks[0].err != nil {
		a.yield(control.Progress{}, a.tasks[0].err)
		return
	}
	for _, t := range a.tasks {
		if t.err != nil && !a.line(t, control.Progress{Done: true, Error: asControlError(t.err)}) {
			return
		}
	}
	if a.req.NoBlock {
		a.drain()
		return
	}
	for more := a.waiting(); more && a.open(); {
		select {
		case <-a.ctx.Done():
			return
		case r := <-a.answers:
			more = a.answered(r)
		case _, ok := <-woken:
			if !ok {
				woken = nil // the manager goes down; answers still come, or ctx ends
			}
			more = a.waiting()
		}
	}
}

// accept hands every unit to the engine. It runs on the loop.
func (a *action) accept() {
	for _, asked := range a.req.Units {
		t := &task{asked: asked, began: now()}
		a.tasks = append(a.tasks, t)
		if t.name, t.err = a.m.resolve(asked); t.err != nil {
			continue
		}
		t.before, _ = a.m.engine.State(t.name)
		if t.err = a.m.startable(t.name, a.req.Verb, t.before); t.err != nil {
			continue
		}
		t.now, t.open = t.before, true
		a.m.request(machine.Verb(a.req.Verb), t.name, func(d machine.JobDone) {
			r := answer{t: t, done: d, at: now(), s: a.m.look(t.name)}
			if d.Reason.Unit != "" && d.Reason.Unit != t.name {
				r.other = a.m.look(d.Reason.Unit)
			}
			a.answers <- r
		})
	}
}

// startable refuses to start what runs on, or ran, without a definition: a
// restart would take it down and not bring it back. It runs on the loop.
func (m *Manager) startable(name, verb string, s machine.Snapshot) error {
	switch {
	case m.defs[name] != nil, verb == control.VerbStop, verb == control.VerbReload, verb == control.VerbStart && s.State.Up():
		return nil
	case verb == control.VerbTryRestart && s.State.Down():
		return nil // nothing happens
	case len(m.set.Problems()[name]) > 0:
		return &control.Error{Code: control.CodeBadUnit, Unit: name, Message: "cannot " + verb + ": its newer file is bad: " + m.set.Problems()[name].Error()}
	}
	if m.set.Masked(name) {
		return &control.Error{Code: control.CodeConflict, Unit: name, Message: "cannot " + verb + ": it is masked", Hint: "nsctl unmask " + name}
	}
	return &control.Error{Code: control.CodeNoSuchUnit, Unit: name, Message: "cannot " + verb + ": its unit file is gone",
		Hint: "after adding a file: nsctl daemon-reload"}
}

func (a *action) open() bool {
	for _, t := range a.tasks {
		if t.open {
			return true
		}
	}
	return false
}

// drain tells of what was over at once.
func (a *action) drain() {
	for {
		select {
		case r := <-a.answers:
			if !a.finish(r.t, r) {
				return
			}
		default:
			return
		}
	}
}

// line fills in what every line has and sends it.
func (a *action) line(t *task, p control.Progress) bool {
	p.Unit, p.Verb = t.asked, a.req.Verb
	if p.Status != nil {
		p.ActiveState, p.SubState = p.Status.ActiveState, p.Status.SubState
	} else if t.err == nil {
		p.ActiveState, p.SubState = string(t.now.State.Active()), t.now.State.Sub()
	}
	return a.yield(p, nil)
}

// waiting tells what the open tasks wait for, where that has changed, and ends
// those of --wait that have come to rest.
func (a *action) waiting() bool {
	var rested []answer
	err := a.m.call(a.ctx, func() {
		for _, t := range a.tasks {
			if !t.open {
				continue
			}
			t.now, _ = a.m.engine.State(t.name)
			t.waits = a.m.waitsFor(t.now)
			if t.ending && t.now.State.Down() {
				rested = append(rested, answer{t: t, at: now(), s: a.m.look(t.name)})
			}
		}
	})
	if err != nil {
		if a.ctx.Err() == nil {
			a.yield(control.Progress{}, err)
		}
		return false
	}
	for _, r := range rested {
		if !a.rested(r) {
			return false
		}
	}
	for _, t := range a.tasks {
		if !t.open || t.waits == "" || t.waits == t.shown {
			continue
		}
		t.shown = t.waits
		if !a.line(t, control.Progress{Text: t.waits}) {
			return false
		}
	}
	return true
}

// answered takes the end of a job. A start with --wait goes on until the unit
// has ended.
func (a *action) answered(r answer) bool {
	t := r.t
	if a.req.Wait && a.req.Verb == control.VerbStart && r.done.Result == machine.JobDoneOK && !r.s.snap.State.Down() {
		t.ending, t.now = true, r.s.snap
		return a.line(t, control.Progress{Text: doneText(a.req.Verb, t.before, r.s.snap, time.Duration(r.at-t.began))}) && a.waiting()
	}
	return a.finish(t, r)
}

// finish sends the last line of a unit.
func (a *action) finish(t *task, r answer) bool {
	t.open, t.now = false, r.s.snap
	st := a.m.describe(a.ctx, r.s)
	p := control.Progress{Done: true, Status: &st}
	switch r.done.Result {
	case machine.JobDoneOK:
		p.Text = doneText(a.req.Verb, t.before, r.s.snap, time.Duration(r.at-t.began))
		if a.req.Verb == control.VerbStop {
			p.Text += failedText(t.before, st) + leftText(st, r.s.def())
		}
	case machine.JobSkipped:
		p.Text = "skipped: " + orElse(r.done.Reason.Text, explainResult(r.s.snap))
	default:
		p.Error = jobError(t.name, a.req.Verb, r.done, st.Failure, r.other.explained())
	}
	return a.line(t, p)
}

// rested sends the last line of a unit that was waited for to end.
func (a *action) rested(r answer) bool {
	t := r.t
	t.open, t.now = false, r.s.snap
	st := a.m.describe(a.ctx, r.s)
	p := control.Progress{Done: true, Status: &st, Text: "ended"}
	if s := r.s.snap.MainStatus; s != (machine.Status{}) {
		p.Text = "ended: " + codeStatus(s)
	}
	if st.Failure != nil {
		p.Text = ""
		p.Error = &control.Error{Code: control.CodeFailed, Unit: t.name, Message: "it has failed: " + st.Failure.Text, Hint: st.Failure.Hint, Failure: st.Failure}
	}
	return a.line(t, p)
}

// failureLines are the last that the unit itself wrote since its start.
func (m *Manager) failureLines(ctx context.Context, s *sight) []string {
	q := logs.Query{Lines: 5, Streams: []logs.Stream{logs.Stdout, logs.Stderr, logs.Syslog}}
	if s.snap.Result != machine.StartLimitHit {
		q.Since = s.clock.at(s.snap.StartedAt).Add(-10 * time.Millisecond)
	} else {
		q.Lines = 1 // of the start before the one that was refused; the others say the same
	}
	var out []string
	for r, err := range logs.Read(ctx, m.logDir(s.name), q) {
		if err != nil {
			break // no log, or none that can be read: the sentence must do
		}
		out = append(out, strings.ToValidUTF8(string(r.Message), "\ufffd"))
	}
	return out
}
