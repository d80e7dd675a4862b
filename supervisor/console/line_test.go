package console

import (
	"testing"
	"time"

	"github.com/nsinit/nsinit/supervisor/machine"
)

// at is a unit in a state; change makes it particular.
func at(state machine.State, change ...func(*machine.Snapshot)) machine.Snapshot {
	s := machine.Snapshot{Unit: "web"}
	s.State, s.Want, s.Generation, s.StartedAt = state, machine.WantUp, 1, 100
	for _, f := range change {
		f(&s)
	}
	return s
}

func down(s *machine.Snapshot)    { s.Want = machine.WantDown }
func started(s *machine.Snapshot) { s.ActiveSince = s.StartedAt + 10 }
func job(s *machine.Snapshot)     { s.Job = machine.VerbStart }
func result(r machine.Result) func(*machine.Snapshot) {
	return func(s *machine.Snapshot) { s.Result = r }
}

func TestTurn(t *testing.T) {
	web := Unit{Name: "web", Description: "Web server"}
	slow := web
	slow.Takes = true
	once := Unit{Name: "once", Description: "once", Oneshot: true, Takes: true}
	group := Unit{Name: "default", Target: true}
	told := Known{Told: true}
	why := Known{Why: func() string { return "exec_start exited 1" }}
	for _, tt := range []struct {
		name          string
		unit          Unit
		before, after machine.Snapshot
		known         Known
		want          string
	}{
		{"starting", slow, at(machine.Inactive), at(machine.Launching), Known{}, "         Starting web - Web server..."},
		{"a simple one is up soon enough", web, at(machine.Inactive), at(machine.Launching), Known{}, ""},
		{"after its conditions", slow, at(machine.Checking), at(machine.Launching), Known{}, "         Starting web - Web server..."},
		{"started", web, at(machine.Launching), at(machine.Running, started), Known{}, "[  OK  ] Started web - Web server."},
		{"reloaded", web, at(machine.Reloading, started), at(machine.Running, started), Known{}, ""},
		{"oneshot", once, at(machine.Start), at(machine.Exited, started), Known{}, "[  OK  ] Finished once."},
		{"target", group, at(machine.Inactive), at(machine.Reached, started), Known{}, "[  OK  ] Reached target default."},
		{"failed", web, at(machine.Releasing), at(machine.Failed, result(machine.ExitCodeFailure)), why, "[FAILED] Failed to start web - Web server: exec_start exited 1. See: nsctl status web"},
		{"failed later", web, at(machine.Releasing), at(machine.Failed, started, result(machine.SignalFailure)), why, "[FAILED] web - Web server has failed: exec_start exited 1. See: nsctl status web"},
		{"timed out", web, at(machine.Releasing), at(machine.Failed, result(machine.TimedOut)), Known{}, "[ TIME ] Timed out starting web - Web server."},
		{"will be tried again", web, at(machine.Releasing), at(machine.AutoRestart, result(machine.ExitCodeFailure)), Known{}, "[FAILED] Failed to start web - Web server. See: nsctl status web"},
		{"again", web, at(machine.Releasing), at(machine.AutoRestart, result(machine.ExitCodeFailure)), told, ""},
		{"and the last time", web, at(machine.AutoRestartQueued), at(machine.Failed, result(machine.StartLimitHit)), told, "[FAILED] Failed to start web - Web server. See: nsctl status web"},
		{"ran and is restarted", web, at(machine.Releasing), at(machine.AutoRestart, started, result(machine.ExitCodeFailure)), Known{}, ""},
		{"skipped", web, at(machine.Checking), at(machine.Inactive, result(machine.ConditionFailed)), Known{}, ""},
		{"ended by itself", web, at(machine.Releasing), at(machine.Inactive, started), Known{}, ""},
		{"stopping", web, at(machine.Running, started), at(machine.StopSigterm, started, down), Known{}, "         Stopping web - Web server..."},
		{"ending by itself", web, at(machine.Running, started), at(machine.StopSigterm, started), Known{}, ""},
		{"further down", web, at(machine.StopSigterm, started, down), at(machine.Releasing, started, down), Known{}, ""},
		{"stopped", web, at(machine.Releasing, started, down), at(machine.Inactive, started, down), Known{}, "[  OK  ] Stopped web - Web server."},
		{"would not stop", web, at(machine.Releasing, started, down), at(machine.Failed, started, down, result(machine.TimedOut)), Known{}, "[ TIME ] Timed out stopping web - Web server."},
		{"target stopped", group, at(machine.Reached, started), at(machine.Inactive, started, down), Known{}, "[  OK  ] Stopped target default."},
		{"dependency", web, at(machine.Inactive, job), at(machine.Inactive), Known{Unmet: true}, "[DEPEND] Dependency failed for web - Web server."},
		{"given up by somebody", web, at(machine.Inactive, job), at(machine.Inactive), Known{}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if line, ok := Turn(tt.unit, tt.before, tt.after, tt.known); ok {
				got = line.Render(false)
			}
			if got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestRender(t *testing.T) {
	for _, tt := range []struct {
		line   Line
		colour bool
		want   string
	}{
		{Line{OK, "Started a."}, true, "[\x1b[0;32m  OK  \x1b[0m] Started a."},
		{Line{Failed, "no"}, true, "[\x1b[0;1;31mFAILED\x1b[0m] no"},
		{Line{NoTag, "Starting a..."}, true, "         Starting a..."},
		{Line{Warn, "bad \x1b]0;x\a\u009b1m name\n"}, false, "[ WARN ] bad ?]0;x??1m name?"},
	} {
		if got := tt.line.Render(tt.colour); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestWaiting(t *testing.T) {
	a := Busy{Unit: Unit{Name: "a"}, For: 5 * time.Second}
	b := Busy{Unit: Unit{Name: "b", Description: "B"}, For: 95 * time.Second, Limit: 5 * time.Minute, Stop: true}
	if text, ok := Waiting([]Busy{{Unit: Unit{Name: "c"}, For: 4 * time.Second}}, 0); ok {
		t.Errorf("after four seconds: %q", text)
	}
	if text, _ := Waiting([]Busy{a}, 7); text != "A start job is running for a (5s / no limit)" {
		t.Errorf("got %q", text)
	}
	list := []Busy{b, a}
	if text, _ := Waiting(list, 0); text != "(1 of 2) A stop job is running for b - B (1min 35s / 5min)" {
		t.Errorf("got %q", text)
	}
	if text, _ := Waiting(list, turn); text != "(2 of 2) A start job is running for a (5s / no limit)" {
		t.Errorf("got %q", text)
	}
}

func TestEyeMoves(t *testing.T) {
	got := ""
	for step := range 11 {
		got += eye(step) + "|"
	}
	if want := "*     | *    |  *   |   *  |    * |     *|    * |   *  |  *   | *    |*     |"; got != want {
		t.Errorf("got %q", got)
	}
}
