package machine

import (
	"testing"
	"time"
)

func forking(change ...func(*Config)) *world {
	w := newWorld(service("a", append([]func(*Config){func(c *Config) { c.Type, c.PidFile = "forking", true }}, change...)...))
	w.handle(Request{1, VerbStart, "a"})
	return w
}

// forks plays the start up to the end of exec_start, which leaves a daemon.
func (w *world) forks(t *testing.T) {
	t.Helper()
	w.do(t, "a:launched")
	w.do(t, "a:pre starts")
	w.is(t, "a", Start, Success)
	w.do(t, "a:pre exits 0")
}

func (w *world) machine(name string) Machine { s, _ := w.e.State(name); return s.Machine }

func TestForkingWaitsForPidFile(t *testing.T) {
	w := forking()
	w.forks(t)
	w.do(t, "a:unnamed")
	w.is(t, "a", Start, Success)
	if m := w.machine("a"); m.MainMissing != "not yet" || m.Deadline == 0 {
		t.Errorf("it waits for %q until %d", m.MainMissing, m.Deadline)
	}
	w.do(t, "a:named")
	w.is(t, "a", Running, Success)
	if m := w.machine("a"); m.MainPID != 11 || !m.MainAlive || m.MainFrom != FromPidFile || m.MainMissing != "" {
		t.Errorf("main is %+v", m)
	}
	w.result(t, 1, JobDoneOK)
	w.do(t, "a:main exits 1")
	w.do(t, "a:main dead")
	w.is(t, "a", StopSigterm, ExitCodeFailure)
	w.handle(MainExited{Ref: Ref{"a", 1}}) // from the record, once more
	if m := w.machine("a"); m.MainStatus != (Status{CodeExited, 1}) {
		t.Errorf("it ended with %v", m.MainStatus)
	}
}

func TestForkingStartFails(t *testing.T) {
	w := forking()
	w.do(t, "a:launched")
	w.do(t, "a:pre starts")
	w.do(t, "a:pre exits 1")
	w.is(t, "a", StopSigterm, ExitCodeFailure)
	w = forking(func(c *Config) { c.SuccessExit.Statuses = []int{1} })
	w.do(t, "a:launched")
	w.do(t, "a:pre starts")
	w.do(t, "a:pre exits 1") // counts as success, as everywhere
	w.is(t, "a", Start, Success)
}

// Nobody who could write the file is left: it is looked for once more, and that
// is the end, long before the time is up.
func TestForkingNobodyLeft(t *testing.T) {
	w := forking()
	w.forks(t)
	w.do(t, "a:unnamed")
	w.do(t, "a:main exits 0")
	w.do(t, "a:empty")
	w.is(t, "a", Start, Success)
	w.do(t, "a:unnamed")
	w.until(t, "a", Failed)
	w.is(t, "a", Failed, Protocol)
	if w.now != 1 {
		t.Errorf("it took until %d", w.now)
	}
}

// One that has ended before it could be named is known with its status, and the
// unit is not up for a moment.
func TestForkingNamedLate(t *testing.T) {
	for code, want := range map[string]Result{"0": Success, "1": ExitCodeFailure} {
		w := forking()
		w.forks(t)
		w.do(t, "a:main exits "+code)
		w.do(t, "a:named late")
		if m := w.machine("a"); m.Result != want || m.State.Up() || m.ActiveSince != 0 {
			t.Errorf("exit %s: %+v", code, m)
		}
	}
}

func TestForkingTimesOut(t *testing.T) {
	w := forking()
	w.forks(t)
	w.do(t, "a:unnamed")
	w.now = w.machine("a").Deadline
	w.handle(Tick{})
	w.is(t, "a", StopSigterm, TimedOut)
}

// exec_start_post may be what writes the file: it is waited for after it.
func TestForkingPidFileOfStartPost(t *testing.T) {
	w := forking(func(c *Config) { c.ExecStartPost = []Line{{}} })
	w.forks(t)
	w.do(t, "a:unnamed")
	w.is(t, "a", StartPost, Success)
	w.do(t, "a:hook exits 0")
	w.is(t, "a", StartPost, Success)
	w.do(t, "a:unnamed")
	w.is(t, "a", StartPost, Success)
	w.do(t, "a:named")
	w.is(t, "a", Running, Success)
}

func TestForkingGuess(t *testing.T) {
	guess := func(c *Config) { c.PidFile = false }
	r := Ref{"a", 1}

	w := forking(guess) // none: it runs until nobody is left, and nobody knows how main ended
	w.forks(t)
	w.do(t, "a:unnamed")
	w.is(t, "a", Running, Success)
	w.do(t, "a:main exits 0")
	w.do(t, "a:empty")
	w.is(t, "a", Releasing, StatusUnknown)

	w = forking(guess) // nobody is left at once
	w.forks(t)
	w.handle(PayloadEmpty{r})
	w.handle(MainUnnamed{r, "which"})
	if m := w.machine("a"); m.Result != StatusUnknown || m.ActiveSince != 0 {
		t.Errorf("%+v", m)
	}

	w = forking(guess, func(c *Config) { c.RemainAfterExit = true })
	w.forks(t)
	w.handle(PayloadEmpty{r})
	w.handle(MainUnnamed{r, "which"})
	w.is(t, "a", Exited, Success)

	for left, want := range map[bool]Result{true: Protocol, false: Success} { // the guess was wrong, or right
		w = forking(guess)
		w.forks(t)
		w.handle(MainNamed{r, 11, FromGuess})
		w.is(t, "a", Running, Success)
		w.handle(MainExited{Ref: r, Status: Status{CodeExited, 0}, Left: left})
		w.is(t, "a", StopSigterm, want)
	}
}

// MAINPID= may come while exec_start runs: it is the end of that that counts.
func TestForkingNamedEarly(t *testing.T) {
	w := forking()
	w.do(t, "a:launched")
	w.do(t, "a:pre starts")
	w.handle(MainNamed{Ref{"a", 1}, 11, FromNotify})
	w.is(t, "a", Start, Success)
	w.do(t, "a:pre exits 0")
	w.is(t, "a", Running, Success)
	w.handle(MainNamed{Ref{"a", 1}, 12, FromPidFile}) // it hands over
	if m := w.machine("a"); m.MainPID != 12 || !m.MainAlive {
		t.Errorf("main is %d", m.MainPID)
	}
}

// While exec_start runs nothing was started well: everything is killed, whatever
// kill_mode says.
func TestForkingStoppedWhileItStarts(t *testing.T) {
	w := forking(func(c *Config) { c.KillMode = "process" })
	w.do(t, "a:launched")
	w.do(t, "a:pre starts")
	var whom Whom
	for _, ef := range w.e.Handle(Request{2, VerbStop, "a"}, w.now) {
		if sig, ok := ef.(Signal); ok {
			whom = sig.Whom
		}
	}
	if whom != WhomAll {
		t.Errorf("the signal goes to %q", whom)
	}
	r := Ref{"a", 1}
	w.handle(ProgramExited{r, KindStart, 0, Status{CodeExited, 0}}) // it took SIGTERM for a reason to be done
	w.handle(PayloadEmpty{r})
	w.is(t, "a", Releasing, Success)
}

// The reload of one that is signalled is over when it says so, of this signal.
func TestReloadBySignal(t *testing.T) {
	w := newWorld(service("a", func(c *Config) { c.Type, c.ReloadSignal = "notify-reload", 1 }))
	w.handle(Request{1, VerbStart, "a"})
	w.do(t, "a:launched")
	w.do(t, "a:main starts")
	w.is(t, "a", Start, Success)
	w.do(t, "a:ready")
	w.is(t, "a", Running, Success)
	r := Ref{"a", 1}
	w.now = 1000
	w.handle(Request{2, VerbReload, "a"})
	w.is(t, "a", Reloading, Success)
	for _, ev := range []Notify{{Ref: r, Ready: true}, {Ref: r, Reloading: true}, {Ref: r, Reloading: true, ReloadingAt: 999}, {Ref: r, Ready: true}} {
		w.handle(ev)
		w.is(t, "a", Reloading, Success)
	}
	w.handle(Notify{Ref: r, Reloading: true, ReloadingAt: 1000})
	w.is(t, "a", Reloading, Success)
	w.handle(Notify{Ref: r, Ready: true})
	w.is(t, "a", Running, Success)
	w.result(t, 2, JobDoneOK)

	w.handle(Request{3, VerbReload, "a"})
	w.now += Instant(90 * time.Second)
	w.handle(Tick{})
	w.is(t, "a", Running, Success)
	w.result(t, 3, JobFailed)
}
