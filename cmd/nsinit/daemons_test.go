package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// daemon is a real one: the unit file of examples/daemons, the program that its
// package brings, and a client that asks it from inside.
type daemon struct {
	unit, program string
	client        []string
	answer        string // what its first line begins with
}

var daemons = []daemon{
	{"nginx", "/usr/sbin/nginx", []string{"curl", "-sI", "http://127.0.0.1/"}, "HTTP/1.1 200"},
	{"redis", "/usr/bin/redis-server", []string{"redis-cli", "ping"}, "PONG"},
	{"postgresql", "/usr/lib/postgresql/15/bin/postgres", []string{"psql", "-Atc", "select 6 * 7"}, "42"},
}

// TestDaemons runs Debian's packages, unmodified, each isolated; each answers a
// client of its own from inside, comes back when its main process is killed,
// keeps log and counters over a restart, and outlives the manager.
func TestDaemons(t *testing.T) {
	needBinaries(t)
	units := map[string]string{}
	for _, d := range daemons {
		if _, err := os.Stat(d.program); err != nil {
			t.Skipf("%s is not installed: packaging/deps.sh nginx redis-server postgresql curl", d.unit)
		}
		text, err := os.ReadFile(filepath.Join("../../examples/daemons", d.unit+".toml"))
		if err != nil {
			t.Fatal(err)
		}
		units[d.unit] = string(text)
	}
	in := testInstance(t, units)
	if out, stderr, code := in.nsctl("start", "nginx", "redis", "postgresql"); code != 0 {
		t.Fatalf("nsctl start: exit %d: %s%s", code, out, stderr)
	}
	for _, d := range daemons {
		t.Run(d.unit, func(t *testing.T) { d.test(t, in) })
	}
	d := daemons
	before := fmt.Sprint(d[0].pid(t, in), d[1].pid(t, in), d[2].pid(t, in))
	if err := in.kill(); err != nil {
		t.Fatal(err)
	}
	if err := in.start(); err != nil {
		t.Fatal(err)
	}
	if after := fmt.Sprint(d[0].pid(t, in), d[1].pid(t, in), d[2].pid(t, in)); after != before {
		t.Errorf("main pids were %s, are %s after the manager was killed", before, after)
	}
	for _, d := range daemons {
		d.answers(t, in)
	}
}

func (d daemon) test(t *testing.T, in *instance) {
	pid := d.pid(t, in)
	for _, kind := range []string{"mnt", "pid", "net", "ipc", "uts", "cgroup"} {
		ours, _ := os.Readlink("/proc/self/ns/" + kind)
		its, err := os.Readlink(fmt.Sprintf("/proc/%s/ns/%s", pid, kind))
		if err != nil || its == ours {
			t.Errorf("the %s namespace of %s is %s, ours %s (%v)", kind, d.unit, its, ours, err)
		}
	}
	d.answers(t, in)

	var n int
	fmt.Sscan(pid, &n)
	if err := syscall.Kill(n, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// In this order: it is running until its end is noticed.
	for _, wait := range [][2]string{{"restarts", "1"}, {"sub_state", "running"}} {
		if err := in.await(d.unit, wait[0], wait[1]); err != nil {
			t.Fatal(err)
		}
	}
	if again := d.pid(t, in); again == pid {
		t.Errorf("%s was killed, and its main pid is still %s", d.unit, pid)
	}
	d.answers(t, in)

	lines := d.lines(in)
	if out, stderr, code := in.nsctl("restart", d.unit); code != 0 {
		t.Fatalf("nsctl restart: exit %d: %s%s", code, out, stderr)
	}
	for field, want := range map[string]string{"start_count": "3", "active_state": "active"} {
		if got, err := in.field(d.unit, field); err != nil || got != want {
			t.Errorf("%s of %s is %q, want %q (%v)", field, d.unit, got, want, err)
		}
	}
	if now := d.lines(in); !strings.HasPrefix(now, lines) {
		t.Errorf("the log of %s began with\n%sbefore its restart, and now is\n%s", d.unit, lines, now)
	}
	d.answers(t, in)
}

func (d daemon) pid(t *testing.T, in *instance) string {
	t.Helper()
	pid, err := in.field(d.unit, "main_pid")
	if err != nil || pid == "" {
		t.Fatalf("%s has no main pid: %v", d.unit, err)
	}
	return pid
}

// answers asks with the daemon's own client until it is up: a daemon that does
// not tell when it is ready is started before it is.
func (d daemon) answers(t *testing.T, in *instance) {
	t.Helper()
	err := eventually(strings.Join(d.client, " "), func() (bool, string) {
		out, stderr, code := in.nsctl(append([]string{"exec", d.unit}, d.client...)...)
		return code == 0 && strings.HasPrefix(out, d.answer), out + stderr
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (d daemon) lines(in *instance) string {
	out, _, _ := in.nsctl("logs", "-u", d.unit, "-o", "short-precise")
	return out
}
