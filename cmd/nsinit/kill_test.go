package main_test

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestManagerKilled kills the manager 200 times under four services: nobody
// but the manager notices, and of a numbered line every millisecond, on standard
// output or in a file that is rotated, none is missing and none is there twice.
func TestManagerKilled(t *testing.T) {
	kills := 200
	if testing.Short() {
		kills = 20
	}
	in := testInstance(t, map[string]string{
		"seq": `
[service]
exec_start = "@PROBE@ seq"
[log]
log_rate_limit_burst = 0
[install]
wanted_by = "default"`,
		"file": `
[service]
exec_start = "@PROBE@ seqfile /tmp/seq"
[log]
log_rate_limit_burst = 0
files = "/tmp/seq"
reopen_signal = "SIGUSR1"
max_size = "32K"
max_files = 1000
[install]
wanted_by = "default"`,
		"web": `
[service]
type = "notify"
exec_start = "@PROBE@ http 127.0.0.1:8080"
[install]
wanted_by = "default"`,
		"notify": `
[service]
type = "notify"
exec_start = "@PROBE@ watchdog 1000000"
watchdog_sec = "20s"
[install]
wanted_by = "default"`,
	})
	units := []string{"seq", "file", "web", "notify"}
	pids := map[string]string{}
	for _, u := range units {
		if err := in.await(u, "sub_state", "running"); err != nil {
			t.Fatal(err)
		}
		pids[u], _ = in.field(u, "main_pid")
	}
	slowest := time.Duration(0)
	for i := range kills {
		time.Sleep(time.Duration(rand.IntN(20_000)) * time.Microsecond) // a kill at any point of its work
		if err := in.kill(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := in.start(); err != nil {
			t.Fatalf("kill %d: %v", i+1, err)
		}
		out, stderr, code := in.nsctl("status")
		slowest = max(slowest, time.Since(began))
		if code != 0 {
			t.Fatalf("kill %d: nsctl status: exit %d: %s", i+1, code, stderr)
		}
		for _, u := range units {
			if pid, err := in.field(u, "main_pid"); err != nil || pid != pids[u] {
				t.Fatalf("kill %d: main pid of %s was %s, is %s (%v)\n%s", i+1, u, pids[u], pid, err, out)
			}
		}
	}
	for _, u := range units {
		for field, want := range map[string]string{"active_state": "active", "restarts": "", "start_count": "1"} {
			if got, err := in.field(u, field); err != nil || got != want {
				t.Errorf("%s of %s is %q, want %q (%v)", field, u, got, want, err)
			}
		}
	}
	if out, stderr, code := in.nsctl("stop", "seq", "file"); code != 0 {
		t.Errorf("nsctl stop: exit %d: %s%s", code, out, stderr)
	}
	for _, unit := range []string{"seq", "file"} {
		out, _, _ := in.nsctl("logs", "-u", unit, "-o", "cat")
		n, err := consecutive(out)
		if err != nil {
			t.Errorf("%s: %v", unit, err)
		}
		if last := lastNumber(out); last != n {
			t.Errorf("%s: %d lines, and the last is %d", unit, n, last)
		}
		if n < 10*kills {
			t.Errorf("%s: only %d lines during %d kills", unit, n, kills)
		}
		if rotated := strings.Count(out, "log: rotated /tmp/seq"); unit == "file" && rotated < n*5/32768/2 {
			t.Errorf("%d lines, and only %d rotations", n, rotated)
		}
		t.Logf("%s: %d kills, %d lines; the slowest manager answered after %v", unit, kills, n, slowest)
	}
}

func lastNumber(text string) (last int) {
	for line := range strings.Lines(text) {
		if n, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
			last = n
		}
	}
	return last
}
