package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/nsinit/nsinit/supervisor/control"
)

// shortStamp is the time of day, with the date before it if that is not today.
func (v view) shortStamp(usec int64) string {
	t := v.at(usec)
	y, m, d := v.Now.In(v.Local).Date()
	if ty, tm, td := t.Date(); ty == y && tm == m && td == d {
		return t.Format("15:04:05")
	}
	return t.Format("Jan 02 15:04:05")
}

// stateWord is the STATE column.
func stateWord(e control.UnitListEntry) string {
	switch {
	case e.LoadState != "loaded" && e.LoadState != "" && e.ActiveState != "active":
		return strings.ReplaceAll(e.LoadState, "-", " ")
	case e.ActiveState == "active", e.ActiveState == "inactive":
		return orElse(e.SubState, e.ActiveState)
	}
	return e.ActiveState
}

func listColumns() []column {
	return []column{{name: "UNIT"}, {name: "STATE"}, {name: "SINCE"}, {name: "PID", right: true, drop: 1},
		{name: "MEMORY", right: true, drop: 2}, {name: "TASKS", right: true, drop: 4}, {name: "NETWORK", drop: 3}, {name: "DESCRIPTION"}}
}

// renderList prints list-units.
func renderList(w io.Writer, v view, list []control.UnitListEntry, heading bool) {
	t := table{columns: listColumns()}
	for _, e := range list {
		dot, colour := mark(e.LoadState, e.ActiveState)
		since, pid := "", ""
		if e.StateSinceUsec > 0 {
			since = coarse(v.since(e.StateSinceUsec))
		}
		if e.MainPID > 0 {
			pid = strconv.Itoa(e.MainPID)
		}
		t.add(dot, colour, e.Name, stateWord(e), since, pid, orDash(e.MemoryCurrent, size), orDash(e.Tasks, count),
			e.Network, orElse(e.Note, e.Description))
	}
	t.print(w, v, heading)
}

// renderManager prints the three lines above the list.
func renderManager(w io.Writer, v view, m control.ManagerStatus) {
	colour := green
	if m.State != "running" {
		colour = yellow
	}
	line := clean(m.Instance) + ": " + v.paint(colour, clean(m.State)) + " · " + counts(m.Counts)
	if m.BootUsec > 0 {
		line += " · up " + span(v.since(m.BootUsec))
	}
	fmt.Fprintln(w, line)
	manager := fmt.Sprintf("manager pid %d, since %s", m.PID, v.at(m.SinceUsec).Format("Mon 2006-01-02 15:04:05"))
	if m.ManagerRestarts > 0 {
		manager += " (restarted " + times(m.ManagerRestarts) + prefixed(": ", clean(m.LastEnd)) + "; " + touched(m.LostUnits) + ")"
	}
	fmt.Fprintln(w, "        "+manager)
	if parts := machineParts(m); len(parts) > 0 {
		fmt.Fprintln(w, "        "+strings.Join(parts, " · "))
	}
	for _, p := range m.Problems {
		fmt.Fprintln(w, "        "+v.paint(yellow, "problem: "+clean(p)))
	}
}

// touched says what the manager's last end did to the services.
func touched(lost []string) string {
	const most = 3
	switch n := len(lost); {
	case n == 0:
		return "no service was touched"
	case n > most:
		return fmt.Sprintf("%d services had lost their reaper: %s ...", n, clean(strings.Join(lost[:most], ", ")))
	case n > 1:
		return "these had lost their reaper: " + clean(strings.Join(lost, ", "))
	}
	return clean(lost[0]) + " had lost its reaper, no other was touched"
}

func machineParts(m control.ManagerStatus) []string {
	var parts []string
	if m.Target != "" && m.TargetNsec > 0 {
		parts = append(parts, fmt.Sprintf("%s: reached after %.2f s", clean(m.Target), time.Duration(m.TargetNsec).Seconds()))
	} else if m.Target != "" {
		parts = append(parts, clean(m.Target)+": not reached yet")
	}
	if m.Load1 > 0 {
		parts = append(parts, fmt.Sprintf("load %.2f", m.Load1))
	}
	if m.MemoryTotal > 0 {
		parts = append(parts, fmt.Sprintf("memory %s of %s", size(m.MemoryUsed), size(m.MemoryTotal)))
	}
	return parts
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return strconv.Itoa(n) + " times"
}

// counts prints "14 units: 11 active, 1 failed", in an order of its own.
func counts(c map[string]int) string {
	total, text := 0, []string{}
	for _, state := range []string{"active", "failed", "activating", "reloading", "deactivating", "inactive", "bad-file", "not-found"} {
		if n := c[state]; n > 0 {
			word := strings.ReplaceAll(state, "-", " ")
			if state == "bad-file" && n > 1 {
				word += "s"
			}
			text = append(text, fmt.Sprintf("%d %s", n, word))
		}
	}
	for _, n := range c {
		total += n
	}
	return strings.TrimSuffix(plural(total, "unit", "units")+": "+strings.Join(text, ", "), ": ")
}

// renderUnitFiles prints list-unit-files.
func renderUnitFiles(w io.Writer, v view, list []control.UnitFileEntry, heading bool) {
	t := table{columns: []column{{name: "UNIT"}, {name: "ENABLED"}, {name: "PROFILE", drop: 1}, {name: "FILE"}}}
	for _, e := range list {
		if e.Error != "" {
			t.add("!", red, e.Name, e.Enabled, e.Profile, e.Error)
		} else {
			t.add("", "", e.Name, e.Enabled, e.Profile, e.Path)
		}
	}
	t.print(w, v, heading)
}
