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
	f.Add(simple + "[network]\nmode = 'veth'\naddress = ['auto', '10.80.0.5/24']\npublish = '[2001:db8::1]:80:80'\nallow_from = []\n[network.link.eth1]\n[network.link.'a.b']\nmode = 'vlan'\nparent = 'x'\nvlan_id = 7\n")
	for _, k := range Keys() {
		if strings.HasPrefix(k.Table, "network") {
			f.Add(exampleOfLink(k))
		} else if k.Supported && k.Table != "service" {
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

// FuzzConfig loads any text as nsinit.toml: it never panics, and what it takes has
// bridges that units can be on.
func FuzzConfig(f *testing.F) {
	for _, text := range []string{
		"default_network = 'veth'\nwatchdog_sec = 5\n[bridge.default]\npool = ['10.80.0.0/24', 'fd80::/64']\nnat = true\nmtu = 1500\n[bridge.tenant-a]\nlink = 'tena0'\npool = '10.90.0.0/24'\ninternal = true\n",
		"[bridge]\n[bridge.x]\npool = []\nlink = ''\n", "bridge = [1]\n", "[[bridge.x]]\nnat = true\n", "[defaults.service]\nrestart = 'no'\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, errs := parseConfig("nsinit.toml", text)
		for _, e := range errs {
			e.Detail()
		}
		if len(errs) > 0 {
			return
		}
		if c.DefaultNetwork == "" || len(c.Bridges) == 0 || c.Bridges[0].Name != DefaultBridge {
			t.Errorf("%+v", c)
		}
		for i, b := range c.Bridges {
			if b.Internal && b.Nat {
				t.Errorf("%s is internal and has a way out", b.Name)
			}
			for _, p := range b.Pools {
				if p.Masked() != p {
					t.Errorf("%s: %s has bits of a host", b.Name, p)
				}
				for _, other := range c.Bridges[:i] {
					for _, q := range other.Pools {
						if p.Overlaps(q) {
							t.Errorf("%s and %s overlap", b.Name, other.Name)
						}
					}
				}
			}
		}
	})
}
