package machine

import "time"

// Event is something that happened, or that somebody asks for. The set is
// closed: what stands in this file.
type Event interface{ event() }

// Ref names one start of one unit. Facts carry it, and a fact about an older
// generation than the unit's present one is dropped.
type Ref struct {
	Unit       string
	Generation uint64
}

func (r Ref) ref() Ref { return r }

// Status is how a process ended.
type Status struct {
	Code  ExitCode `json:"code,omitempty"`
	Value int      `json:"value,omitempty"` // exit status, or signal number
}

// ExitCode is the way of an end, in wait(2)'s words.
type ExitCode string

// The ways. Unknown is a status that nobody could tell, and counts as failure.
const (
	CodeNone    ExitCode = ""
	CodeExited  ExitCode = "exited"
	CodeKilled  ExitCode = "killed"
	CodeDumped  ExitCode = "dumped"
	CodeUnknown ExitCode = "unknown"
)

// Setup says where the preparation of a program failed, before its execve
// succeeded.
type Setup struct {
	Program Kind   `json:"program,omitempty"`
	Index   int    `json:"index,omitempty"`
	Step    string `json:"step,omitempty"`  // the launch program's step, "mount /dev/shm"
	Errno   int    `json:"errno,omitempty"` // 0 when no system call failed
	Class   int    `json:"class,omitempty"` // systemd's exit status 200-245, 0 outside the child
	Text    string `json:"text,omitempty"`  // one sentence for people
}

// Verb is what a Request asks for.
type Verb string

// The verbs. VerbStopAll names no unit: everything stops, in reverse order, and
// nothing starts again.
const (
	NoVerb              Verb = ""
	VerbStart           Verb = "start"
	VerbStop            Verb = "stop"
	VerbRestart         Verb = "restart"
	VerbTryRestart      Verb = "try-restart"
	VerbReload          Verb = "reload"
	VerbReloadOrRestart Verb = "reload-or-restart"
	VerbResetFailed     Verb = "reset-failed"
	VerbIsolate         Verb = "isolate" // start a target, stop whatever it does not pull in
	VerbStopAll         Verb = "stop-all"
)

// Request asks for a job. ID is the caller's: every request with an ID other
// than 0 is answered by exactly one JobDone with that ID, in this or a later
// call of Handle. Requests for the same thing share one job.
type Request struct {
	ID   uint64
	Verb Verb
	Unit string
}

// Tick says that the engine's deadline has come. Early and superfluous ticks do
// nothing.
type Tick struct{}

// ConditionsChecked answers CheckConditions.
type ConditionsChecked struct {
	Ref
	OK     bool
	Assert bool   // an assert_ key failed: the start fails; otherwise it is skipped
	Failed string // the condition that did not hold, "condition_path_exists = /x"
}

// Launched says that the effect Launch made the reaper: from here the payload
// may live and the record speaks.
type Launched struct{ Ref }

// LaunchFailed says that Launch came to nothing in the manager and that nothing
// of the generation is left.
type LaunchFailed struct {
	Ref
	Setup Setup
}

// SetupFailed is the reaper's report that a program could not be prepared. It
// starts nothing more, unless that line has the "-" prefix: then it goes on as
// if the command had failed. A failed preparation of the reaper itself has no
// Program.
type SetupFailed struct {
	Ref
	Setup Setup
}

// ProgramStarted: an exec_condition or exec_start_pre command runs, or exec_start
// of a forking service.
type ProgramStarted struct {
	Ref
	Kind  Kind
	Index int
	PID   int
}

// ProgramExited: what ProgramStarted told of ended.
type ProgramExited struct {
	Ref
	Kind   Kind
	Index  int
	Status Status
}

// MainStarted: the execve of exec_start line Index succeeded. PID is the host's.
// A forking service has MainNamed instead.
type MainStarted struct {
	Ref
	Index int
	PID   int
}

// MainExited: exec_start line Index, or what was named main since, ended. In a
// forking service it may be one that had ended before it could be named.
type MainExited struct {
	Ref
	Index  int
	Status Status
	Left   bool // there are other processes in the payload
}

// MainNamed: this process of the payload is main: that of a forking service, or
// another than before.
type MainNamed struct {
	Ref
	PID  int // the host's
	From MainFrom
}

// MainUnnamed: FindMain found none. Why is for people.
type MainUnnamed struct {
	Ref
	Why string
}

// PayloadEmpty: cgroup.events of the payload's cgroup reads populated 0 at the
// moment of sending. It may overtake the record's MainExited; send the record's
// news first where both are at hand.
type PayloadEmpty struct{ Ref }

// ReaperLost: the reaper is gone, and nobody released it. Status is how it
// ended.
type ReaperLost struct {
	Ref
	Status Status
}

// Released: what Release asked for is done. Nothing of the generation lives,
// except what Release.Keep let live; nothing of it is left, but after
// Release.Again.
type Released struct{ Ref }

// HookExited: the hook that RunHook numbered Run ended.
type HookExited struct {
	Ref
	Run    uint64
	Status Status
}

// HookFailed: the hook could not be started.
type HookFailed struct {
	Ref
	Run   uint64
	Setup Setup
}

// OOMKilled: memory.events of the payload counted an oom_kill.
type OOMKilled struct{ Ref }

// Notify is one sd_notify datagram, accepted by notify_access, as a whole.
type Notify struct {
	Ref
	Ready, Reloading, Stopping bool
	ReloadingAt                Instant // MONOTONIC_USEC= of RELOADING=1, 0 without
	HasStatus                  bool
	Status                     string
	Errno                      int
	Watchdog                   bool          // WATCHDOG=1
	WatchdogTrigger            bool          // WATCHDOG=trigger
	WatchdogPeriod             time.Duration // WATCHDOG_USEC=, 0 none
	ExtendTimeout              time.Duration // EXTEND_TIMEOUT_USEC=, 0 none
}

// The engine turns jobs into these; a machine sees them when its turn has come.
type (
	startUnit struct {
		Ref
		auto bool // the end of auto-restart: counters go on
	}
	stopUnit struct {
		Ref
		why     StopReason
		restart bool // it will be started again
	}
	reloadUnit struct{ Ref }
	resetUnit  struct{ Ref }
	elapsed    struct{ Ref }
)

func (Request) event()           {}
func (Tick) event()              {}
func (ConditionsChecked) event() {}
func (Launched) event()          {}
func (LaunchFailed) event()      {}
func (SetupFailed) event()       {}
func (ProgramStarted) event()    {}
func (ProgramExited) event()     {}
func (MainStarted) event()       {}
func (MainExited) event()        {}
func (MainNamed) event()         {}
func (MainUnnamed) event()       {}
func (PayloadEmpty) event()      {}
func (ReaperLost) event()        {}
func (Released) event()          {}
func (HookExited) event()        {}
func (HookFailed) event()        {}
func (OOMKilled) event()         {}
func (Notify) event()            {}
func (startUnit) event()         {}
func (stopUnit) event()          {}
func (reloadUnit) event()        {}
func (resetUnit) event()         {}
func (elapsed) event()           {}
