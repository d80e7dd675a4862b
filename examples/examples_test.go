// Package examples_test loads every example as a manager would.
package examples_test

import (
	"path/filepath"
	"testing"

	"github.com/nsinit/nsinit/unit"
)

func TestEveryExampleLoads(t *testing.T) {
	for _, dir := range []string{".", "daemons", "forking", "network"} {
		set := unit.LoadSet([]string{dir}, unit.Options{Lax: true})
		for name, list := range set.Problems() {
			t.Errorf("%s: %v", name, list)
		}
		files, err := filepath.Glob(filepath.Join(dir, "*.toml"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no examples in %s: %v", dir, err)
		}
		for _, report := range unit.Verify(files, nil, unit.Options{}) {
			for _, warning := range report.Warnings {
				t.Logf("%v", warning)
			}
			if len(report.Relaxes) > 0 {
				t.Logf("%s relaxes %v", report.File, report.Relaxes)
			}
		}
	}
}

// TestTargetWantsExamples: the target names units that exist, so that starting
// it starts all examples.
func TestTargetWantsExamples(t *testing.T) {
	set := unit.LoadSet([]string{"."}, unit.Options{Lax: true})
	target, err := set.Resolve("demo")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range target.Wants {
		if _, err := set.Resolve(name); err != nil {
			t.Errorf("demo wants %s: %v", name, err)
		}
	}
	if len(target.Wants) < 4 {
		t.Errorf("demo wants %v", target.Wants)
	}
}
