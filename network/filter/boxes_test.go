package filter

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

func genBox(t *rapid.T) box {
	nets := []string{"0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/16", "10.0.1.0/24", "10.0.1.7/32", "192.0.2.0/24"}
	b := box{net: netip.MustParsePrefix(rapid.SampledFrom(nets).Draw(t, "net"))}
	b.proto = rapid.SampledFrom([]span{{0, 255}, {6, 6}, {17, 17}}).Draw(t, "proto")
	b.port.first = uint16(rapid.IntRange(0, 20).Draw(t, "first"))
	b.port.last = b.port.first + uint16(rapid.IntRange(0, 20).Draw(t, "more"))
	return b
}

func (b box) has(addr netip.Addr, proto, port uint16) bool {
	return b.net.Contains(addr) && b.proto.meets(span{proto, proto}) && b.port.meets(span{port, port})
}

// What any of the boxes holds, exactly one of the disjoint ones holds.
func TestDisjoint(t *testing.T) {
	addresses := []string{"10.0.0.0", "10.0.1.7", "10.0.1.8", "10.9.9.9", "192.0.2.1", "198.51.100.1"}
	rapid.Check(t, func(t *rapid.T) {
		boxes := rapid.SliceOfN(rapid.Custom(genBox), 0, 8).Draw(t, "boxes")
		out := disjoint(boxes)
		for _, text := range addresses {
			addr := netip.MustParseAddr(text)
			for _, proto := range []uint16{0, 6, 7, 17, 255} {
				for port := uint16(0); port < 45; port++ {
					count := func(all []box) (n int) {
						for _, b := range all {
							if b.has(addr, proto, port) {
								n++
							}
						}
						return n
					}
					if in, n := count(boxes), count(out); n != min(in, 1) {
						t.Fatalf("%v proto %d port %d: %d of %d disjoint boxes hold it, %d of the given: %v", addr, proto, port, n, len(out), in, out)
					}
				}
			}
		}
	})
}
