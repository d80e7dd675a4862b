package supervisor

import (
	"strings"
	"testing"
	"time"

	"github.com/nsinit/nsinit/supervisor/control"
	"github.com/nsinit/nsinit/supervisor/machine"
	"github.com/nsinit/nsinit/unit"
)

// nginx is a unit in which everything that explanations quote is set.
func nginx() *unit.Unit {
	u := &unit.Unit{Name: "nginx", StartLimitBurst: 5, StartLimitIntervalSec: 10 * time.Second}
	u.Service = unit.Service{Type: "simple", TimeoutStartSec: 90 * time.Second, TimeoutStopSec: 20 * time.Second, RuntimeMaxSec: unit.Infinity,
		WatchdogSec:  1500 * time.Millisecond,
		ExecStartPre: []unit.Command{{Path: "/bin/true"}, {Path: "/usr/sbin/nginx"}}, ExecStart: []unit.Command{{Path: "/usr/sbin/nginx"}},
		ExecStartPost: []unit.Command{{Path: "/bin/post"}}, ExecStopPost: []unit.Command{{Path: "/bin/after"}}}
	u.Filesystem = unit.Filesystem{ProtectHome: "true", PrivateDevices: true, PrivateRun: true}
	u.Network.Mode = unit.NetworkPrivate
	u.Resources.MemoryMax = unit.Amount{Set: true, Value: 256 << 20}
	return u
}

func exited(n int) machine.Status { return machine.Status{Code: machine.CodeExited, Value: n} }

func TestCause(t *testing.T) {
	killed := machine.Status{Code: machine.CodeDumped, Value: 11}
	for _, tt := range []struct {
		name string
		m    machine.Machine
		took time.Duration
		want string
	}{
		{"start-pre", machine.Machine{Result: machine.ExitCodeFailure, Kind: machine.KindStartPre, Index: 1, Ended: true, Last: exited(1)}, 19 * time.Millisecond,
			"exec_start_pre failed: /usr/sbin/nginx exited 1 after 19 ms"},
		{"main", machine.Machine{Result: machine.CoreDump, Kind: machine.KindStart, Ended: true, Last: killed, MainStatus: killed}, 2500 * time.Millisecond,
			"exec_start failed: /usr/sbin/nginx was killed by SIGSEGV and dumped core after 2.50 s"},
		{"hook", machine.Machine{Result: machine.ExitCodeFailure, Kind: machine.KindStart, Last: exited(3), HookKind: machine.KindStartPost}, 0,
			"exec_start_post failed: /bin/post exited 3"},
		{"hook before stop-post", machine.Machine{Result: machine.ExitCodeFailure, Kind: machine.KindStart, Ended: true, Last: exited(3), StartedAt: 9,
			MainStatus: exited(0), HookKind: machine.KindStopPost}, 0, "exec_start_post failed: /bin/post exited 3"},
		{"start limit", machine.Machine{Result: machine.StartLimitHit, MainStatus: exited(1)}, 0,
			"5 starts in 10 s, last: code=exited, status=1; next try: none (nsctl reset-failed nginx)"},
		{"start limit, killed", machine.Machine{Result: machine.StartLimitHit, MainStatus: killed}, 0,
			"5 starts in 10 s, last: code=dumped, status=11/SEGV; next try: none (nsctl reset-failed nginx)"},
		{"start limit, set-up", machine.Machine{Result: machine.StartLimitHit, Setup: machine.Setup{Text: "exec_start: execve /bin/x: no such file or directory (step 91 of 91, status 203/EXEC); hint"}}, 0,
			"5 starts in 10 s, last: exec_start: execve /bin/x: no such file or directory (step 91 of 91, status 203/EXEC); next try: none (nsctl reset-failed nginx)"},
		{"start timeout", machine.Machine{Result: machine.TimedOut, Kind: machine.KindStartPre, StartedAt: 9, ActiveSince: 3}, 0,
			"exec_start_pre did not end in time (timeout_start_sec = 1min 30s)"},
		{"stop timeout", machine.Machine{Result: machine.TimedOut, Kind: machine.KindStart, StartedAt: 3, ActiveSince: 9, Why: machine.StopRequest}, 0,
			"it did not end in time when it was to stop (timeout_stop_sec = 20 s)"},
		{"watchdog", machine.Machine{Result: machine.WatchdogFailure}, 0, "no WATCHDOG=1 came in time (watchdog_sec = 1.50 s)"},
		{"oom", machine.Machine{Result: machine.OOMKill}, 0, "the kernel killed a process of it for lack of memory (memory_max = 256M)"},
		{"setup", machine.Machine{Result: machine.SetupFailure, Setup: machine.Setup{
			Text: "mount tmpfs on /dev/shm: operation not permitted (step 14 of 61, status 226/NAMESPACE); this kernel refused the call"}}, 0,
			"mount tmpfs on /dev/shm: operation not permitted (step 14 of 61, status 226/NAMESPACE)"},
		{"launch", machine.Machine{Result: machine.Resources, Setup: machine.Setup{Text: "cannot make the cgroup: no space"}}, 0, "cannot make the cgroup: no space"},
		{"condition", machine.Machine{Result: machine.ConditionFailed, Failed: `condition_path_exists = "/x" does not hold`}, 0,
			`condition_path_exists = "/x" does not hold`},
		{"reaper killed", machine.Machine{Result: machine.ReaperGone, Last: machine.Status{Code: machine.CodeKilled, Value: 11}}, 0,
			"its reaper, process 1 of its namespaces, was killed by SIGSEGV; what still ran was killed"},
		{"reaper of old", machine.Machine{Result: machine.ReaperGone, Last: machine.Status{Code: machine.CodeUnknown}}, 0,
			"its reaper, process 1 of its namespaces, ended, and nobody knows how; what still ran was killed"},
		{"unknown status", machine.Machine{Result: machine.StatusUnknown, Last: machine.Status{Code: machine.CodeUnknown}}, 0,
			"main ended, and how is not known: it was the child of another process of the service, which waited for it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := outcome{snap: machine.Snapshot{Unit: "nginx", Machine: tt.m}, unit: nginx(), took: tt.took}
			if got := o.cause(); got != tt.want {
				t.Errorf("cause:\n got %s\nwant %s", got, tt.want)
			}
		})
	}
}

// Every result has a sentence, with and without a unit, and every failure one
// that begins in lower case and has no line break.
func TestCauseOfEveryResult(t *testing.T) {
	for _, r := range []machine.Result{machine.ExitCodeFailure, machine.SignalFailure, machine.CoreDump, machine.TimedOut, machine.WatchdogFailure,
		machine.StartLimitHit, machine.OOMKill, machine.Protocol, machine.Resources, machine.ExecCondition, machine.SetupFailure, machine.ReaperGone, machine.StatusUnknown,
		machine.ConditionFailed, machine.AssertFailed, machine.DependencyFail, machine.Canceled} {
		for _, u := range []*unit.Unit{nil, nginx(), {Name: "bare"}} {
			o := outcome{snap: machine.Snapshot{Unit: "nginx", Machine: machine.Machine{Result: r}}, unit: u}
			if c := o.cause(); len(c) < 8 || strings.Contains(c, "\n") {
				t.Errorf("%s: cause %q", r, c)
			}
			if f := o.failure(); (f != nil) != failing(r) {
				t.Errorf("%s: failure %v", r, f)
			}
		}
	}
}

func TestFailureOfSetup(t *testing.T) {
	o := outcome{snap: machine.Snapshot{Unit: "db", Machine: machine.Machine{Result: machine.SetupFailure, Setup: machine.Setup{Step: "mount tmpfs on /dev/shm",
		Errno: 1, Class: 226, Text: "mount tmpfs on /dev/shm: operation not permitted (step 14 of 61, status 226/NAMESPACE); ask the kernel"}}}}
	f := o.failure()
	if f.Index != 14 || f.Of != 61 || f.ExitClass != "226/NAMESPACE" || f.Hint != "ask the kernel" || f.Program != "" || f.Errno != 1 {
		t.Errorf("failure %+v", f)
	}
}

func TestHint(t *testing.T) {
	for _, tt := range []struct {
		name, line string
		change     func(*unit.Unit)
		want       string // its last line, or a part of it
	}{
		{"logs", `[emerg] open() "/var/log/nginx/error.log" failed (30: Read-only file system)`, nil, `logs_directory = "nginx"`},
		{"state, one more", "mkdir /var/lib/cache2/x: Read-only file system", func(u *unit.Unit) { u.Filesystem.StateDirectory = []unit.Directory{{Path: "nginx"}} },
			`state_directory = ["nginx", "cache2"]`},
		{"has it", "open /var/log/nginx/x: Read-only file system", func(u *unit.Unit) { u.Filesystem.LogsDirectory = []unit.Directory{{Path: "nginx"}} }, ""},
		{"a directory alone", "mkdir: cannot create directory '/var/cache/man': Read-only file system", nil, `cache_directory = "man"`},
		{"a file alone", "open '/var/log/messages.txt': Read-only file system", nil, "logs_directory = \"nginx\"\nand have it write below /var/log/nginx."},
		{"elsewhere", "cannot write /srv/www/a.html: Read-only file system.", nil, `read_write_paths = ["/srv/www"]`},
		{"named after who says it", "/bin/sh: 11: cannot create /srv/www/a.html: Read-only file system", nil, `read_write_paths = ["/srv/www"]`},
		{"of the kernel", "/bin/sh: 1: cannot create /sys/fs/cgroup/x: Read-only file system", nil, "state_directory and its like, or read_write_paths."},
		{"no path", "write: Read-only file system", nil, "state_directory and its like, or read_write_paths."},
		{"pid file", `could not create "/run/nginx/nginx.pid": Permission denied`, func(u *unit.Unit) { u.Service.User = "www" }, `runtime_directory = "nginx"`},
		{"home", "open /home/joe/x: Permission denied", nil, `protect_home = "read-only"`},
		{"home gone", "open /root/x: No such file or directory", nil, `protect_home = "read-only"`},
		{"someone's socket", "connect /run/postgresql/.s.PGSQL.5432: No such file or directory", nil, `bind_paths = ["/run/postgresql"]`},
		{"missing directory", "touch: cannot touch '/var/log/pre/error.log': No such file or directory", nil, `logs_directory = "pre"`},
		{"missing file elsewhere", "open /opt/x: no such file or directory", nil, ""},
		{"device", "open /dev/ttyS0: No such file or directory", nil, `device_allow = ["/dev/ttyS0 rw"]`},
		{"port", "bind() to 0.0.0.0:80 failed (13: Permission denied)", func(u *unit.Unit) { u.Service.User = "www" }, `ambient_capabilities = ["CAP_NET_BIND_SERVICE"]`},
		{"port as root", "bind() to 0.0.0.0:80 failed (13: Permission denied)", nil, ""},
		{"user", "open /srv/x: permission denied", func(u *unit.Unit) { u.Service.User = "www" }, "It runs as user www, who may not use /srv/x: change the owner or mode of it on the host."},
		{"in use", "listen tcp :80: bind: address already in use", nil, "ss -ltnup"},
		{"dns", "lookup deb.debian.org: Temporary failure in name resolution", nil, `mode = "host"`},
		{"dns, host network", "Temporary failure in name resolution", func(u *unit.Unit) { u.Network.Mode = unit.NetworkHost }, ""},
		{"capability", "setsockopt: Operation not permitted", nil, "capability_bounding_set"},
		{"files", "accept: too many open files", nil, "limit_nofile"},
		{"nothing", "hello", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := nginx()
			if tt.change != nil {
				tt.change(u)
			}
			got := lineHint(u, tt.line)
			if got == tt.want {
				return
			}
			if tt.want == "" || !strings.Contains(got, tt.want) {
				t.Errorf("hint %q, want %q", got, tt.want)
			}
		})
	}
}

// The last line of a failed program that has an answer decides.
func TestHintOfOutcome(t *testing.T) {
	o := outcome{unit: nginx(), snap: machine.Snapshot{Unit: "nginx", Machine: machine.Machine{Result: machine.ExitCodeFailure}},
		lines: []string{"open /var/log/a/b: Read-only file system", "open /var/log/nginx/b: Read-only file system", "giving up"}}
	if h := o.hint(); !strings.HasSuffix(h, `logs_directory = "nginx"`) {
		t.Errorf("hint %q", h)
	}
	o.lines, o.snap.Result = nil, machine.Protocol
	if h := o.hint(); !strings.Contains(h, `type = "simple"`) {
		t.Errorf("hint %q", h)
	}
}

func TestHintOfTraceback(t *testing.T) {
	u := nginx()
	u.Service.User = "www"
	o := outcome{unit: u, snap: machine.Snapshot{Machine: machine.Machine{Result: machine.ExitCodeFailure}},
		lines: []string{"    self.socket.bind(self.server_address)", "PermissionError: [Errno 13] Permission denied"}}
	if h := o.hint(); !strings.Contains(h, "CAP_NET_BIND_SERVICE") {
		t.Errorf("hint %q", h)
	}
	o.lines = o.lines[1:]
	if h := o.hint(); h != "" {
		t.Errorf("hint %q", h)
	}
}

// A program that is not there may be there on the host.
func TestHintOfHiddenProgram(t *testing.T) {
	for path, want := range map[string]string{"/tmp/x/job": "private_tmp = false", "/run/job": "private_run", "/home/joe/job": "protect_home",
		"/opt/job": "no such program"} {
		o := outcome{unit: nginx(), snap: machine.Snapshot{Machine: machine.Machine{Result: machine.SetupFailure, Setup: machine.Setup{
			Text: "exec_start: execve " + path + ": no such file or directory (step 91 of 91, status 203/EXEC); no such program inside the service's root"}}}}
		o.unit.Filesystem.PrivateTmp = true
		if h := o.hint(); !strings.Contains(h, want) {
			t.Errorf("%s: hint %q, want %q", path, h, want)
		}
	}
	o := outcome{unit: nginx(), snap: machine.Snapshot{Machine: machine.Machine{Result: machine.SetupFailure, Setup: machine.Setup{
		Text: "exec_start: execve /tmp/job: permission denied (step 91 of 91, status 203/EXEC); check the mode"}}}}
	if h := o.hint(); h != "check the mode" {
		t.Errorf("the host's /tmp: hint %q", h)
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{500 * time.Microsecond: "0.5 ms", 1900 * time.Microsecond: "1.9 ms", 41_300_000: "41 ms", 10 * time.Second: "10 s",
		1840 * time.Millisecond: "1.84 s", 123 * time.Second: "2min 3s", 3 * time.Hour: "3h", 76 * time.Hour: "3 d 4h"} {
		if got := span(d); got != want {
			t.Errorf("span(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestDoneText(t *testing.T) {
	up := func(generation uint64, pid int) machine.Snapshot {
		return machine.Snapshot{Machine: machine.Machine{State: machine.Running, Generation: generation, MainPID: pid, MainAlive: pid != 0}}
	}
	down := machine.Snapshot{Machine: machine.Machine{Generation: 1}}
	for _, tt := range []struct {
		verb          string
		before, after machine.Snapshot
		want          string
	}{
		{control.VerbStart, down, up(2, 9031), "started in 41 ms, main pid 9031"},
		{control.VerbStart, up(2, 9031), up(2, 9031), "runs already, main pid 9031"},
		{control.VerbRestart, up(1, 8127), up(2, 9031), "restarted in 41 ms, main pid 8127 -> 9031"},
		{control.VerbRestart, down, up(2, 9031), "started in 41 ms, main pid 9031"},
		{control.VerbStop, up(1, 5), down, "stopped"},
		{control.VerbStop, down, down, "was not running"},
		{control.VerbReloadOrRestart, up(1, 5), up(1, 5), "reloaded in 41 ms"},
		{control.VerbReloadOrRestart, up(1, 5), up(2, 6), "restarted in 41 ms, main pid 5 -> 6"},
		{control.VerbStart, down, machine.Snapshot{Machine: machine.Machine{State: machine.Reached, Generation: 2}}, "started"},
	} {
		if got := doneText(tt.verb, tt.before, tt.after, 41*time.Millisecond); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.verb, got, tt.want)
		}
	}
}

func TestJobError(t *testing.T) {
	fail := &control.Failure{Text: "exec_start failed: /bin/x exited 1", Hint: "h"}
	for _, tt := range []struct {
		name, verb string
		d          machine.JobDone
		f          *control.Failure
		other      string
		code, want string
	}{
		{"own failure", "start", machine.JobDone{Result: machine.JobFailed, Reason: machine.Reason{Result: machine.ExitCodeFailure}}, fail, "",
			control.CodeFailed, "cannot start: exec_start failed: /bin/x exited 1"},
		{"refusal", "start", machine.JobDone{Result: machine.JobFailed, Reason: machine.Reason{Text: "refuse_manual_start is set"}}, fail, "",
			control.CodeConflict, "cannot start: refuse_manual_start is set"},
		{"dependency", "start", machine.JobDone{Result: machine.JobDependency, Reason: machine.Reason{Unit: "db", Text: "it is not active"}}, nil, "",
			control.CodeFailed, "cannot start: it needs db: it is not active"},
		{"dependency's cause", "start", machine.JobDone{Result: machine.JobDependency, Reason: machine.Reason{Unit: "db"}}, nil, "exec_start failed",
			control.CodeFailed, "cannot start: it needs db: exec_start failed"},
		{"no reload", "reload", machine.JobDone{Result: machine.JobFailed, Reason: machine.Reason{Text: "cannot reload: it has no exec_reload"}}, nil, "",
			control.CodeConflict, "cannot reload: it has no exec_reload"},
		{"reload failed", "reload", machine.JobDone{Result: machine.JobFailed, Reason: machine.Reason{Result: machine.ExitCodeFailure, Text: "it runs on as it was"}}, nil, "",
			control.CodeFailed, "cannot reload: exec_reload failed (exit-code); it runs on as it was"},
		{"reload of nothing", "reload", machine.JobDone{Result: machine.JobFailed, Reason: machine.Reason{Text: "cannot reload: it is not running"}}, nil, "",
			control.CodeNotActive, "cannot reload: it is not running"},
		{"canceled", "start", machine.JobDone{Result: machine.JobCanceled, Reason: machine.Reason{Text: "a stop took its place"}}, nil, "",
			control.CodeConflict, "cannot start: a stop took its place"},
		{"too late", "start", machine.JobDone{Result: machine.JobTimeout, Reason: machine.Reason{Text: "job_timeout_sec has passed"}}, nil, "",
			control.CodeFailed, "cannot start: job_timeout_sec has passed"},
		{"unkillable", "stop", machine.JobDone{Result: machine.JobFailed, Reason: machine.Reason{Result: machine.TimedOut, Text: "some of its processes cannot be killed"}}, fail, "",
			control.CodeFailed, "cannot stop: some of its processes cannot be killed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := jobError("web", tt.verb, tt.d, tt.f, tt.other)
			if e.Code != tt.code || e.Message != tt.want || e.Unit != "web" {
				t.Errorf("got %s %q, want %s %q", e.Code, e.Message, tt.code, tt.want)
			}
		})
	}
}
