package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nsinit/nsinit/supervisor/control"
)

// labelWidth is where the colons of a status stand.
const labelWidth = 11

// mark gives the dot of a unit and its colour.
func mark(load, active string) (dot, colour string) {
	switch active {
	case "active":
		return "●", green
	case "reloading", "activating", "deactivating":
		return "↻", yellow
	case "failed":
		return "×", red
	}
	switch load {
	case "bad-file", "not-found", "error":
		return "!", red
	}
	return "○", ""
}

// statusText collects the lines of one unit's status.
type statusText struct {
	w io.Writer
	v view
}

// line prints a label and its value, cut to the terminal; no value, no line.
func (s statusText) line(label, value string) { s.coloured(label, value, "") }

func (s statusText) coloured(label, value, colour string) {
	if value == "" {
		return
	}
	fmt.Fprintf(s.w, "%s: %s\n", pad(label, labelWidth, true), s.v.paint(colour, cut(clean(value), s.room())))
}

// whole is for lines that must be read to the end: they are not cut.
func (s statusText) whole() statusText {
	s.v.Width = 0
	return s
}

// block prints a label once, and a line for each value.
func (s statusText) block(label string, values []string) {
	for i, value := range values {
		if i == 0 {
			s.line(label, value)
		} else {
			fmt.Fprintf(s.w, "%s%s\n", strings.Repeat(" ", labelWidth+2), cut(clean(value), s.room()))
		}
	}
}

func (s statusText) room() int {
	if s.v.Width == 0 {
		return 0
	}
	return max(s.v.Width-labelWidth-2, 20)
}

// renderStatus prints a unit in systemctl's layout. logs are its last records;
// notLogs says why there are none, or is empty.
func renderStatus(w io.Writer, v view, st control.UnitStatus, logs []control.LogRecord, notLogs string) {
	s := statusText{w, v}
	dot, colour := mark(st.LoadState, st.ActiveState)
	title := clean(st.Name)
	if st.Description != "" && st.Description != st.Name {
		title += " - " + clean(st.Description)
	}
	fmt.Fprintf(w, "%s %s\n", v.paint(colour, dot), cut(title, max(0, v.Width-2)))
	s.file(st)
	s.activity(st)
	s.programs(st)
	s.isolation(st)
	s.numbers(st)
	s.processes(st)
	if st.Failure != nil {
		st.Failure = withoutShown(*st.Failure, logs)
	}
	s.trouble(st)
	renderTail(w, v, st, logs, notLogs)
}

// withoutShown leaves out what the program wrote where the log's end shows it
// anyway, and when.
func withoutShown(f control.Failure, logs []control.LogRecord) *control.Failure {
	f.Lines = slices.DeleteFunc(slices.Clone(f.Lines), func(line string) bool {
		return slices.ContainsFunc(logs, func(r control.LogRecord) bool { return r.Text == line })
	})
	return &f
}

func (s statusText) file(st control.UnitStatus) {
	extra := nonEmpty(st.Enabled, prefixed("preset: ", st.Preset), prefixed("profile ", st.Profile))
	switch st.LoadState {
	case "loaded":
		s.line("Loaded", orElse(st.Path, "built in")+parenthesised(extra, "; "))
	case "bad-file":
		s.coloured("Loaded", "bad file: "+st.Path+parenthesised(extra, "; "), red)
	case "masked":
		s.line("Loaded", "masked"+parenthesised(nonEmpty(st.Path), ""))
	default:
		s.line("Loaded", strings.ReplaceAll(st.LoadState, "-", " ")+parenthesised(nonEmpty(st.Path), ""))
	}
	if st.LoadError != "" {
		s.whole().block("Error", strings.Split(strings.TrimSpace(st.LoadError), "\n"))
	}
	if st.ChangedUsec > 0 || st.ChangedOnDisk && st.LoadState == "loaded" && st.LoadError == "" {
		s.whole().coloured("Changed", s.changed(st), yellow)
	}
	s.block("Drop-In", st.DropIns)
}

// changed tells what to do about files that are newer than what was loaded, or
// than what runs.
func (s statusText) changed(st control.UnitStatus) string {
	if st.ChangedUsec == 0 {
		return "what runs is older than its files; nsctl restart " + st.Name
	}
	text := "file changed on disk " + s.v.ago(st.ChangedUsec) + "; nsctl daemon-reload"
	if st.ActiveState == "active" {
		text += ", then nsctl restart " + st.Name
	}
	return text
}

func (s statusText) activity(st control.UnitStatus) {
	_, colour := mark(st.LoadState, st.ActiveState)
	state := clean(st.ActiveState)
	if st.SubState != "" && st.SubState != st.ActiveState {
		state += " (" + clean(st.SubState) + ")"
	}
	if st.ActiveState == "failed" && st.Result != "" && st.Result != "success" {
		state = "failed (" + clean(st.Result) + ")"
	}
	text := s.v.paint(colour, state)
	if st.StateSinceUsec > 0 {
		text += " since " + s.v.stamp(st.StateSinceUsec) + "; " + s.v.ago(st.StateSinceUsec)
	}
	var counts []string
	if st.StartCount > 0 {
		counts = append(counts, "start "+strconv.Itoa(st.StartCount))
	}
	if st.Restarts > 0 {
		counts = append(counts, "restarts "+strconv.Itoa(st.Restarts))
	}
	fmt.Fprintf(s.w, "%s: %s%s\n", pad("Active", labelWidth, true), text, parenthesised(counts, ", "))
	for _, d := range st.Deadlines {
		s.line("Next", d.Name+s.until(d.AtUsec))
	}
	s.block("Docs", st.Documentation)
}

func (s statusText) until(usec int64) string {
	d := time.UnixMicro(usec).Sub(s.v.Now)
	if d <= 0 {
		return " is over"
	}
	return " ends in " + span(d)
}

func (s statusText) programs(st control.UnitStatus) {
	if st.MainPID > 0 {
		inside := ""
		if st.MainPIDInside > 0 && st.MainPIDInside != st.MainPID {
			inside = strconv.Itoa(st.MainPIDInside) + " inside"
		}
		text := strconv.Itoa(st.MainPID) + parenthesised(nonEmpty(st.MainCommand, inside), "; ")
		if st.MainPIDSource != "" {
			text = pad(text, 30, false) + "found by: " + st.MainPIDSource
		}
		s.line("Main PID", text)
	}
	if st.ControlPID > 0 {
		s.line("Control", strconv.Itoa(st.ControlPID)+parenthesised(nonEmpty(st.ControlCommand), ""))
	}
	if e := st.LastExit; e != nil && st.MainPID == 0 {
		s.line("Exited", exitText(*e, s.v))
	}
	if st.StatusText != "" {
		s.line("Status", `"`+st.StatusText+`"`)
	}
}

// exitText is "code=exited, status=1/FAILURE", as systemctl prints it.
func exitText(e control.Exit, v view) string {
	text := fmt.Sprintf("code=%s, status=%d", e.Code, e.Status)
	if e.Name != "" && strings.Contains(e.Name, "/") {
		text = fmt.Sprintf("code=%s, status=%s", e.Code, e.Name)
	} else if e.Name != "" {
		text += "/" + strings.TrimPrefix(e.Name, "SIG")
	}
	if e.PID > 0 {
		text = fmt.Sprintf("%d (%s)", e.PID, text)
	}
	if e.AtUsec > 0 {
		text += " " + v.ago(e.AtUsec)
	}
	return text
}

func (s statusText) isolation(st control.UnitStatus) {
	var private []string
	for _, n := range st.Namespaces {
		if n.Private {
			private = append(private, n.Type)
		}
	}
	if len(st.Namespaces) > 0 {
		parts := []string{orElse(strings.Join(private, " "), "no namespace of its own"),
			plural(st.CapabilityCount, "capability", "capabilities")}
		if st.NoNewPrivileges {
			parts = append(parts, "no new privileges")
		}
		if st.Hostname != "" {
			parts = append(parts, "hostname "+st.Hostname)
		}
		s.line("Isolation", strings.Join(parts, " · "))
	}
	s.line("Relaxed", strings.Join(st.Relaxations, "; "))
	s.network(st.Network)
	s.listening(st.Listening)
}

func (s statusText) network(n *control.Network) {
	if n == nil {
		return
	}
	text := n.Mode
	if n.Address != "" {
		text = n.Address
		if n.Link != "" {
			text += " on " + n.Link
		}
	}
	for _, l := range n.Links {
		for i, a := range l.Addresses {
			if a != n.Address && i < 4 {
				text += ", " + a
			}
		}
	}
	parts := nonEmpty(text, publishText(n.Publish))
	if n.RxBytes+n.TxBytes > 0 {
		parts = append(parts, fmt.Sprintf("in %s out %s", size(n.RxBytes), size(n.TxBytes)))
	}
	for _, r := range n.Refused {
		parts = append(parts, fmt.Sprintf("refused %d from %s", r.Count, r.From))
	}
	s.line("Network", strings.Join(parts, " · "))
}

// listening joins plain sockets of one protocol, and gives those with a note a
// line of their own.
func (s statusText) listening(list []control.Listening) {
	var lines []string
	last := ""
	for _, l := range list {
		switch {
		case l.Note != "":
			lines = append(lines, l.Protocol+" "+l.Address+" ("+l.Note+")")
			last = ""
		case l.Protocol == last:
			lines[len(lines)-1] += ", " + l.Address
		default:
			lines = append(lines, l.Protocol+" "+l.Address)
			last = l.Protocol
		}
	}
	s.block("Listening", lines)
}

func (s statusText) numbers(st control.UnitStatus) {
	var parts []string
	if st.Tasks > 0 {
		text := count(st.Tasks)
		if st.TasksLimit > 0 {
			text += fmt.Sprintf(" (limit %d)", st.TasksLimit)
		}
		parts = append(parts, "Tasks: "+text)
	}
	if st.MemoryCurrent > 0 {
		limits := nonEmpty(prefixedSize("max ", st.MemoryMax), prefixedSize("peak ", st.MemoryPeak))
		parts = append(parts, "Memory: "+size(st.MemoryCurrent)+parenthesised(limits, ", "))
	}
	if st.CPUUsageNsec > 0 {
		parts = append(parts, "CPU: "+cpu(st.CPUUsageNsec))
	}
	if st.IOReadBytes+st.IOWriteBytes > 0 {
		parts = append(parts, fmt.Sprintf("IO: %s read, %s written", size(st.IOReadBytes), size(st.IOWriteBytes)))
	}
	if len(parts) == 0 {
		return
	}
	label, rest, _ := strings.Cut(strings.Join(parts, "   "), ": ")
	s.line(label, rest)
}

func (s statusText) trouble(st control.UnitStatus) {
	for _, l := range st.LeftOvers {
		pids := make([]string, len(l.PIDs))
		for i, p := range l.PIDs {
			pids[i] = strconv.Itoa(p)
		}
		s.line("Left over", fmt.Sprintf("from start %d: %s (%s)", l.Generation, plural(len(pids), "process", "processes"), strings.Join(pids, ", ")))
	}
	for _, p := range st.Problems {
		s.coloured("Problem", p, yellow)
	}
	s.log(st.Log)
	if st.Failure != nil {
		fmt.Fprintln(s.w)
		renderFailure(s.w, s.v, *st.Failure)
	}
}

// log says what is wrong with the unit's log.
func (s statusText) log(l *control.LogStatus) {
	if l == nil {
		return
	}
	var parts []string
	add := func(n uint64, what string) {
		if n > 0 {
			parts = append(parts, count(n)+" "+what)
		}
	}
	if l.Degraded != "" {
		parts = append(parts, "degraded: "+l.Degraded)
	}
	add(l.DroppedLines, "lines dropped by the rate limit")
	add(l.DroppedBytes, "bytes dropped while it could not be written")
	add(l.DroppedMessages, "messages dropped while it could not be written")
	add(l.NotForwarded, "records not forwarded")
	if l.Forwarding != "" {
		parts = append(parts, "cannot forward to "+l.Forwarding)
	}
	s.whole().coloured("Log", strings.Join(parts, "; "), yellow)
}

// renderFailure prints the cause, what the program wrote, and what to do.
func renderFailure(w io.Writer, v view, f control.Failure) {
	fmt.Fprintf(w, "%s\n", v.paint(red, clean(f.Text)))
	renderDetails(w, v, f.Lines, f.Hint)
}

func renderDetails(w io.Writer, v view, lines []string, hint string) {
	for _, line := range lines {
		fmt.Fprintf(w, "    %s\n", cut(clean(line), max(0, v.Width-4)))
	}
	for line := range strings.Lines(hint) {
		fmt.Fprintf(w, "  %s\n", clean(strings.TrimRight(line, "\n")))
	}
}

func nonEmpty(list ...string) []string {
	var out []string
	for _, s := range list {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}

func parenthesised(list []string, sep string) string {
	if len(list) == 0 {
		return ""
	}
	return " (" + strings.Join(list, sep) + ")"
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

func prefixedSize(prefix string, n uint64) string {
	if n == 0 {
		return ""
	}
	return prefix + size(n)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
