package network

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/nsinit/nsinit/network/filter"
)

// BenchmarkTraffic is what a packet and a new connection cost from one service to
// another that says who may connect, beside others of which each says so too.
func BenchmarkTraffic(b *testing.B) {
	n, _ := start(b)
	db := veth("db")
	db.From = []filter.Peer{peer("web", 80), {Kind: filter.PeerUnit, Name: "web", First: 80, Last: 80, Proto: filter.UDP}}
	attach(b, n, db)
	attach(b, n, veth("web"))
	serve(b, n.pin("db"), "tcp", ":80")
	serve(b, n.pin("db"), "udp", ":80")
	for _, others := range []int{10, 1000} {
		var units []string
		var crowd []filter.Service
		for i := range others {
			s := filter.Service{Unit: fmt.Sprintf("crowd%d", i), From: []filter.Peer{peer("web", 80), nets(1, 99, filter.TCP, "192.0.2.0/24")[0]},
				Links: []filter.Link{{Index: uint32(1<<20 + i), MAC: net.HardwareAddr{2, 0, 0, 0, 0, 9}, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 99, byte(i >> 8), byte(i)})}}}}
			units, crowd = append(units, s.Unit), append(crowd, s)
		}
		if err := n.table.Put(crowd...); err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("packet/%d", others), func(b *testing.B) {
			within(b, n.pin("web"), func() {
				c, err := net.Dial("udp", "10.80.0.2:80")
				if err != nil {
					b.Error(err)
					return
				}
				defer c.Close()
				answer := make([]byte, 64)
				for b.Loop() {
					c.Write(answer[:1])
					if _, err := c.Read(answer); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
		b.Run(fmt.Sprintf("connection/%d", others), func(b *testing.B) {
			within(b, n.pin("web"), func() {
				for b.Loop() {
					c, err := net.Dial("tcp", "10.80.0.2:80")
					if err != nil {
						b.Error(err)
						return
					}
					c.(*net.TCPConn).SetLinger(0) // or the ports are used up
					c.Close()
				}
			})
		})
		if err := n.table.Delete(units...); err != nil {
			b.Fatal(err)
		}
	}
}
