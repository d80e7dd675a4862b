package machine

import "time"

// Config is what the state machine has to know of a unit; ConfigOf makes it. A
// zero Config with a name is a target. It is never changed once loaded.
type Config struct {
	Name   string
	Target bool // no [service]: a named group, up once what it orders after is settled
	Deps   Deps

	// Digest stands for the whole definition: when it differs from the one that
	// runs, Snapshot.Changed says so.
	Digest string

	// OrderWanted puts a target after what it pulls in (default_dependencies).
	OrderWanted bool

	Conditions                                     bool // there are condition_ or assert_ keys to check
	StopWhenUnneeded                               bool
	RefuseManualStart, RefuseManualStop            bool
	StartLimitInterval                             time.Duration // 0: no limit
	StartLimitBurst                                int           // 0: no limit
	StartLimitAction, FailureAction, SuccessAction string        // "" and "none": nothing
	JobTimeout                                     time.Duration // 0 and Forever: none

	Type            string // simple, exec, oneshot, notify, notify-reload, forking, idle
	PidFile         bool   // there is a pid_file
	RemainAfterExit bool
	ExitType        string // main, cgroup
	OOMPolicy       string // continue, stop, kill

	ExecCondition, ExecStartPre, ExecStart            []Line
	ExecStartPost, ExecReload, ExecStop, ExecStopPost []Line

	Restart            string
	RestartSec         time.Duration
	RestartSteps       int
	RestartMaxDelay    time.Duration
	RestartRandomDelay time.Duration
	Seed               uint64 // of the random part of the delay; any value, fixed per unit

	SuccessExit, PreventExit, ForceExit ExitSet

	TimeoutStart, TimeoutStop, TimeoutAbort time.Duration // 0 and Forever: none
	RuntimeMax                              time.Duration
	Watchdog                                time.Duration // 0: none

	KillMode                                                       string // control-group, mixed, process, none
	KillSignal, RestartKillSignal, FinalKillSignal, WatchdogSignal int
	SendSigkill, SendSighup                                        bool
	ReloadSignal                                                   int // of type notify-reload
}

// forks: exec_start is through when the daemon that it leaves behind is ready;
// main is named after that.
func (c *Config) forks() bool { return c.Type == "forking" }

// notifies: the service says itself when it is ready.
func (c *Config) notifies() bool { return c.Type == "notify" || c.Type == "notify-reload" }

// reloads: there is a way to have it read its configuration again.
func (c *Config) reloads() bool { return len(c.ExecReload) > 0 || c.Type == "notify-reload" }

// Line is what matters here of one command.
type Line struct {
	IgnoreFailure bool // the "-" prefix
}

// Deps are the unit's relations to others, by name. Names of units that are not
// loaded mean nothing, except in Requires, Requisite and BindsTo, where they
// fail the start.
type Deps struct {
	Requires, Requisite, Wants, BindsTo, PartOf, Upholds, Conflicts []string
	Before, After                                                   []string
	OnFailure, OnSuccess                                            []string
	PropagatesReloadTo, ReloadPropagatedFrom                        []string
	PropagatesStopTo, StopPropagatedFrom                            []string
}

// ExitSet is a set of exit statuses and of signals that ended a process.
type ExitSet struct {
	Statuses, Signals []int
}

func (e ExitSet) has(s Status) bool {
	list := e.Statuses
	switch s.Code {
	case CodeKilled, CodeDumped:
		list = e.Signals
	case CodeExited:
	default:
		return false
	}
	for _, v := range list {
		if v == s.Value {
			return true
		}
	}
	return false
}
