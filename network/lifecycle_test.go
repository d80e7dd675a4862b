package network

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/network/filter"
)

// refuses wants an error that says all of it.
func refuses(t testing.TB, n *Network, s Spec, words ...string) {
	t.Helper()
	before := baseline(t)
	a, err := n.Attach(s)
	if err == nil {
		unix.Close(a.NetNS)
		t.Fatalf("%s is attached, want an error that says %q", s.Unit, words)
	}
	for _, w := range append(words, s.Unit) {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("no %q in: %v", w, err)
		}
	}
	if after := baseline(t); after != before {
		t.Errorf("the refusal left something:\n%s\nwas\n%s", after, before)
	}
	if exists(n.pin(s.Unit)) || exists(n.file(s.Unit)) {
		t.Error("the refusal left a pin or a file")
	}
}

// again opens what a manager has left that was killed: its descriptors are gone,
// and nothing else.
func again(t testing.TB, n *Network, config Config) *Network {
	t.Helper()
	if err := n.Close(false); err != nil {
		t.Fatal(err)
	}
	next, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { next.Close(false) })
	return next
}

func TestAdopt(t *testing.T) {
	n, config := start(t)
	web := veth("web")
	web.Publish = []filter.Port{{First: 8080, Last: 8080, To: 80, Proto: filter.TCP}}
	db := veth("db")
	db.From = []filter.Peer{peer("web", 80)}
	attach(t, n, db)
	first := attach(t, n, web)
	attach(t, n, veth("other"))
	serve(t, n.pin("web"), "tcp", ":80")
	serve(t, n.pin("db"), "tcp", ":80")
	before := sh(t, "ip -br link; ip -br addr; ip route")

	n = again(t, n, config)
	if after := sh(t, "ip -br link; ip -br addr; ip route"); after != before {
		t.Errorf("taking over changed\n%s\nwas\n%s", after, before)
	}
	answers(t, outsideSpace, "tcp", "192.0.2.1:8080", "192.0.2.2")
	answers(t, n.pin("web"), "tcp", "10.80.0.2:80", "10.80.0.3")
	silent(t, n.pin("other"), "tcp", "10.80.0.2:80")
	second := attach(t, n, web)
	if second.Made || fmt.Sprint(second.Links) != fmt.Sprint(first.Links) {
		t.Errorf("made %v: %+v, was %+v", second.Made, second.Links, first.Links)
	}
	if _, err := bindSocket(filter.TCP, netip.MustParseAddrPort("0.0.0.0:8080")); err == nil {
		t.Error("the published port is not reserved any more")
	}
	if next := attach(t, n, veth("new")); next.Links[0].Addresses[0].String() != "10.80.0.5/24" {
		t.Errorf("a new unit has %v", next.Links[0].Addresses)
	}
}

// What a manager was making when it was killed is gone, whatever step it was at.
func TestAdoptHalfMade(t *testing.T) {
	n, config := start(t)
	attach(t, n, veth("web"))
	tag := n.unitTag("half", "eth0")
	fd, _, _, err := n.space(Spec{Unit: "half"})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.host.do(addVeth("nshalf", "eth0", fd, derivedMAC("x"), 0, 0)); err != nil {
		t.Fatal(err)
	}
	end, err := n.host.link(0, "nshalf")
	if err != nil {
		t.Fatal(err)
	}
	if err := n.host.do(setAlias(end.index, "nshalf", tag)); err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	n = again(t, n, config)
	if text := sh(t, "ip -br link"); strings.Contains(text, "nshalf") {
		t.Errorf("the link is left:\n%s", text)
	}
	attach(t, n, veth("half"))
	// The file gone: its links go, and the next start makes them anew.
	os.Remove(n.file("web"))
	n = again(t, n, config)
	if a := attach(t, n, veth("web")); !a.Made || a.Links[0].Addresses[0].String() != "10.80.0.2/24" {
		t.Errorf("made %v, %v", a.Made, a.Links[0].Addresses)
	}
	os.WriteFile(n.file("web"), []byte("{"), 0o600)
	n = again(t, n, config)
	if o, err := n.Overview(); err != nil || len(o.Problems) != 1 || !strings.Contains(o.Problems[0], "web") {
		t.Errorf("problems %q, %v", o.Problems, err)
	}
	attach(t, n, veth("web"))
}

func TestExhaustedPool(t *testing.T) {
	n, _ := start(t, Bridge{Name: DefaultBridge, Pools: []netip.Prefix{netip.MustParsePrefix("10.80.0.0/30")}, NAT: true})
	attach(t, n, veth("first"))
	refuses(t, n, veth("second"), "10.80.0.0/30", "free")
	if err := n.Release("first"); err != nil {
		t.Fatal(err)
	}
	attach(t, n, veth("second"))
}

func TestStaticAddress(t *testing.T) {
	n, _ := start(t)
	web := veth("web")
	web.Links[0].Auto = false
	web.Links[0].Addresses = []netip.Prefix{netip.MustParsePrefix("10.80.0.2/24")}
	web.Links[0].MAC = net.HardwareAddr{2, 0, 0, 0, 0, 9}
	web.Links[0].MTU = 1400
	web.Links[0].Routes = []Route{{Dst: netip.MustParsePrefix("203.0.113.0/24"), Via: netip.MustParseAddr("10.80.0.1"), Metric: 5}}
	attach(t, n, web)
	shown := in(t, n, "web", "ip addr show eth0; ip route")
	for _, want := range []string{"10.80.0.2/24", "02:00:00:00:00:09", "mtu 1400", "203.0.113.0/24 via 10.80.0.1", "metric 5"} {
		if !strings.Contains(shown, want) {
			t.Errorf("no %q in\n%s", want, shown)
		}
	}
	if a := attach(t, n, veth("db")); a.Links[0].Addresses[0].String() != "10.80.0.3/24" {
		t.Errorf("the automatic address is %v", a.Links[0].Addresses)
	}
	same := web
	same.Unit = "same"
	refuses(t, n, same, "10.80.0.2", "web")
	own := web
	own.Unit, own.Links = "own", []Link{web.Links[0]}
	own.Links[0].Addresses = []netip.Prefix{netip.MustParsePrefix("10.80.0.1/24")}
	refuses(t, n, own, "10.80.0.1", "bridge")
	web.Links = []Link{web.Links[0]}
	web.Links[0].Addresses = []netip.Prefix{netip.MustParsePrefix("10.80.0.9/24")}
	if a := attach(t, n, web); !a.Made || a.Links[0].Addresses[0].String() != "10.80.0.9/24" {
		t.Errorf("after a change: made %v, %v", a.Made, a.Links[0].Addresses)
	}
}

func TestPortTaken(t *testing.T) {
	n, _ := start(t)
	web := veth("web")
	web.Publish = []filter.Port{{First: 8080, Last: 8090, To: 80, Proto: filter.TCP}}
	attach(t, n, web)
	other := veth("other")
	other.Publish = []filter.Port{{Host: netip.MustParseAddr("127.0.0.1"), First: 8085, Last: 8085, To: 80, Proto: filter.TCP}}
	refuses(t, n, other, "8085/tcp", "unit web")
	sh(t, "python3 -c 'import socket,time,os\ns=socket.socket(); s.bind((\"0.0.0.0\",9090)); s.listen(1)\nif os.fork()==0:\n os.close(1); os.close(2); time.sleep(600)' >/dev/null 2>&1")
	defer sh(t, "kill $(ss -Hltnp sport = :9090 | grep -o 'pid=[0-9]*' | cut -d= -f2 | sort -u)")
	other.Publish = []filter.Port{{First: 9090, Last: 9090, To: 80, Proto: filter.TCP}}
	refuses(t, n, other, "9090/tcp", "python3")
	other.Publish = []filter.Port{{Host: netip.MustParseAddr("198.51.100.1"), First: 80, Last: 80, To: 80, Proto: filter.TCP}}
	refuses(t, n, other, "198.51.100.1", "no such address")
}

func TestOverlappingPools(t *testing.T) {
	machine(t)
	for _, c := range []struct {
		pools []string
		words string
	}{
		{[]string{"10.80.0.0/16", "10.80.7.0/24"}, "overlaps"},
		{[]string{"10.80.0.0/31"}, "no room"},
	} {
		config := Config{Instance: "nettest", Dir: t.TempDir()}
		for i, p := range c.pools {
			config.Bridges = append(config.Bridges, Bridge{Name: fmt.Sprintf("b%d", i), Pools: []netip.Prefix{netip.MustParsePrefix(p)}})
		}
		if n, err := Open(config); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%v: %v", c.pools, err)
			n.Close(true)
		}
	}
	n, _ := start(t, Bridge{Name: DefaultBridge, Pools: []netip.Prefix{netip.MustParsePrefix("192.0.0.0/16")}})
	refuses(t, n, veth("web"), "192.0.0.0/16", "192.0.2.1/24", "eth0")
}

func TestForeignBridgeIsLeftAlone(t *testing.T) {
	n, _ := start(t, Bridge{Name: DefaultBridge, Link: "mybr", Pools: twoPools})
	sh(t, "ip link add mybr type bridge")
	defer sh(t, "ip link del mybr")
	refuses(t, n, veth("web"), "mybr", "left alone")
	o, err := n.Overview()
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Foreign) != 2 || o.Foreign[0].Name != "eth0" || o.Foreign[1].Name != "mybr" {
		t.Errorf("foreign links: %+v", o.Foreign)
	}
}

func TestForeignLinkOfOurName(t *testing.T) {
	n, config := start(t)
	name := fmt.Sprintf("ns%08x0", hash(config.Instance, "web", "eth0"))
	sh(t, "ip link add "+name+" type bridge")
	defer sh(t, "ip link del "+name)
	if a := attach(t, n, veth("web")); a.Links[0].Host == name {
		t.Error("the link has a foreign one's name")
	}
	n = again(t, n, config)
	if err := n.Release("web"); err != nil {
		t.Fatal(err)
	}
	sh(t, "ip link show "+name)
}

func TestRepair(t *testing.T) {
	n, _ := start(t)
	a := attach(t, n, veth("web"))
	serve(t, n.pin("web"), "tcp", ":80")
	serve(t, outsideSpace, "tcp", ":80")
	for _, damage := range []string{"ip link del " + a.Links[0].BridgeLink, "nft delete table inet nsinit-nettest"} {
		sh(t, damage)
		if err := n.Repair(); err != nil {
			t.Fatal(err)
		}
	}
	answers(t, hostSpace, "tcp", "10.80.0.2:80", "10.80.0.1")
	answers(t, n.pin("web"), "tcp", "192.0.2.2:80", "192.0.2.1")
	if o, _ := n.Overview(); len(o.Problems) != 2 {
		t.Errorf("problems: %q", o.Problems)
	}
	// The link itself, renamed and then removed.
	sh(t, "ip link set "+a.Links[0].Host+" down; ip link set "+a.Links[0].Host+" name mine")
	if b := attach(t, n, veth("web")); b.Made && b.Links[0].Addresses[0] != a.Links[0].Addresses[0] {
		t.Errorf("after it was renamed: %+v", b)
	}
	sh(t, "ip link show mine >/dev/null 2>&1 && ip link del mine || true")
	if b := attach(t, n, veth("web")); !b.Made || b.Links[0].Addresses[0] != a.Links[0].Addresses[0] {
		t.Errorf("after it was removed: %+v", b)
	}
	answers(t, hostSpace, "tcp", "10.80.0.2:80", "10.80.0.1")
}

// The bridge went while no manager was there, and its name to somebody else: the
// next manager comes up, says so, and other bridges' services start.
func TestAdoptWithoutBridge(t *testing.T) {
	tenant := Bridge{Name: "tenant", Pools: []netip.Prefix{netip.MustParsePrefix("10.90.0.0/24")}, NAT: true}
	n, config := start(t, Bridge{Name: DefaultBridge, Pools: twoPools, NAT: true}, tenant)
	attach(t, n, veth("web"))
	link := n.bridges[DefaultBridge].Link
	if err := n.Close(false); err != nil {
		t.Fatal(err)
	}
	sh(t, "ip link del "+link+"; ip link add "+link+" type bridge")
	n = again(t, n, config)
	if o, err := n.Overview(); err != nil || len(o.Problems) != 1 || !strings.Contains(o.Problems[0], link) {
		t.Errorf("problems %q, %v", o.Problems, err)
	}
	other := veth("other")
	other.Links[0].Bridge = "tenant"
	attach(t, n, other)
	refuses(t, n, veth("more"), link, "left alone")
	sh(t, "ip link del "+link)
	if err := n.Repair(); err != nil {
		t.Fatal(err)
	}
	serve(t, n.pin("web"), "udp", ":9")
	answers(t, hostSpace, "udp", "10.80.0.2:9", "10.80.0.1")
	answers(t, hostSpace, "udp", "[fd80::2]:9", "fd80::1")
}

// Where there can be no rules a service has its link, unless it asks for more than
// that: also one that had it when there were some.
func TestWithoutRules(t *testing.T) {
	inner := Bridge{Name: "inner", Pools: []netip.Prefix{netip.MustParsePrefix("10.90.0.0/24")}, Internal: true}
	n, config := start(t, Bridge{Name: DefaultBridge, Pools: twoPools, NAT: true}, inner)
	guarded := veth("guarded")
	guarded.From = []filter.Peer{}
	attach(t, n, guarded)
	if err := n.Close(false); err != nil {
		t.Fatal(err)
	}
	sh(t, "nft delete table inet nsinit-nettest; nft add table inet nsinit-nettest") // somebody else's
	n = again(t, n, config)
	attach(t, n, veth("web"))
	serve(t, n.pin("web"), "udp", ":9")
	answers(t, hostSpace, "udp", "10.80.0.3:9", "10.80.0.1")
	published, secret := veth("published"), veth("secret")
	published.Publish = []filter.Port{{First: 8080, Last: 8080, To: 80, Proto: filter.TCP}}
	secret.Links[0].Bridge = "inner"
	if _, err := n.Attach(secret); err == nil || !strings.Contains(err.Error(), "internal") || !strings.Contains(err.Error(), "nft list table") {
		t.Errorf("on an internal bridge: %v", err)
	}
	refuses(t, n, published, "publish ports", "nft list table inet nsinit-nettest")
	if _, err := n.Attach(guarded); err == nil || !strings.Contains(err.Error(), "who may connect") {
		t.Errorf("that nobody may connect to: %v", err)
	}
	if o, err := n.Overview(); err != nil || !strings.Contains(strings.Join(o.Problems, "\n"), "not kept apart") {
		t.Errorf("problems %q, %v", o.Problems, err)
	}
	sh(t, "nft delete table inet nsinit-nettest")
	attach(t, n, secret)
	attach(t, n, guarded)
	serve(t, n.pin("guarded"), "udp", ":9")
	silent(t, n.pin("web"), "udp", "10.80.0.2:9")
}

// What a service, or whoever else may, did to its links ends with its next start.
func TestChangedInside(t *testing.T) {
	n, config := start(t)
	first := attach(t, n, veth("web"))
	for _, change := range []string{
		"ip addr del 10.80.0.2/24 dev eth0",
		"ip link set eth0 down",
		"ip link set eth0 down; ip link set eth0 name mine",
		"ip link del eth0",
		"ip link del eth0; ip link add eth0 type bridge; ip link set eth0 up",
	} {
		in(t, n, "web", change)
		n = again(t, n, config)
		if o, err := n.Overview(); err != nil || len(o.Units) != 1 || !strings.Contains(fmt.Sprint(o.Problems), "web: ") {
			t.Errorf("after %s: %d units, problems %q, %v", change, len(o.Units), o.Problems, err)
		}
		if a := attach(t, n, veth("web")); !a.Made || fmt.Sprint(a.Links[0].Addresses) != fmt.Sprint(first.Links[0].Addresses) {
			t.Errorf("after %s: made %v, %v", change, a.Made, a.Links[0].Addresses)
		}
		if a := attach(t, n, veth("web")); a.Made {
			t.Errorf("after %s it is made each time", change)
		}
	}
	serve(t, n.pin("web"), "udp", ":9")
	answers(t, hostSpace, "udp", "10.80.0.2:9", "10.80.0.1")
}

// An adapter that is pulled out takes its macvlan along, also while no manager runs:
// the other link goes on, and the next start has both again.
func TestParentGoes(t *testing.T) {
	n, config := start(t)
	adapter := "ip link add usb0 type veth peer name usb1; ip link set usb0 up"
	sh(t, adapter)
	defer sh(t, "ip link del usb0")
	s := veth("web")
	s.Links = append(s.Links, Link{Name: "lan", Kind: Macvlan, Parent: "usb0", Mode: "bridge", Addresses: []netip.Prefix{netip.MustParsePrefix("198.51.100.7/24")}})
	attach(t, n, s)
	serve(t, n.pin("web"), "udp", ":9")
	sh(t, "ip link del usb0")
	n = again(t, n, config)
	answers(t, hostSpace, "udp", "10.80.0.2:9", "10.80.0.1")
	if o, _ := n.Overview(); !strings.Contains(fmt.Sprint(o.Problems), "lan") {
		t.Errorf("problems %q", o.Problems)
	}
	if _, err := n.Attach(s); err == nil || !strings.Contains(err.Error(), "usb0") {
		t.Errorf("without the adapter: %v", err)
	}
	sh(t, adapter)
	if a := attach(t, n, s); !a.Made || !strings.Contains(in(t, n, "web", "ip addr"), "198.51.100.7") {
		t.Errorf("with the adapter: %+v", a)
	}
}

// One that got no link before something failed is let go whole.
func TestSpareWithoutLink(t *testing.T) {
	machine(t)
	before := descriptors()
	fd, err := create()
	if err != nil {
		t.Fatal(err)
	}
	spare{netns: fd}.drop()
	if after := descriptors(); after != before {
		t.Errorf("descriptors: %s, were %s", after, before)
	}
}

func TestUnusableAddress(t *testing.T) {
	tenant := Bridge{Name: "tenant", Pools: []netip.Prefix{netip.MustParsePrefix("10.90.0.0/24")}}
	n, _ := start(t, Bridge{Name: DefaultBridge, Pools: twoPools}, tenant)
	attach(t, n, veth("stays"))
	for address, why := range map[string]string{
		"10.80.0.0/24":   "whole network",
		"10.80.0.255/24": "whole network",
		"fd80::/64":      "whole network",
		"10.80.0.1/24":   "the bridge's own",
		"192.0.2.1/24":   "the host's own",
		"10.90.0.7/24":   "of bridge tenant",
		"127.0.0.5/8":    "no address for a service",
	} {
		s := veth("web")
		s.Links[0].Auto, s.Links[0].Addresses = false, []netip.Prefix{netip.MustParsePrefix(address)}
		refuses(t, n, s, strings.Split(address, "/")[0], why)
	}
}

func TestMacvlan(t *testing.T) {
	n, _ := start(t)
	s := Spec{Unit: "web", Links: []Link{
		{Name: "eth0", Kind: Veth, Bridge: DefaultBridge, Auto: true},
		{Name: "wan", Kind: Macvlan, Parent: "eth0", Mode: "bridge", Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/24")}, Gateway: netip.MustParseAddr("192.0.2.2")},
		{Name: "lan", Kind: Macvlan, Parent: "eth0", Mode: "private", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 7}},
	}}
	attach(t, n, s)
	serve(t, n.pin("web"), "tcp", ":80")
	answers(t, outsideSpace, "tcp", "192.0.2.7:80", "192.0.2.2")
	if text := in(t, n, "web", "ip route; ip link"); !strings.Contains(text, "default via 192.0.2.2 dev wan") || !strings.Contains(text, "02:00:00:00:00:07") {
		t.Error(text)
	}
	o, err := n.Overview()
	if err != nil || o.Units[0].RxBytes == 0 {
		t.Errorf("traffic %+v, %v", o.Units, err)
	}
	if a := attach(t, n, s); a.Made {
		t.Error("made anew")
	}
	s.Unit, s.Links = "other", []Link{{Name: "wan", Kind: Macvlan, Parent: "eth7", Mode: "bridge"}}
	refuses(t, n, s, "eth7", "eth0")
	s.Links = []Link{{Name: "v", Kind: VLAN, Parent: "eth0", ID: 7}}
	if a, err := n.Attach(s); err != nil && !strings.Contains(err.Error(), "module") {
		t.Errorf("a vlan: %v", err)
	} else if err == nil {
		unix.Close(a.NetNS)
	}
}

func TestUnknownBridge(t *testing.T) {
	n, _ := start(t)
	s := veth("web")
	s.Links[0].Bridge = "tenant"
	refuses(t, n, s, "tenant", "nsinit.toml")
}

// A process of somebody's keeps a namespace that is given up: the links go.
func TestNamespaceHeldOpen(t *testing.T) {
	n, _ := start(t)
	attach(t, n, veth("web"))
	fd, err := n.open("web")
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := n.Release("web"); err != nil {
		t.Fatal(err)
	}
	if a := attach(t, n, veth("web")); !a.Made {
		t.Error("the new one is the old one")
	}
}

// Starts and ends at once, in turn and many together: no name or address is in
// the way of the next, and nothing stays.
func TestCycles(t *testing.T) {
	n, config := start(t, Bridge{Name: DefaultBridge, Pools: twoPools[:1], NAT: true})
	web := veth("web")
	web.Publish = []filter.Port{{First: 8080, Last: 8080, To: 80, Proto: filter.TCP}}
	attach(t, n, veth("stays"))
	before := baseline(t)
	for i := range 500 {
		attach(t, n, web)
		if err := n.Release("web"); err != nil {
			t.Fatalf("cycle %d: %v", i, err)
		}
	}
	for i := range 50 {
		var units []string
		for u := range 10 {
			units = append(units, fmt.Sprintf("u%d", u))
			attach(t, n, veth(units[u]))
		}
		if i%10 == 0 {
			n = again(t, n, config)
		}
		if err := n.Release(units...); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
	}
	if after := baseline(t); after != before {
		t.Errorf("after the cycles:\n%s\nwas\n%s", after, before)
	}
}

func BenchmarkAttach(b *testing.B) {
	machine(b)
	config := Config{Instance: "netbench", Dir: b.TempDir()}
	n, err := Open(config)
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close(true)
	s := veth("web")
	s.Publish = []filter.Port{{First: 8080, Last: 8080, To: 80, Proto: filter.TCP}}
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			attach(b, n, s)
			b.StopTimer()
			if err := n.Release("web"); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
	b.Run("kept", func(b *testing.B) {
		for b.Loop() {
			attach(b, n, s)
		}
	})
}

// Another pool in nsinit.toml while services run: the next manager gives addresses
// of that, which work, and who has one of the old keeps it until it starts again.
func TestPoolChanged(t *testing.T) {
	n, config := start(t)
	attach(t, n, veth("old"))
	attach(t, n, veth("kept"))
	serve(t, n.pin("kept"), "tcp", ":9")
	config.Bridges = []Bridge{{Name: DefaultBridge, Pools: []netip.Prefix{netip.MustParsePrefix("10.90.0.0/24")}, NAT: true}}
	n = again(t, n, config)
	answers(t, hostSpace, "tcp", "10.80.0.3:9", "10.80.0.1")
	if a := attach(t, n, veth("new")); a.Links[0].Addresses[0].String() != "10.90.0.2/24" {
		t.Errorf("new has %v", a.Links[0].Addresses)
	}
	if a := attach(t, n, veth("old")); !a.Made || fmt.Sprint(a.Links[0].Addresses) != "[10.90.0.3/24]" {
		t.Errorf("old has %v", a.Links[0].Addresses)
	}
	serve(t, n.pin("old"), "tcp", ":9")
	serve(t, outsideSpace, "tcp", ":9")
	answers(t, n.pin("new"), "tcp", "10.90.0.3:9", "10.90.0.2")
	answers(t, n.pin("new"), "tcp", "192.0.2.2:9", "192.0.2.1")
	answers(t, hostSpace, "tcp", "10.80.0.3:9", "10.80.0.1")
}

// A new port that is taken leaves the unit with those it has.
func TestPortTakenLater(t *testing.T) {
	n, _ := start(t)
	web := veth("web")
	web.Publish = []filter.Port{{First: 8080, Last: 8080, To: 80, Proto: filter.TCP}}
	attach(t, n, web)
	fd, err := bindSocket(filter.TCP, netip.MustParseAddrPort("0.0.0.0:8090"))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	more := veth("web")
	more.Publish = append(more.Publish, web.Publish[0], filter.Port{First: 8090, Last: 8090, To: 80, Proto: filter.TCP})
	if a, err := n.Attach(more); err == nil {
		unix.Close(a.NetNS)
		t.Error("a port that is taken is published")
	}
	if fd, err := bindSocket(filter.TCP, netip.MustParseAddrPort("0.0.0.0:8080")); err == nil {
		unix.Close(fd)
		t.Error("port 8080 leads to web, and is not reserved any more")
	}
}
