package unit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// FuzzUnit loads any text as a unit: it never panics, takes neither long nor
// much, has an error in place of a unit or a unit without holes, and says
// nothing that a terminal would obey.
func FuzzUnit(f *testing.F) {
	paths, _ := filepath.Glob("testdata/verify/*.toml")
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("[service]\nexec_start = [['/bin/x', '%i']]\nenvironment = ['A=1', 'B=2']\n[isolation]\nnamespaces = ['~pid']\n")
	for _, k := range Keys() {
		if k.Supported && k.Table != "service" {
			f.Add(simple + "[" + k.Table + "]\n" + k.Example + "\n")
		} else if k.Supported {
			f.Add(simple + k.Example + "\n")
		}
	}
	machine := testMachine()
	f.Fuzz(func(t *testing.T, text string) {
		start := cpuTime(t)
		s := emptySet(machine)
		b := s.newBuilder("web@1")
		b.mergeText("web@.toml", text)
		u, errs := b.build()
		s.keep(b, u, errs)
		s.linkAll(s.allDrafts())
		if took := cpuTime(t) - start; took > time.Second {
			t.Errorf("took %v", took)
		}
		checkOutcome(t, s)
	})
}

func emptySet(machine *SpecifierContext) *Set {
	return &Set{
		options: Options{Config: InstanceConfig{}.withDefaults()}, machine: *machine, files: findFiles(nil, true),
		units: map[string]*Unit{}, drafts: map[string]*builder{}, aliases: map[string]string{},
		templates: map[string]*Unit{}, problems: map[string]List{},
	}
}

func checkOutcome(t *testing.T, s *Set) {
	t.Helper()
	u, errs := s.units["web@1"], s.problems["web@1"]
	if (u == nil) == (len(errs) == 0) {
		t.Fatalf("unit %v, errors %v", u, errs)
	}
	for _, e := range errs {
		if strings.ContainsFunc(e.Error(), func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r == 0x7f }) {
			t.Errorf("an error holds a control character: %q", e.Error())
		}
		e.Detail()
	}
	if u == nil || u.IsTarget() {
		return
	}
	sv := u.Service
	if sv.Type != "oneshot" && len(sv.ExecStart) != 1 || sv.TimeoutStartSec <= 0 || sv.TimeoutStopSec <= 0 || sv.KillSignal == 0 ||
		sv.Restart == "" || u.Network.Mode == "" || u.Log.StandardOutput.Kind == "" || u.Profile == "" {
		t.Errorf("a default is missing: %+v", u)
	}
	again := emptySet(&s.machine)
	b := again.newBuilder("web@1")
	b.mergeText("web@.toml", u.Resolved())
	v, errs := b.build()
	again.keep(b, v, errs)
	again.linkAll(again.allDrafts())
	if diff := sameUnit(u, v); len(errs) > 0 || diff != "" {
		t.Errorf("resolved and loaded again: %v %s\n%s", errs, diff, u.Resolved())
	}
}
