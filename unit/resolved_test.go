package unit

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// sameUnit compares units but for where their keys were written, and what is
// said about that.
func sameUnit(a, b *Unit) string {
	return cmp.Diff(a, b, cmpopts.IgnoreUnexported(Unit{}), cmpopts.EquateEmpty(),
		cmpopts.IgnoreFields(Unit{}, "Path", "DropIns", "Warnings", "Aliases"), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}))
}

// TestResolvedLoadsToTheSameUnit: what cat --resolved prints of a unit with
// any key is a unit file that means the same.
func TestResolvedLoadsToTheSameUnit(t *testing.T) {
	texts := map[string]string{
		"commands": "[service]\nexec_start = '@-/bin/x \"a b\" \\x41 $A ${B} $$ %% \"\"'\nexec_start_pre = [['+/bin/y', 'a b', '\\']]\n",
		"host":     simple + "[isolation]\nprofile = 'host'\n", "daemon": simple + "user = 'x'\n[isolation]\nprofile = 'daemon'\n",
		"target":  "[unit]\nwants = 'basic'\n",
		"percent": simple + "environment = { A = '100%%', B = '\"\\' }\n[resources]\ncpu_quota = '33.3%'\nmemory_max = '12.5%'\n",
		"nothing": simple + "[isolation]\nnamespaces = []\n[security]\ncapability_bounding_set = []\n[log]\nlog_rate_limit_burst = 0\n",
	}
	for _, k := range Keys() {
		switch {
		case !k.Supported || k.Name == "exec_start":
		case k.Name == "cpu_scheduling_priority":
			texts[k.ID()] = simple + "cpu_scheduling_policy = 'fifo'\n" + k.Example + "\n"
		case strings.HasPrefix(k.Table, "network"):
			texts[k.ID()] = exampleOfLink(k)
		case k.Table == "service":
			texts[k.ID()] = simple + k.Example + "\n"
		default:
			texts[k.ID()] = simple + "[" + k.Table + "]\n" + k.Example + "\n"
		}
	}
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			s, root := loadFiles(t, map[string]string{"etc/web.toml": text, "etc/postgresql.toml": simple, "etc/vpn.toml": simple})
			u, err := s.Resolve("web")
			if err != nil {
				t.Fatal(strings.ReplaceAll(err.Error(), root, ""))
			}
			again, _ := loadFiles(t, map[string]string{"etc/web.toml": u.Resolved(), "etc/postgresql.toml": simple, "etc/vpn.toml": simple})
			v, err := again.Resolve("web")
			if err != nil {
				t.Fatalf("%v\n%s", err, u.Resolved())
			}
			if diff := sameUnit(u, v); diff != "" {
				t.Errorf("%s\n%s", diff, u.Resolved())
			}
		})
	}
}

// exampleOfLink is a unit in which the example of a key of [network] means
// something.
func exampleOfLink(k Key) string {
	with := map[string]string{
		"gateway": "address = '192.0.2.7/24'\n", "parent": "mode = 'macvlan'\n",
		"macvlan_mode": "mode = 'macvlan'\nparent = 'eth9'\n", "vlan_id": "mode = 'vlan'\nparent = 'eth9'\n",
		"mode": "parent = 'eth9'\n",
	}[k.Name]
	switch {
	case k.ID() == "network.mode":
		return simple + "[network]\n" + k.Example + "\n"
	case k.Table == "network" && !strings.Contains(with, "mode"):
		with += "mode = 'veth'\n"
	}
	return simple + "[" + k.Table + "]\n" + with + k.Example + "\n"
}
