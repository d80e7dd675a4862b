package machine

import (
	"cmp"
	"slices"
)

// Engine holds the state machines of all units, their relations and the jobs
// asked of them. It does nothing itself: it takes events and answers with
// effects. Not safe for concurrent use; one loop owns it.
//
// The loop, once: New, Load, Adopt (with an empty list at first boot). Then
// forever: wait for news or Deadline, Handle it, carry the effects out in
// order; what they lead to comes back as events.
type Engine struct {
	graph   *Graph
	units   []*record // in the graph's order
	closing bool      // everything stops, nothing starts
	waiters []uint64  // the requests for that

	// The work of one call. Nothing recurses: who wants a unit looked at puts
	// it into queue, and drain works until it is empty.
	now     Instant
	queue   []int
	queued  map[int]bool
	touched map[int]bool
	order   []int // of touched: as it happened
	effects []Effect
	done    []Effect
}

// record is one unit.
type record struct {
	cfg       *Config // in force for what runs
	next      *Config // in force from the next start, nil if the same
	missing   bool    // no longer in the loaded set
	m         Machine
	job       *job
	published Snapshot
}

// New returns an engine without units.
func New() *Engine { return &Engine{graph: NewGraph(nil)} }

// Load takes the definitions in force from now on, the whole set. A unit that
// is not at rest keeps its old definition until it is started the next time
// (Snapshot.Changed) and stays known when it is no longer in the set
// (Snapshot.Missing); relations are the new ones at once. The problems are
// ordering cycles and hard dependencies on unknown units, one each.
func (e *Engine) Load(configs []Config, now Instant) ([]Problem, []Effect) {
	e.begin(now)
	old := make(map[string]*record, len(e.units))
	for _, u := range e.units {
		old[u.cfg.Name] = u
	}
	set := slices.Clone(configs)
	var units []*record
	for i := range set {
		units = append(units, renewed(old[set[i].Name], &set[i]))
		delete(old, set[i].Name)
	}
	for _, u := range old {
		if u.m.State.Down() && u.job == nil {
			continue
		}
		u.missing = true
		set, units = append(set, *u.cfg), append(units, u)
	}
	e.install(set, units)
	return e.graph.Problems(), e.finish()
}

// renewed is the record of a unit under its new definition.
func renewed(u *record, cfg *Config) *record {
	if u == nil {
		u = &record{cfg: cfg}
		u.published = u.snapshot("")
		return u
	}
	u.missing = false
	if u.m.State.Down() || u.m.State == Reached || u.cfg.Digest == cfg.Digest && cfg.Digest != "" {
		u.cfg, u.next = cfg, nil
	} else {
		u.next = cfg
	}
	return u
}

// install sets graph and units and has every unit looked at.
func (e *Engine) install(set []Config, units []*record) {
	slices.SortFunc(units, func(a, b *record) int { return cmp.Compare(a.cfg.Name, b.cfg.Name) })
	e.graph, e.units = NewGraph(set), units
	for i := range units {
		e.touch(i)
		e.look(i)
	}
}

// Graph is the relations in force.
func (e *Engine) Graph() *Graph { return e.graph }

// Handle takes one event and returns what is to be done, in order: snapshots to
// store first, then effects on processes, then answers to requests.
func (e *Engine) Handle(ev Event, now Instant) []Effect {
	e.begin(now)
	switch ev := ev.(type) {
	case Request:
		e.request(ev)
	case Tick:
		e.tick()
	default:
		r, ok := ev.(interface{ ref() Ref })
		if !ok {
			break
		}
		if i, known := e.graph.index[r.ref().Unit]; known && isFact(ev) {
			e.fact(i, ev, r.ref())
		}
	}
	return e.finish()
}

// fact passes news on. A generation that the engine never made is a bug.
func (e *Engine) fact(i int, ev Event, r Ref) {
	if u := e.units[i]; r.Generation > u.m.Generation {
		e.effects = append(e.effects, Bug{r, u.m.State, eventName(ev)})
		return
	}
	e.apply(i, ev)
}

// tick wakes what is due.
func (e *Engine) tick() {
	for i, u := range e.units {
		if d := u.m.due(); d != 0 && d <= e.now {
			e.apply(i, elapsed{})
		}
		if j := u.job; j != nil {
			e.tickIdle(i, j)
		}
		if j := u.job; j != nil && j.deadline != 0 && j.deadline <= e.now {
			e.endJob(i, JobTimeout, Reason{Text: "job_timeout_sec has passed"})
		}
	}
}

// Deadline is when a Tick is due next; false when nothing waits for time.
func (e *Engine) Deadline() (Instant, bool) {
	var first Instant
	for _, u := range e.units {
		first = earlier(first, u.m.due())
		if u.job != nil {
			first = earlier(earlier(first, u.job.deadline), u.job.idleDue())
		}
	}
	return first, first != 0
}

func earlier(a, b Instant) Instant {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// State returns what is known of a unit.
func (e *Engine) State(name string) (Snapshot, bool) {
	i, ok := e.graph.index[name]
	if !ok {
		return Snapshot{}, false
	}
	return e.units[i].snapshot(e.graph.cycles[i]), true
}

// Names returns the known units in lexical order.
func (e *Engine) Names() []string { return slices.Clone(e.graph.names) }

func (u *record) snapshot(cycle string) Snapshot {
	s := Snapshot{Unit: u.cfg.Name, Machine: u.m, Changed: u.next != nil, Missing: u.missing, Cycle: cycle}
	if j := u.job; j != nil {
		s.Job, s.JobRunning, s.JobDeadline, s.JobWhy = j.verb, j.running, j.deadline, j.why
		s.JobAsked, s.JobAuto = j.asked, j.auto
	}
	return s
}

// begin opens one call.
func (e *Engine) begin(now Instant) {
	e.now = now
	e.queued, e.touched = map[int]bool{}, map[int]bool{}
	e.queue, e.order, e.effects, e.done = nil, nil, nil, nil
}

// touch has unit i's snapshot published when the call ends.
func (e *Engine) touch(i int) {
	if !e.touched[i] {
		e.touched[i] = true
		e.order = append(e.order, i)
	}
}

// look has unit i examined before the call ends.
func (e *Engine) look(i int) {
	if !e.queued[i] {
		e.queued[i] = true
		e.queue = append(e.queue, i)
	}
}

// finish drains the queue and closes the call.
func (e *Engine) finish() []Effect {
	for e.drain(); e.endQuiet(); e.drain() {
	}
	e.answerClosing()
	out := e.publish()
	out = append(out, e.effects...)
	out = append(out, e.done...)
	e.queue, e.effects, e.done = nil, nil, nil
	return out
}

// drain examines until nothing is left to be looked at.
func (e *Engine) drain() {
	for len(e.queue) > 0 {
		i := e.queue[0]
		e.queue = e.queue[1:]
		e.queued[i] = false
		e.examine(i)
	}
}

// publish stores every snapshot that changed, before the effects that it
// explains: after a crash the next manager repeats an effect, it never finds
// one that nobody noted. A cause comes before what it led to: "Started web"
// before "Reached target default".
func (e *Engine) publish() []Effect {
	var out []Effect
	for _, i := range e.order {
		u := e.units[i]
		if s := u.snapshot(e.graph.cycles[i]); s != u.published {
			u.published = s
			out = append(out, Publish{s})
		}
	}
	return out
}

// apply lets one machine take one event, and has everybody looked at whom the
// outcome may concern.
func (e *Engine) apply(i int, ev Event) {
	u := e.units[i]
	if _, begins := ev.(startUnit); begins && u.next != nil {
		u.cfg, u.next = u.next, nil
	}
	before := u.m
	m, out := next(u.cfg, u.m, ev, e.now)
	u.m = m
	e.effects = append(e.effects, out...)
	e.touch(i)
	if m.State != before.State {
		e.changed(i, before)
	}
	e.look(i)
}
