package supervisor

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nsinit/nsinit/network"
	"github.com/nsinit/nsinit/network/filter"
	"github.com/nsinit/nsinit/unit"
)

// unitOf loads one unit.
func unitOf(t *testing.T, text string) *unit.Unit {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "web.toml"), []byte("[service]\nexec_start = '/bin/true'\n"+text), 0o644); err != nil {
		t.Fatal(err)
	}
	u, err := unit.LoadSet([]string{dir}, unit.Options{Lax: true}).Resolve("web")
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// TestNetworkSpec: everything that a unit can say of its network reaches network.
func TestNetworkSpec(t *testing.T) {
	u := unitOf(t, `[network]
mode = "veth"
bridge = "tenant"
address = ["auto", "10.90.0.7/24"]
mtu = 1400
mac = "02:00:00:00:00:07"
routes = "10.0.0.0/8 via 10.90.0.9 metric 5"
publish = ["127.0.0.1:8000-8001:9000-9001/udp"]
allow_from = ["db", "10.0.0.0/8:80/tcp", "host", "outside:1-2", "bridge:x", "any/udp"]
allow_to = []
[network.link.wan]
mode = "macvlan"
parent = "eth9"
macvlan_mode = "passthru"
address = "192.0.2.7/24"
gateway = "192.0.2.1"
[network.link.zone]
mode = "vlan"
parent = "eth9"
vlan_id = 7
`)
	dns := []netip.Addr{netip.MustParseAddr("192.0.2.53")}
	prefix := netip.MustParsePrefix
	want := network.Spec{
		Unit: "web", DNS: dns, To: []filter.Peer{},
		Publish: []filter.Port{{Host: netip.MustParseAddr("127.0.0.1"), First: 8000, Last: 8001, To: 9000, Proto: filter.UDP}},
		From: []filter.Peer{{Kind: filter.PeerUnit, Name: "db"}, {Kind: filter.PeerNet, Net: prefix("10.0.0.0/8"), First: 80, Last: 80, Proto: filter.TCP},
			{Kind: filter.PeerHost}, {Kind: filter.PeerOutside, First: 1, Last: 2}, {Kind: filter.PeerBridge, Name: "x"}, {Kind: filter.PeerAny, Proto: filter.UDP}},
		Links: []network.Link{
			{Name: "eth0", Kind: network.Veth, Bridge: "tenant", Auto: true, Addresses: []netip.Prefix{prefix("10.90.0.7/24")}, MTU: 1400,
				MAC: []byte{2, 0, 0, 0, 0, 7}, Routes: []network.Route{{Dst: prefix("10.0.0.0/8"), Via: netip.MustParseAddr("10.90.0.9"), Metric: 5}}},
			{Name: "wan", Kind: network.Macvlan, Parent: "eth9", Mode: "passthru", Addresses: []netip.Prefix{prefix("192.0.2.7/24")}, Gateway: netip.MustParseAddr("192.0.2.1")},
			{Name: "zone", Kind: network.VLAN, Parent: "eth9", ID: 7},
		},
	}
	if diff := cmp.Diff(want, networkSpec(u, dns), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Error(diff)
	}
	if spec := networkSpec(unitOf(t, "[network]\nmode = 'veth'\n"), nil); spec.From != nil || spec.To != nil || !spec.Links[0].Auto {
		t.Errorf("without a word: %+v", spec)
	}
}

func TestReachNote(t *testing.T) {
	for _, tt := range []struct{ text, socket, want string }{
		{"", "127.0.0.1:80", `inside only: network is private; publish it or use mode = "host"`},
		{"[network]\nmode = 'veth'\n", "0.0.0.0:80", `not from outside: publish = "80:80/tcp" would open it`},
		{"[network]\nmode = 'veth'\npublish = '8080:80'\n", "[::]:80", ""},
		{"[network]\nmode = 'veth'\npublish = '8080-8089:80-89'\n", "0.0.0.0:89", ""},
		{"[network]\nmode = 'veth'\npublish = '8080:80/udp'\n", "0.0.0.0:80", `not from outside: publish = "80:80/tcp" would open it`},
		{"[network]\nmode = 'veth'\npublish = '80:80'\n", "127.0.0.1:80", "inside only: it listens on loopback"},
		{"[network]\nmode = 'macvlan'\nparent = 'eth9'\n", "0.0.0.0:80", ""},
	} {
		got := reachNote(unitOf(t, tt.text), network.Socket{Protocol: "tcp", Address: netip.MustParseAddrPort(tt.socket)})
		if got != tt.want {
			t.Errorf("%q, %s: %q", tt.text, tt.socket, got)
		}
	}
}
