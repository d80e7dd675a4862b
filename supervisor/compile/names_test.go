package compile

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/unit"
)

// root is a directory tree of the test's own. "-> x" is a link.
func root(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if len(text) > 3 && text[:3] == "-> " {
			err = os.Symlink(text[3:], p)
		} else {
			err = os.WriteFile(p, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func rooted(t *testing.T, dir, text string) *unit.Unit {
	t.Helper()
	return loadText(t, minimal+"[network]\nmode = 'veth'\n[filesystem]\nroot_directory = '"+dir+"'\n"+text)
}

// TestBindNames: the files are put where links lead, be they absolute, and in a
// service's own /run where that is.
func TestBindNames(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		text  string
		want  []NameFile
		miss  []string
	}{
		{"plain", map[string]string{"etc/hosts": "", "etc/resolv.conf": ""}, "", []NameFile{{"/n/hosts", "/etc/hosts"}, {"/n/resolv", "/etc/resolv.conf"}}, nil},
		{"link", map[string]string{"etc/hosts": "", "etc/resolv.conf": "-> /var/lib/x/resolv.conf", "var/lib/x/resolv.conf": ""}, "",
			[]NameFile{{"/n/hosts", "/etc/hosts"}, {"/n/resolv", "/var/lib/x/resolv.conf"}}, nil},
		{"link to the fresh /run", map[string]string{"etc/hosts": "", "etc/resolv.conf": "-> ../run/systemd/resolve/stub-resolv.conf"}, "",
			[]NameFile{{"/n/hosts", "/etc/hosts"}, {"/n/resolv", "/run/systemd/resolve/stub-resolv.conf"}}, nil},
		{"missing", map[string]string{"etc/hosts": ""}, "", []NameFile{{"/n/hosts", "/etc/hosts"}, {"/n/resolv", "/etc/resolv.conf"}}, []string{"/etc/resolv.conf"}},
		{"own", map[string]string{"etc/hosts": "", "etc/resolv.conf": ""}, "bind_read_only_paths = '/srv/hosts:/etc/hosts'\n", []NameFile{{"/n/resolv", "/etc/resolv.conf"}}, nil},
		{"own /etc", map[string]string{"etc/hosts": ""}, "temporary_file_system = '/etc'\n", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var f Facts
			if err := f.BindNames(rooted(t, root(t, tt.files), tt.text), "/n/hosts", "/n/resolv"); err != nil {
				t.Fatal(err)
			}
			var miss []string
			for _, m := range f.Missing {
				miss = append(miss, m.Asked)
			}
			if diff := cmp.Diff(tt.want, f.Names) + cmp.Diff(tt.miss, miss); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNetworkLines(t *testing.T) {
	u := loadText(t, minimal+"[network]\nmode = 'veth'\npublish = ['80:80', '53:53/udp']\n[network.link.wan]\nmode = 'vlan'\nparent = 'eth9'\nvlan_id = 7\naddress = '192.0.2.7/24'\n")
	want := []string{"eth0 veth on bridge default, auto, publish 80:80/tcp, publish 53:53/udp", "wan vlan 7 of eth9, 192.0.2.7/24"}
	if diff := cmp.Diff(want, NetworkLines(u)); diff != "" {
		t.Error(diff)
	}
}

// TestNamesAreBound: read-only, and nothing else is put in their place.
func TestNamesAreBound(t *testing.T) {
	u := loadText(t, minimal+"[network]\nmode = 'veth'\n")
	f := testFacts()
	f.Names = []NameFile{{"/n/hosts", "/etc/hosts"}, {"/n/resolv", f.RunTargets[0]}}
	svc, err := Start(u, isolate.OldestHost(), f)
	if err != nil {
		t.Fatal(err)
	}
	if len(svc.Spec.Files) != 0 {
		t.Errorf("files: %+v", svc.Spec.Files)
	}
	for _, n := range f.Names {
		all := slices.DeleteFunc(slices.Clone(svc.Spec.Paths), func(r isolate.PathRule) bool { return r.Path != n.Target })
		if len(all) != 1 || all[0].Source != n.Source || !all[0].ReadOnly || all[0].Optional {
			t.Errorf("%s: %+v", n.Target, all)
		}
	}
}
