package main_test

import (
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestKilledBetweenStarts kills the manager while a service that ends at once is
// started over and over, where a start follows while the one before is taken apart.
// No start meets what an earlier one has left, and none is the last.
func TestKilledBetweenStarts(t *testing.T) {
	kills := 60
	if testing.Short() {
		kills = 15
	}
	in := testInstance(t, map[string]string{"short": `
[unit]
start_limit_interval_sec = 0
[service]
exec_start = [["/bin/sh", "-c", "mkdir $RUNTIME_DIRECTORY/mine && echo begun"]]
restart = "always"
restart_sec = 0
[filesystem]
runtime_directory = "@NAME@-short"
[log]
log_rate_limit_burst = 0
[install]
wanted_by = "default"`})
	for i := range kills {
		time.Sleep(time.Duration(rand.IntN(20_000)) * time.Microsecond) // at any point of its work
		if err := in.kill(); err != nil {
			t.Fatal(err)
		}
		if err := in.start(); err != nil {
			t.Fatalf("kill %d: %v", i+1, err)
		}
		before, err := in.field("short", "generation")
		if err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			if now, err := in.field("short", "generation"); err == nil && now != before {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("after kill %d it is not started again", i+1)
			}
		}
	}
	if out, stderr, code := in.nsctl("stop", "short"); code != 0 {
		t.Errorf("nsctl stop: exit %d: %s%s", code, out, stderr)
	}
	out, _, _ := in.nsctl("logs", "-u", "short", "-o", "cat")
	if n := strings.Count(out, "File exists"); n > 0 {
		t.Errorf("%d starts of %d met what an earlier one had left", n, n+strings.Count(out, "begun\n"))
	}
	starts, _ := filepath.Glob(filepath.Join(in.runDir, "units/short/[0-9]*"))
	for _, dir := range append(in.cgroups(), starts...) {
		if strings.Contains(dir, "/short") {
			t.Errorf("%s stays", dir)
		}
	}
}
