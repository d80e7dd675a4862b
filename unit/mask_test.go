package unit

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMaskAndUnmask(t *testing.T) {
	s, root := loadFiles(t, map[string]string{
		"etc/own.toml": simple, "lib/web.toml": simple, "lib/bad.toml": "[service]\nx = 1\n", "lib/tick@.toml": simple,
	})
	for _, name := range []string{"web.service", "bad", "tick@one", "tick@", "rescue"} {
		paths, err := s.Mask(root+"/etc", name)
		must(t, err)
		if want := []string{root + "/etc/" + BareName(name) + ".toml"}; !cmp.Equal(want, paths) {
			t.Errorf("%v, want %v", paths, want)
		}
	}
	masked := loadTree(root)
	for _, name := range []string{"web", "bad", "tick@one", "rescue"} {
		if _, err := masked.Resolve(name); !masked.Masked(name) || err == nil {
			t.Errorf("%s: masked %v, %v", name, masked.Masked(name), err)
		}
		paths, err := masked.Mask(root+"/etc", name)
		if must(t, err); len(paths) > 0 {
			t.Errorf("masked again: %v", paths)
		}
		_, err = masked.Unmask(root+"/etc", name)
		must(t, err)
	}
	if s = loadTree(root); s.Masked("web") || s.units["web"] == nil {
		t.Error("web is masked still")
	}
	if paths, err := s.Unmask(root+"/etc", "web"); err != nil || len(paths) > 0 {
		t.Errorf("unmasked again: %v %v", paths, err)
	}
}

// What mask did not write, it neither replaces nor removes.
func TestMaskRefuses(t *testing.T) {
	s, root := loadFiles(t, map[string]string{"etc/own.toml": simple, "lib/vendor.toml": "-> /dev/null"})
	before := list(t, root)
	if _, err := s.Mask(root+"/etc", "own"); err == nil {
		t.Error("own: its file was replaced")
	}
	for _, change := range []func(string, string) ([]string, error){s.Mask, s.Unmask} {
		if _, err := change(root+"/etc", "nosuch"); !errors.Is(err, ErrUnknown) {
			t.Errorf("nosuch: %v", err)
		}
	}
	if _, err := s.Unmask(root+"/etc", "vendor"); err == nil {
		t.Error("vendor: a link below lib was removed")
	}
	if diff := cmp.Diff(before, list(t, root)); diff != "" {
		t.Error(diff)
	}
}
