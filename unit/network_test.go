package unit

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const veth = simple + "[network]\nmode = 'veth'\n" // 4 lines

// networkSet loads units in an instance with a bridge besides its own.
func networkSet(t *testing.T, files map[string]string) (*Set, string) {
	t.Helper()
	config, err := LoadConfig(writeConfig(t, "[bridge.default]\npool = ['10.80.0.0/24', 'fd80::/64']\n[bridge.tenant-a]\nlink = 'tena0'\ninternal = true\n"))
	must(t, err)
	root := tree(t, files)
	return LoadSet([]string{root + "/etc", root + "/run"}, Options{Machine: testMachine(), Config: config}), root
}

func TestBridgesOfTheInstance(t *testing.T) {
	s, _ := networkSet(t, nil)
	want := []Bridge{
		{Name: "default", Nat: true, Pools: []netip.Prefix{netip.MustParsePrefix("10.80.0.0/24"), netip.MustParsePrefix("fd80::/64")}},
		{Name: "tenant-a", Link: "tena0", Internal: true},
	}
	if diff := cmp.Diff(want, s.options.Config.Bridges, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	none, err := LoadConfig("/nonexistent/nsinit.toml")
	if err != nil || len(none.Bridges) != 1 || none.Bridges[0].Name != "default" || !none.Bridges[0].Nat {
		t.Errorf("without a file: %+v %v", none.Bridges, err)
	}
}

// TestNetworkErrors: what is wrong with a network is said where it stands.
func TestNetworkErrors(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"bridge", veth + "bridge = 'tenant'\n", `5:1: bridge = "tenant": nsinit.toml has no [bridge.tenant] (nearest: tenant-a)`},
		{"bridge of a link", veth + "[network.link.eth1]\nbridge = 'zzz'\n", `6:1: bridge = "zzz": nsinit.toml has no [bridge.zzz]; there is default, tenant-a`},
		{"bridge of a peer", veth + "allow_from = ['db', 'bridge:x']\n", `5:21: allow_from = "bridge:x": nsinit.toml has no [bridge.x]; there is default, tenant-a`},
		{"twice", veth + "publish = ['80:80', '127.0.0.1:80:81/tcp', '80:80/udp']\n", `5:21: publish = "127.0.0.1:80:81/tcp": "80:80/tcp" leads here already`},
		{"range twice", veth + "publish = ['80-90:80-90', '85:1']\n", `5:27: publish = "85:1/tcp": "80-90:80-90/tcp" leads here already`},
		{"ranges", veth + "publish = '80-90:80-91'\n", `5:11: publish: "80-90:80-91": 11 ports of the machine lead to 12 of the service`},
		{"range backwards", veth + "publish = '90-80:90-80'\n", `5:11: publish: "90-80:90-80": "90-80": the end of the range is not above its start`},
		{"port", veth + "publish = ['80:0']\n", `5:12: publish: "80:0": "0" is no port: a number from 1 to 65535, or a range such as "8000-8010"`},
		{"one port", veth + "publish = '80'\n", `5:11: publish: "80": write the machine's port and the service's, such as "80:80/tcp"`},
		{"host", veth + "publish = 'web:80:80'\n", `5:11: publish: "web:80:80": "web" is no address of the machine; an IPv6 one is in brackets`},
		{"v6 bare", veth + "publish = 'fd80::1:80:80'\n", `5:11: publish: "fd80::1:80:80": "fd80::1" is no address of the machine; an IPv6 one is in brackets`},
		{"v6 loopback", veth + "publish = '[::1]:80:80'\n", `5:11: publish: "[::1]:80:80": the kernel cannot lead ::1 elsewhere; publish on 127.0.0.1`},
		{"protocol", veth + "publish = '80:80/sctp'\n", `5:11: publish: "80:80/sctp": "80/sctp" is no port: a number from 1 to 65535, or a range such as "8000-8010"`},
		{"cidr", veth + "allow_to = ['10.0.0.0/33']\n", `5:13: allow_to: "10.0.0.0/33": "10.0.0.0/33" is no address with a prefix length, such as "10.80.0.5/24"`},
		{"cidr bits", veth + "allow_to = '10.0.0.1/8:80'\n", `5:12: allow_to: "10.0.0.1/8:80": "10.0.0.1/8" has bits of a host; the network is "10.0.0.0/8"`},
		{"peer port", veth + "allow_to = 'db:99999'\n", `5:12: allow_to: "db:99999": "99999" is no port: a number from 1 to 65535, or a range such as "8000-8010"`},
		{"mac", veth + "mac = '01:00:00:00:00:01'\n", `5:7: mac: "01:00:00:00:00:01" is the address of a group: its first byte is odd`},
		{"address", veth + "address = '10.80.0.5'\n", `5:11: address: "10.80.0.5" has no prefix length; write "10.80.0.5/24" if its network has that`},
		{"network address", veth + "address = '10.80.0.0/24'\n", `5:11: address: "10.80.0.0/24" is the address of the network; a host's has more than that`},
		{"not of the pool", veth + "address = ['auto', '10.9.0.5/24']\n", `5:20: address = "10.9.0.5/24" is not of the pool of bridge default, 10.80.0.0/24 and fd80::/64`},
		{"the gateway's", veth + "address = '10.80.0.1/24'\n", `5:11: address = "10.80.0.1/24" is the gateway's, the first of the pool`},
		{"route", veth + "routes = '10.0.0.0/8 dev eth0'\n", `5:10: routes: "10.0.0.0/8 dev eth0": write "10.0.0.0/8 via 10.80.0.1", and "metric 100" after it where it matters`},
		{"default route", veth + "routes = 'default via 10.80.0.9'\n", `5:10: routes: "default via 10.80.0.9": the default route is gateway = "10.80.0.9"`},
		{"gateway", simple + "[network]\nmode = 'macvlan'\nparent = 'x'\naddress = '192.0.2.2/24'\ngateway = '192.0.3.1'\n", `7:1: gateway = "192.0.3.1" is on none of the link's networks`},
		{"macvlan without parent", simple + "[network]\nmode = 'macvlan'\n", `4:1: a macvlan needs parent`},
		{"vlan without id", simple + "[network.link.x]\nmode = 'vlan'\nparent = 'eth0'\n", `4:1: a vlan needs vlan_id`},
		{"macvlan with auto", simple + "[network]\nmode = 'macvlan'\nparent = 'x'\naddress = 'auto'\n", `6:11: address = "auto": only a bridge has a pool to take it from, and this link is "macvlan"`},
		{"key of another kind", veth + "parent = 'eth0'\n", `5:1: parent: only mode = "macvlan" or "vlan" has one, and this link is "veth"`},
		{"key without a link", simple + "[network]\nmode = 'host'\nmtu = 1400\n", `5:1: mtu needs a link of the service's own; mode is "host": write mode = "veth", "macvlan" or "vlan"`},
		{"publish without a link", simple + "[network]\npublish = '80:80'\n", `4:1: publish needs a link on a bridge; mode is "private", which profile strict has: write mode = "veth"`},
		{"publish without default", simple + "[isolation]\nprofile = 'daemon'\n[network]\npublish = '80:80'\n", `6:1: publish needs a link on a bridge; mode is "host", the instance's default_network: write mode = "veth"`},
		{"dns without a network", simple + "[network]\ndns = '10.0.0.1'\n", `4:1: dns needs a network that leads somewhere and is not the machine's; mode is "private", which profile strict has: write mode = "veth"`},
		{"dns", veth + "dns = ['10.0.0.1', '0.0.0.0']\n", `5:20: dns: "0.0.0.0" is nobody's address`},
		{"search", veth + "search = 'a_b'\n", `5:10: search: "a_b" is no domain`},
		{"link in host", simple + "[network]\nmode = 'host'\n[network.link.eth1]\n", `5:15: [network.link.eth1] needs a network namespace of the service's own; mode is "host": write mode = "private" or "veth"`},
		{"link eth0", veth + "[network.link.eth0]\n", `5:15: [network.link.eth0]: this is the link of mode = "veth"; its keys stand in [network]`},
		{"link lo", veth + "[network.link.lo]\n", `5:15: [network.link.lo]: the kernel has this name for something else`},
		{"link name", veth + "[network.link.'a/b']\n", `5:15: [network.link.a/b]: "a/b" is no name of a link: at most 15 letters, digits and signs, without / : and blanks`},
		{"key in link", veth + "[network.link]\nmode = 'veth'\n", `6:1: mode is no key of a link; write it in [network.link.NAME], or in [network] for the link of its mode`},
		{"unknown key", veth + "[network.link.eth1]\nmoed = 'veth'\n", `6:1: unknown key moed in [network.link.NAME]; did you mean mode?`},
		{"mode of a link", veth + "[network.link.eth1]\nmode = 'host'\n", `6:8: mode = "host": one of veth, macvlan, vlan`},
		{"target", "[unit]\n[network.link.eth1]\nmtu = 1400\n", `2:15: [network.link.eth1]: a unit without [service] is a target, which has no [network]`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, root := networkSet(t, map[string]string{"etc/web.toml": tt.text, "etc/db.toml": simple})
			got := strings.ReplaceAll(errorsOf(s, root, "web"), "etc/web.toml:", "")
			if got != tt.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, tt.want)
			}
		})
	}
}

// TestNetworkResolved: what a veth has without a word, and that drop-ins change a
// link by its name.
func TestNetworkResolved(t *testing.T) {
	s, root := networkSet(t, map[string]string{
		"etc/web.toml":                veth + "publish = '8080:80'\nallow_from = ['db', 'nobody', 'outside:80']\n[network.link.wan]\nmode = 'macvlan'\nparent = 'eth0'\nmtu = 1400\n",
		"etc/web.toml.d/1.toml":       "[network]\npublish = ['53:53/udp']\n[network.link.wan]\nmtu = 9000\n",
		"run/web.toml.d/2.toml":       "[network]\nallow_to = []\n[network.link.lan]\nbridge = 'tenant-a'\n",
		"etc/db.toml":                 simple + "[install]\nalias = 'nobody2'\n",
		"etc/daemon.toml":             simple + "[isolation]\nprofile = 'daemon'\n",
		"etc/joined.toml":             simple + "[network]\nmode = 'unit:web'\ndns = '192.0.2.1'\n",
		"etc/shut.toml":               veth + "publish = '80:80'\nallow_from = 'outside:443/tcp'\n",
		"etc/shut.toml.d/outside.txt": "",
	})
	u := resolve(t, s, "web")
	n := u.Network
	if n.Bridge != "default" || len(n.Address) != 1 || !n.Address[0].Auto || n.AllowTo == nil || len(n.AllowTo) != 0 || len(n.AllowFrom) != 3 || len(n.Publish) != 2 {
		t.Errorf("%+v", n)
	}
	if len(n.Links) != 2 || n.Links[0].Name != "lan" || n.Links[0].Bridge != "tenant-a" || n.Links[1].Mtu != 9000 || n.Links[1].Parent != "eth0" || n.Links[1].MacvlanMode != "bridge" {
		t.Errorf("links: %+v", n.Links)
	}
	for _, want := range []string{"\nallow_to = [] # ", "\n[network.link.\"wan\"]\nmode = \"macvlan\" # ", `publish = ["8080:80/tcp", "53:53/udp"]`, `address = ["auto"]`} {
		if !strings.Contains(u.Resolved(), want) {
			t.Errorf("no %q in\n%s", want, u.Resolved())
		}
	}
	relaxed := strings.Join(u.Relaxations, " · ")
	if want := "network veth · link lan: veth on bridge tenant-a · link wan: macvlan of eth0 · published 8080:80/tcp · published 53:53/udp"; relaxed != want {
		t.Errorf("relaxed: %s", relaxed)
	}
	if got := warningsOf(u, root); got != `etc/web.toml:6:21: allow_from = "nobody": no such unit (nearest: nobody2); it is nobody` {
		t.Errorf("warnings: %s", got)
	}
	if got := warningsOf(resolve(t, s, "shut"), root); got != `etc/shut.toml:5:11: allow_from names nobody outside, so nobody there reaches what publish opens; add "outside" or an address to allow_from` {
		t.Errorf("warnings: %s", got)
	}
	values, err := u.Values()
	must(t, err)
	if !slices.ContainsFunc(values, func(v KeyValue) bool { return v.Key.ID() == "network.link.wan.mtu" && v.Value[0] == "9000" }) || len(u.Network.Links) != 2 {
		t.Errorf("values: %v, links %v", values, u.Network.Links)
	}
	if at := u.Origins("network.link.wan.mtu"); len(at) != 2 {
		t.Errorf("mtu was written at %v", at)
	}
}

func TestDefaultNetworkVeth(t *testing.T) {
	config, err := LoadConfig(writeConfig(t, "default_network = 'veth'\n"))
	must(t, err)
	root := tree(t, map[string]string{"etc/a.toml": simple + "[isolation]\nprofile = 'daemon'\n[network]\npublish = '80:80'\n", "etc/b.toml": simple})
	s := LoadSet([]string{root + "/etc"}, Options{Config: config, Machine: testMachine()})
	if n := resolve(t, s, "a").Network; n.Mode != NetworkVeth || n.Link.Name != MainLink || n.Bridge != "default" || len(n.Publish) != 1 {
		t.Errorf("%+v", n)
	}
	if n := resolve(t, s, "b").Network; n.Mode != NetworkPrivate || n.Attached() {
		t.Errorf("%+v", n)
	}
}

// TestPeersReadBack: what is printed of an entry is read as the same.
func TestPeersReadBack(t *testing.T) {
	for _, text := range []string{"nginx", "a@b:80", "host", "outside:443/tcp", "bridge:tenant-a", "bridge:tenant-a:80-90/udp", "any/udp",
		"10.0.0.0/8", "10.0.0.1", "10.0.0.1:53/udp", "10.0.0.0/8:1-2", "fd80::1", "fd80::/64", "[fd80::1]:80", "[fd80::/64]:80/tcp"} {
		p, err := parsePeer(text)
		if err != nil || p.String() != text {
			t.Errorf("%s: %q %v", text, p, err)
		}
	}
	for _, text := range []string{"", ":80", "a:", "a b", "[fd80::1", "[fd80::1]x", "::", "224.0.0.1", "bridge:", "a@", "10.0.0.0/8:0"} {
		if p, err := parsePeer(text); err == nil {
			t.Errorf("%q is taken: %+v", text, p)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`(\[)?[a-f0-9:.@/-]{0,12}(\])?(:[0-9]{1,5}(-[0-9]{1,5})?)?(/tcp|/udp)?`).Draw(t, "text")
		if p, err := parsePeer(text); err == nil {
			if again, err := parsePeer(p.String()); err != nil || again != p {
				t.Fatalf("%q: %+v, %q: %+v %v", text, p, p.String(), again, err)
			}
		}
		if p, err := parsePublishedPort(text); err == nil {
			if again, err := parsePublishedPort(p.String()); err != nil || again != p {
				t.Fatalf("%q: %+v, %q: %+v %v", text, p, p.String(), again, err)
			}
		}
	})
}
