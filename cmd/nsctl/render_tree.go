package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/nsinit/nsinit/supervisor/control"
)

// processes prints the cgroup and, below it, the tree of its processes by
// parent. A process whose parent is outside (main, and what was orphaned to the
// reaper) is at the top.
func (s statusText) processes(st control.UnitStatus) {
	if st.ControlGroup == "" {
		return
	}
	s.line("CGroup", st.ControlGroup)
	inside := map[int]bool{}
	for _, p := range st.Processes {
		inside[p.PID] = true
	}
	children := map[int][]control.Process{}
	for _, p := range st.Processes {
		parent := p.PPID
		if !inside[parent] || parent == p.PID {
			parent = 0
		}
		children[parent] = append(children[parent], p)
	}
	for _, list := range children {
		slices.SortFunc(list, func(a, b control.Process) int { return a.PID - b.PID })
	}
	s.branch(children, 0, strings.Repeat(" ", labelWidth+2))
}

// branch prints the children of a pid. Each is taken out of the map, so that
// pids that name each other as parents cannot make it endless.
func (s statusText) branch(children map[int][]control.Process, pid int, indent string) {
	list := children[pid]
	delete(children, pid)
	for i, p := range list {
		edge, next := "├─", "│ "
		if i == len(list)-1 {
			edge, next = "└─", "  "
		}
		line := indent + edge + strconv.Itoa(p.PID) + " " + clean(orElse(p.Command, p.Name))
		fmt.Fprintln(s.w, cut(line, s.v.Width))
		s.branch(children, p.PID, indent+next)
	}
}

// renderDependencies prints the tree of list-dependencies.
func renderDependencies(w io.Writer, v view, d control.Dependency) {
	fmt.Fprintln(w, clean(d.Unit))
	dependencyBranch(w, v, d.Children, "")
}

func dependencyBranch(w io.Writer, v view, list []control.Dependency, indent string) {
	for i, d := range list {
		edge, next := "├─", "│ "
		if i == len(list)-1 {
			edge, next = "└─", "  "
		}
		dot, colour := mark(d.LoadState, d.ActiveState)
		text := clean(d.Unit)
		if len(d.Kinds) > 0 {
			text += v.paint(grey, "  "+clean(strings.Join(d.Kinds, ", ")))
		}
		if d.Seen {
			text += v.paint(grey, "  (above)")
		}
		fmt.Fprintf(w, "%s %s%s%s\n", v.paint(colour, dot), indent, edge, text)
		dependencyBranch(w, v, d.Children, indent+next)
	}
}

// renderTail prints what happened last: the log's end and the manager's notices,
// by time.
func renderTail(w io.Writer, v view, st control.UnitStatus, logs []control.LogRecord, notLogs string) {
	type entry struct {
		usec   int64
		text   string
		colour string
	}
	var list []entry
	for _, n := range st.Notices {
		list = append(list, entry{n.AtUsec, n.Text, grey})
	}
	for _, r := range logs {
		list = append(list, entry{r.TimeUsec, r.Text, priorityColour(r.Priority)})
	}
	slices.SortStableFunc(list, func(a, b entry) int { return int(min(max(a.usec-b.usec, -1), 1)) })
	if len(list) > 0 || notLogs != "" {
		fmt.Fprintln(w)
	}
	if notLogs != "" {
		fmt.Fprintln(w, v.paint(grey, "("+clean(notLogs)+")"))
	}
	for _, e := range list {
		stamp := v.shortStamp(e.usec)
		room := 0
		if v.Width > 0 {
			room = max(v.Width-len(stamp)-1, 20)
		}
		fmt.Fprintf(w, "%s %s\n", stamp, v.paint(e.colour, cut(clean(e.text), room)))
	}
}
