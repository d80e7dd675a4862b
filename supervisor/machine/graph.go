package machine

import (
	"slices"
	"strings"
)

// Relation is one kind of edge between two units, read from left to right:
// a Requires b. The second half are the inverses.
type Relation uint8

// The relations. Conflicts is made symmetric; Before is kept as the inverse of
// After alone.
const (
	Requires Relation = iota
	Requisite
	Wants
	BindsTo
	PartOf
	Upholds
	Conflicts
	After
	OnFailure
	OnSuccess
	ReloadTo
	StopTo
	RequiredBy
	RequisiteOf
	WantedBy
	BoundBy
	ConsistsOf
	UpheldBy
	ConflictedBy
	Before
	FailureOf
	SuccessOf
	ReloadFrom
	StopFrom
	relationCount
)

// inverse is the same edge read from the other end.
func (r Relation) inverse() Relation {
	if r < RequiredBy {
		return r + RequiredBy
	}
	return r - RequiredBy
}

// Graph is the relations of a set of units, checked and read-only. Units are
// numbered in lexical order of their names.
type Graph struct {
	names   []string
	index   map[string]int
	edges   [relationCount][][]int
	unknown [][]string // per unit: what it needs and nobody defines
	cycles  []string   // per unit: the ordering cycle that it is in, or ""
	loops   []Problem
}

// Problem is something in the graph that keeps units from starting.
type Problem struct {
	Units []string // those that cannot start
	Text  string   // "ordering cycle: a after b after a"
}

// NewGraph relates the units to each other. Each name must be unique.
func NewGraph(configs []Config) *Graph {
	g := &Graph{index: make(map[string]int, len(configs))}
	for i := range configs {
		g.names = append(g.names, configs[i].Name)
	}
	slices.Sort(g.names)
	for i, n := range g.names {
		g.index[n] = i
	}
	for r := range g.edges {
		g.edges[r] = make([][]int, len(g.names))
	}
	g.unknown = make([][]string, len(g.names))
	for i := range configs {
		g.connect(&configs[i])
	}
	g.orderTargets(configs)
	g.tidy()
	g.findCycles()
	return g
}

// connect enters what one unit says. A unit has no relation to itself.
func (g *Graph) connect(c *Config) {
	from, d := g.index[c.Name], &c.Deps
	for _, list := range []struct {
		rel   Relation
		names []string
		hard  bool
	}{
		{Requires, d.Requires, true}, {Requisite, d.Requisite, true}, {BindsTo, d.BindsTo, true},
		{Wants, d.Wants, false}, {PartOf, d.PartOf, false}, {Upholds, d.Upholds, false},
		{Conflicts, d.Conflicts, false}, {ConflictedBy, d.Conflicts, false},
		{After, d.After, false}, {Before, d.Before, false},
		{OnFailure, d.OnFailure, false}, {OnSuccess, d.OnSuccess, false},
		{ReloadTo, d.PropagatesReloadTo, false}, {ReloadFrom, d.ReloadPropagatedFrom, false},
		{StopTo, d.PropagatesStopTo, false}, {StopFrom, d.StopPropagatedFrom, false},
	} {
		for _, name := range list.names {
			to, ok := g.index[name]
			switch {
			case ok && to != from:
				g.add(list.rel, from, to)
			case ok && list.rel == After:
				g.add(After, from, to) // after itself: a cycle, and named as one
			case !ok && list.hard:
				g.unknown[from] = append(g.unknown[from], name)
			}
		}
	}
}

func (g *Graph) add(r Relation, from, to int) {
	g.edges[r][from] = append(g.edges[r][from], to)
	g.edges[r.inverse()][to] = append(g.edges[r.inverse()][to], from)
}

// orderTargets puts a target after what it pulls in, where the other order was
// not asked for.
func (g *Graph) orderTargets(configs []Config) {
	for i := range configs {
		if !configs[i].Target || !configs[i].OrderWanted {
			continue
		}
		t := g.index[configs[i].Name]
		for _, r := range []Relation{Requires, Wants, BindsTo} {
			for _, to := range g.edges[r][t] {
				if !slices.Contains(g.edges[Before][t], to) {
					g.add(After, t, to)
				}
			}
		}
	}
}

func (g *Graph) tidy() {
	for r := range g.edges {
		for i := range g.edges[r] {
			slices.Sort(g.edges[r][i])
			g.edges[r][i] = slices.Compact(g.edges[r][i])
		}
	}
}

// Related returns the units that stand in that relation to the named one, in
// lexical order.
func (g *Graph) Related(name string, r Relation) []string {
	i, ok := g.index[name]
	if !ok {
		return nil
	}
	return g.namesOf(g.edges[r][i])
}

func (g *Graph) namesOf(list []int) []string {
	out := make([]string, len(list))
	for i, n := range list {
		out[i] = g.names[n]
	}
	return out
}

// Problems lists ordering cycles, each once, and hard dependencies on units
// that nobody defines.
func (g *Graph) Problems() []Problem {
	out := slices.Clone(g.loops)
	for i, missing := range g.unknown {
		for _, m := range missing {
			out = append(out, Problem{[]string{g.names[i]}, g.names[i] + " needs " + m + ", which does not exist"})
		}
	}
	return out
}

// Order returns all units so that each one comes after everything that it is
// ordered after. Edges within a cycle do not count.
func (g *Graph) Order() []string {
	left := make([]int, len(g.names))
	var ready, order []int
	for i := range g.names {
		if left[i] = len(g.edges[After][i]); left[i] == 0 {
			ready = append(ready, i)
		}
	}
	for len(ready) > 0 {
		n := ready[0]
		ready = ready[1:]
		order = append(order, n)
		for _, later := range g.edges[Before][n] {
			if left[later]--; left[later] == 0 {
				ready = append(ready, later)
			}
		}
	}
	return g.namesOf(order)
}

// reach is everything that can be reached from the start over the given
// relations, without the start itself, in the order of discovery.
func (g *Graph) reach(from int, relations ...Relation) []int {
	seen := map[int]bool{from: true}
	queue := []int{from}
	for at := 0; at < len(queue); at++ {
		for _, r := range relations {
			for _, to := range g.edges[r][queue[at]] {
				if !seen[to] {
					seen[to] = true
					queue = append(queue, to)
				}
			}
		}
	}
	return queue[1:]
}

// Needs is all that starting the unit pulls in, directly or not.
func (g *Graph) Needs(name string) []string {
	i, ok := g.index[name]
	if !ok {
		return nil
	}
	out := g.namesOf(g.reach(i, Requires, BindsTo, Wants, Upholds))
	slices.Sort(out)
	return out
}

// findCycles names a cycle for each knot of the order and then cuts the edges
// in it, so that nothing else has to mind cycles.
func (g *Graph) findCycles() {
	comp := components(g.edges[After])
	g.cycles = make([]string, len(g.names))
	named := map[int]string{}
	members := map[int][]string{}
	for i := range g.names {
		if text, ok := named[comp[i]]; ok {
			g.cycles[i] = text
		} else if loop := g.loopThrough(i, comp); loop != nil {
			g.cycles[i] = strings.Join(g.namesOf(loop), " after ")
			named[comp[i]] = g.cycles[i]
		}
		if g.cycles[i] != "" {
			members[comp[i]] = append(members[comp[i]], g.names[i])
		}
	}
	for i := range g.names {
		if list := members[comp[i]]; list != nil && list[0] == g.names[i] {
			g.loops = append(g.loops, Problem{list, "ordering cycle: " + g.cycles[i]})
		}
		for _, r := range []Relation{After, Before} {
			g.edges[r][i] = slices.DeleteFunc(g.edges[r][i], func(to int) bool { return comp[to] == comp[i] })
		}
	}
}

// loopThrough is a shortest way from i back to i within its component, both
// ends included; nil if there is none.
func (g *Graph) loopThrough(i int, comp []int) []int {
	came := map[int]int{}
	queue := []int{i}
	for at := 0; at < len(queue); at++ {
		n := queue[at]
		for _, to := range g.edges[After][n] {
			if to == i {
				return wayTo(came, i, n)
			}
			if _, seen := came[to]; !seen && comp[to] == comp[i] {
				came[to] = n
				queue = append(queue, to)
			}
		}
	}
	return nil
}

// wayTo walks back from last to first and closes the ring.
func wayTo(came map[int]int, first, last int) []int {
	path := []int{first}
	for n := last; n != first; n = came[n] {
		path = append(path, n)
	}
	path = append(path, first)
	slices.Reverse(path)
	return path
}

// components numbers the strongly connected components: two nodes have the same
// number if each reaches the other. Kosaraju's two passes, with stacks of their
// own: a chain of 10,000 units must not be a call stack of that depth.
func components(edges [][]int) []int {
	order := finishOrder(edges)
	back := make([][]int, len(edges))
	for from, list := range edges {
		for _, to := range list {
			back[to] = append(back[to], from)
		}
	}
	comp := make([]int, len(edges))
	for i := range comp {
		comp[i] = -1
	}
	for i := len(order) - 1; i >= 0; i-- {
		root := order[i]
		if comp[root] >= 0 {
			continue
		}
		comp[root] = root
		for stack := []int{root}; len(stack) > 0; {
			n := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			for _, to := range back[n] {
				if comp[to] < 0 {
					comp[to] = root
					stack = append(stack, to)
				}
			}
		}
	}
	return comp
}

// finishOrder lists the nodes as a depth-first walk leaves them.
func finishOrder(edges [][]int) []int {
	seen := make([]bool, len(edges))
	at := make([]int, len(edges)) // next edge to look at
	order := make([]int, 0, len(edges))
	for root := range edges {
		if seen[root] {
			continue
		}
		seen[root] = true
		for stack := []int{root}; len(stack) > 0; {
			n := stack[len(stack)-1]
			if at[n] == len(edges[n]) {
				order = append(order, n)
				stack = stack[:len(stack)-1]
				continue
			}
			to := edges[n][at[n]]
			at[n]++
			if !seen[to] {
				seen[to] = true
				stack = append(stack, to)
			}
		}
	}
	return order
}
