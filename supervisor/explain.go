package supervisor

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/supervisor/compile"
	"github.com/nsinit/nsinit/supervisor/control"
	"github.com/nsinit/nsinit/supervisor/machine"
	"github.com/nsinit/nsinit/unit"
)

// outcome is what is known of a run that did not go well, to be put into
// words. Everything but snap may be missing.
type outcome struct {
	snap  machine.Snapshot
	unit  *unit.Unit
	took  time.Duration // how long the failed program ran, 0 if unknown
	lines []string      // the last that the unit wrote since its start
}

// explainResult says in one sentence why a unit's last run ended as it did.
func explainResult(snap machine.Snapshot) string { return outcome{snap: snap}.cause() }

// failure is the outcome as the API tells it, nil if nothing failed.
func (o outcome) failure() *control.Failure {
	if !failing(o.snap.Result) {
		return nil
	}
	setup := readSetup(o.snap.Setup)
	f := &control.Failure{Program: string(o.program()), Step: o.snap.Setup.Step, Index: setup.index, Of: setup.of, Errno: o.snap.Setup.Errno,
		ExitClass: exitClass(o.snap.Setup.Class), Text: o.cause(), Hint: o.hint(), Lines: o.lines}
	if o.snap.Result == machine.StartLimitHit {
		f.Step, f.Index, f.Of, f.Errno, f.ExitClass = "", 0, 0, 0, ""
	}
	return f
}

// failing tells results that are somebody's fault from those of a unit that
// was skipped or never tried.
func failing(r machine.Result) bool {
	switch r {
	case machine.Success, machine.ExecCondition, machine.ConditionFailed, machine.Canceled:
		return false
	}
	return true
}

// cause is the sentence, without the unit's name.
func (o outcome) cause() string {
	switch r := o.snap.Result; r {
	case machine.Success:
		return "it ended well"
	case machine.ExitCodeFailure, machine.SignalFailure, machine.CoreDump:
		return o.programFailed()
	case machine.TimedOut:
		return o.timedOut()
	case machine.WatchdogFailure:
		return "no WATCHDOG=1 came in time" + o.limit("watchdog_sec", func(s *unit.Service) time.Duration { return s.WatchdogSec })
	case machine.StartLimitHit:
		return o.startLimit()
	case machine.OOMKill:
		return "the kernel killed a process of it for lack of memory" + o.memoryMax()
	case machine.Protocol:
		return o.protocol()
	case machine.Resources, machine.SetupFailure:
		return orElse(readSetup(o.snap.Setup).text, "the preparation failed")
	case machine.ReaperGone:
		return "its reaper, process 1 of its namespaces, " + ended(o.snap.Last) + "; what still ran was killed"
	case machine.StatusUnknown:
		if o.snap.MainMissing != "" {
			return o.snap.MainMissing
		}
		return "main ended, and how is not known: it was the child of another process of the service, which waited for it"
	case machine.ExecCondition:
		return "exec_condition " + ended(o.snap.Last)
	case machine.ConditionFailed, machine.AssertFailed:
		return orElse(o.snap.Failed, "a condition does not hold")
	case machine.DependencyFail:
		return "a unit that it needs did not start"
	case machine.Canceled:
		return "another request took its place"
	default:
		return string(r)
	}
}

// protocol is what a service did not keep to.
func (o outcome) protocol() string {
	s := o.snap
	switch {
	case s.MainMissing != "":
		return "main was never named: nothing of the service is left that could, and " + s.MainMissing
	case s.MainFrom == machine.FromGuess:
		return "main, a process that was guessed, " + ended(s.MainStatus) + " and left others: exec_start had not come to its daemon when it ended"
	}
	typ := "notify"
	if o.unit != nil {
		typ = o.unit.Service.Type
	}
	return "main ended (" + codeStatus(s.MainStatus) + ") before it had said READY=1, as type = \"" + typ + "\" wants it to"
}

// program is the key of the program whose end decided the result.
func (o outcome) program() machine.Kind {
	s := o.snap
	switch {
	case s.Setup.Program != machine.NoKind:
		return s.Setup.Program
	case s.Result == machine.StartLimitHit, s.Result == machine.ReaperGone, s.Last == (machine.Status{}):
		return machine.NoKind
	case s.Kind == machine.KindCondition, s.Kind == machine.KindStartPre:
		return s.Kind
	case s.HookKind == machine.NoKind, s.Last == s.MainStatus:
		return machine.KindStart
	case s.HookKind == machine.KindStopPost && s.ActiveSince < s.StartedAt && o.has(isolate.ExecStartPost):
		return machine.KindStartPost // it failed the start; exec_stop_post came after
	}
	return s.HookKind
}

func (o outcome) has(kind isolate.ExecKind) bool {
	return o.unit != nil && len(compile.Commands(o.unit, kind)) > 0
}

// programFailed is "exec_start_pre failed: /usr/sbin/nginx exited 1 after 19 ms".
func (o outcome) programFailed() string {
	kind := o.program()
	if kind == machine.KindStart && o.snap.MainFrom != machine.FromExec && o.snap.Last == o.snap.MainStatus {
		return "main " + ended(o.snap.Last)
	}
	text := orElse(string(kind), "a program")
	if path := o.path(kind); path != "" {
		text += " failed: " + path
	}
	text += " " + ended(o.snap.Last)
	if o.took > 0 {
		text += " after " + span(o.took)
	}
	return text
}

// path is the program that a kind's command names.
func (o outcome) path(kind machine.Kind) string {
	if o.unit == nil {
		return ""
	}
	index := o.snap.Index
	if hookKinds[kind] != 0 {
		index = o.snap.HookIndex
	}
	for k, name := range execKinds() {
		if list := compile.Commands(o.unit, k); name == kind && index < len(list) {
			return list[index].Path
		}
	}
	return ""
}

func execKinds() map[isolate.ExecKind]machine.Kind {
	return map[isolate.ExecKind]machine.Kind{isolate.ExecCondition: machine.KindCondition, isolate.ExecStartPre: machine.KindStartPre,
		isolate.ExecStart: machine.KindStart, isolate.ExecStartPost: machine.KindStartPost, isolate.ExecReload: machine.KindReload,
		isolate.ExecStop: machine.KindStop, isolate.ExecStopPost: machine.KindStopPost}
}

// timedOut tells which time was up: the state that it was in is gone, and what
// is known is how far it had come, and who wanted it to end.
func (o outcome) timedOut() string {
	s := o.snap
	startSec := o.limit("timeout_start_sec", func(s *unit.Service) time.Duration { return s.TimeoutStartSec })
	switch {
	case s.ActiveSince == 0 || s.ActiveSince < s.StartedAt:
		switch {
		case s.Kind == machine.KindCondition || s.Kind == machine.KindStartPre:
			return string(s.Kind) + " did not end in time" + startSec
		case s.HookKind == machine.KindStartPost:
			return "exec_start_post did not end in time" + startSec
		case s.MainMissing != "":
			return "main was not named in time" + startSec + ": " + s.MainMissing
		case s.Kind == machine.KindStart && o.unit != nil && o.unit.Service.Notifies():
			return "it did not say READY=1 in time" + startSec
		case s.Kind == machine.KindStart:
			return "exec_start did not end in time" + startSec
		}
		return "it was not launched in time" + startSec
	case s.Why == machine.StopOwn && o.ranOut():
		return "its time is up" + o.limit("runtime_max_sec", func(s *unit.Service) time.Duration { return s.RuntimeMaxSec })
	}
	return "it did not end in time when it was to stop" + o.limit("timeout_stop_sec", func(s *unit.Service) time.Duration { return s.TimeoutStopSec })
}

// ranOut reports whether runtime_max_sec had passed.
func (o outcome) ranOut() bool {
	if o.unit == nil {
		return false
	}
	most := o.unit.Service.RuntimeMaxSec
	return most > 0 && most != unit.Infinity && time.Duration(o.snap.EndedAt-o.snap.ActiveSince) >= most
}

// limit is " (timeout_start_sec = 90 s)".
func (o outcome) limit(key string, get func(*unit.Service) time.Duration) string {
	if o.unit == nil {
		return " (" + key + ")"
	}
	d := get(&o.unit.Service)
	if d <= 0 || d == unit.Infinity {
		return ""
	}
	return fmt.Sprintf(" (%s = %s)", key, span(d))
}

func (o outcome) memoryMax() string {
	if o.unit == nil || !o.unit.Resources.MemoryMax.Set || o.unit.Resources.MemoryMax.Share != 0 || o.unit.Resources.MemoryMax.Value == unit.Unlimited {
		return ""
	}
	return " (memory_max = " + strconv.FormatUint(o.unit.Resources.MemoryMax.Value>>20, 10) + "M)"
}

// startLimit is "5 starts in 10 s, last: code=exited, status=1; next try: none
// (nsctl reset-failed nginx)".
func (o outcome) startLimit() string {
	text := "it was started too often"
	if o.unit != nil {
		text = fmt.Sprintf("%d starts in %s", o.unit.StartLimitBurst, span(o.unit.StartLimitIntervalSec))
	}
	last := o.snap.Last
	if last == (machine.Status{}) {
		last = o.snap.MainStatus
	}
	switch {
	case o.snap.Setup.Text != "":
		text += ", last: " + readSetup(o.snap.Setup).text
	case last != (machine.Status{}):
		text += ", last: " + codeStatus(last)
	}
	return text + "; next try: none (nsctl reset-failed " + o.snap.Unit + ")"
}

// codeStatus is "code=exited, status=1" or "code=killed, status=9/KILL".
func codeStatus(s machine.Status) string {
	switch s.Code {
	case machine.CodeNone, machine.CodeUnknown:
		return "code=unknown"
	case machine.CodeKilled, machine.CodeDumped:
		return fmt.Sprintf("code=%s, status=%d/%s", s.Code, s.Value, strings.TrimPrefix(signalText(s.Value), "SIG")) // as systemctl
	}
	return fmt.Sprintf("code=%s, status=%d", s.Code, s.Value)
}

// ended is "exited 1" or "was killed by SIGSEGV and dumped core".
func ended(s machine.Status) string {
	switch s.Code {
	case machine.CodeExited:
		return "exited " + strconv.Itoa(s.Value)
	case machine.CodeKilled:
		return "was killed by " + signalText(s.Value)
	case machine.CodeDumped:
		return "was killed by " + signalText(s.Value) + " and dumped core"
	}
	return "ended, and nobody knows how"
}

// signalText is "SIGTERM", or "signal 35" for one without a name.
func signalText(n int) string {
	if name := unix.SignalName(syscall.Signal(n)); name != "" {
		return name
	}
	return "signal " + strconv.Itoa(n)
}

// exitClass is systemd's "226/NAMESPACE", empty for what has no class.
func exitClass(class int) string {
	if class == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%s", class, isolate.Class(class))
}

// setupText is a failed preparation, taken apart.
type setupText struct {
	text, hint string
	index, of  int
}

// Forms are compiled when they are first needed, which at most starts is never.
var setupForm = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?s)^(.*?\((?:step (\d+) of (\d+), )?status \d+/[A-Z0-9_]+\))(?:; (.*))?$`)
})

// readSetup parts the sentence of a launch.StepError from its advice.
func readSetup(s machine.Setup) setupText {
	m := setupForm().FindStringSubmatch(s.Text)
	if m == nil {
		return setupText{text: s.Text}
	}
	index, _ := strconv.Atoi(m[2])
	of, _ := strconv.Atoi(m[3])
	return setupText{text: m[1], hint: m[4], index: index, of: of}
}

// span is a duration as people read it: "19 ms", "1.84 s", "2min 3s", "3h 5min".
func span(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/1e6)
	case d < 10*time.Millisecond && d%time.Millisecond != 0:
		return fmt.Sprintf("%.1f ms", float64(d)/1e6)
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute && d%time.Second == 0:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Minute:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d < time.Hour:
		return pair(d, time.Minute, "min", time.Second, "s")
	case d < 24*time.Hour:
		return pair(d, time.Hour, "h", time.Minute, "min")
	}
	return pair(d, 24*time.Hour, " d", time.Hour, "h")
}

func pair(d, big time.Duration, bigName string, small time.Duration, smallName string) string {
	text := strconv.Itoa(int(d/big)) + bigName
	if rest := int(d % big / small); rest > 0 {
		text += " " + strconv.Itoa(rest) + smallName
	}
	return text
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
