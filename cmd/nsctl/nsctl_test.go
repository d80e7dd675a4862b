package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/nsinit/nsinit/supervisor/control"
)

// manager is a Backend of three units: nginx runs, db has failed, and starting
// it fails again.
type manager struct {
	acted  []control.ActRequest
	killed []control.KillRequest
	ended  []string
	execs  []control.ExecRequest
	logs   []control.LogQuery
	exec   func(control.ExecRequest) control.ExecProcess
	cut    bool // Act ends before it is done
}

func (m *manager) Manager(context.Context) (control.ManagerStatus, error) {
	return control.ManagerStatus{Instance: "t", State: "running", PID: 1, BootUsec: 77, Counts: map[string]int{"active": 1}}, nil
}

func (m *manager) List(_ context.Context, q control.ListQuery) ([]control.UnitListEntry, error) {
	var out []control.UnitListEntry
	for _, e := range testList()[:3] {
		ok := len(q.Patterns) == 0
		for _, p := range q.Patterns {
			match, _ := filepath.Match(p, e.Name)
			ok = ok || match
		}
		if ok && (len(q.States) == 0 || slices.Contains(q.States, e.ActiveState)) {
			out = append(out, e)
		}
	}
	return out, nil
}

func (m *manager) Jobs(context.Context) ([]control.Job, error) {
	return []control.Job{{Unit: "web", Type: "start", Running: true, Text: "exec_start"}}, nil
}

func (m *manager) Network(context.Context) (control.NetworkStatus, error) { return testNetwork(), nil }

func (m *manager) Startup(context.Context) (control.Startup, error) {
	return testStartup(), nil
}

func (m *manager) UnitFiles(context.Context) ([]control.UnitFileEntry, error) {
	return []control.UnitFileEntry{{Name: "nginx", Path: "/u/nginx.toml", Enabled: "enabled", Profile: "strict"}}, nil
}

func noUnit(unit string) error {
	return &control.Error{Code: control.CodeNoSuchUnit, Unit: unit, Message: "cannot find a unit of this name"}
}

func (m *manager) Status(_ context.Context, unit string) (control.UnitStatus, error) {
	switch unit {
	case "nginx":
		return nginx(), nil
	case "db":
		return failed(), nil
	}
	return control.UnitStatus{}, noUnit(unit)
}

func (m *manager) Act(_ context.Context, req control.ActRequest) iter.Seq2[control.Progress, error] {
	m.acted = append(m.acted, req)
	return func(yield func(control.Progress, error) bool) {
		for _, u := range req.Units {
			p := control.Progress{Unit: u, Verb: req.Verb, Text: "waiting for something"}
			if !yield(p, nil) {
				return
			}
			if m.cut {
				return
			}
			p.Done, p.Text = true, req.Verb+"ed in 41 ms"
			switch u {
			case "db":
				f := failed()
				p.Error = &control.Error{Code: control.CodeFailed, Message: "cannot start: " + f.Failure.Text}
				p.Status = &f
			case "cron":
				p.Status = &control.UnitStatus{Name: u, ChangedUsec: 1}
			case "nope":
				p.Error = noUnit(u).(*control.Error)
			}
			if !yield(p, nil) {
				return
			}
		}
	}
}

func (m *manager) Kill(_ context.Context, req control.KillRequest) error {
	m.killed = append(m.killed, req)
	return nil
}

func (m *manager) ResetFailed(context.Context, []string) error { return nil }

func (m *manager) Machine(_ context.Context, action string, req control.MachineRequest) (control.MachineReply, error) {
	m.ended = append(m.ended, action)
	return control.MachineReply{Shutdown: &control.Shutdown{Action: action, AtUsec: req.AtUsec, Message: req.Message}}, nil
}

func (m *manager) Reload(context.Context) (control.ReloadResult, error) {
	return control.ReloadResult{Loaded: 3, Changed: []string{"nginx"}, Problems: []string{"x.toml:1:1: bad"}}, nil
}

func (m *manager) Enable(_ context.Context, units []string) ([]control.Change, error) {
	return []control.Change{{Unit: units[0], Action: "removed", Path: "/etc/x.toml.d/50-disable.toml"}}, nil
}

func (m *manager) Disable(_ context.Context, units []string) ([]control.Change, error) {
	return []control.Change{{Unit: units[0], Action: "wrote", Path: "/etc/x.toml.d/50-disable.toml"}}, nil
}

func (m *manager) Mask(_ context.Context, units []string) ([]control.Change, error) {
	return []control.Change{{Unit: units[0], Action: "wrote", Path: "/etc/x.toml"}}, nil
}

func (m *manager) Unmask(_ context.Context, units []string) ([]control.Change, error) {
	return []control.Change{{Unit: units[0], Action: "removed", Path: "/etc/x.toml"}}, nil
}

func (m *manager) Cat(_ context.Context, unit string) (control.UnitText, error) {
	return control.UnitText{Unit: unit, Files: []control.FileText{{Path: "/u/a.toml", Text: "[service]\n"}, {Path: "/u/b.toml", Text: "[unit]\n"}}, Resolved: "all = 1\n"}, nil
}

func (m *manager) Plan(_ context.Context, unit string) (control.Plan, error) {
	return control.Plan{Unit: unit, Steps: []control.PlanStep{{By: "manager", Call: "open"}}}, nil
}

func (m *manager) Dependencies(_ context.Context, q control.DependencyQuery) (control.Dependency, error) {
	return control.Dependency{Unit: q.Unit, Children: []control.Dependency{{Unit: "basic"}}}, nil
}

func (m *manager) Logs(_ context.Context, q control.LogQuery) iter.Seq2[control.LogRecord, error] {
	m.logs = append(m.logs, q)
	return func(yield func(control.LogRecord, error) bool) {
		if slices.Equal(q.Units, []string{"nothing"}) {
			return
		}
		for _, r := range testLogs() {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (m *manager) Events(context.Context, control.EventQuery) iter.Seq2[control.Event, error] {
	return func(yield func(control.Event, error) bool) {
		yield(control.Event{Seq: 1, TimeUsec: before(0), Unit: "nginx", Type: "state", ActiveState: "active", SubState: "running", MainPID: 7, Text: "up\x1b[1m"}, nil)
	}
}

func (m *manager) Exec(_ context.Context, req control.ExecRequest) (control.ExecProcess, error) {
	m.execs = append(m.execs, req)
	switch req.Argv[0] {
	case "absent":
		return nil, &control.Error{Code: control.CodeNotFoundIn, Unit: req.Unit, Message: "cannot run absent: no such file or directory"}
	case "/etc":
		return nil, &control.Error{Code: control.CodeNotRunnable, Unit: req.Unit, Message: "cannot run /etc: permission denied"}
	}
	if m.exec != nil {
		return m.exec(req), nil
	}
	return newCommand(), nil
}

// command copies its input to its output and exits with 7.
type command struct {
	inR, outR, errR *io.PipeReader
	inW, outW, errW *io.PipeWriter
	done            chan struct{}
}

func newCommand() *command {
	c := &command{done: make(chan struct{})}
	c.inR, c.inW = io.Pipe()
	c.outR, c.outW = io.Pipe()
	c.errR, c.errW = io.Pipe()
	go func() {
		io.Copy(c.outW, c.inR)
		io.WriteString(c.errW, "oops")
		c.outW.Close()
		c.errW.Close()
		close(c.done)
	}()
	return c
}

func (c *command) Stdin() io.WriteCloser       { return c.inW }
func (c *command) Stdout() io.Reader           { return c.outR }
func (c *command) Stderr() io.Reader           { return c.errR }
func (c *command) Resize(uint16, uint16) error { return nil }
func (c *command) Signal(syscall.Signal) error { return nil }
func (c *command) Wait() (control.ExecExit, error) {
	<-c.done
	return control.ExecExit{Code: 7}, nil
}
func (c *command) Close() error {
	c.inR.Close()
	return nil
}

// ctl runs nsctl against a server of its own.
type ctl struct {
	t      *testing.T
	b      *manager
	socket string
	stdin  *os.File
}

func newCtl(t *testing.T, role control.Role) *ctl {
	dir, err := os.MkdirTemp("", "ctl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	os.Chmod(dir, 0o755)
	c := &ctl{t: t, b: &manager{}, socket: filepath.Join(dir, "control.sock")}
	l, err := control.Listen(c.socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := control.NewServer(control.Config{Backend: c.b, Role: func(control.Peer) control.Role { return role }, Version: "1", Instance: "t"})
	go srv.Serve(l)
	t.Cleanup(func() { srv.Shutdown(context.Background()) })
	return c
}

// run gives the exit code and both outputs.
func (c *ctl) run(args ...string) (int, string, string) {
	c.t.Helper()
	var out, errOut bytes.Buffer
	v := testView(0)
	a := &app{stdin: c.stdin, out: &out, err: &errOut, fixed: &v, env: func(name string) string {
		if name == "NSCTL_SOCKET" {
			return c.socket
		}
		return ""
	}}
	code := run(a, args)
	for _, s := range []string{out.String(), errOut.String()} {
		if args[0] != "logs" || !slices.Contains(args, "cat") {
			checkOutput(c.t, strings.ReplaceAll(s, "\t", " "), 0)
		}
	}
	return code, out.String(), errOut.String()
}

func TestCommands(t *testing.T) {
	for _, tt := range []struct {
		args     string
		code     int
		out, err string // contained; "" is nothing at all
	}{
		{"status nginx", 0, "● nginx - nginx web", ""},
		{"status nginx.service", 0, "● nginx - nginx web", ""},
		{"status db", 3, "× db - PostgreSQL", ""},
		{"status nope", 4, "", "nope: no such unit"},
		{"status nginx nope", 4, "● nginx", "nope: no such unit"},
		{"status ng*", 0, "● nginx", ""},
		{"status zz*", 0, "", ""},
		{"status", 0, "t: running · 1 unit: 1 active", ""},
		{"", 0, "t: running", ""},
		{"status --failed", 0, "× nginx", ""},
		{"list-units", 0, "3 units", ""},
		{"list-units --no-legend --state activating", 0, "↻ db", ""},
		{"list-units --type=service", 0, "3 units", ""},
		{"list-units -t socket", 0, "0 units", ""},
		{"list-unit-files", 0, "/u/nginx.toml", ""},
		{"is-system-running", 0, "running", ""},
		{"list-jobs", 0, "web   start  running  exec_start", ""},
		{"analyze", 0, "Startup finished in", ""},
		{"analyze blame", 0, "db", ""},
		{"analyze critical-chain web", 0, "web @", ""},
		{"analyze critical-chain nope", 4, "", "nope"},
		{"analyze plot", 0, "<svg", ""},
		{"analyze nonsense", 1, "", "unknown command"},
		{"rescue", 0, "rescue: isolate", ""},
		{"isolate default.target", 0, "default: isolate", ""},
		{"poweroff", 0, "", ""},
		{"reboot --no-wall --force", 0, "", ""},
		{"halt --when=tomorrow", 1, "", "--when is not supported; shutdown takes a time"},
		{"shutdown --no-wall -r +5 for a new kernel", 0, "Reboot scheduled for ", ""},
		{"shutdown -h now", 0, "", ""},
		{"shutdown tomorrow", 1, "", `cannot shut down at "tomorrow"`},
		{"shutdown -c --no-wall", 0, "taken back", ""},
		{"shutdown --show", 1, "", "no shutdown is scheduled"},
		{"start nginx", 0, "nginx: started in 41 ms", ""},
		{"start -q nginx", 0, "", ""},
		{"start --wait nginx", 0, "nginx: waiting for something", ""},
		{"start --now nginx", 0, "started", ""},
		{"start nginx db", 1, "nginx: started", "[emerg] open()"},
		{"start cron", 0, "started", "cron: warning: its file changed on disk"},
		{"stop cron", 0, "stop", ""},
		{"start nope", 4, "", "nope: cannot find"},
		{"restart nginx.service", 0, "nginx: restarted in 41 ms", ""},
		{"start", 1, "", "cannot start: no unit is named (nsctl start UNIT...)"},
		{"is-active nginx", 0, "active", ""},
		{"is-active -q nginx", 0, "", ""},
		{"is-active db", 3, "failed", ""},
		{"is-active db nginx", 0, "failed\nactive", ""},
		{"is-active nope", 4, "not-found", ""},
		{"is-failed db", 0, "failed", ""},
		{"is-failed nginx", 1, "active", ""},
		{"is-enabled nginx", 0, "enabled", ""},
		{"is-enabled db", 1, "disabled", ""},
		{"is-active ngin*", 0, "active", ""},
		{"kill -s HUP zz*", 0, "", ""},
		{"show -p main_pid --value n*", 0, "8127\n", ""},
		{"show -p main_pid --value nginx", 0, "8127\n", ""},
		{"show -p main_pid,network.mode nginx", 0, "main_pid=8127\nnetwork.mode=veth\n", ""},
		{"show -p MainPID -p FragmentPath nginx", 0, "MainPID=8127\nFragmentPath=/usr/lib/nsinit/units/nginx.toml\n", ""},
		{"show -P MainPID nginx", 0, "8127\n", ""},
		{"show -P ActiveState,SubState nginx db", 0, "active\nrunning\n\nfailed\n", ""},
		{"show -p MainPIDs nginx", 1, "", "no such field"},
		{"show nope", 4, "", "cannot find"},
		{"show -p status_text nginx", 0, `status_text=ready\x1b[2J`, ""},
		{"cat nginx", 0, "# /u/a.toml\n[service]\n\n# /u/b.toml\n[unit]\n", ""},
		{"cat nginx db", 0, "[unit]\n\n# /u/a.toml\n", ""},
		{"cat --resolved nginx", 0, "all = 1\n", ""},
		{"plan nginx", 0, "nginx: 1 step", ""},
		{"daemon-reload", 0, "3 units · changed, restart to apply: nginx", "x.toml:1:1: bad"},
		{"enable nginx", 0, "nginx: removed /etc", ""},
		{"disable --now nginx", 0, "nginx: stoped in", ""},
		{"mask --now nginx", 0, "nginx: wrote /etc/x.toml\nnginx: stoped in 41 ms\n", ""},
		{"unmask nginx", 0, "nginx: removed /etc/x.toml", ""},
		{"kill -s HUP --kill-whom main nginx", 0, "", ""},
		{"kill -s FOO nginx", 1, "", "as a signal"},
		{"reset-failed", 0, "", ""},
		{"list-dependencies", 0, "default\n○ └─basic\n", ""},
		{"list-dependencies nginx db", 0, "nginx\n○ └─basic\ndb\n○ └─basic\n", ""},
		{"logs -u nginx -xe", 0, "Nov 22 15:23:30 nginx: yesterday\nNov 23 16:22:30 nginx[8127]: bad \\x1b[31m", ""},
		{"logs nginx -r -n 2", 0, "nginx: yesterday\n", ""},
		{"logs nginx -o json", 0, `"text":"yesterday"}`, ""},
		{"logs nginx -o cat", 0, "yesterday\nbad \x1b[31m", ""},
		{"logs nginx -o xml", 1, "", "-o \"xml\""},
		{"logs nginx -p loud", 1, "", "-p \"loud\""},
		{"logs -n 0", 0, "", ""},
		{"logs -n -1", 1, "", "-n \"-1\""},
		{"logs -b=-1", 1, "", "only this boot"},
		{"logs -u nothing", 0, "-- No entries --\n", ""},
		{"logs -q -u nothing", 0, "", ""},
		{"logs -u nothing -o cat", 0, "", ""},
		{"logs nginx -o json-pretty", 0, "{\n  \"unit\": \"nginx\"", ""},
		{"logs nginx -o short-full", 0, "Sun 2026-11-22 15:23:30 UTC nginx: yesterday", ""},
		{"logs -aexu nginx --no-hostname", 0, "nginx: yesterday", ""},
		{"logs --since soon", 1, "", "as a time"},
		{"events", 0, `nginx state active (running) main pid 7: up\x1b[1m`, ""},
		{"version", 0, "nsinit 1, instance t, protocol 1", ""},
		{"exec -it nginx", 125, "", "a unit and a command"},
		{"exec nginx", 125, "", "a unit and a command"},
		{"exec nginx absent", 127, "", "cannot run absent"},
		{"exec nginx /etc", 126, "", "permission denied"},
		{"exec --nope nginx x", 125, "", "unknown flag"},
		{"explode", 1, "", "cannot explode: there is no such command (nsctl help"},
		{"strat nginx", 1, "", "did you mean start?"},
		{"strat --now nginx", 1, "", "did you mean start?"},
		{"start --nwo nginx", 1, "", "unknown flag: --nwo (nsctl start --help"},
		{"--version", 0, "nsctl version " + version, ""},
		{"__complete logs -u cr", 0, "cron\tRegular background jobs\n:4\n", "Completion ended"},
		{"__complete kill -s SIGH", 0, "\nSIGHUP\n", "Completion ended"},
		{"__complete logs -o json-", 0, "json\njson-pretty\ncat\n:4\n", "Completion ended"},
		{"__complete show -p main_pid_s", 0, "\nmain_pid_source\n", "Completion ended"},
		{"__complete start cr", 0, "cron\tRegular background jobs\n:4\n", "Completion ended"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			c := newCtl(t, control.RoleAdmin)
			args := strings.Fields(tt.args)
			if len(args) == 0 {
				args = []string{"--no-pager"}
			}
			code, out, errOut := c.run(args...)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, s := range [][2]string{{out, tt.out}, {errOut, tt.err}} {
				if !strings.Contains(s[0], s[1]) || s[1] == "" && s[0] != "" {
					t.Errorf("printed %q, want %q", s[0], s[1])
				}
			}
		})
	}
}

// nginx has failed: there is nothing to stop.
func TestCompleteWhatRuns(t *testing.T) {
	c := newCtl(t, control.RoleAdmin)
	for verb, want := range map[string]bool{"start": true, "status": true, "stop": false, "exec": false, "kill": false} {
		if _, out, _ := c.run("__complete", verb, ""); strings.Contains(out, "nginx") != want || !strings.Contains(out, "cron") {
			t.Errorf("%s: %q", verb, out)
		}
	}
}

func TestPlain(t *testing.T) {
	c := newCtl(t, control.RoleAdmin)
	if _, out, _ := c.run("list-units", "--plain", "nginx"); !strings.HasPrefix(out, "UNIT ") || !strings.Contains(out, "\nnginx ") {
		t.Errorf("%q", out)
	}
}

func TestRequests(t *testing.T) {
	c := newCtl(t, control.RoleAdmin)
	c.run("stop", "--keep-triggers", "--no-block", "nginx")
	if r := c.b.acted[0]; r.Verb != "stop" || !r.KeepTriggers || !r.NoBlock {
		t.Errorf("%+v", r)
	}
	c.run("kill", "-s", "RTMIN+3", "nginx")
	if k := c.b.killed[0]; k.Signal != 37 || k.Whom != "all" {
		t.Errorf("%+v", k)
	}
	c.run("logs", "-f", "-u", "nginx", "db", "--grep", "x+", "-p", "err", "--since", "-1h")
	if q := c.b.logs[0]; !q.Follow || q.Last != 10 || q.Grep != "(?i)x+" || q.MaxPriority != "3" || q.SinceUsec != before(3600e9) || !slices.Equal(q.Units, []string{"nginx", "db"}) {
		t.Errorf("%+v", q)
	}
	c.run("logs", "-f", "-n", "0", "-g", "Xy")
	if q := c.b.logs[1]; q.Last != 0 || q.SinceUsec != before(0) || q.Grep != "Xy" {
		t.Errorf("%+v", q)
	}
	c.run("logs", "-f", "--no-tail", "-bg", "xy", "--case-sensitive")
	if q := c.b.logs[2]; q.Last != 0 || q.SinceUsec != 77 || q.Grep != "xy" {
		t.Errorf("%+v", q)
	}
	if c.run("logs", "zz*"); len(c.b.logs) != 3 {
		t.Error("a glob without a match asked for all logs")
	}
}

func TestExec(t *testing.T) {
	c := newCtl(t, control.RoleAdmin)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	io.WriteString(w, "hello")
	w.Close()
	c.stdin = r
	code, out, errOut := c.run("exec", "--user", "www-data", "nginx", "sh", "-c", "--version")
	if code != 7 || out != "hello" || errOut != "oops" {
		t.Errorf("%d %q %q", code, out, errOut)
	}
	if e := c.b.execs[0]; e.User != "www-data" || e.Terminal || !slices.Equal(e.Argv, []string{"sh", "-c", "--version"}) {
		t.Errorf("%+v", e)
	}
}

func TestJSON(t *testing.T) {
	c := newCtl(t, control.RoleAdmin)
	for _, args := range []string{"status", "status nginx", "list-units", "list-unit-files", "is-active nginx", "show nginx", "show -p main_pid nginx",
		"cat nginx", "plan nginx", "daemon-reload", "enable nginx", "list-dependencies", "version", "explain exec_start", "kill nginx"} {
		_, out, _ := c.run(append(strings.Fields(args), "--json")...)
		if !json.Valid([]byte(out)) {
			t.Errorf("%s: %q", args, out)
		}
	}
	for _, args := range []string{"start nginx", "logs", "events"} {
		_, out, _ := c.run(append(strings.Fields(args), "--json")...)
		for line := range strings.Lines(out) {
			if !json.Valid([]byte(line)) {
				t.Errorf("%s: %q", args, line)
			}
		}
	}
}

func TestRolesInWords(t *testing.T) {
	c := newCtl(t, control.RoleReader)
	code, out, _ := c.run("status", "nginx")
	if code != 0 || !strings.Contains(out, "the log is for root and group nsinit") || strings.Contains(out, "worker process") {
		t.Errorf("%d %s", code, out)
	}
	code, _, errOut := c.run("start", "nginx")
	if code != 1 || !strings.Contains(errOut, "member of group nsinit") {
		t.Errorf("%d %s", code, errOut)
	}
}

func TestManagerGone(t *testing.T) {
	dir := t.TempDir()
	for name, tt := range map[string]struct {
		socket string
		want   string
	}{
		"no directory": {filepath.Join(dir, "none", "control.sock"), "the manager is not running (there is no " + filepath.Join(dir, "none")},
		"no socket":    {filepath.Join(dir, "control.sock"), "there is no " + filepath.Join(dir, "control.sock")},
		"stale socket": {staleSocket(t), "nothing answers on"},
	} {
		t.Run(name, func(t *testing.T) {
			c := &ctl{t: t, socket: tt.socket}
			code, _, errOut := c.run("status")
			if code != 1 || !strings.Contains(errOut, tt.want) {
				t.Errorf("%d %q, want %q", code, errOut, tt.want)
			}
			if code, _, _ := c.run("exec", "x", "y"); code != exitExecOwn {
				t.Errorf("exec: %d", code)
			}
		})
	}
}

func staleSocket(t *testing.T) string {
	dir, err := os.MkdirTemp("", "ctl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := control.Listen(filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return filepath.Join(dir, "s")
}

func TestRunningUnits(t *testing.T) {
	dir := t.TempDir()
	for path, text := range map[string]string{"cg/i/nginx/4/main/cgroup.procs": "8127\n8130\n", "cg/i/db/1/main/cgroup.procs": "", "run/units/nginx/x": "", "run/units/db/x": "", "run/units/gone/x": ""} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := runningUnits(filepath.Join(dir, "run"), "i", filepath.Join(dir, "cg")); !slices.Equal(got, []string{"nginx 8127"}) {
		t.Errorf("%v", got)
	}
	os.Mkdir(filepath.Join(dir, "slices"), 0o755)
	os.Rename(filepath.Join(dir, "cg"), filepath.Join(dir, "slices", "nsinit.slice"))
	if got := runningUnits(filepath.Join(dir, "run"), "i", filepath.Join(dir, "slices")); !slices.Equal(got, []string{"nginx 8127"}) {
		t.Errorf("in a slice: %v", got)
	}
}

func TestVerify(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "redis.toml")
	os.WriteFile(path, []byte("[service]\nexec_start = \"/bin/true\"\nrestart = \"allways\"\n"), 0o644)
	c := &ctl{t: t}
	code, out, _ := c.run("verify", "--unit-path", dir, path)
	if code != 1 || !strings.Contains(out, path+":3:11: error: restart") || !strings.Contains(out, "    |           ^~~~~~~~~") || !strings.Contains(out, "1 error, 0 warnings") {
		t.Errorf("%d %s", code, out)
	}
	if _, out, _ := c.run("verify", "--json", path); !json.Valid([]byte(out)) {
		t.Errorf("%s", out)
	}
	os.WriteFile(path, []byte("[service]\nexec_start = \"/bin/true\"\n"), 0o644)
	if code, out, errOut := c.run("verify", path); code != 0 {
		t.Errorf("%d %s %s", code, out, errOut)
	}
	if code, out, errOut := c.run("plan", path); code != 0 || !strings.Contains(out, "execve") || !strings.Contains(out, "Linux 6.1") {
		t.Errorf("%d %s %s", code, out, errOut)
	}
}

func TestExplain(t *testing.T) {
	c := &ctl{t: t}
	for args, want := range map[string]string{"ExecStart": "exec_start in [service]", "exec_start": "ExecStart", "memory_mux": "did you mean"} {
		_, out, errOut := c.run("explain", args)
		if !strings.Contains(out+errOut, want) {
			t.Errorf("explain %s: %s%s", args, out, errOut)
		}
	}
}

// An answer that ends before every unit is done is no success.
func TestActCutShort(t *testing.T) {
	c := newCtl(t, control.RoleAdmin)
	c.b.cut = true
	if code, _, errOut := c.run("start", "nginx"); code != 1 || !strings.Contains(errOut, "0 of 1 unit was answered for") {
		t.Errorf("%d %q", code, errOut)
	}
	if code, _, errOut := c.run("start", "--no-block", "nginx"); code != 0 {
		t.Errorf("%d %q", code, errOut)
	}
}
