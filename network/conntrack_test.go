package network

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/nsinit/nsinit/network/filter"
)

// What was connected to a service is not connected to the next that has its
// address, whether it went alone or with many others, whom the kernel is asked
// about in another way.
func TestAddressIsReused(t *testing.T) {
	for _, others := range []int{0, few} {
		t.Run(fmt.Sprint(others), func(t *testing.T) {
			n, _ := start(t)
			attach(t, n, veth("evil"))
			gone := []string{"old"}
			for i := range others {
				gone = append(gone, fmt.Sprintf("other%d", i))
			}
			for _, unit := range gone {
				attach(t, n, veth(unit))
			}
			evil := dialFrom(t, n.pin("evil"), 4000, "10.80.0.3:9")
			serve(t, n.pin("old"), "udp", ":9")
			if !asks(evil) {
				t.Fatal("old does not answer")
			}
			if err := n.Release(gone...); err != nil {
				t.Fatal(err)
			}
			guarded := veth("guarded")
			guarded.From = []filter.Peer{}
			if a := attach(t, n, guarded); a.Links[0].Addresses[0].Addr().String() != "10.80.0.3" {
				t.Fatalf("guarded has %v", a.Links[0].Addresses)
			}
			serve(t, n.pin("guarded"), "udp", ":9")
			if asks(evil) {
				t.Error("a service that nobody may connect to answers on its predecessor's connection")
			}
		})
	}
}

// Who may not connect any more is cut off.
func TestNarrowedCutsOff(t *testing.T) {
	n, _ := start(t)
	attach(t, n, veth("evil"))
	db := veth("db")
	attach(t, n, db)
	serve(t, n.pin("db"), "udp", ":9")
	evil := dialFrom(t, n.pin("evil"), 4000, "10.80.0.3:9")
	if !asks(evil) {
		t.Fatal("db does not answer")
	}
	db.From = []filter.Peer{}
	attach(t, n, db)
	if asks(evil) {
		t.Error("db answers whom it was told not to hear any more")
	}
}

func dialFrom(t *testing.T, space string, port int, to string) (c *net.UDPConn) {
	t.Helper()
	var err error
	within(t, space, func() {
		c, err = net.DialUDP("udp", &net.UDPAddr{Port: port}, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to)))
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// asks reports whether there is an answer on the connection.
func asks(c *net.UDPConn) bool {
	c.Write([]byte("x"))
	c.SetReadDeadline(time.Now().Add(lost))
	_, err := c.Read(make([]byte, 64))
	return err == nil
}
