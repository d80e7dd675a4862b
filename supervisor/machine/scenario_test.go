package machine

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// up plays what it takes until the unit is up.
func (w *world) up(t *testing.T, name string) {
	t.Helper()
	w.handle(Request{0, VerbStart, name})
	w.until(t, name, Running)
}

// until lets the world go on until the unit is in that state.
func (w *world) until(t *testing.T, name string, want State) {
	t.Helper()
	if !w.settle(func() bool { s, _ := w.e.State(name); return s.State == want }) {
		s, _ := w.e.State(name)
		t.Fatalf("%s is %v, not %v\n%s", name, s.State, want, strings.Join(w.bugs, "\n"))
	}
	check(t, w, nil)
}

// do picks the action of that name.
func (w *world) do(t *testing.T, name string) {
	t.Helper()
	unit, _, _ := strings.Cut(name, ":")
	for _, a := range w.actions(unit) {
		if a.name == name {
			a.do(w)
			check(t, w, nil)
			return
		}
	}
	t.Fatalf("no action %s", name)
}

func (w *world) is(t *testing.T, name string, want State, result Result) {
	t.Helper()
	if s, _ := w.e.State(name); s.State != want || s.Result != result {
		t.Fatalf("%s is %v (%v), want %v (%v)", name, s.State, s.Result, want, result)
	}
}

func (w *world) result(t *testing.T, id uint64, want JobResult) JobDone {
	t.Helper()
	j, ok := w.jobs[id]
	if !ok || j.Result != want {
		t.Fatalf("job %d: %+v (answered %v), want %s", id, j, ok, want)
	}
	return j
}

func needs(names ...string) Deps { return Deps{Requires: names, After: names} }

func TestDependencyFails(t *testing.T) {
	w := newWorld(service("a"), service("b", func(c *Config) { c.Deps = needs("a") }),
		service("c", func(c *Config) { c.Deps = needs("b") }), service("d", func(c *Config) { c.Deps = Deps{Wants: []string{"a"}, After: []string{"a"}} }))
	w.handle(Request{1, VerbStart, "c"})
	w.handle(Request{2, VerbStart, "d"})
	w.is(t, "b", Inactive, Success)
	w.do(t, "a:launched")
	w.do(t, "a:main setup fails")
	w.do(t, "a:empty")
	w.do(t, "a:released")
	w.is(t, "a", Failed, SetupFailure)
	if j := w.result(t, 1, JobDependency); j.Reason.Unit != "a" || j.Reason.Setup.Step != "execve" {
		t.Errorf("%+v", j.Reason)
	}
	w.until(t, "d", Running)
	w.result(t, 2, JobDoneOK)
	w.is(t, "b", Inactive, Success)
}

func TestConditionSkips(t *testing.T) {
	w := newWorld(service("a", func(c *Config) { c.Conditions = true }), service("b", func(c *Config) { c.Deps = needs("a") }))
	w.handle(Request{1, VerbStart, "a"})
	w.handle(Request{2, VerbStart, "b"})
	w.do(t, "a:conditions false")
	w.is(t, "a", Inactive, ConditionFailed)
	w.result(t, 1, JobSkipped)
	w.until(t, "b", Running) // a skipped unit fails nobody, as in systemd
}

func TestConflictStopsFirst(t *testing.T) {
	w := newWorld(service("a"), service("b", func(c *Config) { c.Deps.Conflicts = []string{"a"} }))
	w.up(t, "a")
	w.handle(Request{1, VerbStart, "b"})
	w.is(t, "a", StopSigterm, Success)
	w.is(t, "b", Inactive, Success)
	w.until(t, "b", Running)
	w.is(t, "a", Inactive, Success)
	if s, _ := w.e.State("a"); s.Why != StopConflict {
		t.Errorf("stopped by %q", s.Why)
	}
	w.handle(Request{2, VerbStart, "a"}) // and the other way round
	w.until(t, "a", Running)
	w.is(t, "b", Inactive, Success)
}

func TestRestartPropagates(t *testing.T) {
	w := newWorld(service("a"), service("req", func(c *Config) { c.Deps = needs("a") }),
		service("part", func(c *Config) { c.Deps.PartOf = []string{"a"} }),
		service("bound", func(c *Config) { c.Deps = Deps{BindsTo: []string{"a"}, After: []string{"a"}} }),
		service("wants", func(c *Config) { c.Deps = Deps{Wants: []string{"a"}, After: []string{"a"}} }),
		service("down", func(c *Config) { c.Deps = needs("a") }), service("other"))
	names := []string{"a", "req", "part", "bound", "wants", "other"}
	for _, n := range names {
		w.up(t, n)
	}
	w.handle(Request{1, VerbRestart, "a"})
	w.is(t, "a", Running, Success) // those after it go first
	w.is(t, "req", StopSigterm, Success)
	if !w.settle(func() bool { _, ok := w.jobs[1]; return ok && w.e.idle() }) {
		t.Fatal("restart never ends")
	}
	for _, n := range names {
		s, _ := w.e.State(n)
		if again := n != "wants" && n != "other"; s.State != Running || (s.Generation == 2) != again {
			t.Errorf("%s: %v, start %d", n, s.State, s.Generation)
		}
	}
	w.is(t, "down", Inactive, Success)
}

func (e *Engine) idle() bool {
	return !slices.ContainsFunc(e.units, func(u *record) bool { return u.job != nil })
}

func TestStopPropagates(t *testing.T) {
	w := newWorld(service("a"), service("b", func(c *Config) { c.Deps = needs("a") }), service("c", func(c *Config) { c.Deps = needs("b") }), service("d"))
	w.up(t, "c")
	w.up(t, "d")
	w.handle(Request{1, VerbStop, "a"})
	w.is(t, "a", Running, Success)
	w.is(t, "c", StopSigterm, Success)
	w.until(t, "a", Inactive)
	w.result(t, 1, JobDoneOK)
	w.is(t, "b", Inactive, Success)
	w.is(t, "d", Running, Success)
}

func TestStopAllReversesTheOrder(t *testing.T) {
	w := newWorld(service("a", func(c *Config) { c.Restart = "always" }), service("b", func(c *Config) { c.Deps.After = []string{"a"} }), target("t", Deps{Wants: []string{"b", "a"}}))
	w.handle(Request{1, VerbStart, "t"})
	w.until(t, "t", Reached)
	w.handle(Request{2, VerbStopAll, ""})
	w.is(t, "t", Inactive, Success)
	w.is(t, "b", StopSigterm, Success)
	w.is(t, "a", Running, Success)
	w.handle(Request{3, VerbStart, "t"})
	w.result(t, 3, JobFailed)
	w.until(t, "a", Inactive)
	w.result(t, 2, JobDoneOK)
}

func TestTargetWaitsForWhatItWants(t *testing.T) {
	w := newWorld(service("a", func(c *Config) { c.Type = "notify" }), target("t", Deps{Wants: []string{"a"}}))
	w.handle(Request{1, VerbStart, "t"})
	w.do(t, "a:launched")
	w.do(t, "a:main starts")
	w.is(t, "a", Start, Success)
	w.is(t, "t", Inactive, Success)
	w.do(t, "a:ready")
	w.is(t, "t", Reached, Success)
	w.result(t, 1, JobDoneOK)
}

func TestReload(t *testing.T) {
	w := newWorld(service("a", func(c *Config) { c.ExecReload = []Line{{IgnoreFailure: true}, {}, {}} }), service("b"))
	w.handle(Request{1, VerbReload, "a"})
	if j := w.result(t, 1, JobFailed); j.Reason.Text != "cannot reload: it is not running" {
		t.Error(j.Reason)
	}
	w.up(t, "a")
	w.up(t, "b")
	w.handle(Request{2, VerbReload, "b"})
	w.result(t, 2, JobFailed)
	w.handle(Request{3, VerbReload, "a"})
	w.is(t, "a", Reloading, Success)
	w.do(t, "a:hook exits 1") // "-"
	w.do(t, "a:hook exits 1") // ends the list
	w.result(t, 3, JobFailed)
	w.is(t, "a", Running, Success)
	if s, _ := w.e.State("a"); s.ReloadResult != ExitCodeFailure || s.Generation != 1 {
		t.Errorf("%+v", s)
	}
	w.handle(Request{4, VerbReloadOrRestart, "a"})
	for range 3 {
		w.do(t, "a:hook exits 0")
	}
	w.result(t, 4, JobDoneOK)
}

func TestCrashLoopHitsTheLimit(t *testing.T) {
	w := newWorld(service("a", func(c *Config) {
		c.Restart, c.StartLimitBurst, c.FailureAction, c.StartLimitAction = "on-failure", 3, "none", "reboot"
	}), service("rescue"), service("x"))
	w.cfgs[0].Deps.OnFailure = []string{"rescue"}
	_, out := w.e.Load(w.cfgs, w.now)
	w.run(out)
	w.up(t, "a")
	var actions []Effect
	for range 3 {
		w.do(t, "a:main exits 1")
		w.do(t, "a:main dead")
		w.is(t, "a", StopSigterm, ExitCodeFailure)
		w.do(t, "a:empty")
		w.do(t, "a:released")
		w.is(t, "a", AutoRestart, ExitCodeFailure)
		w.is(t, "rescue", Inactive, Success)
		w.now, _ = w.e.Deadline()
		out := w.e.Handle(Tick{}, w.now)
		w.run(out)
		actions = slices.DeleteFunc(out, func(e Effect) bool { _, ok := e.(Action); return !ok })
		if s, _ := w.e.State("a"); s.State == Failed {
			break
		}
		w.until(t, "a", Running)
	}
	w.is(t, "a", Failed, StartLimitHit)
	if s, _ := w.e.State("a"); s.Last != (Status{CodeExited, 1}) {
		t.Errorf("the cause is lost: %+v", s.Last)
	}
	if len(actions) != 1 || actions[0] != (Action{"a", "reboot", "start_limit_action"}) {
		t.Errorf("%v", actions)
	}
	w.until(t, "rescue", Running)
	w.handle(Request{5, VerbStart, "a"})
	w.result(t, 5, JobFailed)
	w.handle(Request{6, VerbResetFailed, "a"})
	w.is(t, "a", Inactive, Success)
	w.up(t, "a")
}

func TestWatchdog(t *testing.T) {
	w := newWorld(service("a", func(c *Config) { c.Watchdog, c.Restart = 10*time.Second, "on-watchdog" }))
	w.up(t, "a")
	first, _ := w.e.Deadline()
	w.now += Instant(4 * time.Second)
	w.handle(Notify{Ref: Ref{"a", 1}, Watchdog: true})
	if later, _ := w.e.Deadline(); later != first+Instant(4*time.Second) {
		t.Errorf("%d, then %d", first, later)
	}
	w.now, _ = w.e.Deadline()
	out := w.e.Handle(Tick{}, w.now)
	if !slices.Contains(out, Effect(Signal{Ref{"a", 1}, 6, WhomAll})) {
		t.Errorf("no SIGABRT: %v", out)
	}
	w.run(out)
	w.is(t, "a", StopWatchdog, WatchdogFailure)
	w.until(t, "a", AutoRestart)
}

func TestKillModes(t *testing.T) {
	r := Ref{"a", 1}
	for mode, want := range map[string][]Effect{
		"control-group": {Signal{r, 15, WhomAll}, Signal{r, 1, WhomAll}, Signal{r, 18, WhomAll}, CheckPayload{r}},
		"mixed":         {Signal{r, 15, WhomMain}, Signal{r, 1, WhomMain}, Signal{r, 18, WhomMain}, CheckPayload{r}},
		"process":       {Signal{r, 15, WhomMain}, Signal{r, 1, WhomMain}, Signal{r, 18, WhomMain}, CheckPayload{r}},
		"none":          {Release{Ref: r, Keep: true}},
	} {
		w := newWorld(service("a", func(c *Config) { c.KillMode, c.SendSighup = mode, true }))
		w.up(t, "a")
		out := w.e.Handle(Request{1, VerbStop, "a"}, w.now)
		out = slices.DeleteFunc(out, func(e Effect) bool { _, is := e.(Publish); return is })
		if !slices.Equal(out, want) {
			t.Errorf("%s: %v", mode, out)
		}
	}
}

func TestMixedKillsTheRest(t *testing.T) {
	w := newWorld(service("a", func(c *Config) { c.KillMode = "mixed" }))
	w.up(t, "a")
	w.units["a"].stray = true
	w.handle(Request{1, VerbStop, "a"})
	w.do(t, "a:main exits 0")
	w.do(t, "a:main dead")
	w.is(t, "a", StopSigkill, Success)
	w.until(t, "a", Inactive)
}

func TestUnkillable(t *testing.T) {
	w := newWorld(service("a", func(c *Config) { c.Restart = "always" }))
	w.up(t, "a")
	w.handle(Request{1, VerbStop, "a"})
	r := Ref{"a", 1}
	var last []Effect
	for range 2 {
		w.now, _ = w.e.Deadline()
		last = w.e.Handle(Tick{}, w.now)
	}
	if !slices.Contains(last, Effect(Release{Ref: r, Keep: true})) {
		t.Fatalf("%v", last)
	}
	w.run(w.e.Handle(Released{r}, w.now))
	w.is(t, "a", Failed, TimedOut)
	w.result(t, 1, JobFailed)
}

// timeout_stop_sec is for the service: what was killed has its time to go, and
// the unit comes back.
func TestKillHasItsTime(t *testing.T) {
	w := newWorld(service("a", func(c *Config) { c.Restart, c.RuntimeMax, c.TimeoutStop = "always", time.Minute, time.Millisecond }))
	w.up(t, "a")
	for range 2 { // its time is up, and SIGTERM did nothing
		w.now, _ = w.e.Deadline()
		w.e.Handle(Tick{}, w.now)
	}
	w.is(t, "a", StopSigkill, TimedOut)
	w.now = w.now.after(4 * time.Second)
	w.e.Handle(Tick{}, w.now)
	w.is(t, "a", StopSigkill, TimedOut)
	w.kill(w.units["a"], true)
	w.do(t, "a:main dead")
	w.until(t, "a", AutoRestart)
}

// Where the reaper is lost, how it ended is kept; a main process of which nobody
// can tell how it ended is another matter.
func TestWhoWasLost(t *testing.T) {
	r := Ref{"a", 1}
	segv := Status{CodeKilled, 11}
	for _, row := range []struct {
		ev   Event
		last Status
		want Result
	}{
		{ReaperLost{r, segv}, segv, ReaperGone},
		{MainExited{Ref: r, Status: Status{Code: CodeUnknown}}, Status{Code: CodeUnknown}, StatusUnknown},
	} {
		w := newWorld(service("a"))
		w.up(t, "a")
		w.e.Handle(row.ev, w.now)
		if s, _ := w.e.State("a"); s.Last != row.last || s.Result != row.want {
			t.Errorf("%T: %s by %v, want %s by %v", row.ev, s.Result, s.Last, row.want, row.last)
		}
	}
}

func TestOOM(t *testing.T) {
	w := newWorld(service("a"))
	w.up(t, "a")
	w.kill(w.units["a"], true)
	w.do(t, "a:main dead")
	w.is(t, "a", StopSigterm, SignalFailure)
	w.handle(OOMKilled{Ref{"a", 1}}) // the cause, told after its effect
	w.is(t, "a", StopSigterm, OOMKill)
}

func TestReadyOvertakesTheRecord(t *testing.T) {
	w := newWorld(service("a", func(c *Config) { c.Type = "notify" }))
	w.handle(Request{1, VerbStart, "a"})
	w.do(t, "a:launched")
	w.handle(Notify{Ref: Ref{"a", 1}, Ready: true})
	w.is(t, "a", Launching, Success)
	w.do(t, "a:main starts")
	w.is(t, "a", Running, Success)
}

func TestNotifyEndsTooEarly(t *testing.T) {
	w := newWorld(service("a", func(c *Config) { c.Type = "notify" }))
	w.handle(Request{1, VerbStart, "a"})
	w.do(t, "a:launched")
	w.do(t, "a:main starts")
	w.do(t, "a:main exits 0")
	w.do(t, "a:main dead")
	w.is(t, "a", StopSigterm, Protocol)
}

func TestDaemonReload(t *testing.T) {
	a := service("a", func(c *Config) { c.Digest = "1" })
	w := newWorld(a, service("b"))
	w.up(t, "a")
	changed := a
	changed.Digest, changed.KillSignal = "2", 2
	w.cfgs = []Config{changed}
	_, out := w.e.Load(w.cfgs, w.now)
	w.run(out)
	if s, _ := w.e.State("a"); !s.Changed || !w.store["a"].Changed {
		t.Error("not marked as changed")
	}
	if _, known := w.e.State("b"); known {
		t.Error("b is still there")
	}
	out = w.e.Handle(Request{1, VerbRestart, "a"}, w.now)
	if !slices.Contains(out, Effect(Signal{Ref{"a", 1}, 15, WhomAll})) {
		t.Errorf("the old definition is not in force: %v", out)
	}
	w.run(out)
	if !w.settle(func() bool { return w.jobs[1].Result != "" }) {
		t.Fatal("restart never ends")
	}
	if s, _ := w.e.State("a"); s.Changed {
		t.Error("still marked")
	}
	if out = w.e.Handle(Request{2, VerbStop, "a"}, w.now); !slices.Contains(out, Effect(Signal{Ref{"a", 2}, 2, WhomAll})) {
		t.Errorf("the new definition is not in force: %v", out)
	}
	w.run(out)
	_, out = w.e.Load(nil, w.now)
	w.run(out)
	if s, _ := w.e.State("a"); !s.Missing {
		t.Error("not marked as missing")
	}
}

// The exit status of a service that ended while no manager ran is exact.
func TestAdoptLearnsWhatHappened(t *testing.T) {
	cfg := service("a", func(c *Config) { c.Restart = "on-failure" })
	w := newWorld(cfg)
	w.up(t, "a")
	w.do(t, "a:main exits 1")
	w.crash(true)
	check(t, w, nil)
	if s, _ := w.e.State("a"); s.State != StopPost && s.MainStatus != (Status{CodeExited, 1}) || s.Result != ExitCodeFailure {
		t.Errorf("%+v", s)
	}
	w.until(t, "a", AutoRestart)
	if s, _ := w.e.State("a"); s.Restarts != 1 {
		t.Errorf("%d restarts", s.Restarts)
	}
}

func TestAdoptWithoutStateFile(t *testing.T) {
	w := newWorld(service("a"))
	w.up(t, "a")
	w.store = map[string]Snapshot{}
	w.crash(true)
	check(t, w, nil)
	w.is(t, "a", Running, Success)
	if s, _ := w.e.State("a"); s.Generation != 1 || s.MainPID != 9 {
		t.Errorf("%+v", s)
	}
	w.cfgs = nil // and without a unit file
	w.store = map[string]Snapshot{}
	w.crash(true)
	w.is(t, "a", Running, Success)
	w.cfgs = []Config{service("a")}
	w.handle(Request{1, VerbStop, "a"})
	w.until(t, "a", Inactive)
}

func TestAdoptGoesOnWithRestart(t *testing.T) {
	w := newWorld(service("a"), service("b", func(c *Config) { c.Deps = needs("a") }))
	w.up(t, "b")
	w.handle(Request{1, VerbRestart, "a"})
	w.crash(true)
	check(t, w, nil)
	if !w.settle(func() bool { return w.e.idle() }) {
		t.Fatal("never idle")
	}
	for _, n := range []string{"a", "b"} {
		if s, _ := w.e.State(n); s.State != Running || s.Generation != 2 {
			t.Errorf("%s: %v, start %d", n, s.State, s.Generation)
		}
	}
}

func TestBoundComesAround(t *testing.T) {
	w := newWorld(service("a", func(c *Config) { c.Restart = "always" }),
		service("b", func(c *Config) { c.Deps = Deps{BindsTo: []string{"a"}, After: []string{"a"}} }))
	w.up(t, "b")
	w.do(t, "a:main exits 1")
	w.until(t, "b", StopSigterm)
	w.until(t, "b", Running)
	for _, n := range []string{"a", "b"} {
		if s, _ := w.e.State(n); s.State != Running || s.Generation != 2 {
			t.Errorf("%s: %v, start %d", n, s.State, s.Generation)
		}
	}
}

func TestUnneeded(t *testing.T) {
	w := newWorld(service("a", func(c *Config) { c.StopWhenUnneeded = true }), service("b", func(c *Config) { c.Deps = needs("a") }),
		service("c", func(c *Config) { c.Deps = needs("a") }))
	w.up(t, "b")
	w.up(t, "c")
	w.handle(Request{1, VerbStop, "b"})
	w.until(t, "b", Inactive)
	w.is(t, "a", Running, Success)
	w.handle(Request{2, VerbStop, "c"})
	w.until(t, "a", Inactive)
}

func TestJobTimeout(t *testing.T) {
	w := newWorld(service("a", func(c *Config) { c.Type, c.TimeoutStart = "notify", Forever }),
		service("b", func(c *Config) { c.Deps, c.JobTimeout = needs("a"), 5*time.Second }))
	w.handle(Request{1, VerbStart, "b"})
	w.do(t, "a:launched")
	w.do(t, "a:main starts")
	w.now, _ = w.e.Deadline()
	w.handle(Tick{})
	w.result(t, 1, JobTimeout)
	w.is(t, "a", Start, Success)
}

func TestRefusals(t *testing.T) {
	w := newWorld(service("a", func(c *Config) { c.RefuseManualStart, c.RefuseManualStop = true, true }),
		service("b", func(c *Config) { c.Deps = Deps{Requires: []string{"nowhere"}} }),
		service("c", func(c *Config) { c.Deps = Deps{Requires: []string{"d"}} }),
		service("d", func(c *Config) { c.Deps = Deps{Conflicts: []string{"c"}} }),
		service("e", func(c *Config) { c.Deps = Deps{Requisite: []string{"a"}} }))
	for id, r := range []Request{
		{0, VerbStart, "a"}, {1, VerbStop, "a"}, {2, VerbStart, "b"}, {3, VerbStart, "c"}, {4, VerbStart, "e"}, {5, VerbStart, "zzz"}, {6, "dance", "b"},
		{7, VerbTryRestart, "b"}, {8, VerbStop, "b"},
	} {
		r.ID = uint64(id) + 1
		w.handle(r)
	}
	for id, want := range []JobResult{JobFailed, JobFailed, JobDependency, JobFailed, JobDependency, JobFailed, JobFailed, JobSkipped, JobDoneOK} {
		w.result(t, uint64(id)+1, want)
	}
	if j := w.jobs[3]; j.Reason.Unit != "nowhere" {
		t.Errorf("%+v", j)
	}
}

func TestIsolateStopsTheRest(t *testing.T) {
	w := newWorld(service("a"), service("shell"), service("log"),
		target("default", Deps{Wants: []string{"a", "log"}}), target("rescue", Deps{Wants: []string{"shell", "log"}}))
	w.handle(Request{1, VerbStart, "default"})
	w.until(t, "default", Reached)
	w.handle(Request{2, VerbIsolate, "a"})
	if j := w.result(t, 2, JobFailed); j.Reason.Text != "only a target can be isolated" {
		t.Errorf("%+v", j.Reason)
	}
	w.is(t, "log", Running, Success)
	w.handle(Request{3, VerbIsolate, "rescue"})
	w.until(t, "rescue", Reached)
	w.until(t, "a", Inactive)
	w.result(t, 3, JobDoneOK)
	w.is(t, "default", Inactive, Success)
	w.is(t, "shell", Running, Success)
	if s, _ := w.e.State("log"); s.State != Running || s.Generation != 1 {
		t.Errorf("what both want was not left alone: %v, start %d", s.State, s.Generation)
	}
	w.handle(Request{4, VerbIsolate, "default"})
	w.until(t, "default", Reached)
	w.until(t, "shell", Inactive)
	w.is(t, "a", Running, Success)
}

// TestCauseBeforeEffect: what one event leads to is told in its order, not by
// name: a target is reached after what it waited for was started.
func TestCauseBeforeEffect(t *testing.T) {
	w := newWorld(target("a", needs("z")), service("z"))
	w.handle(Request{1, VerbStart, "a"})
	w.do(t, "z:launched")
	s, _ := w.e.State("z")
	var told []string
	for _, ef := range w.e.Handle(MainStarted{Ref: Ref{"z", s.Generation}, PID: 7}, w.now) {
		if p, ok := ef.(Publish); ok && p.Snapshot.State.Up() {
			told = append(told, p.Snapshot.Unit)
		}
	}
	if !slices.Equal(told, []string{"z", "a"}) {
		t.Errorf("up, in this order: %v, want z before a", told)
	}
}
