// Package console shows what the manager does to whoever watches a machine
// come up or go down: a line for each unit, in the form that people know. What
// is said is decided by Turn, which is pure; Screen writes it, and never waits
// for a terminal.
package console

import (
	"fmt"
	"strings"
	"time"

	"github.com/nsinit/nsinit/supervisor/machine"
)

// Tag is what stands in brackets before a line.
type Tag string

// The tags. NoTag is an indented line: something has begun.
const (
	NoTag  Tag = ""
	OK     Tag = "  OK  "
	Failed Tag = "FAILED"
	Depend Tag = "DEPEND"
	Time   Tag = " TIME "
	Warn   Tag = " WARN "
)

// bad reports whether the line says that something went wrong: those remain
// with "quiet".
func (t Tag) bad() bool { return t == Failed || t == Depend || t == Time || t == Warn }

// colours are those of the tags (console_codes(4)): green, red, yellow.
var colours = map[Tag]string{OK: "\x1b[0;32m", Failed: "\x1b[0;1;31m", Depend: "\x1b[0;1;38:5:185m", Time: "\x1b[0;1;31m", Warn: "\x1b[0;1;33m"}

// Line is one line of the console.
type Line struct {
	Tag  Tag
	Text string
}

// Render gives the line without its end, with colours or without. Nothing in it
// but the tag can change the terminal.
func (l Line) Render(colour bool) string {
	text := printable(l.Text)
	switch {
	case l.Tag == NoTag:
		return "         " + text
	case colour:
		return "[" + colours[l.Tag] + string(l.Tag) + "\x1b[0m] " + text
	}
	return "[" + string(l.Tag) + "] " + text
}

// printable replaces control characters: names and errors may come from
// anywhere.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

// Unit is what a line says of a unit.
type Unit struct {
	Name, Description string
	Target            bool
	Oneshot           bool
	Takes             bool // its start takes a while: a oneshot, one that notifies, or one with commands before main
}

func (u Unit) title() string {
	if u.Description == "" || u.Description == u.Name {
		return u.Name
	}
	return u.Name + " - " + u.Description
}

// Known is what Turn has to know besides the unit's two states.
type Known struct {
	Told  bool          // its trouble has been told of: one that is started again and again says so once
	Unmet bool          // something that it requires is not up
	Why   func() string // in a sentence, what a unit that failed failed of; nil: not known
}

// Turn gives the line for a change of a unit, if there is one to say.
func Turn(u Unit, before, after machine.Snapshot, known Known) (Line, bool) {
	title := u.title()
	say := func(tag Tag, format string) (Line, bool) { return Line{tag, fmt.Sprintf(format, title)}, true }
	from, to := before.State, after.State
	switch {
	case to.Up() && !from.Up():
		return say(OK, upWords(u))
	case from == to:
		return dropped(u, before, after, known)
	case to == machine.Failed, (to == machine.AutoRestart || to == machine.AutoRestartQueued) && !known.Told:
		return failed(u, before, after, known)
	case to == machine.Inactive && from.Up() && u.Target:
		return say(OK, "Stopped target %s.")
	case to == machine.Inactive && before.Want == machine.WantDown && from.Active() == "deactivating":
		return say(OK, "Stopped %s.")
	case to.Active() == "deactivating" && after.Want == machine.WantDown && from.Active() != "deactivating":
		return say(NoTag, "Stopping %s...")
	case u.Takes && begins(from, to):
		return say(NoTag, "Starting %s...")
	}
	return Line{}, false
}

func upWords(u Unit) string {
	switch {
	case u.Target:
		return "Reached target %s."
	case u.Oneshot:
		return "Finished %s."
	}
	return "Started %s."
}

// begins: a start has come so far that something runs.
func begins(from, to machine.State) bool {
	early := from.Down() || from == machine.AutoRestart || from == machine.AutoRestartQueued || from == machine.Checking
	return early && to == machine.Launching
}

// failed is the end of a unit that did not start, or ended badly.
func failed(u Unit, before, after machine.Snapshot, known Known) (Line, bool) {
	title := u.title()
	started := after.ActiveSince >= after.StartedAt && after.ActiveSince != 0
	switch {
	case after.State != machine.Failed && (started || after.Result == machine.Success):
		return Line{}, false // it ran, and will again
	case before.Want == machine.WantDown && after.Result == machine.TimedOut:
		return Line{Time, fmt.Sprintf("Timed out stopping %s.", title)}, true
	case before.Want == machine.WantDown:
		return Line{OK, fmt.Sprintf("Stopped %s.", title)}, true
	case after.Result == machine.TimedOut && !started:
		return Line{Time, fmt.Sprintf("Timed out starting %s.", title)}, true
	case started:
		return Line{Failed, fmt.Sprintf("%s has failed%s. See: nsctl status %s", title, known.why(), u.Name)}, true
	}
	return Line{Failed, fmt.Sprintf("Failed to start %s%s. See: nsctl status %s", title, known.why(), u.Name)}, true
}

// why is the reason, which a console without a login has nowhere else.
func (k Known) why() string {
	if k.Why == nil {
		return ""
	}
	return ": " + k.Why()
}

// dropped is a start that was given up before it began, for want of what it needs.
func dropped(u Unit, before, after machine.Snapshot, known Known) (Line, bool) {
	gone := before.Job == machine.VerbStart && !before.JobRunning && after.Job == machine.NoVerb
	if !gone || !known.Unmet || !after.State.Down() {
		return Line{}, false
	}
	return Line{Depend, fmt.Sprintf("Dependency failed for %s.", u.title())}, true
}

// Busy is a unit that has been changing for a while.
type Busy struct {
	Unit  Unit
	Stop  bool
	For   time.Duration
	Limit time.Duration // 0: none
}

// patience is how long a job may run before it is shown.
const patience = 5 * time.Second

// Waiting says what is being waited for: one of the units that have been at it
// for more than 5 seconds, in turn, step being the number of the call.
func Waiting(list []Busy, step int) (string, bool) {
	var long []Busy
	for _, b := range list {
		if b.For >= patience {
			long = append(long, b)
		}
	}
	if len(long) == 0 {
		return "", false
	}
	b := long[step/turn%len(long)]
	job := "start"
	if b.Stop {
		job = "stop"
	}
	limit := "no limit"
	if b.Limit > 0 {
		limit = clock(b.Limit)
	}
	count := ""
	if len(long) > 1 {
		count = fmt.Sprintf("(%d of %d) ", step/turn%len(long)+1, len(long))
	}
	return fmt.Sprintf("%sA %s job is running for %s (%s / %s)", count, job, b.Unit.title(), clock(b.For), limit), true
}

// turn is how many calls one unit is shown for.
const turn = 3

// clock is a duration in whole seconds: 8s, 1min 30s.
func clock(d time.Duration) string {
	seconds := int(d / time.Second)
	switch {
	case seconds < 60:
		return fmt.Sprintf("%ds", seconds)
	case seconds%60 == 0:
		return fmt.Sprintf("%dmin", seconds/60)
	}
	return fmt.Sprintf("%dmin %ds", seconds/60, seconds%60)
}

// eye is the moving mark of the line that waits.
func eye(step int) string {
	const width = 6
	at := step % (2*width - 2)
	if at >= width {
		at = 2*width - 2 - at
	}
	return strings.Repeat(" ", at) + "*" + strings.Repeat(" ", width-1-at)
}
