package main_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// TestScripts runs testdata/script: one promise a file. Each script has an
// instance of its own; it writes unit files into units/, where these stand for
//
//	@PROBE@  the probe service   @NAME@  the instance, for names that must be nobody else's
//	@WORK@   the script's directory   @RUN@  the runtime directory
//
// and the same are in the environment as $PROBE, $NAME, $WORK and $RUN.
func TestScripts(t *testing.T) {
	bin := needBinaries(t)
	root, err := os.MkdirTemp(filepath.Dir(bin), "s-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", WorkdirRoot: root, RequireExplicitExec: true, RequireUniqueNames: true,
		Setup:     func(env *testscript.Env) error { return setUp(env, bin) },
		Condition: condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start-manager": cmdStartManager, "stop-manager": cmdStopManager, "kill-manager": cmdKillManager, "signal-manager": cmdSignalManager,
			"wait-status": cmdWaitStatus, "status": cmdStatus, "save": cmdSave, "signal": cmdSignal,
			"wait-log": cmdWaitLog, "wait-grep": cmdWaitGrep, "wait-gone": cmdWaitGone, "alive": cmdAlive,
			"namespaces-differ": cmdNamespacesDiffer, "exits": cmdExits, "json": cmdJSON, "same": cmdSame, "consecutive": cmdConsecutive,
			"network-host": cmdNetworkHost, "wait-exec": cmdWaitExec,
		},
	})
}

// scriptTime is more than any script takes, even if one wait in it takes all of
// its patience.
const scriptTime = 2 * patience

// instanceKey is where a script finds its instance.
type instanceKey struct{}

// failing is what testing.T can and testscript.T does not say.
type failing interface {
	Failed() bool
	Errorf(format string, args ...any)
	Logf(format string, args ...any)
}

func setUp(env *testscript.Env, bin string) error {
	in, err := newInstance(bin, env.WorkDir)
	if err != nil {
		return err
	}
	t := env.T().(failing)
	env.Values[instanceKey{}] = in
	// Whatever a script waits for, it is for the manager: without one it ends.
	overdue := time.AfterFunc(scriptTime, func() {
		t.Logf("the script runs for %v now, and its processes are killed; before that:\n%s", scriptTime, in.report())
		for _, pid := range in.processes() {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	env.Defer(func() {
		overdue.Stop()
		if t.Failed() {
			t.Logf("%s", in.report())
		}
		for _, problem := range in.destroy() {
			t.Errorf("left behind: %s", problem)
		}
		os.RemoveAll(env.WorkDir)
	})
	env.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	for name, value := range map[string]string{"NSCTL_SOCKET": in.socket(), "NAME": in.name, "RUN": in.runDir, "PROBE": in.probe(),
		"CGROUP": filepath.Join(cgroup2(), in.name), "NO_COLOR": "1", "LC_ALL": "C"} {
		env.Setenv(name, value)
	}
	return filepath.WalkDir(env.WorkDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".toml" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, []byte(in.expand(string(text))), 0o644)
	})
}

// condition knows [CONTROLLER-controller], for what the v2 hierarchy has here,
// and [exit-by-pidfd]: the kernel tells the exit status of somebody else's child.
func condition(name string) (bool, error) {
	if name == "exit-by-pidfd" {
		return atLeast(6, 15), nil
	}
	controller, ok := strings.CutSuffix(name, "-controller")
	if !ok {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	have, err := os.ReadFile(filepath.Join(cgroup2(), "cgroup.controllers"))
	return slices.Contains(strings.Fields(string(have)), controller), err
}

// atLeast compares the kernel's release.
func atLeast(major, minor int) bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	var have [2]int
	fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &have[0], &have[1])
	return have[0] > major || have[0] == major && have[1] >= minor
}

func matches(pattern, text string) bool {
	re, err := regexp.Compile("(?ms)" + pattern)
	return err == nil && re.MatchString(text)
}

func its(ts *testscript.TestScript) *instance { return ts.Value(instanceKey{}).(*instance) }

func need(ts *testscript.TestScript, ok bool, usage string) {
	if !ok {
		ts.Fatalf("usage: %s", usage)
	}
}

// cmdStartManager: [!] start-manager [FLAG...]. What it says is in manager.log.
func cmdStartManager(ts *testscript.TestScript, neg bool, args []string) {
	err := its(ts).start(args...)
	if neg == (err == nil) {
		ts.Fatalf("start-manager: %v", err)
	}
	if neg {
		if state, err := its(ts).wait(); err != nil || state.ExitCode() <= 0 {
			ts.Fatalf("the manager should end with an error; it ended with %v, %v", state, err)
		}
	}
}

// cmdStopManager: stop it in an orderly way, and see that nothing is left.
func cmdStopManager(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(its(ts).stop())
	if left := its(ts).left(); len(left) > 0 {
		ts.Fatalf("left behind:\n%s", strings.Join(left, "\n"))
	}
}

func cmdKillManager(ts *testscript.TestScript, _ bool, _ []string) { ts.Check(its(ts).kill()) }

func cmdSignalManager(ts *testscript.TestScript, _ bool, args []string) {
	need(ts, len(args) == 1, "signal-manager SIGNAL")
	ts.Check(its(ts).signal(unix.SignalNum(args[0])))
}

func cmdWaitStatus(ts *testscript.TestScript, _ bool, args []string) {
	need(ts, len(args) == 3, "wait-status UNIT FIELD REGEXP")
	ts.Check(its(ts).await(args[0], args[1], args[2]))
}

// cmdStatus: [!] status UNIT FIELD REGEXP, at this moment; all of the field matches.
func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 3, "status UNIT FIELD REGEXP")
	v, err := its(ts).field(args[0], args[1])
	ts.Check(err)
	re, err := regexp.Compile("(?s)^(?:" + args[2] + ")$")
	ts.Check(err)
	if re.MatchString(v) == neg {
		ts.Fatalf("%s of %s is %q", args[1], args[0], v)
	}
}

// cmdSave: save VARIABLE UNIT FIELD.
func cmdSave(ts *testscript.TestScript, _ bool, args []string) {
	need(ts, len(args) == 3, "save VARIABLE UNIT FIELD")
	v, err := its(ts).field(args[1], args[2])
	ts.Check(err)
	if v == "" {
		ts.Fatalf("%s has no %s", args[1], args[2])
	}
	ts.Setenv(args[0], v)
}

// cmdSame: [!] same A B.
func cmdSame(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 2, "same A B")
	if (args[0] == args[1]) == neg {
		ts.Fatalf("%q and %q", args[0], args[1])
	}
}

// cmdSignal: signal SIGNAL PID, from outside, not by the manager.
func cmdSignal(ts *testscript.TestScript, _ bool, args []string) {
	need(ts, len(args) == 2, "signal SIGNAL PID")
	ts.Check(unix.Kill(pid(ts, args[1]), unix.SignalNum(args[0])))
}

func pid(ts *testscript.TestScript, text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 2 {
		ts.Fatalf("%q is no process ID", text)
	}
	return n
}

func logOf(ts *testscript.TestScript, unit string) string {
	out, stderr, code := its(ts).nsctl("logs", "-o", "cat", "-u", unit)
	if code != 0 {
		ts.Fatalf("nsctl logs: exit %d: %s", code, stderr)
	}
	return out
}

// cmdWaitLog: wait until a line of the unit's log matches.
func cmdWaitLog(ts *testscript.TestScript, _ bool, args []string) {
	need(ts, len(args) == 2, "wait-log UNIT REGEXP")
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	ts.Check(eventually("a line of "+args[0]+" to match "+args[1], func() (bool, string) {
		text := logOf(ts, args[0])
		return re.MatchString(text), text
	}))
}

// cmdWaitGrep: wait until a file matches.
func cmdWaitGrep(ts *testscript.TestScript, _ bool, args []string) {
	need(ts, len(args) == 2, "wait-grep REGEXP FILE")
	re, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	ts.Check(eventually(args[1]+" to match "+args[0], func() (bool, string) {
		text, _ := os.ReadFile(ts.MkAbs(args[1]))
		return re.Match(text), string(text)
	}))
}

// cmdWaitGone: wait until no process has the number.
func cmdWaitGone(ts *testscript.TestScript, _ bool, args []string) {
	need(ts, len(args) == 1, "wait-gone PID")
	n := pid(ts, args[0])
	ts.Check(eventually("the end of "+args[0], func() (bool, string) { return unix.Kill(n, 0) == unix.ESRCH, "alive" }))
}

func cmdAlive(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 1, "[!] alive PID")
	if err := syscall.Kill(pid(ts, args[0]), 0); (err == nil) == neg {
		ts.Fatalf("process %s: %v", args[0], err)
	}
}

// cmdNamespacesDiffer: [!] namespaces-differ PID PID|self KIND...: all of the
// kinds (none of them).
func cmdNamespacesDiffer(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) > 2, "[!] namespaces-differ PID PID|self KIND...")
	for _, kind := range args[2:] {
		a, err := os.Readlink("/proc/" + args[0] + "/ns/" + kind)
		ts.Check(err)
		b, err := os.Readlink("/proc/" + args[1] + "/ns/" + kind)
		ts.Check(err)
		if (a == b) != neg {
			ts.Fatalf("%s: %s of %s, %s of %s", kind, a, args[0], b, args[1])
		}
	}
}

// cmdExits: exits CODE PROGRAM ARG..., with exactly this code.
func cmdExits(ts *testscript.TestScript, _ bool, args []string) {
	need(ts, len(args) > 1, "exits CODE PROGRAM [ARG...]")
	code := "0"
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		code = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if code != args[0] {
		ts.Fatalf("%s exits %s, not %s", args[1], code, args[0])
	}
}

// cmdJSON: [!] json FIELD REGEXP: about the JSON that the last program printed;
// of a stream, about its last line.
func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 2, "[!] json FIELD REGEXP")
	lines := strings.Split(strings.TrimSpace(ts.ReadFile("stdout")), "\n")
	v, err := jsonField([]byte(lines[len(lines)-1]), args[0])
	ts.Check(err)
	re, err := regexp.Compile("(?s)^(?:" + args[1] + ")$")
	ts.Check(err)
	if re.MatchString(v) == neg {
		ts.Fatalf("%s is %q", args[0], v)
	}
}

// cmdConsecutive: the numbers among the lines of the unit's log are 1, 2, 3 and
// so on: none is missing, none comes twice.
func cmdConsecutive(ts *testscript.TestScript, _ bool, args []string) {
	need(ts, len(args) == 2, "consecutive UNIT AT-LEAST")
	n, err := consecutive(logOf(ts, args[0]))
	ts.Check(err)
	if least, _ := strconv.Atoi(args[1]); n < least {
		ts.Fatalf("%d lines, at least %d should be there", n, least)
	}
}

// consecutive counts the lines 1, 2, 3...; lines that are no number are others'.
func consecutive(text string) (n int, err error) {
	for line := range strings.Lines(text) {
		got, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			continue
		}
		if got != n+1 {
			return n, fmt.Errorf("after line %d comes line %d", n, got)
		}
		n++
	}
	return n, nil
}
