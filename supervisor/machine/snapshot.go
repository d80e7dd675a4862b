package machine

// Machine is the state of one unit: a comparable value that a JSON file holds
// in full. machine.go says what the fields mean together.
type Machine struct {
	State  State      `json:"state"`
	Want   Want       `json:"want,omitempty"`
	Why    StopReason `json:"why,omitempty"`
	Result Result     `json:"result,omitempty"`

	// Generation counts the starts and names the present one. Held says that
	// a Launch was asked for that Released has not answered.
	Generation uint64 `json:"generation,omitempty"`
	Held       bool   `json:"held,omitempty"`
	Reaper     bool   `json:"reaper,omitempty"`      // it lives, as far as is known
	Payload    bool   `json:"payload,omitempty"`     // not known to be empty
	Pending    bool   `json:"pending,omitempty"`     // the reaper's program will start something yet
	ReadyEarly bool   `json:"ready_early,omitempty"` // READY=1 overtook MainStarted
	Notified   bool   `json:"notified,omitempty"`    // RELOADING=1 without READY=1 yet
	ForRestart bool   `json:"for_restart,omitempty"` // it stops in order to start again
	Unkillable bool   `json:"unkillable,omitempty"`  // SIGKILL did not end it in time
	Kept       bool   `json:"kept,omitempty"`        // the last Release left processes alone

	// How far the reaper's program is: the last command heard of.
	Kind  Kind `json:"kind,omitempty"`
	Index int  `json:"index,omitempty"`
	Ended bool `json:"ended,omitempty"`

	// The hook that runs, or ran last.
	Hook      bool   `json:"hook,omitempty"` // it runs
	HookKind  Kind   `json:"hook_kind,omitempty"`
	HookIndex int    `json:"hook_index,omitempty"`
	Run       uint64 `json:"run,omitempty"` // counts the hooks of all starts

	MainPID     int      `json:"main_pid,omitempty"`
	MainAlive   bool     `json:"main_alive,omitempty"`
	MainFrom    MainFrom `json:"main_from,omitempty"`    // how it was found
	MainMissing string   `json:"main_missing,omitempty"` // why a forking service has none, for people
	MainStatus  Status   `json:"main_status,omitzero"`   // of the last main that ended
	Last        Status   `json:"last,omitzero"`          // of the process that decided Result
	Setup       Setup    `json:"setup,omitzero"`
	Failed      string   `json:"failed,omitempty"` // the condition that did not hold

	ReloadResult Result  `json:"reload_result,omitempty"`
	ReloadStatus Status  `json:"reload_status,omitzero"` // of the exec_reload that failed
	ReloadAt     Instant `json:"reload_at,omitempty"`    // reload_signal was sent, and RELOADING=1 has not come since
	StatusText   string  `json:"status_text,omitempty"`  // STATUS=
	NotifyErrno  int     `json:"notify_errno,omitempty"`

	// Deadline is when the state's time is up, Watchdog when the next
	// WATCHDOG=1 is due; 0 is never. Period is WATCHDOG_USEC= of the service.
	Deadline Instant `json:"deadline,omitempty"`
	Watchdog Instant `json:"watchdog,omitempty"`
	Period   int64   `json:"watchdog_period,omitempty"`

	Restarts    int     `json:"restarts,omitempty"`     // automatic ones since the last asked-for start
	WindowStart Instant `json:"window_start,omitempty"` // start limit: begin of the window
	WindowCount int     `json:"window_count,omitempty"` // and starts in it

	Since       Instant `json:"since,omitempty"`        // of the state
	StartedAt   Instant `json:"started_at,omitempty"`   // the last start began
	ActiveSince Instant `json:"active_since,omitempty"` // it was last ready
	EndedAt     Instant `json:"ended_at,omitempty"`     // it last came to rest
}

// Snapshot is all that the engine knows of one unit: what Publish stores and
// Adopt takes back.
type Snapshot struct {
	Unit    string `json:"unit"`
	Machine        // flattened in JSON

	// Job is what is asked of the unit and not done: start, stop, restart
	// (still to be stopped), or reload; JobDeadline its job_timeout_sec.
	Job         Verb    `json:"job,omitempty"`
	JobRunning  bool    `json:"job_running,omitempty"`
	JobDeadline Instant `json:"job_deadline,omitempty"`

	JobWhy   StopReason `json:"job_why,omitempty"`   // of a stop
	JobAsked bool       `json:"job_asked,omitempty"` // somebody asked for this very unit
	JobAuto  bool       `json:"job_auto,omitempty"`  // it is the unit's own coming back

	Changed bool   `json:"changed,omitempty"` // runs with an older definition than the loaded one
	Missing bool   `json:"missing,omitempty"` // runs, but its file is gone
	Cycle   string `json:"cycle,omitempty"`   // "a after b after a": it cannot be started
}

// Observed is what a manager that starts finds of a unit's generation: in the
// cgroup tree, and in the reaper's record.
type Observed struct {
	Generation uint64 // of the newest directory there; 0 none
	Reaper     bool   // its reaper lives
	Populated  bool   // its payload's cgroup is not empty
	Setup      Setup  // the record says: preparation failed; zero if not
	Programs   []Program
	Mains      []Program // exec_start lines that were started, in order
	Named      Program   // the main process of a forking service; zero if none is named
}

// Program is one entry of the record.
type Program struct {
	Kind   Kind
	Index  int
	PID    int
	Status Status // zero while it runs
}

// Adopted pairs the two. A lost state file is a Snapshot with nothing but Unit.
type Adopted struct {
	Snapshot Snapshot
	Observed Observed
}
