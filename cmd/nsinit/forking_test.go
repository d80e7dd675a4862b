package main_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// forker is a daemon that forks: the unit file of examples/forking, the program
// that its package brings, who names main, and a client that asks it from inside.
type forker struct {
	daemon
	source string
}

var forkers = []forker{
	{daemon{"nginx", "/usr/sbin/nginx", []string{"curl", "-sI", "http://127.0.0.1/"}, "HTTP/1.1 200"}, "pid_file /run/nginx.pid"},
	{daemon{"cron", "/usr/sbin/cron", nil, ""}, "pid_file /run/crond.pid"},
	{daemon{"memcached", "/usr/bin/memcached", ask("11211", "version\\r\\nquit\\r\\n"), "VERSION"}, "pid_file /run/memcached/memcached.pid"},
	{daemon{"dnsmasq", "/usr/sbin/dnsmasq", nil, ""}, "pid_file /run/dnsmasq/dnsmasq.pid"},
	{daemon{"vsftpd", "/usr/sbin/vsftpd", ask("21", "QUIT\\r\\n"), "220"}, "guess: the one process that exec_start left"},
}

// ask is a client for protocols of lines.
func ask(port, text string) []string {
	return []string{"bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/" + port + "; printf '" + text + "' >&3; head -n 1 <&3"}
}

// TestForkingDaemons runs Debian's daemons as they fork by themselves: main is
// known and answers, is found again by the next manager, comes back when it is
// killed, and nothing of it outlives the stop.
func TestForkingDaemons(t *testing.T) {
	needBinaries(t)
	units := map[string]string{}
	for _, f := range forkers {
		if _, err := os.Stat(f.program); err != nil {
			t.Skipf("%s is not installed: packaging/deps.sh nginx cron memcached dnsmasq-base vsftpd curl", f.unit)
		}
		text, err := os.ReadFile(filepath.Join("../../examples/forking", f.unit+".toml"))
		if err != nil {
			t.Fatal(err)
		}
		units[f.unit] = string(text)
	}
	// The machine's jobs are not the test's to run, nor its /run to write to.
	units["cron"] = strings.Replace(units["cron"], `profile = "host"`, `profile = "daemon"
[filesystem]
temporary_file_system = ["/var/spool/cron", "/etc/cron.d"]
inaccessible_paths = "/etc/crontab"`, 1)
	in := testInstance(t, units)
	names := []string{"start"}
	for _, f := range forkers {
		names = append(names, f.unit)
	}
	if out, stderr, code := in.nsctl(names...); code != 0 {
		t.Fatalf("nsctl start: exit %d: %s%s", code, out, stderr)
	}
	for _, f := range forkers {
		t.Run(f.unit, func(t *testing.T) { f.test(t, in) })
	}
}

func (f forker) test(t *testing.T, in *instance) {
	if got, err := in.field(f.unit, "main_pid_source"); err != nil || got != f.source {
		t.Fatalf("main was found by %q, want %q (%v)", got, f.source, err)
	}
	f.mayAnswer(t, in)
	before := f.pid(t, in)
	if err := in.kill(); err != nil {
		t.Fatal(err)
	}
	if err := in.start(); err != nil {
		t.Fatal(err)
	}
	if after := f.pid(t, in); after != before {
		t.Errorf("main pid was %s, is %s after the manager was killed", before, after)
	}
	var n int
	fmt.Sscan(before, &n)
	if err := syscall.Kill(n, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, wait := range [][2]string{{"restarts", "1"}, {"sub_state", "running"}} {
		if err := in.await(f.unit, wait[0], wait[1]); err != nil {
			t.Fatal(err)
		}
	}
	f.mayAnswer(t, in)
	if out, stderr, code := in.nsctl("restart", f.unit); code != 0 {
		t.Fatalf("nsctl restart: exit %d: %s%s", code, out, stderr)
	}
	f.mayAnswer(t, in)
	f.stop(t, in)
}

func (f forker) mayAnswer(t *testing.T, in *instance) {
	t.Helper()
	if f.client != nil {
		f.answers(t, in)
	}
}

// stop sees that no process of the payload is left.
func (f forker) stop(t *testing.T, in *instance) {
	if out, stderr, code := in.nsctl("stop", f.unit); code != 0 {
		t.Fatalf("nsctl stop: exit %d: %s%s", code, out, stderr)
	}
	for field, want := range map[string]string{"active_state": "inactive", "result": "success", "processes": "", "left_overs": ""} {
		if got, err := in.field(f.unit, field); err != nil || got != want {
			t.Errorf("%s is %q after the stop, want %q (%v)", field, got, want, err)
		}
	}
}

// TestForkingManagerKilled kills the manager at any moment of a restart: the next
// one comes to one payload, and knows main.
func TestForkingManagerKilled(t *testing.T) {
	kills := 60
	if testing.Short() {
		kills = 6
	}
	in := testInstance(t, map[string]string{
		"named": `
[unit]
start_limit_burst = 0
[service]
type = "forking"
pid_file = "/run/d.pid"
exec_start_pre = "/bin/true"
exec_start = [["/bin/sh", "-c", "(sleep 0.01; exec sleep 1000) & echo $! >/run/d.pid"]]`,
		"guessed": `
[unit]
start_limit_burst = 0
[service]
type = "forking"
exec_start = [["/bin/sh", "-c", "sleep 1000 & exec sleep 0.01"]]`,
	})
	sources := map[string]string{"named": "pid_file /run/d.pid", "guessed": forkers[len(forkers)-1].source}
	in.nsctl("start", "named", "guessed")
	for i := range kills {
		if out, stderr, code := in.nsctl("restart", "--no-block", "named", "guessed"); code != 0 {
			t.Fatalf("restart %d: exit %d: %s%s", i+1, code, out, stderr)
		}
		time.Sleep(time.Duration(rand.IntN(40_000)) * time.Microsecond) // a kill at any point of its work
		if err := in.kill(); err != nil {
			t.Fatal(err)
		}
		if err := in.start(); err != nil {
			t.Fatalf("kill %d: %v", i+1, err)
		}
		if out, stderr, code := in.nsctl("start", "named", "guessed"); code != 0 {
			t.Fatalf("kill %d: start: exit %d: %s%s", i+1, code, out, stderr)
		}
		for u, source := range sources {
			in.wantMain(t, i+1, u, source)
		}
	}
}

// wantMain sees that main is known, and that there is one payload.
func (in *instance) wantMain(t *testing.T, kill int, unit, source string) {
	t.Helper()
	pid, err := in.field(unit, "main_pid")
	if got, e := in.field(unit, "main_pid_source"); e != nil || err != nil || got != source || pid == "" {
		t.Fatalf("kill %d: main of %s is %q, found by %q (%v, %v)", kill, unit, pid, got, err, e)
	}
	files, err := filepath.Glob(filepath.Join(cgroup2(), in.name, unit, "*", "main", "cgroup.procs"))
	if err != nil || len(files) != 1 {
		t.Fatalf("kill %d: %s has the payloads %v (%v)", kill, unit, files, err)
	}
	if procs, err := os.ReadFile(files[0]); err != nil || !slices.Contains(strings.Fields(string(procs)), pid) {
		t.Fatalf("kill %d: main of %s is %s, and the payload %q (%v)", kill, unit, pid, procs, err)
	}
}
