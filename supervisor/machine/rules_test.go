package machine

import (
	"slices"
	"testing"
	"time"
)

// Rules that the search cannot tell broken from kept, because the machine finds
// another way down.

func TestTimeoutEndsInSigkill(t *testing.T) {
	w := newWorld(service("a"))
	w.up(t, "a")
	w.handle(Request{1, VerbStop, "a"})
	w.now, _ = w.e.Deadline()
	out := w.e.Handle(Tick{}, w.now)
	if !slices.Contains(out, Effect(KillAll{Ref{"a", 1}})) {
		t.Errorf("%v", out)
	}
	w.run(out)
	w.is(t, "a", StopSigkill, TimedOut)
}

func TestStartedProgramPopulates(t *testing.T) {
	cfg := service("a", withHooks)
	r := Ref{"a", 1}
	for _, ev := range []Event{ProgramStarted{r, KindStartPre, 0, 5}, MainStarted{r, 0, 5}} {
		m := Machine{State: Launching, Generation: 1, Held: true, Reaper: true, Pending: true}
		if got, _ := next(&cfg, m, ev, 1); !got.Payload {
			t.Errorf("%T: payload still counts as empty", ev)
		}
	}
}

// Between two programs the payload is empty, and that means nothing: main may
// come yet, gets its SIGTERM, and exec_stop_post has its turn.
func TestStopBetweenPrograms(t *testing.T) {
	w := newWorld(service("a", func(c *Config) { c.ExecStartPre, c.ExecStopPost = []Line{{}}, []Line{{}} }))
	w.handle(Request{1, VerbStart, "a"})
	w.do(t, "a:launched")
	w.do(t, "a:pre starts")
	w.handle(Request{2, VerbStop, "a"})
	w.do(t, "a:pre exits 0")
	w.do(t, "a:empty")
	w.is(t, "a", StopSigterm, Success)
	w.units["a"].term = false
	w.do(t, "a:main starts")
	if !w.units["a"].term {
		t.Error("main was not told")
	}
	w.do(t, "a:main exits 0")
	w.do(t, "a:main dead")
	w.do(t, "a:empty")
	w.is(t, "a", StopPost, Success)
	w.until(t, "a", Inactive)
	w.result(t, 1, JobCanceled)
}

func TestLateHookExit(t *testing.T) {
	w := newWorld(service("a", func(c *Config) { c.ExecReload = []Line{{}} }))
	w.up(t, "a")
	w.handle(Request{1, VerbReload, "a"})
	w.now, _ = w.e.Deadline()
	w.handle(Tick{})
	if j := w.result(t, 1, JobFailed); j.Reason.Result != TimedOut {
		t.Errorf("%+v", j)
	}
	w.handle(Request{2, VerbReload, "a"})
	w.handle(HookExited{Ref{"a", 1}, 1, Status{CodeExited, 0}})
	w.is(t, "a", Reloading, Success)
	w.do(t, "a:hook exits 0")
	w.result(t, 2, JobDoneOK)
}

func TestNoRestartBesideTheUnkillable(t *testing.T) {
	w := newWorld(service("a", func(c *Config) { c.Restart, c.RuntimeMax = "always", time.Minute }))
	w.up(t, "a")
	for range 3 {
		w.now, _ = w.e.Deadline()
		w.e.Handle(Tick{}, w.now)
	}
	w.is(t, "a", Releasing, TimedOut)
	w.e.Handle(Released{Ref{"a", 1}}, w.now)
	w.is(t, "a", Failed, TimedOut)
}

func TestAdoptRepeatsWhatWasLost(t *testing.T) {
	adopt := func(s Snapshot, o Observed) []Effect {
		w := newWorld(service("a"))
		return w.e.Adopt([]Adopted{{s, o}}, 5)
	}
	if out := adopt(Snapshot{Unit: "a"}, Observed{Generation: 4}); !slices.Contains(out, Effect(Release{Ref: Ref{"a", 4}})) {
		t.Errorf("a dead generation stays: %v", out)
	}
	launching := Machine{State: Launching, Want: WantUp, Generation: 4, Held: true, Payload: true, Pending: true}
	for _, o := range []Observed{{}, {Generation: 3}, {Generation: 4}} {
		if out := adopt(Snapshot{Unit: "a", Machine: launching}, o); !slices.Contains(out, Effect(Launch{Ref{"a", 4}})) {
			t.Errorf("the launch is lost: %v", out)
		}
	}
	if out := adopt(Snapshot{Unit: "a", Machine: launching}, Observed{Generation: 4, Reaper: true}); slices.Contains(out, Effect(Launch{Ref{"a", 4}})) {
		t.Errorf("launched beside a reaper: %v", out)
	}
}

// A start that somebody asks for wins over the upholding of what it excludes.
func TestUpheldGivesWayToAConflict(t *testing.T) {
	w := newWorld(target("a", Deps{}), target("b", Deps{Conflicts: []string{"a"}}), target("t", Deps{Upholds: []string{"a"}}))
	w.handle(Request{1, VerbStart, "t"})
	w.is(t, "a", Reached, Success)
	w.handle(Request{2, VerbStart, "b"})
	w.result(t, 2, JobDoneOK)
	w.is(t, "a", Inactive, Success)
	w.is(t, "b", Reached, Success)
}

// One that goes down by itself is started again.
func TestUpheldComesBack(t *testing.T) {
	w := newWorld(service("a"), target("t", Deps{Upholds: []string{"a"}}))
	w.handle(Request{1, VerbStart, "t"})
	w.until(t, "a", Running)
	w.do(t, "a:main exits 0")
	w.until(t, "a", StopSigterm)
	w.until(t, "a", Running)
	if s, _ := w.e.State("a"); s.Generation != 2 {
		t.Errorf("start %d", s.Generation)
	}
}

func TestComingBackNeedsWhatItNeeds(t *testing.T) {
	w := newWorld(service("r", func(c *Config) { c.StartLimitBurst = 1 }),
		service("a", func(c *Config) { c.Deps, c.Restart = needs("r"), "always" }))
	w.up(t, "a")
	w.do(t, "r:main exits 1")
	w.until(t, "r", Failed)
	w.is(t, "a", Running, Success) // requires is about the start
	w.do(t, "a:main exits 1")
	w.until(t, "a", Failed)
	w.is(t, "r", Failed, StartLimitHit)
}

// A start that is newer than the state file is learned from its beginning: what
// the file says of the one before would hide its news.
func TestAdoptNewerThanTheStateFile(t *testing.T) {
	for typ, seen := range map[string]Observed{
		"simple":  {Mains: []Program{{Kind: KindStart, PID: 9}}},
		"forking": {Programs: []Program{{Kind: KindStart, PID: 7, Status: Status{CodeExited, 0}}}, Named: Program{PID: 11}},
	} {
		w := newWorld(service("a", func(c *Config) { c.Type = typ }))
		seen.Generation, seen.Reaper, seen.Populated = 2, true, true
		old := Machine{State: Running, Want: WantUp, Generation: 1, Held: true, Reaper: true, Payload: true, Kind: KindStart, Ended: typ == "forking",
			MainPID: 5, MainAlive: true, MainFrom: FromGuess}
		w.e.Adopt([]Adopted{{Snapshot{Unit: "a", Machine: old, Job: VerbRestart, JobRunning: true}, seen}}, 5)
		s, _ := w.e.State("a")
		if s.State != Running || s.Generation != 2 || !s.MainAlive || s.MainPID == 5 {
			t.Errorf("%s: %v, generation %d, main %d (%v)", typ, s.State, s.Generation, s.MainPID, s.MainAlive)
		}
		if s.Job != NoVerb { // the restart was under way
			t.Errorf("%s: the job %s is not done", typ, s.Job)
		}
	}
}
