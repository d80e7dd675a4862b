package machine_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// elsewhere are the tests of isolate/launch that build programs, which takes a
// compiler, and one that an emulated processor is too slow for: process 1 itself
// is given as many orphans by TestFaults.
const elsewhere = "TestChildTouchesNothingElse|TestBreachesAreFound|TestBinary|TestTenThousandOrphans|TestLaw|TestBuild"

// TestLaunchOnOldestKernel runs the tests of isolate/launch, which are run on
// the tester's own kernel otherwise, on the oldest that nsinit supports: each
// feature is probed there, and what is missing handled.
func TestLaunchOnOldestKernel(t *testing.T) {
	needTools(t)
	binary := filepath.Join(t.TempDir(), "launch.test")
	build := exec.Command("go", "test", "-c", "-o", binary, "./isolate/launch")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the tests: %v\n%s", err, out)
	}
	m := boot(t, image{list: []string{"file /usr/lib/machine/launch.test " + binary + " 0755", "program /usr/bin/unshare"}}, power{})
	a, err := m.run("cd /usr/lib/machine && ./launch.test -test.v -test.skip '"+elsewhere+"'", 5*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	passed := 0
	var lines []string
	for line := range strings.Lines(a.Out + a.Err) {
		if strings.HasPrefix(line, "--- PASS") {
			passed++
		}
		if !strings.Contains(line, "PASS") && !strings.HasPrefix(line, "===") {
			lines = append(lines, line)
		}
	}
	t.Logf("%d tests passed", passed)
	if a.Code != 0 || passed == 0 {
		all := strings.Join(lines, "")
		t.Errorf("exit %d:\n%s", a.Code, all[:min(len(all), 12000)])
	}
}
