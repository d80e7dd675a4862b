package supervisor

import (
	"strings"
	"testing"
)

// An instance's name becomes paths that are made and removed as root.
func TestConfigCheck(t *testing.T) {
	for _, c := range []struct {
		instance string
		euid     int
		want     string
	}{
		{"nsinit", 0, ""},
		{"web-2.test_1", 0, ""},
		{"", 0, "cannot name an instance"},
		{".", 0, "cannot name an instance"},
		{"..", 0, "cannot name an instance"},
		{"a/b", 0, "cannot name an instance"},
		{"-x", 0, "cannot name an instance"},
		{"a\n", 0, "cannot name an instance"},
		{strings.Repeat("n", 65), 0, "cannot name an instance"},
		{"nsinit", 1000, "needs root"},
	} {
		err := DefaultConfig(c.instance).check(c.euid)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("instance %q, uid %d: %v", c.instance, c.euid, err)
		}
	}
}
