package supervisor

import (
	"slices"
	"testing"

	"github.com/nsinit/nsinit/unit"
)

// TestNeeds: plan tells of a limit's controller what the instance's cgroup has.
func TestNeeds(t *testing.T) {
	u := &unit.Unit{Resources: unit.Resources{MemoryMax: unit.Amount{Set: true, Value: 64 << 20}}}
	for _, c := range []struct {
		controllers []string
		bestEffort  bool
		want        string
	}{
		{[]string{"memory"}, false, "controller memory (present)"},
		{nil, false, "controller memory (missing here: the start fails)"},
		{nil, true, "controller memory (missing here; best_effort: the limit is left out)"},
	} {
		u.Resources.BestEffort = c.bestEffort
		if got := needs(u, c.controllers, 0); !slices.Contains(got, c.want) {
			t.Errorf("with %q: %q, want %q", c.controllers, got, c.want)
		}
	}
}
