package machine

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// world plays the manager, the reapers and the services around an engine: it
// carries effects out and says what may happen next.
type world struct {
	e     *Engine
	cfgs  []Config
	now   Instant
	units map[string]*sim
	store map[string]Snapshot // what Publish wrote last
	jobs  map[uint64]JobDone
	bugs  []string
	deaf  bool // nothing ends but by SIGKILL or by time
}

// sim is the truth about one unit.
type sim struct {
	gen             uint64
	held            bool
	cond, launch    bool // asked for and not answered
	release         bool
	reaper          bool
	programs, mains []Program
	named           Program // of a forking service
	unheard         Status  // how its main ended, which nobody has named
	find, watch     bool    // FindMain was asked and not answered; pid_file is watched
	setup           Setup
	main            bool // its process lives
	dead            bool // it died, and nobody has heard of it
	told            bool // PayloadEmpty has been sent since anything ran
	hook            uint64
	term            bool
	status          Status
	stray           bool // a process besides main
}

func newWorld(cfgs ...Config) *world {
	w := &world{e: New(), cfgs: cfgs, now: 1, units: map[string]*sim{}, store: map[string]Snapshot{}, jobs: map[uint64]JobDone{}}
	for _, c := range cfgs {
		w.units[c.Name] = &sim{}
	}
	_, out := w.e.Load(cfgs, w.now)
	w.run(out)
	return w
}

func (e *Engine) clone() *Engine {
	c := &Engine{graph: e.graph, closing: e.closing, waiters: slices.Clone(e.waiters)}
	for _, u := range e.units {
		v := *u
		if u.job != nil {
			j := *u.job
			j.ids = slices.Clone(j.ids)
			v.job = &j
		}
		c.units = append(c.units, &v)
	}
	return c
}

func (w *world) clone() *world {
	c := &world{e: w.e.clone(), cfgs: w.cfgs, now: w.now, units: map[string]*sim{}, store: maps.Clone(w.store), jobs: maps.Clone(w.jobs), bugs: slices.Clone(w.bugs), deaf: w.deaf}
	for n, u := range w.units {
		v := *u
		v.programs, v.mains = slices.Clone(u.programs), slices.Clone(u.mains)
		c.units[n] = &v
	}
	return c
}

func (w *world) bug(format string, args ...any) {
	w.bugs = append(w.bugs, fmt.Sprintf(format, args...))
}

func (u *sim) empty() bool { return !u.main && u.hook == 0 && !u.stray }

// run carries effects out.
func (w *world) run(out []Effect) {
	for _, ef := range out {
		w.effect(ef)
	}
}

func (w *world) effect(ef Effect) {
	switch ef := ef.(type) {
	case CheckConditions:
		w.units[ef.Unit].cond = true
	case Launch:
		u := w.units[ef.Unit]
		if u.held && u.gen != ef.Generation {
			w.bug("second payload: launch %d of %s while %d is held", ef.Generation, ef.Unit, u.gen)
		}
		*u = sim{gen: ef.Generation, held: true, launch: true}
	case RunHook:
		u := w.units[ef.Unit]
		if !u.reaper {
			w.bug("hook of %s without a reaper", ef.Unit)
		}
		u.hook, u.told = ef.Run, false
	case FindMain:
		u := w.units[ef.Unit]
		u.find, u.watch = true, u.watch || ef.Wait
	case AbortHook:
		if u := w.units[ef.Unit]; u.hook == ef.Run {
			u.hook = 0
		}
	case Signal:
		u := w.units[ef.Unit]
		if ef.Signal == sigkill {
			w.kill(u, ef.Whom == WhomAll)
		} else {
			u.term = true
		}
	case KillAll:
		w.kill(w.units[ef.Unit], true)
	case CheckPayload:
		w.units[ef.Unit].told = false
	case Release:
		u := w.units[ef.Unit]
		if u.gen != ef.Generation || !u.held {
			w.bug("release of %s/%d, which is not held", ef.Unit, ef.Generation)
		}
		u.release = true
		if !ef.Keep && (u.main || u.hook != 0) {
			w.bug("%s released over the head of its payload", ef.Unit)
		}
	case Publish:
		w.publish(ef.Snapshot)
	case JobDone:
		if _, twice := w.jobs[ef.ID]; twice {
			w.bug("job %d answered twice", ef.ID)
		}
		w.jobs[ef.ID] = ef
	case Bug:
		w.bug("bug effect: %s in %s", ef.Event, ef.State)
	case Action:
	}
}

// publish stores through JSON, as the manager does.
func (w *world) publish(s Snapshot) {
	text, err := json.Marshal(s)
	var back Snapshot
	if err == nil {
		err = json.Unmarshal(text, &back)
	}
	if err != nil || back != s {
		w.bug("snapshot does not survive JSON: %v %s", err, text)
	}
	w.store[s.Unit] = back
}

func (w *world) kill(u *sim, all bool) {
	w.end(u, Status{CodeKilled, sigkill})
	if all {
		u.hook, u.stray = 0, false
	}
}

// end ends main. Of one that nobody has named, nobody hears.
func (w *world) end(u *sim, st Status) {
	switch {
	case !u.main:
		return
	case len(u.mains) == 0 && u.named == (Program{}):
		u.unheard = st
	default:
		u.dead, u.status = true, st
	}
	u.main = false
}

// action is something that may happen next.
type action struct {
	name string
	do   func(w *world)
}

func (w *world) handle(ev Event) { w.run(w.e.Handle(ev, w.now)) }

// actions lists what the world can do by itself for one unit, the friendly
// choices first.
func (w *world) actions(name string) []action {
	u := w.units[name]
	r := Ref{name, u.gen}
	var list []action
	add := func(what string, do func(w *world, u *sim)) {
		list = append(list, action{name + ":" + what, func(w *world) { do(w, w.units[name]) }})
	}
	if u.cond {
		for _, ok := range []bool{true, false} {
			add(fmt.Sprint("conditions ", ok), func(w *world, u *sim) {
				u.cond = false
				s, _ := w.e.State(name)
				w.handle(ConditionsChecked{Ref: Ref{name, s.Generation}, OK: ok})
			})
		}
	}
	if u.launch {
		add("launched", func(w *world, u *sim) { u.launch, u.reaper = false, true; w.handle(Launched{r}) })
		add("launch failed", func(w *world, u *sim) {
			*u = sim{gen: u.gen, held: u.release, release: u.release}
			w.handle(LaunchFailed{r, Setup{Step: "mkdir", Errno: 28}})
		})
	}
	if u.release && !u.launch {
		add("released", func(w *world, u *sim) { *u = sim{gen: u.gen}; w.handle(Released{r}) })
	}
	if u.reaper && !u.release {
		list = append(list, w.lifeActions(name, u, r)...)
	}
	return list
}

func (w *world) lifeActions(name string, u *sim, r Ref) []action {
	var list []action
	add := func(what string, do func(w *world, u *sim)) {
		list = append(list, action{name + ":" + what, func(w *world) { do(w, w.units[name]) }})
	}
	list = append(list, w.programActions(name, u, r)...)
	list = append(list, w.findActions(name, u, r)...)
	if u.dead {
		add("main dead", func(w *world, u *sim) {
			u.dead = false
			m := u.lastMain()
			m.Status = u.status
			w.handle(MainExited{Ref: r, Index: m.Index, Status: u.status})
		})
	}
	if u.main && !w.deaf {
		for _, st := range []Status{{CodeExited, 0}, {CodeExited, 1}} {
			add(fmt.Sprint("main exits ", st.Value), func(w *world, u *sim) { w.end(u, st) })
		}
		add("ready", func(w *world, u *sim) { w.handle(Notify{Ref: r, Ready: true}) })
		add("reloading", func(w *world, u *sim) { w.handle(Notify{Ref: r, Reloading: true, ReloadingAt: w.now}) })
		add("stopping", func(w *world, u *sim) { w.handle(Notify{Ref: r, Stopping: true}) })
		add("oom", func(w *world, u *sim) { w.handle(OOMKilled{r}) })
	}
	if u.hook != 0 && !w.deaf {
		for _, code := range []int{0, 1} {
			add(fmt.Sprint("hook exits ", code), func(w *world, u *sim) {
				run := u.hook
				u.hook = 0
				w.handle(HookExited{r, run, Status{CodeExited, code}})
			})
		}
	}
	if u.empty() && !u.told {
		add("empty", func(w *world, u *sim) { u.told = true; w.handle(PayloadEmpty{r}) })
	}
	if !w.deaf {
		add("reaper lost", func(w *world, u *sim) {
			u.reaper, u.hook, u.main, u.dead, u.told = false, 0, false, false, true
			u.find, u.watch, u.stray = false, false, false
			w.handle(ReaperLost{r, Status{CodeKilled, 9}})
			w.handle(PayloadEmpty{r})
		})
	}
	return list
}

// lastMain is the main process that the next end of main is of.
func (u *sim) lastMain() *Program {
	if len(u.mains) > 0 {
		return &u.mains[len(u.mains)-1]
	}
	return &u.named
}

// findActions answer FindMain: main is found, has ended, or is not to be found yet.
func (w *world) findActions(name string, u *sim, r Ref) []action {
	var list []action
	add := func(what string, do func(w *world, u *sim)) {
		list = append(list, action{name + ":" + what, func(w *world) { do(w, w.units[name]) }})
	}
	known := u.named != (Program{})
	if (u.find || u.watch) && u.main && !known {
		add("named", func(w *world, u *sim) {
			u.find, u.watch, u.named = false, false, Program{Kind: KindStart, PID: 11}
			w.handle(MainNamed{r, 11, FromPidFile})
		})
	}
	if (u.find || u.watch) && u.unheard != (Status{}) && !known {
		add("named late", func(w *world, u *sim) {
			u.find, u.watch, u.named = false, false, Program{Kind: KindStart, PID: 11, Status: u.unheard}
			w.handle(MainExited{Ref: r, Status: u.unheard})
		})
	}
	if u.find {
		add("unnamed", func(w *world, u *sim) { u.find = false; w.handle(MainUnnamed{r, "not yet"}) })
	}
	return list
}

// programActions is the reaper's program: conditions, pre, main lines in order,
// until one fails.
func (w *world) programActions(name string, u *sim, r Ref) []action {
	i := slices.IndexFunc(w.cfgs, func(c Config) bool { return c.Name == name })
	cfg := w.cfgs[i]
	var list []action
	add := func(what string, do func(w *world, u *sim)) {
		list = append(list, action{name + ":" + what, func(w *world) { do(w, w.units[name]) }})
	}
	over := u.setup != (Setup{})
	for _, p := range append(slices.Clone(u.programs), u.mains...) {
		over = over || p.Status.Code != CodeNone && p.Status != (Status{CodeExited, 0})
	}
	pre := len(cfg.ExecStartPre)
	kind := func(n int) Kind {
		if n == len(cfg.ExecStartPre) {
			return KindStart // of a forking service
		}
		return KindStartPre
	}
	if cfg.forks() {
		pre++
	}
	switch n := len(u.programs); {
	case over:
	case n > 0 && u.programs[n-1].Status.Code == CodeNone:
		for _, code := range []int{0, 1} {
			add(fmt.Sprint("pre exits ", code), func(w *world, u *sim) {
				p := &u.programs[n-1]
				p.Status = Status{CodeExited, code}
				u.stray, u.main = false, p.Kind == KindStart && code == 0 && u.stray // the daemon
				w.handle(ProgramExited{r, p.Kind, p.Index, p.Status})
			})
		}
	case n < pre:
		add("pre starts", func(w *world, u *sim) {
			p := Program{Kind: kind(n), Index: n, PID: 7}
			if p.Kind == KindStart {
				p.Index = 0
			}
			u.programs = append(u.programs, p)
			u.stray, u.told = true, false
			w.handle(ProgramStarted{r, p.Kind, p.Index, 7})
		})
	case !cfg.forks() && len(u.mains) < len(cfg.ExecStart) && !u.main && !u.dead && (len(u.mains) == 0 || cfg.Type == "oneshot"):
		k := len(u.mains)
		add("main starts", func(w *world, u *sim) {
			u.mains = append(u.mains, Program{Kind: KindStart, Index: k, PID: 9})
			u.main, u.told = true, false
			w.handle(MainStarted{r, k, 9})
		})
		add("main setup fails", func(w *world, u *sim) {
			u.setup = Setup{Program: KindStart, Index: k, Step: "execve", Errno: 2, Class: 203}
			w.handle(SetupFailed{r, u.setup})
		})
	}
	return list
}

// tickUnit lets the time of one unit come, whatever the others' is.
func (w *world) tickUnit(i int) {
	u := w.e.units[i]
	due := u.m.due()
	w.e.begin(due)
	w.e.apply(i, elapsed{})
	w.run(w.e.finish())
	w.now = max(w.now, due)
}

// crash kills the manager and lets the next one adopt. Hooks die with their
// manager; a launch under way may or may not have made its reaper.
func (w *world) crash(launched bool) {
	var found []Adopted
	for _, name := range slices.Sorted(maps.Keys(w.units)) {
		u := w.units[name]
		u.hook, u.cond, u.find, u.watch = 0, false, false, false
		if u.launch {
			u.launch, u.reaper = false, launched
		}
		if u.dead {
			u.dead = false
			u.lastMain().Status = u.status
		}
		u.release = false
		u.told = false
		seen := Observed{Setup: u.setup, Programs: u.programs, Mains: u.mains, Named: u.named, Reaper: u.reaper, Populated: !u.empty()}
		if u.held {
			seen.Generation = u.gen
		}
		s, ok := w.store[name]
		if !ok {
			s = Snapshot{Unit: name}
		}
		found = append(found, Adopted{s, seen})
	}
	w.e = New()
	_, out := w.e.Load(w.cfgs, w.now)
	w.run(out)
	w.run(w.e.Adopt(found, w.now))
}

// key is the world without numbers that only count up.
func (w *world) key() string {
	var b strings.Builder
	for i, u := range w.e.units {
		s := u.snapshot(w.e.graph.cycles[i])
		s.Generation, s.Run, s.Since, s.StartedAt, s.ActiveSince, s.EndedAt, s.WindowStart = 0, 0, 0, 0, 0, 0, 0
		s.Deadline, s.Watchdog, s.JobDeadline, s.ReloadAt = min(s.Deadline, 1), min(s.Watchdog, 1), 0, min(s.ReloadAt, 1)
		v := *w.units[s.Unit]
		v.gen = 0
		v.hook = min(v.hook, 1)
		fmt.Fprintf(&b, "%+v %+v\n", s, v)
	}
	return b.String()
}

// settle lets the world act, first choice first, until it is good; false if
// that does not come.
func (w *world) settle(good func() bool) bool {
	for range 300 {
		if good() {
			return true
		}
		if !w.advance() {
			return good()
		}
	}
	return false
}

func (w *world) advance() bool {
	for _, name := range slices.Sorted(maps.Keys(w.units)) {
		for _, a := range w.actions(name) {
			if strings.Contains(a.name, ":ready") || strings.Contains(a.name, ":reloading") || strings.Contains(a.name, ":stopping") ||
				strings.Contains(a.name, ":oom") || strings.Contains(a.name, ":reaper lost") || strings.Contains(a.name, "main exits") && !w.units[name].term {
				continue
			}
			a.do(w)
			return true
		}
	}
	if d, ok := w.e.Deadline(); ok {
		w.now = max(w.now, d)
		w.handle(Tick{})
		return true
	}
	return false
}

func service(name string, change ...func(*Config)) Config {
	c := Config{
		Name: name, Type: "simple", ExitType: "main", OOMPolicy: "stop", ExecStart: []Line{{}}, Restart: "no",
		RestartSec: time.Second, KillMode: "control-group", KillSignal: 15, FinalKillSignal: sigkill, WatchdogSignal: 6,
		SendSigkill: true, TimeoutStart: 90 * time.Second, TimeoutStop: 90 * time.Second, TimeoutAbort: 90 * time.Second,
		StartLimitInterval: Forever, StartLimitBurst: 2, RuntimeMax: Forever, JobTimeout: Forever,
	}
	for _, f := range change {
		f(&c)
	}
	return c
}

func target(name string, d Deps) Config {
	return Config{Name: name, Target: true, Deps: d, OrderWanted: true}
}

func check(t *testing.T, w *world, path []string) {
	t.Helper()
	if len(w.bugs) > 0 {
		t.Fatalf("after %s:\n%s\n%s", strings.Join(path, ", "), strings.Join(w.bugs, "\n"), w.key())
	}
}
