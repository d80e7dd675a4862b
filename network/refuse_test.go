package network

import (
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/network/filter"
)

// heard binds a UDP port in a unit's namespace and reports who sends to it within
// the time; nothing is answered.
func heard(t *testing.T, space string, port int, send func()) string {
	t.Helper()
	var c net.PacketConn
	var err error
	within(t, space, func() { c, err = net.ListenPacket("udp", net.JoinHostPort("", strconv.Itoa(port))) })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	send()
	c.SetReadDeadline(time.Now().Add(lost))
	_, from, err := c.ReadFrom(make([]byte, 9))
	if err != nil {
		return ""
	}
	return from.(*net.UDPAddr).AddrPort().Addr().Unmap().String()
}

// forge sends a packet from an address that the space does not have.
func forge(t *testing.T, space, from, to string) {
	t.Helper()
	within(t, space, func() {
		src, dst := netip.MustParseAddr(from), netip.MustParseAddrPort(to)
		family := unix.AF_INET
		if src.Is6() {
			family = unix.AF_INET6
		}
		s, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(s)
		if family == unix.AF_INET {
			err = unix.SetsockoptInt(s, unix.SOL_IP, unix.IP_TRANSPARENT, 1)
		} else {
			err = unix.SetsockoptInt(s, unix.SOL_IPV6, unix.IPV6_TRANSPARENT, 1)
		}
		if err == nil {
			err = unix.Bind(s, sockaddr(netip.AddrPortFrom(src, 0)))
		}
		if err == nil {
			err = unix.Sendto(s, []byte("x"), 0, sockaddr(dst))
		}
		if err != nil {
			t.Errorf("from %s to %s: %v", from, to, err)
		}
	})
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// What is refused stays refused where there is no room left to count it: a service
// could fill that room itself.
func TestRefusedWithoutRoomToCount(t *testing.T) {
	n, _ := start(t)
	web := veth("web")
	web.To = []filter.Peer{}
	attach(t, n, web)
	serve(t, outsideSpace, "udp", ":80")
	serve(t, hostSpace, "udp", ":90")
	within(t, n.pin("web"), func() {
		c, err := net.ListenPacket("udp4", ":0")
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		for i := range 6000 { // to addresses of no machine (RFC 2544)
			if _, err := c.WriteTo([]byte("x"), &net.UDPAddr{IP: net.IPv4(198, 18, byte(i>>8), byte(i)), Port: 9}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	c, err := n.table.Counters()
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Refused) != 4096 {
		t.Errorf("%d destinations are counted, want as many as there is room for", len(c.Refused))
	}
	silent(t, n.pin("web"), "udp", "192.0.2.2:80")
	silent(t, n.pin("web"), "udp", "10.80.0.1:90")
}

// The outside cannot pass for a service that is allowed, by that one's address or
// by one that the pool has free.
func TestOutsideForgesAddress(t *testing.T) {
	n, _ := start(t)
	db := veth("db")
	db.From = []filter.Peer{{Kind: filter.PeerUnit, Name: "web"}, {Kind: filter.PeerBridge, Name: DefaultBridge}}
	db.Publish = []filter.Port{{First: 8080, Last: 8080, To: 80, Proto: filter.UDP}}
	db.From = append(db.From, filter.Peer{Kind: filter.PeerUnit, Name: "far"})
	attach(t, n, db)
	attach(t, n, veth("web"))
	far := veth("far") // with addresses of no pool
	far.Links[0].Auto, far.Links[0].Addresses = false, []netip.Prefix{netip.MustParsePrefix("10.77.0.9/32"), netip.MustParsePrefix("fd77::9/128")}
	attach(t, n, far)
	serve(t, hostSpace, "udp", ":90")
	sh(t, "ip -n outside route add 10.80.0.2 via 192.0.2.1; ip -n outside route add fd80::2 via 2001:db8::1")
	defer sh(t, "ip -n outside route del 10.80.0.2; ip -n outside route del fd80::2")
	answers(t, outsideSpace, "udp", "[2001:db8::1]:90", "2001:db8::2") // a forged address finds no neighbour itself
	for _, c := range []struct{ space, from, to, want string }{
		{n.pin("web"), "10.80.0.3", "10.80.0.2:80", "10.80.0.3"},
		{n.pin("web"), "fd80::3", "[fd80::2]:80", "fd80::3"},
		{outsideSpace, "10.80.0.3", "10.80.0.2:80", ""},
		{outsideSpace, "10.80.0.99", "10.80.0.2:80", ""},
		{n.pin("far"), "10.77.0.9", "10.80.0.2:80", "10.77.0.9"},
		{outsideSpace, "10.77.0.9", "10.80.0.2:80", ""},
		{outsideSpace, "fd77::9", "[fd80::2]:80", ""},
		{outsideSpace, "10.80.0.3", "192.0.2.1:8080", ""},
		{outsideSpace, "10.80.0.1", "10.80.0.2:80", ""},
		{outsideSpace, "fd80::3", "[fd80::2]:80", ""},
		{outsideSpace, "fd80::1", "[fd80::2]:80", ""},
	} {
		if got := heard(t, n.pin("db"), 80, func() { forge(t, c.space, c.from, c.to) }); got != c.want {
			t.Errorf("from %s to %s of %s: heard from %q, want %q", c.from, c.to, c.space, got, c.want)
		}
	}
}

// What an internal bridge's services send outside gets there no more than an answer
// would come back.
func TestInternalSendsNothingOutside(t *testing.T) {
	n, _ := start(t, Bridge{Name: DefaultBridge, Pools: twoPools, NAT: true, Internal: true})
	attach(t, n, veth("secret"))
	for _, to := range []string{"192.0.2.2:80", "[2001:db8::2]:80"} {
		send := func() {
			within(t, n.pin("secret"), func() {
				c, err := net.Dial("udp", to)
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				c.Write([]byte("x"))
			})
		}
		if from := heard(t, outsideSpace, 80, send); from != "" {
			t.Errorf("%s hears from %s", to, from)
		}
	}
}

// Name servers may be asked by a service that may connect to nobody, in the outside
// and on the host, and there is no other way to them than port 53.
func TestNameServers(t *testing.T) {
	n, _ := start(t)
	web := veth("web")
	web.To = []filter.Peer{}
	for _, server := range []string{"192.0.2.2", "2001:db8::2", "10.80.0.1", "fd80::1"} {
		web.DNS = append(web.DNS, netip.MustParseAddr(server))
	}
	attach(t, n, web)
	for _, space := range []string{outsideSpace, hostSpace} {
		for _, network := range []string{"tcp", "udp"} {
			serve(t, space, network, ":53")
			serve(t, space, network, ":54")
		}
	}
	for _, network := range []string{"tcp", "udp"} {
		try{n.pin("web"), network, "192.0.2.2:53", "[2001:db8::2]:53", true}.check(t)
		try{n.pin("web"), network, "10.80.0.1:53", "[fd80::1]:53", true}.check(t)
	}
	try{n.pin("web"), "udp", "192.0.2.2:54", "[2001:db8::2]:54", false}.check(t)
	try{n.pin("web"), "tcp", "10.80.0.1:54", "[fd80::1]:54", false}.check(t)
}

// Refused packets of both families are counted by who was called and who called, and
// the next manager goes on with the counts.
func TestRefusedIsCounted(t *testing.T) {
	n, config := start(t)
	db := veth("db")
	db.From = []filter.Peer{}
	attach(t, n, db)
	attach(t, n, veth("web"))
	try{n.pin("web"), "udp", "10.80.0.2:80", "[fd80::2]:80", false}.check(t)
	in(t, n, "web", "ip addr add 10.80.0.77/32 dev eth0")
	forge(t, n.pin("web"), "10.80.0.77", "10.80.0.2:80")
	counts := func(n *Network) (four, six, spoofed uint64) {
		c, err := n.table.Counters()
		if err != nil {
			t.Fatal(err)
		}
		for _, packets := range c.Spoofed {
			spoofed += packets
		}
		count := func(to, from string) uint64 { return c.Refused[netip.MustParseAddr(to)][netip.MustParseAddr(from)] }
		return count("10.80.0.2", "10.80.0.3"), count("fd80::2", "fd80::3"), spoofed
	}
	four, six, spoofed := counts(n)
	if four != 1 || six != 1 || spoofed == 0 {
		t.Errorf("refused: %d and %d, want 1 and 1; spoofed: %d", four, six, spoofed)
	}
	next, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close(false)
	if f, s, sp := counts(next); f != four || s != six || sp < spoofed {
		t.Errorf("the next manager has %d, %d and %d, want %d, %d and %d", f, s, sp, four, six, spoofed)
	}
}

// What a service sends by an address of IP or Ethernet that is not its own is heard by
// nobody. (That nobody answers shows nothing: answers do not find back to it.)
func TestSpoofedIsNotHeard(t *testing.T) {
	n, _ := start(t)
	attach(t, n, veth("web"))
	attach(t, n, veth("db"))
	web, db := n.pin("web"), n.pin("db")
	for _, c := range []struct{ space, from, to, want string }{
		{outsideSpace, "10.80.0.2", "192.0.2.2:80", "192.0.2.1"},
		{outsideSpace, "fd80::2", "[2001:db8::2]:80", "2001:db8::1"},
		{db, "10.80.0.2", "10.80.0.3:80", "10.80.0.2"},
		{db, "fd80::2", "[fd80::3]:80", "fd80::2"},
		{outsideSpace, "10.80.0.77", "192.0.2.2:80", ""},
		{outsideSpace, "10.80.0.3", "192.0.2.2:80", ""},
		{outsideSpace, "198.51.100.1", "192.0.2.2:80", ""},
		{outsideSpace, "fd80::77", "[2001:db8::2]:80", ""},
		{db, "10.80.0.77", "10.80.0.3:80", ""},
		{db, "fd80::77", "[fd80::3]:80", ""},
	} {
		got := heard(t, c.space, 80, func() { forge(t, web, c.from, c.to) })
		for end := time.Now().Add(patience); c.want != "" && got == "" && time.Now().Before(end); { // a first one may be lost
			got = heard(t, c.space, 80, func() { forge(t, web, c.from, c.to) })
		}
		if got != c.want {
			t.Errorf("from %s to %s: heard from %q, want %q", c.from, c.to, got, c.want)
		}
	}
	in(t, n, "web", "ip link set eth0 address 02:00:00:00:00:99")
	if got := heard(t, outsideSpace, 80, func() { forge(t, web, "10.80.0.2", "192.0.2.2:80") }); got != "" {
		t.Errorf("by another address of Ethernet: heard from %q", got)
	}
}

// The gateway answers a ping, whatever a service may connect to: that is how people
// find out whether there is a network.
func TestGatewayAnswersPing(t *testing.T) {
	n, _ := start(t)
	web := veth("web")
	web.To = []filter.Peer{}
	attach(t, n, web)
	// An echo request; the kernel fills in the checksum of ICMPv6 (RFC 3542).
	for network, c := range map[string]struct {
		to      string
		request []byte
	}{"ip4:icmp": {"10.80.0.1", []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0}}, "ip6:ipv6-icmp": {"fd80::1", []byte{128, 0, 0, 0, 0, 0, 0, 0}}} {
		within(t, n.pin("web"), func() {
			conn, err := net.Dial(network, c.to)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			reply := make([]byte, 64)
			for end := time.Now().Add(patience); time.Now().Before(end); { // a first one may be lost while a link comes up
				conn.Write(c.request)
				conn.SetReadDeadline(time.Now().Add(lost))
				for {
					k, _, err := conn.(*net.IPConn).ReadFrom(reply) // without the header of IP
					if err != nil {
						break
					}
					if k > 0 && (reply[0] == 0 || reply[0] == 129) {
						return
					}
				}
			}
			t.Errorf("no answer of %s", c.to)
		})
	}
}
