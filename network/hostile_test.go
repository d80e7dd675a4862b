package network

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/network/filter"
)

// What a service with CAP_NET_ADMIN gave itself in its namespace is not taken for
// what it was given when the next manager comes.
func TestAdoptBelievesNoService(t *testing.T) {
	n, config := start(t)
	db := veth("db")
	db.From = []filter.Peer{peer("web", 9)}
	attach(t, n, db)
	attach(t, n, veth("web"))
	attach(t, n, veth("evil"))
	before := fmt.Sprint(n.Attached())
	in(t, n, "evil", "ip address add 10.80.0.3/24 dev eth0; ip address add 192.0.2.2/32 dev eth0; ip link set eth0 address 02:00:00:00:00:66")
	n = again(t, n, config)
	if after := fmt.Sprint(n.Attached()); after != before {
		t.Errorf("adopted %s, was %s", after, before)
	}
	if holder := n.leases[netip.MustParseAddr("10.80.0.3")]; holder != "web" {
		t.Errorf("10.80.0.3 is held by %s", holder)
	}
	attach(t, n, veth("evil"))
	if got := heard(t, n.pin("db"), 9, func() { forge(t, n.pin("evil"), "10.80.0.3", "10.80.0.2:9") }); got != "" {
		t.Errorf("db hears %s as from web", got)
	}
}

// A service that asks by ARP in the name of others leaves no neighbours with the
// host, whose table is one for all links.
func TestNeighboursAreNotFlooded(t *testing.T) {
	n, _ := start(t)
	a := attach(t, n, veth("evil"))
	within(t, n.pin("evil"), func() {
		link, err := net.InterfaceByName("eth0")
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		for i := range byte(100) {
			request := append([]byte{255, 255, 255, 255, 255, 255}, link.HardwareAddr...)
			request = append(request, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1)
			request = append(append(request, link.HardwareAddr...), 10, 80, 0, 100+i)
			request = append(request, 0, 0, 0, 0, 0, 0, 10, 80, 0, 1)
			if err := unix.Sendto(fd, request, 0, &unix.SockaddrLinklayer{Ifindex: link.Index, Halen: 6}); err != nil {
				t.Fatal(err)
			}
		}
	})
	if got := sh(t, "ip -4 neigh show dev "+a.Links[0].Host+" | grep -vc PERMANENT || true"); got != "0" {
		t.Errorf("the host has %s neighbours that the service told it of", got)
	}
}

// Who runs in a namespace whose links are made anew, as a unit that joined it does,
// is under its rules from the first packet.
func TestNoWindowWithoutRules(t *testing.T) {
	n, _ := start(t)
	web := veth("web")
	web.To = []filter.Peer{}
	attach(t, n, web)
	var c net.PacketConn
	var err error
	within(t, n.pin("web"), func() { c, err = net.ListenPacket("udp4", ":0") })
	if err != nil {
		t.Fatal(err)
	}
	outside := &net.UDPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 9}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				c.WriteTo([]byte("x"), outside) // fails while there is no link
			}
		}
	}()
	got := heard(t, outsideSpace, 9, func() {
		for i := range 20 {
			again := veth("web")
			again.To, again.Links[0].MTU = []filter.Peer{}, 1400+i
			if !attach(t, n, again).Made {
				t.Error("not made anew")
			}
		}
	})
	close(stop)
	<-done
	c.Close()
	if got != "" {
		t.Errorf("outside hears %s, which may connect to nobody", got)
	}
}

// A service with a raw socket does not reach what listens on the host's loopback,
// which is open to packets from its link while it publishes ports.
func TestHostLoopback(t *testing.T) {
	n, _ := start(t)
	evil := veth("evil")
	evil.To = []filter.Peer{{Kind: filter.PeerHost}}
	evil.Publish = []filter.Port{{First: 8080, Last: 8080, To: 80, Proto: filter.TCP}}
	attach(t, n, evil)
	in(t, n, "evil", "ip rule add pref 100 lookup local; ip rule del pref 0; ip rule add pref 1 to 127.0.0.0/8 lookup main; ip route add 127.0.0.0/8 via 10.80.0.1; echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet")
	if got := heard(t, hostSpace, 9, func() { forge(t, n.pin("evil"), "10.80.0.2", "127.0.0.1:9") }); got != "" {
		t.Errorf("the host's loopback hears %s", got)
	}
}
