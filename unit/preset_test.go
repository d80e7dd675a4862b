package unit

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func loadPresets(root string) *Set {
	return LoadSet([]string{root + "/etc", root + "/run", root + "/lib"}, Options{Machine: testMachine(),
		Presets: []string{root + "/etc/preset.d", root + "/lib/preset.d"}, Vendor: []string{root + "/lib"}})
}

// A preset keeps packages' units from starting, and nobody else's; what the
// administrator says counts more.
func TestPresets(t *testing.T) {
	const wanted = simple + "[install]\nwanted_by = 'default'\n"
	root := tree(t, map[string]string{
		"etc/preset.d/50-site.preset": "# ours\n; too\n\nenable web*.service\nignore whatever\n",
		"lib/preset.d/50-site.preset": "disable web\n",
		"lib/preset.d/90-all.preset":  "disable *\nenable late\n",
		"lib/preset.d/notes.txt":      "nonsense\n",
		"lib/web.toml":                wanted, "lib/late.toml": wanted + "required_by = 'hard'\n", "lib/hard.toml": simple, "lib/by-dropin.toml": wanted,
		"lib/by-dropin.toml.d/10.toml": "[install]\nwanted_by = 'late'\n",
		"lib/said.toml":                wanted, "etc/said.toml.d/10.toml": "[install]\nwanted_by = 'default'\n",
		"etc/own.toml": wanted, "lib/static.toml": simple,
	})
	s := loadPresets(root)
	check := func(name, enabled, preset string) {
		t.Helper()
		if got, u := s.Enabled(name), resolve(t, s, name); got != enabled || u.Preset != preset {
			t.Errorf("%s: %s, preset %q; want %s, %q", name, got, u.Preset, enabled, preset)
		}
	}
	check("web", "enabled", "enabled")
	check("late", "disabled", "disabled")
	check("by-dropin", "disabled", "disabled")
	check("said", "enabled", "disabled")
	check("own", "enabled", "")
	check("static", "static", "disabled")
	if wants := resolve(t, s, "default").Wants; slices.Contains(wants, "late") || !slices.Contains(wants, "web") {
		t.Errorf("default wants %v", wants)
	}
	before := list(t, root)
	_, err := s.Enable(root+"/etc", "late")
	must(t, err)
	s = loadPresets(root)
	check("late", "enabled", "disabled")
	if !slices.Contains(resolve(t, s, "default").Wants, "late") || !slices.Contains(resolve(t, s, "hard").Requires, "late") {
		t.Errorf("after enable: %v", resolve(t, s, "default").Wants)
	}
	_, err = s.Disable(root+"/etc", "late")
	must(t, err)
	s = loadPresets(root)
	check("late", "disabled", "disabled")
	if after := list(t, root); len(after) != len(before) {
		t.Errorf("left behind: %v", after)
	}
	reports := Verify([]string{root + "/lib/late.toml"}, []string{root + "/lib"}, Options{Machine: testMachine(), Presets: []string{root + "/lib/preset.d"}, Vendor: []string{root + "/lib"}})
	if want := "disabled by " + root + "/lib/preset.d/90-all.preset:1"; reports[0].Preset != want {
		t.Errorf("verify: %q, want %q", reports[0].Preset, want)
	}
}

// A line that is wrong is said, with its place; the others count.
func TestBadPresets(t *testing.T) {
	root := tree(t, map[string]string{"lib/preset.d/x.preset": "disable web\nfrobnicate web\nenable a b\ndisable\ndisable [x\nenable getty@ tty1\n",
		"lib/web.toml": simple + "[install]\nwanted_by = 'default'\n", "etc/preset.d/masked.preset": "-> /dev/null", "lib/preset.d/masked.preset": "nonsense\n"})
	s := loadPresets(root)
	errs := s.Problems()[filepath.Join(root, "lib/preset.d/x.preset")]
	if len(errs) != 5 || errs[0].Line != 2 || !strings.Contains(errs.Error(), "instances of a template") || s.Enabled("web") != "disabled" || len(s.Problems()) != 1 {
		t.Errorf("%v, %s", s.Problems(), s.Enabled("web"))
	}
}
