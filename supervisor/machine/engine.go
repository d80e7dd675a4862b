package machine

// Engine holds the state machines of all units, their relations and the jobs
// asked of them. It does nothing itself: it takes events and answers with
// effects. Not safe for concurrent use; one loop owns it.
//
// The loop, once: New, Load, Adopt (with an empty list at first boot). Then
// forever: wait for news or Deadline, Handle it, carry the effects out in
// order; what they lead to comes back as events.
type Engine struct{}

// New returns an engine without units.
func New() *Engine { return &Engine{} }

// Load takes the definitions in force from now on, the whole set. A unit that
// is not at rest keeps its old definition until it is started the next time
// (Snapshot.Changed) and stays known when it is no longer in the set
// (Snapshot.Missing); relations are the new ones at once. The problems are
// ordering cycles and hard dependencies on unknown units, one each.
func (e *Engine) Load(configs []Config, now Instant) ([]Problem, []Effect) { return nil, nil }

// Problem is something in the graph that keeps units from starting.
type Problem struct {
	Units []string // those that cannot start
	Text  string   // "ordering cycle: a after b after a"
}

// Adopt continues from what an earlier manager left: call it once, after Load,
// with every unit that has a state file or a generation.
func (e *Engine) Adopt(found []Adopted, now Instant) []Effect { return nil }

// Handle takes one event and returns what is to be done, in order.
func (e *Engine) Handle(ev Event, now Instant) []Effect { return nil }

// Deadline is when a Tick is due next; false when nothing waits for time.
func (e *Engine) Deadline() (Instant, bool) { return 0, false }

// State returns what is known of a loaded unit.
func (e *Engine) State(name string) (Snapshot, bool) { return Snapshot{}, false }

// Names returns the known units in lexical order.
func (e *Engine) Names() []string { return nil }
