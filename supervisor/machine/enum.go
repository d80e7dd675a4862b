package machine

import (
	"fmt"
	"time"
)

// Instant is a point in time in nanoseconds of CLOCK_BOOTTIME: it counts while
// the machine sleeps and never jumps with the wall clock, so it may be stored
// and compared by a later manager of the same boot. Zero means "none".
type Instant int64

// Forever is the duration that unit files call "infinity"; it equals
// unit.Infinity. A deadline that far away is not set at all.
const Forever = time.Duration(1<<63 - 1)

// after is the instant d later, or none when d is no limit or does not fit.
func (t Instant) after(d time.Duration) Instant {
	if d <= 0 || d == Forever || int64(t) > int64(Forever)-int64(d) {
		return 0
	}
	return t + Instant(d)
}

// State is what a unit is doing; machine.go tells the whole model in prose.
type State uint8

// The states, in the order of a life.
const (
	Inactive State = iota
	Checking
	Launching
	Condition
	StartPre
	Start
	StartPost
	Running
	Exited
	Reached
	Reloading
	Stop
	StopWatchdog
	StopSigterm
	StopSigkill
	StopPost
	FinalSigterm
	FinalSigkill
	Releasing
	Failed
	AutoRestart
	AutoRestartQueued
	stateCount
)

// Active is systemd's ActiveState, one of inactive, activating, active,
// reloading, deactivating and failed.
type Active string

// stateTable is total: every state has its name, the ActiveState and SubState
// that systemctl would print for it, and whether a deadline must be set in it
// when the configuration gives one. "active" (targets) and "releasing" (the
// manager takes down what is left of a generation) are the two SubStates that
// a systemd service does not have.
var stateTable = [stateCount]struct {
	name   string
	active Active
	sub    string
}{
	Inactive:          {"inactive", "inactive", "dead"},
	Checking:          {"checking", "activating", "condition"},
	Launching:         {"launching", "activating", "start"},
	Condition:         {"condition", "activating", "condition"},
	StartPre:          {"start-pre", "activating", "start-pre"},
	Start:             {"start", "activating", "start"},
	StartPost:         {"start-post", "activating", "start-post"},
	Running:           {"running", "active", "running"},
	Exited:            {"exited", "active", "exited"},
	Reached:           {"reached", "active", "active"},
	Reloading:         {"reload", "reloading", "reload"},
	Stop:              {"stop", "deactivating", "stop"},
	StopWatchdog:      {"stop-watchdog", "deactivating", "stop-watchdog"},
	StopSigterm:       {"stop-sigterm", "deactivating", "stop-sigterm"},
	StopSigkill:       {"stop-sigkill", "deactivating", "stop-sigkill"},
	StopPost:          {"stop-post", "deactivating", "stop-post"},
	FinalSigterm:      {"final-sigterm", "deactivating", "final-sigterm"},
	FinalSigkill:      {"final-sigkill", "deactivating", "final-sigkill"},
	Releasing:         {"releasing", "deactivating", "releasing"},
	Failed:            {"failed", "failed", "failed"},
	AutoRestart:       {"auto-restart", "activating", "auto-restart"},
	AutoRestartQueued: {"auto-restart-queued", "activating", "auto-restart-queued"},
}

// Active is the ActiveState that systemctl would print.
func (s State) Active() Active { return stateTable[s].active }

// Sub is the SubState that systemctl would print.
func (s State) Sub() string { return stateTable[s].sub }

// Up reports whether the unit counts as started: what is ordered after it may go.
func (s State) Up() bool { return s.Active() == "active" || s.Active() == "reloading" }

// Down reports whether the unit is at rest: nothing runs and nothing is planned.
func (s State) Down() bool { return s == Inactive || s == Failed }

// String is the state's own name, as it stands in state files.
func (s State) String() string {
	if s >= stateCount {
		return fmt.Sprintf("state(%d)", uint8(s))
	}
	return stateTable[s].name
}

// MarshalText writes the state's name.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote and refuses any other word.
func (s *State) UnmarshalText(text []byte) error {
	for i := range stateTable {
		if stateTable[i].name == string(text) {
			*s = State(i)
			return nil
		}
	}
	return fmt.Errorf("cannot read unit state: unknown state %q", text)
}

// Want is what the unit is meant to be, whatever it is doing now.
type Want string

// A unit is wanted up from an accepted start until a stop is accepted.
const (
	WantDown Want = ""
	WantUp   Want = "up"
)

// StopReason is why the unit last left, or is leaving, its started state.
type StopReason string

// The reasons. Only StopOwn leaves the restart setting a say: the others were
// somebody's decision.
const (
	StopNone       StopReason = ""
	StopOwn        StopReason = "own"        // it ended, failed or timed out by itself
	StopRequest    StopReason = "request"    // nsctl stop or restart
	StopDependency StopReason = "dependency" // a unit that it needs stopped
	StopConflict   StopReason = "conflict"   // a unit that excludes it starts
	StopUnneeded   StopReason = "unneeded"   // stop_when_unneeded, and nobody needs it
	StopShutdown   StopReason = "shutdown"   // everything stops
)

// Result says how the last run went; it is set by the first thing that goes
// wrong and kept until the next start or reset-failed.
type Result string

// The results, systemd's names where it has one. ConditionFailed and
// ExecCondition are not failures: the unit was skipped.
const (
	Success         Result = ""
	ExitCodeFailure Result = "exit-code"
	SignalFailure   Result = "signal"
	CoreDump        Result = "core-dump"
	TimedOut        Result = "timeout"
	WatchdogFailure Result = "watchdog"
	StartLimitHit   Result = "start-limit-hit"
	OOMKill         Result = "oom-kill"
	Protocol        Result = "protocol"
	Resources       Result = "resources"
	ExecCondition   Result = "exec-condition"
	SetupFailure    Result = "setup"
	ReaperGone      Result = "reaper-lost"
	StatusUnknown   Result = "status-unknown" // main ended, and nobody could tell how, or which it was
	ConditionFailed Result = "condition-failed"
	AssertFailed    Result = "assert-failed"
	DependencyFail  Result = "dependency"
	Canceled        Result = "canceled"
)

// String is systemd's word; the zero value prints as success.
func (r Result) String() string {
	if r == Success {
		return "success"
	}
	return string(r)
}

// failed reports whether a unit that came to rest with this result is failed
// and not merely inactive.
func (r Result) failed() bool {
	switch r {
	case Success, ExecCondition, ConditionFailed, Canceled, DependencyFail:
		return false
	}
	return true
}

// Kind names the list of the unit file that a command comes from.
type Kind string

// The kinds. The first three run in the reaper's program, in this order; the
// others are joins by the manager.
const (
	NoKind        Kind = ""
	KindCondition Kind = "exec_condition"
	KindStartPre  Kind = "exec_start_pre"
	KindStart     Kind = "exec_start"
	KindStartPost Kind = "exec_start_post"
	KindReload    Kind = "exec_reload"
	KindStop      Kind = "exec_stop"
	KindStopPost  Kind = "exec_stop_post"
)

// rank orders the kinds of the reaper's program.
func (k Kind) rank() int {
	switch k {
	case KindCondition:
		return 1
	case KindStartPre:
		return 2
	case KindStart:
		return 3
	}
	return 0
}

// MainFrom says how a main process that exec_start has not become was found.
type MainFrom string

// The ways. FromExec is none: main is what exec_start runs.
const (
	FromExec    MainFrom = ""
	FromPidFile MainFrom = "pid_file"
	FromGuess   MainFrom = "guess"
	FromNotify  MainFrom = "MAINPID="
)

// Whom is which processes a signal goes to.
type Whom string

// The receivers of a Signal effect.
const (
	WhomMain Whom = "main"
	WhomAll  Whom = "all" // every process of the payload's cgroup, main too
)
