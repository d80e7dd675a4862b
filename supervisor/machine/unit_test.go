package machine

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// everyEvent is one of each, for generation g of unit a.
func everyEvent(g uint64) []Event {
	r := Ref{"a", g}
	return []Event{
		startUnit{}, startUnit{auto: true}, stopUnit{why: StopRequest}, stopUnit{why: StopDependency},
		reloadUnit{}, resetUnit{}, elapsed{}, resumed{},
		ConditionsChecked{Ref: r, OK: true}, ConditionsChecked{Ref: r}, ConditionsChecked{Ref: r, Assert: true},
		Launched{r}, LaunchFailed{Ref: r}, SetupFailed{Ref: r}, SetupFailed{r, Setup{Program: KindStart}},
		SetupFailed{r, Setup{Program: KindStartPre}},
		ProgramStarted{r, KindCondition, 0, 5}, ProgramExited{r, KindCondition, 0, Status{CodeExited, 1}},
		ProgramStarted{r, KindStartPre, 0, 5}, ProgramExited{r, KindStartPre, 0, Status{CodeExited, 0}},
		ProgramExited{r, KindStartPre, 0, Status{CodeKilled, 15}},
		MainStarted{r, 0, 6}, MainStarted{r, 1, 7}, MainExited{Ref: r, Status: Status{CodeExited, 0}},
		MainExited{Ref: r, Status: Status{CodeDumped, 6}}, MainExited{Ref: r, Index: 1, Status: Status{CodeKilled, 9}},
		ProgramStarted{r, KindStart, 0, 5}, ProgramExited{r, KindStart, 0, Status{CodeExited, 0}}, ProgramExited{r, KindStart, 0, Status{CodeExited, 1}},
		MainNamed{r, 9, FromPidFile}, MainNamed{r, 10, FromGuess}, MainUnnamed{r, "no file"}, MainExited{Ref: r, Status: Status{CodeExited, 0}, Left: true},
		PayloadEmpty{r}, ReaperLost{r, Status{CodeKilled, 9}}, Released{r},
		HookExited{r, 1, Status{CodeExited, 0}}, HookExited{r, 1, Status{CodeExited, 3}}, HookFailed{r, 1, Setup{}},
		OOMKilled{r}, Notify{Ref: r, Ready: true}, Notify{Ref: r, Reloading: true}, Notify{Ref: r, Stopping: true},
		Notify{Ref: r, WatchdogTrigger: true}, Notify{Ref: r, ExtendTimeout: time.Hour, Watchdog: true},
		Request{}, Tick{},
	}
}

// machines are the shapes that a state may have; not all of them can be reached.
func machines(s State) []Machine {
	var out []Machine
	for bits := range 256 {
		on := func(n int) bool { return bits>>n&1 == 1 }
		m := Machine{State: s, Generation: 3, Run: 1, Want: WantUp}
		m.Held = !s.Down() && s != Checking && s != Reached && s != AutoRestart && s != AutoRestartQueued
		m.Reaper, m.Payload, m.Pending, m.MainAlive = on(0) && m.Held, on(1) && m.Held, on(2) && m.Held, on(3) && m.Held
		if s >= Condition && s <= Stop || s == StopPost {
			m.Reaper = m.Held // a lost reaper leads out of these
		}
		m.Hook, m.HookKind = on(4), KindStartPost
		m.Kept, m.Unkillable = on(5), on(5)
		if on(6) {
			m.Deadline, m.Watchdog = 50, 60
		}
		if on(7) {
			m.Kind = KindStart
		}
		if on(6) && m.MainAlive {
			m.MainFrom = FromGuess
		}
		out = append(out, m)
	}
	return out
}

// Every state with every event: no panic, a Bug changes nothing, no launch
// while the last generation is held, and time runs in the states that it may.
func TestEveryStateEveryEvent(t *testing.T) {
	configs := []Config{service("a"), service("a", withHooks), service("a", withHooks, func(c *Config) { c.Type, c.KillMode = "notify", "mixed" }),
		service("a", func(c *Config) { c.Type, c.KillMode, c.Restart = "oneshot", "process", "always" }), {Name: "a", Target: true},
		service("a", func(c *Config) { c.Type = "forking" }), service("a", withHooks, func(c *Config) { c.Type, c.PidFile, c.KillMode = "forking", true, "mixed" }),
		service("a", func(c *Config) { c.Type, c.ReloadSignal = "notify-reload", 1 })}
	timed := map[State]bool{Launching: true, Condition: true, StartPre: true, Start: true, StartPost: true, Reloading: true, Stop: true,
		StopWatchdog: true, StopSigterm: true, StopSigkill: true, StopPost: true, FinalSigterm: true, FinalSigkill: true, AutoRestart: true}
	for s := range stateCount {
		for _, m := range machines(s) {
			for c := range configs {
				for _, ev := range everyEvent(3) {
					got, out := next(&configs[c], m, ev, 100)
					if len(out) == 1 && fmt.Sprintf("%T", out[0]) == "machine.Bug" {
						if got != m {
							t.Fatalf("a bug changed %v with %T", s, ev)
						}
						continue
					}
					for _, ef := range out {
						if _, ok := ef.(Launch); ok && m.Held && s != Launching {
							t.Fatalf("%v %+v: launch while held", s, ev)
						}
						if _, ok := ef.(RunHook); ok && !got.Reaper {
							t.Fatalf("%v %+v: hook without reaper", s, ev)
						}
					}
					if got.State != s && !configs[c].Target && timed[got.State] != (got.Deadline != 0) {
						t.Fatalf("%v --%T--> %v with deadline %d", s, ev, got.State, got.Deadline)
					}
				}
			}
		}
	}
}

// Facts about another generation change nothing.
func TestStaleFacts(t *testing.T) {
	cfg := service("a")
	for s := range stateCount {
		for _, m := range machines(s) {
			for _, ev := range everyEvent(2) {
				if !isFact(ev) {
					continue
				}
				if _, ok := ev.(interface{ ref() Ref }); !ok {
					continue
				}
				if got, out := next(&cfg, m, ev, 100); got != m || out != nil {
					t.Fatalf("%v took %T of generation 2: %v", s, ev, out)
				}
			}
		}
	}
}

// Every switch over a State names all states once and has no default.
func TestSwitchesAreTotal(t *testing.T) {
	set := token.NewFileSet()
	pkgs, err := parser.ParseDir(set, ".", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	handlers := 0
	ast.Inspect(pkgs["machine"], func(n ast.Node) bool {
		fn, ok := n.(*ast.FuncDecl)
		if !ok || fn.Recv == nil || len(fn.Name.Name) < 3 || fn.Name.Name[:2] != "on" {
			return true
		}
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			sw, ok := n.(*ast.SwitchStmt)
			if !ok || !isStateTag(sw.Tag) {
				return true
			}
			handlers++
			seen := map[string]int{}
			for _, c := range sw.Body.List {
				list := c.(*ast.CaseClause).List
				if list == nil {
					t.Errorf("%s has a default", fn.Name.Name)
				}
				for _, x := range list {
					seen[x.(*ast.Ident).Name]++
				}
			}
			if len(seen) != int(stateCount) {
				t.Errorf("%s names %d of %d states", fn.Name.Name, len(seen), stateCount)
			}
			return true
		})
		return true
	})
	if handlers < 18 {
		t.Errorf("only %d handlers looked at", handlers)
	}
}

func isStateTag(x ast.Expr) bool {
	sel, ok := x.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == "State"
}

func TestStateNames(t *testing.T) {
	seen := map[string]bool{}
	for s := range stateCount {
		text, _ := s.MarshalText()
		var back State
		if err := back.UnmarshalText(text); err != nil || back != s || seen[string(text)] || s.Sub() == "" {
			t.Errorf("%d: %s %v %v", s, text, back, err)
		}
		seen[string(text)] = true
		if !slices.Contains([]Active{"inactive", "activating", "active", "reloading", "deactivating", "failed"}, s.Active()) {
			t.Errorf("%v is %q", s, s.Active())
		}
	}
	var s State
	if s.UnmarshalText([]byte("nonsense")) == nil {
		t.Error("nonsense is a state")
	}
}

// restartTable is the table of restart= in systemd.service(5).
func TestRestartTable(t *testing.T) {
	results := []Result{Success, ExitCodeFailure, SignalFailure, CoreDump, TimedOut, WatchdogFailure, OOMKill, Resources, SetupFailure, StartLimitHit, ExecCondition}
	for setting, want := range map[string]string{
		"no":          "...........",
		"always":      "+++++++++..",
		"on-success":  "+..........",
		"on-failure":  ".++++++++..",
		"on-abnormal": "..++++++...",
		"on-abort":    "..++.......",
		"on-watchdog": ".....+.....",
	} {
		for i, r := range results {
			cfg := service("a", func(c *Config) { c.Restart = setting })
			s := step{cfg: &cfg, m: Machine{Want: WantUp, Result: r}}
			if _, got := s.restartIn(); got != (want[i] == '+') {
				t.Errorf("restart=%s after %s: %v", setting, r, got)
			}
			s.m.Want = WantDown
			if _, got := s.restartIn(); got {
				t.Errorf("restart=%s after a stop and %s", setting, r)
			}
		}
	}
}

func TestRestartByStatus(t *testing.T) {
	cfg := service("a", func(c *Config) {
		c.Restart, c.PreventExit, c.ForceExit = "on-failure", ExitSet{Statuses: []int{7}, Signals: []int{9}}, ExitSet{Statuses: []int{0}}
	})
	for _, row := range []struct {
		status Status
		result Result
		want   bool
	}{
		{Status{CodeExited, 7}, ExitCodeFailure, false}, {Status{CodeExited, 8}, ExitCodeFailure, true},
		{Status{CodeKilled, 9}, SignalFailure, false}, {Status{CodeExited, 9}, ExitCodeFailure, true},
		{Status{CodeExited, 0}, Success, true},
	} {
		s := step{cfg: &cfg, m: Machine{Want: WantUp, Result: row.result, MainStatus: row.status}}
		if _, got := s.restartIn(); got != row.want {
			t.Errorf("%v: %v", row.status, got)
		}
	}
}

func TestJudge(t *testing.T) {
	for _, row := range []struct {
		typ  string
		st   Status
		want Result
	}{
		{"simple", Status{CodeExited, 0}, Success}, {"simple", Status{CodeExited, 1}, ExitCodeFailure},
		{"simple", Status{CodeKilled, 15}, Success}, {"simple", Status{CodeKilled, 1}, Success}, {"simple", Status{CodeKilled, 2}, Success},
		{"simple", Status{CodeKilled, 13}, Success}, {"simple", Status{CodeKilled, 9}, SignalFailure}, {"simple", Status{CodeDumped, 15}, CoreDump},
		{"oneshot", Status{CodeKilled, 15}, SignalFailure}, {"simple", Status{CodeExited, 42}, Success}, {"simple", Status{CodeKilled, 10}, Success},
		{"simple", Status{CodeUnknown, 0}, StatusUnknown},
	} {
		cfg := service("a", func(c *Config) { c.Type, c.SuccessExit = row.typ, ExitSet{Statuses: []int{42}, Signals: []int{10}} })
		s := step{cfg: &cfg}
		if got := s.judgeMain(MainExited{Status: row.st}); got != row.want {
			t.Errorf("%s %v: %s, want %s", row.typ, row.st, got, row.want)
		}
	}
}

// The back-off grows, stays below its cap, begins with restart_sec and ends at
// restart_max_delay_sec.
func TestBackoff(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := Config{
			RestartSec:      time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "sec")),
			RestartSteps:    rapid.IntRange(0, 20).Draw(t, "steps"),
			RestartMaxDelay: time.Duration(rapid.OneOf(rapid.Int64Range(0, int64(24*time.Hour)), rapid.Just(int64(Forever))).Draw(t, "max")),
		}
		top := max(cfg.RestartSec, cfg.RestartMaxDelay)
		grows := cfg.RestartSteps > 0 && cfg.RestartSec > 0 && cfg.RestartMaxDelay > cfg.RestartSec && cfg.RestartMaxDelay != Forever
		last := time.Duration(0)
		for n := 1; n < 30; n++ {
			d := backoff(&cfg, n)
			if d < last || d > top || n == 1 && d != cfg.RestartSec || !grows && d != cfg.RestartSec {
				t.Fatalf("restart %d after %v: %v (cap %v)", n, last, d, top)
			}
			if grows && n > cfg.RestartSteps && d != cfg.RestartMaxDelay {
				t.Fatalf("restart %d: %v, not the cap", n, d)
			}
			spread := cfg
			spread.RestartRandomDelay, spread.Seed = time.Second, rapid.Uint64().Draw(t, "seed")
			if r := backoff(&spread, n); r < d || r >= d+time.Second {
				t.Fatalf("random part out of range: %v of %v", r, d)
			}
			last = d
		}
	})
}

// The start limit lets burst starts pass in a window that opens with the first.
func TestStartLimit(t *testing.T) {
	cfg := service("a", func(c *Config) { c.StartLimitInterval, c.StartLimitBurst = 10*time.Second, 3 })
	sec := Instant(time.Second)
	s := step{cfg: &cfg}
	for _, row := range []struct {
		at   Instant
		want bool
	}{{1, true}, {5, true}, {9, true}, {10, false}, {11, false}, {12, true}, {13, true}, {14, true}, {22, false}, {23, true}} {
		s.now = row.at * sec
		if got := s.admit(); got != row.want {
			t.Errorf("start at %d s: %v", row.at, got)
		}
	}
}

func TestExtendTimeout(t *testing.T) {
	cfg := service("a", func(c *Config) { c.Type = "notify" })
	m := Machine{State: Start, Generation: 1, Held: true, MainAlive: true, Deadline: 100}
	longer, _ := next(&cfg, m, Notify{Ref: Ref{"a", 1}, ExtendTimeout: 200}, 10)
	shorter, _ := next(&cfg, m, Notify{Ref: Ref{"a", 1}, ExtendTimeout: 20}, 10)
	if longer.Deadline != 210 || shorter.Deadline != 100 {
		t.Errorf("deadlines %d and %d", longer.Deadline, shorter.Deadline)
	}
}

func TestOrderIsTopological(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "units")
		var cfgs []Config
		for i := range n {
			c := Config{Name: fmt.Sprintf("u%02d", i)}
			for k := range n {
				switch rapid.IntRange(0, 9).Draw(t, "edge") {
				case 0:
					c.Deps.After = append(c.Deps.After, fmt.Sprintf("u%02d", k))
				case 1:
					c.Deps.Before = append(c.Deps.Before, fmt.Sprintf("u%02d", k))
				}
			}
			cfgs = append(cfgs, c)
		}
		g := NewGraph(cfgs)
		order := g.Order()
		place := map[string]int{}
		for i, name := range order {
			place[name] = i
		}
		if len(place) != n {
			t.Fatalf("order has %d of %d units: %v", len(place), n, order)
		}
		for _, name := range order {
			for _, before := range g.Related(name, After) {
				if place[before] > place[name] {
					t.Fatalf("%s stands before %s, which it is after", name, before)
				}
			}
		}
	})
}

// tarjan is a recursive oracle.
func tarjan(edges [][]int) []int {
	n := len(edges)
	index, low, comp := make([]int, n), make([]int, n), make([]int, n)
	var stack []int
	count := 0
	var visit func(v int)
	visit = func(v int) {
		count++
		index[v], low[v], comp[v] = count, count, -1
		stack = append(stack, v)
		for _, to := range edges[v] {
			if index[to] == 0 {
				visit(to)
				low[v] = min(low[v], low[to])
			} else if comp[to] == -1 {
				low[v] = min(low[v], index[to])
			}
		}
		if low[v] == index[v] {
			for {
				w := stack[len(stack)-1]
				stack = stack[:len(stack)-1]
				comp[w] = v
				if w == v {
					return
				}
			}
		}
	}
	for v := range edges {
		if index[v] == 0 {
			visit(v)
		}
	}
	return comp
}

func TestComponentsAgainstTarjan(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		n := 1 + random.IntN(15)
		edges := make([][]int, n)
		for i := range edges {
			for k := range n {
				if random.IntN(n+2) == 0 {
					edges[i] = append(edges[i], k)
				}
			}
		}
		got, want := components(edges), tarjan(edges)
		for i := range n {
			for k := range n {
				if (got[i] == got[k]) != (want[i] == want[k]) {
					t.Fatalf("%v: %d and %d: %v, %v", edges, i, k, got, want)
				}
			}
		}
	}
}

func TestCyclesAreNamed(t *testing.T) {
	cfgs := []Config{
		target("a", Deps{After: []string{"b"}}), target("b", Deps{After: []string{"c"}}), target("c", Deps{After: []string{"a"}}),
		target("d", Deps{After: []string{"a"}, Requires: []string{"a"}}), target("self", Deps{After: []string{"self"}}),
	}
	w := newWorld(cfgs...)
	var texts []string
	for _, p := range w.e.Graph().Problems() {
		texts = append(texts, p.Text)
	}
	if want := []string{"ordering cycle: a after b after c after a", "ordering cycle: self after self"}; !slices.Equal(texts, want) {
		t.Errorf("%q", texts)
	}
	w.handle(Request{1, VerbStart, "d"})
	if j := w.jobs[1]; j.Result != JobDependency || j.Reason.Unit != "a" || j.Reason.Text != "ordering cycle: a after b after c after a" {
		t.Errorf("%+v", j)
	}
	w.handle(Request{2, VerbStart, "a"})
	if j := w.jobs[2]; j.Result == JobDoneOK || j.Reason.Text == "" {
		t.Errorf("%+v", j)
	}
}

// A chain of 10,000 units is checked, started and stopped in less than a second.
func TestLongChain(t *testing.T) {
	const n = 10000
	cfgs := make([]Config, n)
	for i := range cfgs {
		cfgs[i] = Config{Name: fmt.Sprintf("u%05d", i), Target: true}
		if i > 0 {
			before := fmt.Sprintf("u%05d", i-1)
			cfgs[i].Deps = Deps{Requires: []string{before}, After: []string{before}}
		}
	}
	began := cpuTime(t)
	e := New()
	e.Load(cfgs, 1)
	last := cfgs[n-1].Name
	up := e.Handle(Request{1, VerbStart, last}, 2)
	if j, ok := up[len(up)-1].(JobDone); !ok || j.Result != JobDoneOK {
		t.Errorf("start: %+v", up[len(up)-1])
	}
	down := e.Handle(Request{2, VerbStop, cfgs[0].Name}, 3)
	if j, ok := down[len(down)-1].(JobDone); !ok || j.Result != JobDoneOK {
		t.Errorf("stop: %+v", down[len(down)-1])
	}
	if s, _ := e.State(last); s.State != Inactive {
		t.Errorf("%s is %s", last, s.State)
	}
	if d := cpuTime(t) - began; d > time.Second*raceFactor {
		t.Errorf("took %v", d)
	}
}

func TestInstant(t *testing.T) {
	if got := Instant(5).after(Forever); got != 0 {
		t.Error(got)
	}
	if got := Instant(math.MaxInt64 - 5).after(10); got != 0 {
		t.Error(got)
	}
	if got := Instant(5).after(10); got != 15 {
		t.Error(got)
	}
}

// cpuTime is what this process has used of the processor so far, however busy the
// machine is (getrusage(2)).
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
