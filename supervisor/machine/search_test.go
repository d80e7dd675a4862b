package machine

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// node is a state of the search with the way to it.
type node struct {
	w    *world
	path []string
}

// search visits everything that can happen to the units, breadth first, up to
// limit states, and calls visit on each.
func search(t *testing.T, limit int, cfgs []Config, verbs []Verb, visit func(*testing.T, node)) {
	t.Helper()
	start := node{w: newWorld(cfgs...)}
	seen := map[string]bool{start.w.key(): true}
	queue := []node{start}
	var id uint64
	for at := 0; at < len(queue) && len(queue) < limit; at++ {
		n := queue[at]
		visit(t, n)
		for _, a := range choices(n.w, verbs, &id) {
			next := node{n.w.clone(), append(slices.Clip(n.path), a.name)}
			a.do(next.w)
			check(t, next.w, next.path)
			if k := next.w.key(); !seen[k] {
				seen[k] = true
				queue = append(queue, next)
			}
		}
		queue[at] = node{}
	}
	t.Logf("%d states", len(seen))
}

func choices(w *world, verbs []Verb, id *uint64) []action {
	var list []action
	for i, u := range w.e.units {
		name := u.cfg.Name
		list = append(list, w.actions(name)...)
		for _, v := range verbs {
			*id++
			r := Request{*id, v, name}
			list = append(list, action{name + ":" + string(v), func(w *world) { w.handle(r) }})
		}
		if u.m.due() != 0 {
			list = append(list, action{name + ":elapsed", func(w *world) { w.tickUnit(i) }})
		}
	}
	for _, launched := range []bool{true, false} {
		list = append(list, action{fmt.Sprint("crash ", launched), func(w *world) { w.crash(launched) }})
	}
	return list
}

// stops holds in every state: the stop of everything arrives, and the stop of
// each unit is answered, with cooperation and without.
func stops(t *testing.T, n node) {
	t.Helper()
	requests := []Request{{ID: 1 << 60, Verb: VerbStopAll}}
	for i, u := range n.w.e.units {
		requests = append(requests, Request{1<<60 + 1 + uint64(i), VerbStop, u.cfg.Name})
	}
	for _, deaf := range []bool{false, true} {
		for _, r := range requests {
			w := n.w.clone()
			w.deaf = deaf
			w.handle(r)
			arrived := w.settle(func() bool { return w.arrived(r) })
			check(t, w, append(n.path, fmt.Sprintf("%s %s, deaf %v", r.Verb, r.Unit, deaf)))
			if !arrived {
				t.Fatalf("%s %s (deaf %v) never arrives after %s:\n%s", r.Verb, r.Unit, deaf, strings.Join(n.path, ", "), w.key())
			}
		}
	}
}

func (w *world) arrived(r Request) bool {
	if _, answered := w.jobs[r.ID]; !answered {
		return false
	}
	for _, u := range w.e.units {
		if r.Verb == VerbStopAll && !(u.m.State.Down() && u.job == nil) {
			return false
		}
	}
	return true
}

// alive: whatever is not at rest or up has something to wait for.
func alive(t *testing.T, n node) {
	t.Helper()
	for _, u := range n.w.e.units {
		s, x := u.m.State, n.w.units[u.cfg.Name]
		if s.Down() || s.Up() && u.job == nil {
			continue
		}
		pending := x.cond || x.launch || x.release || x.main || x.dead || x.hook != 0 || len(n.w.actions(u.cfg.Name)) > 0
		if !pending && u.m.due() == 0 && u.job == nil {
			t.Fatalf("%s is stuck in %s after %s:\n%s", u.cfg.Name, s, strings.Join(n.path, ", "), n.w.key())
		}
	}
}

// adoptable: with nothing under way a new manager knows what the old one knew.
func adoptable(t *testing.T, n node) {
	t.Helper()
	for _, x := range n.w.units {
		if x.cond || x.launch || x.release || x.dead || x.find || x.watch || x.hook != 0 || !x.told && x.held && x.empty() {
			return
		}
	}
	for _, u := range n.w.e.units {
		if u.m.State == StopSigterm || u.m.State == StopWatchdog { // a signal that is repeated may have been lost
			return
		}
	}
	w := n.w.clone()
	before := w.key()
	w.crash(true)
	check(t, w, append(n.path, "adopt"))
	for _, x := range w.units {
		x.told = x.held && x.empty()
	}
	for name, x := range n.w.units {
		if !x.told {
			w.units[name].told = false
		}
	}
	if after := w.key(); after != before {
		t.Fatalf("adoption after %s changed\n%s\nto\n%s", strings.Join(n.path, ", "), before, after)
	}
}

func visits(t *testing.T, n node) {
	t.Helper()
	alive(t, n)
	stops(t, n)
	adoptable(t, n)
}

func withHooks(c *Config) {
	c.ExecStartPre, c.ExecStartPost = []Line{{}}, []Line{{}}
	c.ExecReload, c.ExecStop, c.ExecStopPost = []Line{{}}, []Line{{}}, []Line{{}}
}

// searchLimit bounds each search. One unit without hooks has about 6,000
// states, with all hooks about 47,000: -search 50000 visits all of them.
var searchLimit = flag.Int("search", 1000, "visit at most that many states in each search")

func TestSearchOneUnit(t *testing.T) {
	verbs := []Verb{VerbStart, VerbStop, VerbRestart, VerbReload}
	for _, typ := range []string{"simple", "notify", "oneshot", "notify-reload", "forking", "forking with pid_file"} {
		for _, kill := range []string{"control-group", "mixed", "process", "none"} {
			for _, hooks := range []bool{false, true} {
				t.Run(fmt.Sprint(typ, "/", kill, "/hooks=", hooks), func(t *testing.T) {
					t.Parallel()
					search(t, *searchLimit, []Config{searched(typ, kill, hooks)}, verbs, visits)
				})
			}
		}
	}
}

func searched(typ, kill string, hooks bool) Config {
	return service("a", func(c *Config) {
		c.Type, c.KillMode, c.Restart = typ, kill, "on-failure"
		c.Type, _, c.PidFile = strings.Cut(typ, " with pid_file")
		c.ReloadSignal = 1
		c.Conditions, c.SendSighup = hooks, hooks
		c.Watchdog = 20 * time.Second
		if typ == "oneshot" {
			c.ExecStart, c.RemainAfterExit = []Line{{}, {}}, hooks
		}
		if hooks {
			withHooks(c)
		}
	})
}

// graphs are small sets of units, one relation each.
func graphs() map[string][]Config {
	requires := service("b", func(c *Config) { c.Deps = Deps{Requires: []string{"a"}, After: []string{"a"}} })
	binds := service("b", func(c *Config) { c.Deps = Deps{BindsTo: []string{"a"}, After: []string{"a"}} })
	conflicts := service("b", func(c *Config) { c.Deps = Deps{Conflicts: []string{"a"}} })
	partOf := service("b", func(c *Config) { c.Deps = Deps{PartOf: []string{"a"}, Wants: []string{"a"}} })
	restarts := service("a", func(c *Config) { c.Restart = "always" })
	return map[string][]Config{
		"requires":  {service("a"), requires},
		"binds_to":  {restarts, binds},
		"recovers":  {restarts, service("b", func(c *Config) { c.Deps, c.Restart = requires.Deps, "on-failure" })},
		"conflicts": {service("a"), conflicts},
		"part_of":   {restarts, partOf},
		"upholds":   {service("a"), conflicts, target("t", Deps{Upholds: []string{"a", "b"}, After: []string{"a"}})},
		"targets": {service("a"), requires, target("t", Deps{Wants: []string{"a", "b"}, Conflicts: []string{"u"}}),
			target("u", Deps{Upholds: []string{"b"}})},
		"unneeded": {service("a", func(c *Config) { c.StopWhenUnneeded = true }), requires},
		"on_failure": {service("a", func(c *Config) { c.Deps.OnFailure = []string{"b"} }),
			service("b", func(c *Config) { c.Deps.OnFailure = []string{"a"} })},
		"forking": {searched("forking with pid_file", "mixed", false), service("b", withHooks, func(c *Config) { c.Deps, c.Type = binds.Deps, "notify-reload" })},
		"hooks":   {searched("notify", "mixed", true), service("b", withHooks, func(c *Config) { c.Deps = binds.Deps })},
	}
}

func TestSearchGraphs(t *testing.T) {
	for name, cfgs := range graphs() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			search(t, *searchLimit, cfgs, []Verb{VerbStart, VerbStop, VerbRestart}, visits)
		})
	}
}

// What the search cannot reach in breadth, long random lives reach in depth.
func TestWalkGraphs(t *testing.T) {
	for name, cfgs := range graphs() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(40) {
				walk(t, seed, cfgs)
			}
		})
	}
}

func walk(t *testing.T, seed uint64, cfgs []Config) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 7))
	n := node{w: newWorld(cfgs...)}
	var id uint64
	verbs := []Verb{VerbStart, VerbStop, VerbRestart, VerbTryRestart, VerbReload, VerbReloadOrRestart, VerbResetFailed}
	for range 150 {
		list := choices(n.w, verbs, &id)
		a := list[random.IntN(len(list))]
		n.path = append(n.path, a.name)
		a.do(n.w)
		check(t, n.w, n.path)
		alive(t, n)
	}
	visits(t, n)
}
