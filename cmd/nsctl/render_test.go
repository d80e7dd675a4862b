package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/nsinit/nsinit/supervisor/control"
)

var update = flag.Bool("update", false, "write the golden files")

// now is when everything in these tests happens.
func now() time.Time { return time.Date(2026, 11, 23, 16, 23, 30, 0, time.UTC) }

func before(d time.Duration) int64 { return now().Add(-d).UnixMicro() }

func testView(width int) view { return view{Width: width, Now: now(), Local: time.UTC} }

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got; -update writes it):\n%s", path, diff)
	}
}

func nginx() control.UnitStatus {
	return control.UnitStatus{
		Name: "nginx", Description: "nginx web server and reverse proxy", Documentation: []string{"man:nginx(8)"}, Kind: "service",
		LoadState: "loaded", Path: "/usr/lib/nsinit/units/nginx.toml", DropIns: []string{"/etc/nsinit/units/nginx.toml.d/50-limits.toml", "/etc/nsinit/units/nginx.toml.d/60-more.toml"},
		ChangedOnDisk: true, ChangedUsec: before(3 * time.Minute), Enabled: "enabled", Profile: "daemon",
		ActiveState: "active", SubState: "running", Result: "success", StateSinceUsec: before(21*time.Minute + 19*time.Second),
		MainPID: 8127, MainPIDInside: 2, MainCommand: "nginx", MainPIDSource: "pid_file /run/nginx.pid", StatusText: "ready\x1b[2J",
		StartCount: 4, Restarts: 1, Generation: 4, LeftOvers: []control.LeftOver{{Generation: 3, PIDs: []int{77, 78}}},
		Tasks: 3, TasksLimit: 4915, MemoryCurrent: 6710886, MemoryMax: 256 << 20, MemoryPeak: 9542041, CPUUsageNsec: 412e6,
		Namespaces:      []control.Namespace{{Type: "mount", Private: true}, {Type: "pid", Private: true}, {Type: "net", Private: true}, {Type: "user"}},
		CapabilityCount: 11, NoNewPrivileges: true, Relaxations: []string{"network veth", "2 directories writable"},
		Network:      &control.Network{Mode: "veth", Address: "10.80.0.2/24", Link: "nsbr0", Publish: []string{"80:80/tcp", "443:443/tcp"}, RxBytes: 1258291, TxBytes: 48 << 20},
		Listening:    []control.Listening{{Protocol: "tcp", Address: "0.0.0.0:80"}, {Protocol: "tcp", Address: "0.0.0.0:443"}, {Protocol: "tcp", Address: "127.0.0.1:81", Note: "inside only: loopback"}},
		ControlGroup: "nsinit/nginx/4/main",
		Processes: []control.Process{
			{PID: 8127, PPID: 8120, Name: "nginx", Command: "nginx: master process /usr/sbin/nginx -g daemon on; master_process on;"},
			{PID: 8131, PPID: 8127, Name: "nginx", Command: "nginx: worker process"},
			{PID: 8130, PPID: 8127, Name: "nginx", Command: "nginx: worker process \x1b]0;owned\a"},
			{PID: 8140, PPID: 8130, Name: "sh"}},
		Notices:  []control.Notice{{AtUsec: before(21*time.Minute + 19*time.Second), Text: "start 4: ready in 38 ms (launch 1.9 ms, exec_start_pre 21 ms)"}},
		Problems: []string{"the memory controller is missing: memory_max is not in force"},
	}
}

func failed() control.UnitStatus {
	return control.UnitStatus{
		Name: "db", Description: "PostgreSQL", Kind: "service", LoadState: "loaded", Path: "/etc/nsinit/units/db.toml", Enabled: "disabled", Profile: "strict",
		ActiveState: "failed", SubState: "failed", Result: "start-limit", StateSinceUsec: before(26 * time.Hour), StartCount: 5, Restarts: 4,
		LastExit:  &control.Exit{PID: 412, Code: "exited", Status: 1, Name: "1/FAILURE", AtUsec: before(26 * time.Hour)},
		Deadlines: []control.Deadline{{Name: "restart_sec", AtUsec: now().Add(3 * time.Second).UnixMicro()}},
		Failure: &control.Failure{Program: "exec_start_pre", Text: "exec_start_pre failed: /usr/sbin/nginx exited 1 after 19 ms",
			Lines: []string{`[emerg] open() "/var/log/nginx/error.log" failed (30: Read-only file system)`},
			Hint:  "The file system is read-only for this service. To allow this path write in [filesystem]:\n  logs_directory = \"nginx\""},
	}
}

func testLogs() []control.LogRecord {
	return []control.LogRecord{
		{Unit: "nginx", TimeUsec: before(25 * time.Hour), Stream: "stdout", Priority: 6, Text: "yesterday"},
		{Unit: "nginx", TimeUsec: before(time.Minute), Stream: "stderr", Priority: 3, PID: 8127, Text: "bad \x1b[31mred\x1b[0m \u009b31m \xff " + strings.Repeat("long ", 30)},
	}
}

func TestRenderStatus(t *testing.T) {
	for _, width := range []int{0, 80, 120} {
		for name, st := range map[string]control.UnitStatus{"active": nginx(), "failed": failed(),
			"bad": {Name: "redis", LoadState: "bad-file", ActiveState: "inactive", SubState: "dead", Path: "/etc/nsinit/units/redis.toml",
				LoadError: "/etc/nsinit/units/redis.toml:7:1: unknown key exec_startt in [service]\n/etc/nsinit/units/redis.toml:9:1: second"}} {
			var b bytes.Buffer
			logs := testLogs()
			if name == "bad" {
				logs = nil
			}
			renderStatus(&b, testView(width), st, logs, map[string]string{"bad": "the log is for root and group nsinit"}[name])
			golden(t, fmt.Sprintf("status-%s-%d", name, width), b.Bytes())
			checkOutput(t, b.String(), width)
		}
	}
}

// What the program wrote stands once: beside the cause, or where the log's end shows it.
func TestExcerptIsNotRepeated(t *testing.T) {
	st := failed()
	line := st.Failure.Lines[0]
	for name, logs := range map[string][]control.LogRecord{"in the log's end": {{TimeUsec: before(time.Minute), Text: line}}, "not in it": testLogs()} {
		var b bytes.Buffer
		renderStatus(&b, testView(0), st, logs, "")
		if n := strings.Count(b.String(), line); n != 1 {
			t.Errorf("%s: the line stands %d times:\n%s", name, n, b.String())
		}
	}
	if len(st.Failure.Lines) != 1 {
		t.Error("the status itself was changed")
	}
}

// checkOutput is what holds for everything that is printed: no control
// characters, and no line wider than the terminal (the hint is for copying, and
// is left whole).
func checkOutput(t *testing.T, s string, width int) {
	t.Helper()
	for line := range strings.Lines(s) {
		line = strings.TrimSuffix(line, "\n")
		if strings.ContainsFunc(line, dangerous) || !utf8.ValidString(line) {
			t.Errorf("not clean: %q", line)
		}
		if n := utf8.RuneCountInString(line); width > 0 && n > width && !strings.HasPrefix(line, "  The file system") && !strings.Contains(line, "Active:") && !strings.Contains(line, ".toml:7:1") && !strings.Contains(line, "Changed:") {
			t.Errorf("%d columns of %d: %q", n, width, line)
		}
	}
}

func testList() []control.UnitListEntry {
	return []control.UnitListEntry{
		{Name: "cron", Kind: "service", LoadState: "loaded", ActiveState: "active", SubState: "running", StateSinceUsec: before(76 * time.Hour), MainPID: 531, MemoryCurrent: 1153433, Tasks: 1, Network: "host", Description: "Regular background jobs"},
		{Name: "db", Kind: "service", LoadState: "loaded", ActiveState: "activating", SubState: "start", StateSinceUsec: before(4 * time.Second), MainPID: 9120, MemoryCurrent: 19293798, Tasks: 3, Network: "10.80.0.3", Description: "PostgreSQL", Note: "PostgreSQL: health: tcp 5432 refused"},
		{Name: "nginx", Kind: "service", LoadState: "loaded", ActiveState: "failed", SubState: "failed", StateSinceUsec: before(12 * time.Minute), Network: "10.80.0.2", Note: "see: nsctl status nginx"},
		{Name: "postgresql@15-main", Kind: "service", LoadState: "loaded", ActiveState: "active", SubState: "running", StateSinceUsec: before(76 * time.Hour), MainPID: 603, MemoryCurrent: 50541363, Tasks: 8, Network: "host", Description: "PostgreSQL Cluster 15-main"},
		{Name: "ssh", Kind: "service", LoadState: "loaded", ActiveState: "inactive", SubState: "listening", StateSinceUsec: before(76 * time.Hour), Network: "host tcp/22", Description: "OpenBSD Secure Shell server"},
		{Name: "redis", Kind: "service", LoadState: "bad-file", ActiveState: "inactive", SubState: "dead", Note: "/etc/nsinit/units/redis.toml:7:1 unknown key"},
	}
}

func TestRenderOverview(t *testing.T) {
	m := control.ManagerStatus{Instance: "nsinit", State: "running", PID: 412, SinceUsec: before(13 * time.Hour), BootUsec: before(76 * time.Hour),
		ManagerRestarts: 1, LastEnd: "killed by SIGKILL", Target: "default", TargetNsec: 1.84e9, Load1: 0.31, MemoryUsed: 212 << 20, MemoryTotal: 983 << 20,
		Counts: map[string]int{"active": 11, "failed": 1, "activating": 1, "bad-file": 1}}
	for _, width := range []int{0, 60, 80, 120} {
		var b bytes.Buffer
		renderManager(&b, testView(0), m)
		fmt.Fprintln(&b)
		var list bytes.Buffer
		renderList(&list, testView(width), testList(), true)
		checkOutput(t, list.String(), width)
		list.WriteTo(&b)
		golden(t, fmt.Sprintf("overview-%d", width), b.Bytes())
	}
}

func TestRenderLostUnits(t *testing.T) {
	for _, c := range []struct {
		lost []string
		want string
	}{{nil, "no service was touched)"}, {[]string{"web"}, "web had lost its reaper, no other was touched)"},
		{[]string{"db", "web"}, "these had lost their reaper: db, web)"},
		{[]string{"a", "b", "c", "d"}, "4 services had lost their reaper: a, b, c ...)"}} {
		var b bytes.Buffer
		renderManager(&b, testView(0), control.ManagerStatus{ManagerRestarts: 1, LostUnits: c.lost})
		if !strings.Contains(b.String(), "(restarted once; "+c.want) {
			t.Errorf("%q: %s", c.lost, b.String())
		}
	}
}

func TestRenderDependencies(t *testing.T) {
	d := control.Dependency{Unit: "default", Children: []control.Dependency{
		{Unit: "nginx", ActiveState: "active", Kinds: []string{"wants"}, Children: []control.Dependency{{Unit: "network-online", ActiveState: "active"}, {Unit: "basic", ActiveState: "active"}}},
		{Unit: "db", ActiveState: "failed", Children: []control.Dependency{{Unit: "basic", ActiveState: "active", Seen: true}}}}}
	var b bytes.Buffer
	renderDependencies(&b, testView(80), d)
	golden(t, "dependencies", b.Bytes())
}

func TestRenderPlan(t *testing.T) {
	p := control.Plan{Unit: "nginx", Path: "nginx.toml", DropIns: 1, Profile: "daemon", Host: "Linux 6.1",
		Steps: []control.PlanStep{{By: "manager", Call: "open", Args: "/usr/sbin/nginx"}, {By: "manager", Call: "clone3", Args: "NEWPID  cgroup nsinit/nginx/5/init"},
			{By: "reaper", Call: "mount", Args: "/ rprivate"}, {By: "exec_start", Call: "execve", Args: "/usr/sbin/nginx " + strings.Repeat("x", 100)}},
		Relaxed: []string{"network veth", "writable /var/log/nginx"}}
	var b bytes.Buffer
	renderPlan(&b, testView(80), p)
	golden(t, "plan", b.Bytes())
}

func TestPrintError(t *testing.T) {
	f := failed().Failure
	var b bytes.Buffer
	printError(&b, &control.Error{Code: control.CodeFailed, Unit: "nginx", Message: "cannot start: " + f.Text, Failure: f})
	printError(&b, &control.Error{Code: control.CodeForbidden, Message: "cannot do this as reader\x1b[31m", Hint: "run it as root"})
	golden(t, "error", b.Bytes())
}

// Pids that name each other as parents, and a process twice, do not hang.
func TestProcessTreeLoop(t *testing.T) {
	st := control.UnitStatus{Name: "x", ControlGroup: "x/main", Processes: []control.Process{{PID: 1, PPID: 1}, {PID: 2, PPID: 3}, {PID: 3, PPID: 2}, {PID: 1, PPID: 1}}}
	renderStatus(io.Discard, testView(80), st, nil, "")
}

func TestSpans(t *testing.T) {
	for d, want := range map[time.Duration][2]string{
		0: {"0s", "0s"}, 500 * time.Millisecond: {"500ms", "500ms"}, 4 * time.Second: {"4s", "4s"}, 90 * time.Second: {"1min 30s", "1min"},
		21*time.Minute + 5*time.Second: {"21min", "21min"}, 65 * time.Minute: {"1h 5min", "1h"}, day: {"1 day", "1 day"},
		76 * time.Hour: {"3 days 4h", "3 days"}, 15 * day: {"2 weeks 1 day", "2 weeks"}, 70 * day: {"2 months 10 days", "2 months"}, 400 * day: {"1 year 1 month", "1 year"},
	} {
		if got := [2]string{span(d), coarse(d)}; got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{412 * time.Millisecond: "412ms", 1840 * time.Millisecond: "1.84s", 90 * time.Microsecond: "90us", 125 * time.Second: "2min 5s"} {
		if got := precise(d); got != want {
			t.Errorf("precise(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestSizes(t *testing.T) {
	for n, want := range map[uint64]string{0: "0B", 1023: "1023B", 1024: "1K", 6710886: "6.4M", 256 << 20: "256M", 50541363: "48.2M", 104857500: "100M", 5 << 30: "5G", 1<<64 - 1: "16E"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain ü €": "plain ü €", "\x1b[31m": `\x1b[31m`, "a\rb\nc\td": `a\x0db\x0ac d`, "\u009b1m": `\x9b1m`,
		"\xff\xfe": `\xff\xfe`, "\u202egpj": `\u202egpj`, "\x7f": `\x7f`,
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
	if got := escapeJSON("{\"a\":\"\u009b\u202e\"}"); got != `{"a":"\u009b\u202e"}` {
		t.Errorf("escapeJSON: %q", got)
	}
}

func TestParseTime(t *testing.T) {
	v := testView(0)
	for in, want := range map[string]time.Time{
		"now": now(), "today": now().Truncate(day), "yesterday": now().Truncate(day).Add(-day), "-1h": now().Add(-time.Hour),
		"1h 5min ago": now().Add(-65 * time.Minute), "2 days ago": now().Add(-48 * time.Hour), "+5s": now().Add(5 * time.Second),
		"16:02": now().Truncate(day).Add(16*time.Hour + 2*time.Minute), "2026-11-22": now().Truncate(day).Add(-day),
		"2026-11-23 16:02:11": time.Date(2026, 11, 23, 16, 2, 11, 0, time.UTC), "@1700000000": time.Unix(1700000000, 0),
	} {
		if got, err := parseTime(in, v); err != nil || got != want.UnixMicro() {
			t.Errorf("%q: %v, %v, want %v", in, time.UnixMicro(got).UTC(), err, want)
		}
	}
	for _, in := range []string{"soon", "-", " ago", "25:00", "-1 parsec"} {
		if got, err := parseTime(in, v); err == nil {
			t.Errorf("%q was taken as %v", in, time.UnixMicro(got).UTC())
		}
	}
}

func TestSignalNumber(t *testing.T) {
	for in, want := range map[string]int{"SIGTERM": 15, "term": 15, "9": 9, "HUP": 1, "SIGRTMIN+3": 37, "rtmin": 34, "NOPE": 0, "0": 0, "65": 0, "RTMIN+40": 0} {
		if got, err := signalNumber(in); got != want || (err != nil) != (want == 0) {
			t.Errorf("%q: %d, %v, want %d", in, got, err, want)
		}
	}
}

func TestCounts(t *testing.T) {
	for want, c := range map[string]map[string]int{
		"1 unit: 1 bad file": {"bad-file": 1}, "3 units: 1 active, 2 bad files": {"bad-file": 2, "active": 1}, "0 units": nil,
	} {
		if got := counts(c); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
