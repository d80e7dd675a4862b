package network

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/network/filter"
)

const insideTest = "NSINIT_NETWORK_TEST"

// TestMain runs the tests on a machine of their own, as far as its network and
// its mounts go: whatever they make goes with it.
func TestMain(m *testing.M) {
	if task := os.Getenv(killedTask); task != "" {
		os.Exit(killedMain(task))
	}
	if os.Getenv(insideTest) != "" || os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideTest+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		if cmd.ProcessState == nil {
			fmt.Fprintln(os.Stderr, "cannot run the tests in namespaces of their own:", err)
		}
		os.Exit(1)
	}
}

// machine furnishes the host once: a loopback, and an uplink eth0 to a namespace
// "outside", 192.0.2.1 and 2001:db8::1 here, .2 and ::2 there.
func machine(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("making links needs root")
	}
	if _, err := os.Stat("/run/netns/outside"); err == nil {
		return
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	sh(t, `ip link set lo up
mkdir -p /run/netns
ip netns add outside
ip link add eth0 type veth peer name eth0 netns outside
ip addr add 192.0.2.1/24 dev eth0; ip -6 addr add 2001:db8::1/64 dev eth0 nodad; ip link set eth0 addrgenmode none up
ip -n outside link set lo up; ip -n outside addr add 192.0.2.2/24 dev eth0; ip -n outside -6 addr add 2001:db8::2/64 dev eth0 nodad; ip -n outside link set eth0 addrgenmode none up
ip route add default via 192.0.2.2`)
	for _, space := range []string{hostSpace, outsideSpace} {
		fd, err := unix.Open(space, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		k, err := dial(fd)
		if err != nil {
			t.Fatal(err)
		}
		defer k.close()
		if err := k.settle(fd, "eth0"); err != nil {
			t.Fatal(err)
		}
	}
}

// sh runs a script, whose failure is the test's, and gives what it printed.
func sh(t testing.TB, script string) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s\n%s", err, out, script)
	}
	return strings.TrimSpace(string(out))
}

// baseline is all that the host has of links, addresses, routes and rules, but for
// links that wait to be used.
func baseline(t testing.TB) string {
	t.Helper()
	text := sh(t, `ip -br link | awk '$1 != "lo" && $1 !~ /^ns[0-9a-f]*s@/ {print $1, $3}'; ip -br addr | awk '$1 !~ /^ns[0-9a-f]*s@/ {$2 = ""; print}'; ip route; ip -6 route | sort
{ nft list ruleset | grep -v 'counter packets' || true; }
cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding`)
	if strings.Contains(text, "Dump was interrupted") { // a link was made ahead meanwhile
		return baseline(t)
	}
	return text
}

// descriptors are those of this process, by what they lead to. While a Network is
// open, namespaces that wait to be used come and go.
func descriptors() string {
	all, _ := filepath.Glob("/proc/self/fd/*")
	kinds := map[string]int{}
	for _, fd := range all {
		if target, err := os.Readlink(fd); err == nil {
			kinds[strings.Split(target, "[")[0]]++
		}
	}
	return fmt.Sprint(kinds)
}

var twoPools = []netip.Prefix{netip.MustParsePrefix("10.80.0.0/24"), netip.MustParsePrefix("fd80::/64")}

// start opens a network in a directory of the test's own, and checks at the end
// that the host is as it was.
func start(t testing.TB, bridges ...Bridge) (*Network, Config) {
	t.Helper()
	machine(t)
	before, open := baseline(t), descriptors()
	if len(bridges) == 0 {
		bridges = []Bridge{{Name: DefaultBridge, Pools: twoPools, NAT: true}}
	}
	config := Config{Instance: "nettest", Dir: t.TempDir(), Bridges: bridges}
	n, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		last, err := Open(config) // of whoever was the last
		if err == nil {
			err = last.Close(true)
		}
		n.Close(false)
		if t.Failed() { // somewhere in the middle
			return
		}
		if err != nil {
			t.Errorf("at the end: %v", err)
		}
		if after := baseline(t); after != before {
			t.Errorf("the host is not as it was:\n%s\nwas\n%s", after, before)
		}
		if after := descriptors(); after != open {
			t.Errorf("descriptors: %s, were %s", after, open)
		}
		if left, _ := filepath.Glob(config.Dir + "/*"); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	})
	return n, config
}

func veth(unit string) Spec {
	return Spec{Unit: unit, Links: []Link{{Name: "eth0", Kind: Veth, Bridge: DefaultBridge, Auto: true}}}
}

// attach has a unit's network ready, and names it for ip(8).
func attach(t testing.TB, n *Network, s Spec) Attachment {
	t.Helper()
	a, err := n.Attach(s)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(a.NetNS)
	return a
}

// in runs a script in a unit's namespace.
func in(t testing.TB, n *Network, unit, script string) string {
	t.Helper()
	return sh(t, "nsenter --net="+n.pin(unit)+" sh -ec '"+script+"'")
}

// hostSpace is the host's own namespace, outsideSpace that of the outside.
const (
	hostSpace    = "/proc/self/ns/net"
	outsideSpace = "/run/netns/outside"
)

// within runs f on a thread in the namespace of a file.
func within(t testing.TB, space string, f func()) {
	t.Helper()
	fd, err := unix.Open(space, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	onSpareThread(func() {
		if err = unix.Setns(fd, unix.CLONE_NEWNET); err == nil {
			f()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// serve answers each who comes with the address that it came from.
func serve(t testing.TB, space, network, address string) {
	t.Helper()
	var err error
	within(t, space, func() {
		if network == "udp" {
			var c net.PacketConn
			if c, err = net.ListenPacket("udp", address); err == nil {
				t.Cleanup(func() { c.Close() })
				go func() {
					b := make([]byte, 64)
					for {
						_, from, err := c.ReadFrom(b)
						if err != nil {
							return
						}
						c.WriteTo([]byte(from.String()), from)
					}
				}()
			}
			return
		}
		var l net.Listener
		if l, err = net.Listen("tcp", address); err == nil {
			t.Cleanup(func() { l.Close() })
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					c.Write([]byte(c.RemoteAddr().String()))
					c.Close()
				}
			}()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// lost is how long a call waits that is to be lost, and patience one that is not.
const (
	lost     = 300 * time.Millisecond
	patience = 10 * time.Second
)

// call gives the address that the server saw, or "" if nobody answered.
func call(t testing.TB, space, network, address string, wait time.Duration) (from string) {
	t.Helper()
	within(t, space, func() {
		c, err := net.DialTimeout(network, address, wait)
		if err != nil {
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(wait))
		c.Write([]byte("x"))
		b := make([]byte, 64)
		if k, err := c.Read(b); err == nil {
			if at, err := netip.ParseAddrPort(string(b[:k])); err == nil {
				from = at.Addr().String()
			}
		}
	})
	return from
}

// answers wants the server to see the call come from the address.
func answers(t testing.TB, space, network, address, from string) {
	t.Helper()
	if got := call(t, space, network, address, patience); got != from {
		t.Errorf("%s %s: comes from %q, want %q", network, address, got, from)
	}
}

// silent wants nobody to answer.
func silent(t testing.TB, space, network, address string) {
	t.Helper()
	if got := call(t, space, network, address, lost); got != "" {
		t.Errorf("%s %s is answered, as from %s", network, address, got)
	}
}

// What a unit is sent as soon as its network is ready arrives: nobody need try again.
func TestNothingIsLostAtFirst(t *testing.T) {
	n, _ := start(t)
	local := func(space, address string) (err error) {
		within(t, space, func() {
			var k *kernel
			if k, err = dial(0); err != nil {
				return
			}
			defer k.close()
			at, e := k.isLocal(netip.MustParseAddr(address))
			if err = e; err == nil && !at {
				err = fmt.Errorf("what is sent to %s is dropped", address)
			}
		})
		return err
	}
	for i := range 50 {
		if i%5 == 0 && i > 0 {
			sh(t, "ip link del "+n.bridges[DefaultBridge].Link)
		}
		attach(t, n, veth("web"))
		for space, address := range map[string]string{n.pin("web"): "fd80::2", hostSpace: "fd80::1"} {
			if err := local(space, address); err != nil {
				t.Fatalf("the %dth time: %v", i+1, err)
			}
		}
		if err := n.Release("web"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAttach(t *testing.T) {
	n, _ := start(t)
	a := attach(t, n, veth("web"))
	b := attach(t, n, veth("db"))
	if got := fmt.Sprint(a.Links[0].Addresses, b.Links[0].Addresses); got != "[10.80.0.2/24 fd80::2/64] [10.80.0.3/24 fd80::3/64]" {
		t.Errorf("addresses %s", got)
	}
	web, db := n.pin("web"), n.pin("db")
	for _, network := range []string{"tcp", "udp"} {
		for _, space := range []string{db, outsideSpace} {
			serve(t, space, network, ":9")
		}
	}
	for _, network := range []string{"tcp", "udp"} {
		answers(t, web, network, "10.80.0.3:9", "10.80.0.2")
		answers(t, web, network, "[fd80::3]:9", "fd80::2")
		answers(t, hostSpace, network, "10.80.0.3:9", "10.80.0.1")
		answers(t, hostSpace, network, "[fd80::3]:9", "fd80::1")
		// By the host's address: the outside knows no way to ours.
		answers(t, web, network, "192.0.2.2:9", "192.0.2.1")
		answers(t, web, network, "[2001:db8::2]:9", "2001:db8::1")
	}
	if again := attach(t, n, veth("web")); again.Made {
		t.Error("a second start made it anew")
	}
	if err := n.Release("web", "db"); err != nil {
		t.Fatal(err)
	}
	if len(n.Attached()) != 0 {
		t.Errorf("after release: %v", n.Attached())
	}
}

func TestPublish(t *testing.T) {
	n, _ := start(t)
	web := veth("web")
	for _, proto := range []filter.Proto{filter.TCP, filter.UDP} {
		web.Publish = append(web.Publish, filter.Port{First: 8080, Last: 8081, To: 80, Proto: proto})
	}
	web.Publish = append(web.Publish, filter.Port{Host: netip.MustParseAddr("127.0.0.1"), First: 5353, Last: 5353, To: 80, Proto: filter.TCP})
	attach(t, n, web)
	attach(t, n, veth("other"))
	for _, network := range []string{"tcp", "udp"} {
		serve(t, n.pin("web"), network, ":80")
		serve(t, n.pin("web"), network, ":81")
	}
	for _, network := range []string{"tcp", "udp"} {
		answers(t, outsideSpace, network, "192.0.2.1:8080", "192.0.2.2")
		answers(t, outsideSpace, network, "192.0.2.1:8081", "192.0.2.2")
		answers(t, outsideSpace, network, "[2001:db8::1]:8080", "2001:db8::2")
		answers(t, hostSpace, network, "192.0.2.1:8080", "192.0.2.1")
		answers(t, hostSpace, network, "127.0.0.1:8080", "192.0.2.1")
		answers(t, n.pin("other"), network, "10.80.0.1:8080", "10.80.0.3")
		answers(t, n.pin("web"), network, "10.80.0.1:8080", "192.0.2.1") // itself, by the host
		silent(t, outsideSpace, network, "192.0.2.1:8082")
	}
	answers(t, hostSpace, "tcp", "127.0.0.1:5353", "192.0.2.1")
	silent(t, outsideSpace, "tcp", "192.0.2.1:5353")
	// Not published: the outside gets nothing by the service's own address.
	sh(t, "ip -n outside route add 10.80.0.0/24 via 192.0.2.1")
	defer sh(t, "ip -n outside route del 10.80.0.0/24 via 192.0.2.1")
	silent(t, outsideSpace, "tcp", "10.80.0.2:80")
}

func peer(name string, port uint16) filter.Peer {
	return filter.Peer{Kind: filter.PeerUnit, Name: name, First: port, Last: port, Proto: filter.TCP}
}

func TestAllowFrom(t *testing.T) {
	n, _ := start(t)
	db := veth("db")
	db.From = []filter.Peer{peer("web", 80)}
	db.Publish = []filter.Port{{First: 8080, Last: 8080, To: 80, Proto: filter.TCP}}
	attach(t, n, db) // before web is there
	attach(t, n, veth("web"))
	attach(t, n, veth("other"))
	serve(t, n.pin("db"), "tcp", ":80")
	serve(t, n.pin("db"), "tcp", ":81")
	for _, address := range []string{"10.80.0.2", "[fd80::2]"} {
		silent(t, n.pin("other"), "tcp", address+":80")
		silent(t, n.pin("web"), "tcp", address+":81")
	}
	answers(t, n.pin("web"), "tcp", "10.80.0.2:80", "10.80.0.3")
	answers(t, n.pin("web"), "tcp", "[fd80::2]:80", "fd80::3")
	answers(t, hostSpace, "tcp", "10.80.0.2:81", "10.80.0.1")
	silent(t, outsideSpace, "tcp", "192.0.2.1:8080")
	o, err := n.Overview()
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range o.Units {
		if st.Unit == "db" && (st.Refused["10.80.0.4"] == 0 || st.Refused["10.80.0.3"] == 0 || st.Refused["192.0.2.2"] == 0) {
			t.Errorf("refused: %v", st.Refused)
		}
		if st.Unit == "web" && (st.RxBytes == 0 || st.TxPackets == 0) {
			t.Errorf("traffic of web: %+v", st.Traffic)
		}
	}
	db.From = append(db.From, filter.Peer{Kind: filter.PeerOutside, First: 80, Last: 80, Proto: filter.TCP}, filter.Peer{Kind: filter.PeerNet, Net: netip.MustParsePrefix("10.80.0.4/32")})
	if again := attach(t, n, db); again.Made {
		t.Error("other rules made the link anew")
	}
	answers(t, outsideSpace, "tcp", "192.0.2.1:8080", "192.0.2.2")
	answers(t, n.pin("other"), "tcp", "10.80.0.2:81", "10.80.0.4")
}

func TestAllowTo(t *testing.T) {
	n, _ := start(t)
	web := veth("web")
	web.To = []filter.Peer{peer("db", 80)}
	web.DNS = []netip.Addr{netip.MustParseAddr("192.0.2.2")}
	attach(t, n, web)
	attach(t, n, veth("db"))
	serve(t, n.pin("db"), "tcp", ":80")
	serve(t, n.pin("db"), "tcp", ":81")
	serve(t, outsideSpace, "udp", ":53")
	serve(t, outsideSpace, "tcp", ":54")
	serve(t, hostSpace, "tcp", ":90")
	answers(t, n.pin("web"), "tcp", "10.80.0.3:80", "10.80.0.2")
	silent(t, n.pin("web"), "tcp", "10.80.0.3:81")
	answers(t, n.pin("web"), "udp", "192.0.2.2:53", "192.0.2.1")
	silent(t, n.pin("web"), "tcp", "192.0.2.2:54")
	for _, unit := range []string{"web", "db"} { // the host is closed to all
		silent(t, n.pin(unit), "tcp", "10.80.0.1:90")
		silent(t, n.pin(unit), "tcp", "192.0.2.1:90")
	}
	web.To = []filter.Peer{{Kind: filter.PeerHost, First: 90, Last: 90, Proto: filter.TCP}, {Kind: filter.PeerOutside}}
	attach(t, n, web)
	answers(t, n.pin("web"), "tcp", "10.80.0.1:90", "10.80.0.2")
	answers(t, n.pin("web"), "tcp", "192.0.2.1:90", "10.80.0.2")
	answers(t, n.pin("web"), "tcp", "192.0.2.2:54", "192.0.2.1")
	silent(t, n.pin("web"), "tcp", "10.80.0.3:80")
}

func TestTenants(t *testing.T) {
	n, _ := start(t, Bridge{Name: DefaultBridge, Pools: twoPools, NAT: true},
		Bridge{Name: "inner", Pools: []netip.Prefix{netip.MustParsePrefix("10.90.0.0/24")}, NAT: true, Internal: true})
	inner := veth("secret")
	inner.Links[0].Bridge = "inner"
	attach(t, n, inner)
	attach(t, n, veth("web"))
	serve(t, n.pin("secret"), "tcp", ":80")
	serve(t, n.pin("web"), "tcp", ":80")
	serve(t, outsideSpace, "tcp", ":80")
	silent(t, n.pin("web"), "tcp", "10.90.0.2:80")
	silent(t, n.pin("secret"), "tcp", "10.80.0.2:80")
	silent(t, n.pin("secret"), "tcp", "192.0.2.2:80")
	answers(t, n.pin("web"), "tcp", "192.0.2.2:80", "192.0.2.1")
	inner.From = []filter.Peer{{Kind: filter.PeerBridge, Name: DefaultBridge}}
	attach(t, n, inner)
	answers(t, n.pin("web"), "tcp", "10.90.0.2:80", "10.80.0.2")
	silent(t, n.pin("secret"), "tcp", "10.80.0.2:80")
}

func TestSpoofing(t *testing.T) {
	n, _ := start(t)
	attach(t, n, veth("web"))
	attach(t, n, veth("db"))
	serve(t, outsideSpace, "udp", ":9")
	answers(t, n.pin("web"), "udp", "192.0.2.2:9", "192.0.2.1")
	in(t, n, "web", "ip addr add 10.80.0.77/32 dev eth0; ip addr add fd80::77/128 dev eth0 nodad")
	spoofed := func() (sum uint64) {
		o, err := n.Overview()
		if err != nil {
			t.Fatal(err)
		}
		return o.Bridges[0].Spoofed
	}
	before := spoofed()
	send := func(from string, to string) {
		within(t, n.pin("web"), func() {
			d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0)), Timeout: lost}
			c, err := d.Dial("udp", to)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(lost))
			c.Write([]byte("x"))
			if _, err := c.Read(make([]byte, 9)); err == nil {
				t.Errorf("what comes from %s is answered", from)
			}
		})
	}
	send("10.80.0.77", "192.0.2.2:9")
	send("fd80::77", "[2001:db8::2]:9")
	if got := spoofed(); got < before+2 {
		t.Errorf("spoofed went from %d to %d", before, got)
	}
	in(t, n, "web", "ip link set eth0 address 02:00:00:00:00:99")
	silent(t, n.pin("web"), "udp", "192.0.2.2:9")
}
