package machine

// Effect is something for the manager to do, in the order given. Effects are
// data; what comes of them returns as events. A closed set: what stands here.
type Effect interface{ effect() }

// CheckConditions: evaluate the unit's condition_ and assert_ keys on the host;
// answer ConditionsChecked.
type CheckConditions struct{ Ref }

// Launch: make the generation (cgroups, directories, logs, network) and its
// reaper, clearing half-made remains of the same generation first; answer
// Launched or LaunchFailed. The state file that Publish wrote stands before it.
type Launch struct{ Ref }

// RunHook: join command Index of list Kind into the generation; answer
// HookExited or HookFailed with the same Run. One that an earlier manager has
// started is waited for instead.
type RunHook struct {
	Ref
	Kind  Kind
	Index int
	Run   uint64
}

// FindMain: look for the main process of a forking service in pid_file, else
// for the one process that it left to its reaper; answer MainNamed, MainExited
// where that one has ended, or MainUnnamed. With Wait a pid_file is watched on
// after a MainUnnamed, until there is another answer or the start is over.
type FindMain struct {
	Ref
	Wait bool
}

// AbortHook: kill the hook Run with SIGKILL. Its HookExited may still come.
type AbortHook struct {
	Ref
	Kind  Kind
	Index int
	Run   uint64
}

// Signal: send one signal. A receiver that is gone is no error.
type Signal struct {
	Ref
	Signal int
	Whom   Whom
}

// KillAll: write 1 to cgroup.kill of the payload's cgroup.
type KillAll struct{ Ref }

// CheckPayload: read cgroup.events of the payload's cgroup and answer
// PayloadEmpty if it is empty; if not, the watcher will say so later.
type CheckPayload struct{ Ref }

// Release: store what the log holds, end the reaper, kill whatever else is in
// the generation and remove it; answer Released. With Keep the payload may be
// alive on purpose (kill_mode process or none, send_sigkill = false, or not
// killable): if it is, leave those processes, their reaper and their cgroup,
// and answer Released at once. May be repeated after a crash, and may come
// while a Launch is still under way: it waits for that one. With Again a start
// follows at once: Released may then be answered when the payload is dead and the
// reaper killed, and what is left be removed while the next one starts.
type Release struct {
	Ref
	Keep  bool
	Again bool
}

// Publish: the unit's snapshot changed: store it, and tell those who listen.
// Within one call of Handle it stands before the effects of the change.
type Publish struct{ Snapshot Snapshot }

// JobResult is how a request ended.
type JobResult string

// The results. Skipped: a condition did not hold, or there was nothing to do.
// Canceled: another request took its place.
const (
	JobDoneOK     JobResult = "done"
	JobFailed     JobResult = "failed"
	JobDependency JobResult = "dependency"
	JobSkipped    JobResult = "skipped"
	JobCanceled   JobResult = "canceled"
	JobTimeout    JobResult = "timeout"
)

// Reason is the data behind a result, for one sentence to people.
type Reason struct {
	Unit   string `json:"unit,omitempty"`   // whose fault, when it is another unit
	Result Result `json:"result,omitempty"` // of that unit's last run
	Status Status `json:"status,omitzero"`  // of the process that decided it
	Setup  Setup  `json:"setup,omitzero"`   // where preparation failed
	Text   string `json:"text,omitempty"`   // what the other fields cannot say
}

// JobDone answers the Request with the same ID.
type JobDone struct {
	ID     uint64
	Verb   Verb
	Unit   string
	Result JobResult
	Reason Reason
}

// Action: carry out start_limit_action, failure_action or success_action of the
// unit; never "none".
type Action struct {
	Unit   string
	Action string // systemd's words: reboot, reboot-force, poweroff, exit ...
	Why    string // the key that asked for it
}

// Bug: a pair of state and event that cannot be. The machine is unchanged.
type Bug struct {
	Ref
	State State
	Event string
}

func (CheckConditions) effect() {}
func (Launch) effect()          {}
func (RunHook) effect()         {}
func (FindMain) effect()        {}
func (AbortHook) effect()       {}
func (Signal) effect()          {}
func (KillAll) effect()         {}
func (CheckPayload) effect()    {}
func (Release) effect()         {}
func (Publish) effect()         {}
func (JobDone) effect()         {}
func (Action) effect()          {}
func (Bug) effect()             {}
