package unit

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// list returns the files below the first directory of a tree, with their
// text, or where they lead.
func list(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root+"/etc", func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name := strings.TrimPrefix(path, root+"/etc/")
		if target, err := os.Readlink(path); err == nil {
			out[name] = "-> " + target
			return nil
		}
		text, err := os.ReadFile(path)
		out[name] = string(text)
		return err
	})
	must(t, err)
	return out
}

func TestDisableAndEnable(t *testing.T) {
	s, root := loadFiles(t, map[string]string{
		"etc/keep.toml":   simple,
		"lib/web.toml":    simple + "[install]\nwanted_by = 'default'\nrequired_by = 'keep'\nalso = 'helper'\n",
		"lib/helper.toml": simple + "[install]\nwanted_by = 'default'\n",
	})
	if got := s.Enabled("web"); got != "enabled" {
		t.Errorf("a loaded file is %s", got)
	}
	before := list(t, root)
	changed, err := s.Disable(root+"/etc", "web.service")
	must(t, err)
	want := []string{root + "/etc/web.toml.d/50-disable.toml", root + "/etc/helper.toml.d/50-disable.toml"}
	if diff := cmp.Diff(want, changed); diff != "" {
		t.Error(diff)
	}
	s = loadTree(root)
	if d := resolve(t, s, "default"); s.Enabled("web") != "disabled" || slices.Contains(d.Wants, "web") || slices.Contains(d.Wants, "helper") {
		t.Errorf("disabled: %s, wants %v", s.Enabled("web"), d.Wants)
	}
	if k := resolve(t, s, "keep"); len(k.Requires) > 0 || s.Enabled("keep") != "static" {
		t.Errorf("requires %v, %s", k.Requires, s.Enabled("keep"))
	}
	_, err = s.Enable(root+"/etc", "web")
	must(t, err)
	if diff := cmp.Diff(before, list(t, root)); diff != "" {
		t.Errorf("enable is not the reverse of disable: %s", diff)
	}
	if _, err := s.Enable(root+"/etc", "keep"); err == nil || !strings.Contains(err.Error(), "nothing to enable") {
		t.Errorf("enable of a static unit: %v", err)
	}
}

func TestEnableWhatAnotherDirectoryDisables(t *testing.T) {
	s, root := loadFiles(t, map[string]string{
		"lib/web.toml":                   simple + "[install]\nwanted_by = 'default'\n",
		"lib/web.toml.d/50-disable.toml": "[install]\nwanted_by = []\n",
		"etc/x.toml":                     simple,
	})
	if s.Enabled("web") != "disabled" {
		t.Fatal(s.Enabled("web"))
	}
	_, err := s.Enable(root+"/etc", "web")
	must(t, err)
	s = loadTree(root)
	if s.Enabled("web") != "enabled" {
		t.Errorf("after enable: %s", s.Enabled("web"))
	}
	_, err = s.Disable(root+"/etc", "web")
	must(t, err)
	if s = loadTree(root); s.Enabled("web") != "disabled" {
		t.Errorf("after disable: %s", s.Enabled("web"))
	}
}

func TestEnableInstances(t *testing.T) {
	s, root := loadFiles(t, map[string]string{
		"etc/getty@.toml": simple + "[install]\nwanted_by = 'getty'\ndefault_instance = 'tty1'\n",
		"etc/bare@.toml":  simple + "[install]\nwanted_by = 'getty'\n",
	})
	before := list(t, root)
	for _, name := range []string{"getty@", `getty@a\x2db`} {
		_, err := s.Enable(root+"/etc", name)
		must(t, err)
	}
	s = loadTree(root)
	want := []string{`getty@a\x2db`, "getty@tty1"}
	got := slices.Sorted(slices.Values(resolve(t, s, "getty").Wants))
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if s.Enabled("getty@tty1") != "enabled" || s.Enabled("getty@tty2") != "disabled" {
		t.Error(s.Enabled("getty@tty1"), s.Enabled("getty@tty2"))
	}
	for _, name := range want {
		_, err := s.Disable(root+"/etc", name)
		must(t, err)
	}
	if diff := cmp.Diff(before, list(t, root)); diff != "" {
		t.Error(diff)
	}
	if _, err := s.Enable(root+"/etc", "bare@"); err == nil || !strings.Contains(err.Error(), "without default_instance") {
		t.Errorf("bare template: %v", err)
	}
}
