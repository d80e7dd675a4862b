package machine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash/fnv"
	"syscall"

	"github.com/nsinit/nsinit/unit"
)

// ConfigOf takes from a loaded unit what the state machine has to know.
func ConfigOf(u *unit.Unit) Config {
	s := &u.Service
	c := Config{
		Name: u.Name, Target: u.IsTarget(), Deps: depsOf(u),
		Digest: digest(u), OrderWanted: u.DefaultDependencies,
		Conditions:       len(u.Conditions)+len(u.Asserts)+len(u.RequiresMountsFor) > 0,
		StopWhenUnneeded: u.StopWhenUnneeded, RefuseManualStart: u.RefuseManualStart, RefuseManualStop: u.RefuseManualStop,
		StartLimitInterval: u.StartLimitIntervalSec, StartLimitBurst: u.StartLimitBurst,
		StartLimitAction: u.StartLimitAction, FailureAction: u.FailureAction, SuccessAction: u.SuccessAction,
		JobTimeout: u.JobTimeoutSec,
		Type:       s.Type, PidFile: s.PidFile != "", RemainAfterExit: s.RemainAfterExit, ExitType: s.ExitType, OOMPolicy: s.OomPolicy,
		Restart: s.Restart, RestartSec: s.RestartSec, RestartSteps: s.RestartSteps,
		RestartMaxDelay: s.RestartMaxDelaySec, RestartRandomDelay: s.RestartRandomizedDelaySec, Seed: seed(u.Name),
		SuccessExit: exitSet(s.SuccessExitStatus), PreventExit: exitSet(s.RestartPreventExitStatus),
		ForceExit:    exitSet(s.RestartForceExitStatus),
		TimeoutStart: s.TimeoutStartSec, TimeoutStop: s.TimeoutStopSec, TimeoutAbort: s.TimeoutAbortSec,
		RuntimeMax: s.RuntimeMaxSec, Watchdog: s.WatchdogSec,
		KillMode: s.KillMode, KillSignal: int(s.KillSignal), RestartKillSignal: int(s.RestartKillSignal),
		FinalKillSignal: int(s.FinalKillSignal), WatchdogSignal: int(s.WatchdogSignal),
		SendSigkill: s.SendSigkill, SendSighup: s.SendSighup, ReloadSignal: int(s.ReloadSignal),
	}
	c.ExecCondition, c.ExecStartPre, c.ExecStart = linesOf(s.ExecCondition), linesOf(s.ExecStartPre), linesOf(s.ExecStart)
	c.ExecStartPost, c.ExecReload = linesOf(s.ExecStartPost), linesOf(s.ExecReload)
	c.ExecStop, c.ExecStopPost = linesOf(s.ExecStop), linesOf(s.ExecStopPost)
	return c
}

func depsOf(u *unit.Unit) Deps {
	return Deps{
		Requires: u.Requires, Requisite: u.Requisite, Wants: u.Wants, BindsTo: u.BindsTo, PartOf: u.PartOf,
		Upholds: u.Upholds, Conflicts: u.Conflicts, Before: u.Before, After: u.After,
		OnFailure: u.OnFailure, OnSuccess: u.OnSuccess,
		PropagatesReloadTo: u.PropagatesReloadTo, ReloadPropagatedFrom: u.ReloadPropagatedFrom,
		PropagatesStopTo: u.PropagatesStopTo, StopPropagatedFrom: u.StopPropagatedFrom,
	}
}

func linesOf(list []unit.Command) []Line {
	var out []Line
	for i := range list {
		out = append(out, Line{list[i].IgnoreFailure})
	}
	return out
}

func exitSet(set unit.ExitStatusSet) ExitSet {
	return ExitSet{Statuses: set.Codes, Signals: numbers(set.Signals)}
}

func numbers(list []syscall.Signal) []int {
	var out []int
	for _, s := range list {
		out = append(out, int(s))
	}
	return out
}

// digest changes with anything that a restart would change: where the definition
// stands, what was remarked of it and who wants it do not count, so that to
// disable a unit that runs asks for no restart. A unit is plain data, so it always
// has a JSON form.
func digest(u *unit.Unit) string {
	run := *u
	run.Path, run.DropIns, run.Aliases, run.Warnings, run.Install = "", nil, nil, nil, unit.Install{}
	if u.IsSlice() { // its limits come in force when they are read
		run.Resources = unit.Resources{}
	}
	text, err := json.Marshal(&run)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// seed makes units that failed together come back apart.
func seed(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return h.Sum64()
}
