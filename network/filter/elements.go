package filter

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables"
)

// element is one of a set. Its fields are the kernel's bytes, each part of a key
// filled up to four.
type element struct{ set, key, end, value string }

func (e element) kernel() nftables.SetElement {
	out := nftables.SetElement{Key: []byte(e.key)}
	switch e.end {
	case "":
	case endOfRange:
		out.IntervalEnd = true
	default:
		out.KeyEnd = []byte(e.end)
	}
	if e.value != "" {
		out.Val = []byte(e.value)
	}
	return out
}

// elementOf is one as the kernel gives it back.
func elementOf(set string, e nftables.SetElement) element {
	out := element{set: set, key: string(e.Key), end: string(e.KeyEnd), value: string(e.Val)}
	if e.IntervalEnd {
		out.end = endOfRange
	}
	return out
}

// The parts of keys. An interface's number is in the processor's order, all
// else in the network's.

func indexKey(i uint32) string { return string(binary.NativeEndian.AppendUint32(nil, i)) }

func addrKey(a netip.Addr) string { return string(a.Unmap().AsSlice()) }

func etherKey(mac net.HardwareAddr) string { return string(mac) + "\x00\x00" }

func protoKey(p uint16) string { return string([]byte{byte(p), 0, 0, 0}) }

func portKey(p uint16) string { return string([]byte{byte(p >> 8), byte(p), 0, 0}) }

// of gives the set of that name for the family of a.
func of(set string, a netip.Addr) string {
	if a.Unmap().Is4() {
		return set + four.suffix
	}
	return set + six.suffix
}

// LastOf is the last address of a network, of IPv4 that of its broadcasts.
func LastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// bridgeElements are what there is to know of bridges.
func bridgeElements(bridges []Bridge) (out []element) {
	for _, b := range bridges {
		for _, pool := range b.Pools {
			first, last := pool.Masked().Addr(), LastOf(pool)
			for _, other := range b.Pools {
				if sameFamily(first, other.Addr()) {
					out = append(out, element{set: of(setSame, first), key: addrKey(first) + addrKey(other.Masked().Addr()), end: addrKey(last) + addrKey(LastOf(other))})
				}
			}
			switch {
			case b.Internal:
				out = append(out, rangeElements(of(setInner, first), pool)...)
			case b.NAT:
				out = append(out, rangeElements(of(setMasq, first), pool)...)
			}
		}
	}
	return out
}

// rangeElements is a network in a set of ranges of one field: two elements, the
// first address and the one after the last, which the kernel takes for the end.
// Networks here are of pools, which do not meet, and never reach the last address.
func rangeElements(set string, p netip.Prefix) []element {
	return []element{{set: set, key: addrKey(p.Masked().Addr())}, {set: set, key: addrKey(LastOf(p).Next()), end: endOfRange}}
}

// endOfRange marks an element that ends a range.
const endOfRange = "end"

// elements are what there is to know of a service. find gives the addresses of
// another one, nil while it has none, and pools those of a bridge.
func (s *Service) elements(find func(unit string) []netip.Addr, pools func(bridge string) []netip.Prefix) (out []element) {
	for _, l := range s.Links {
		i := indexKey(l.Index)
		out = append(out, element{set: setLinks, key: i}, element{set: setSpoofed, key: i})
		for _, a := range l.Addresses {
			out = append(out, element{set: of(setPins, a), key: i + etherKey(l.MAC) + addrKey(a)})
		}
	}
	var nets = func(p Peer) []netip.Prefix { return p.nets(find, pools) }
	for _, a := range s.addresses() {
		key := addrKey(a)
		out = append(out, element{set: of(setSelf, a), key: key + key})
		for _, d := range s.DNS {
			if sameFamily(a, d) {
				for _, p := range []Proto{TCP, UDP} {
					out = append(out, element{set: of(setDNS, a), key: key + addrKey(d) + protoKey(uint16(p)) + portKey(53)})
				}
			}
		}
		if s.From != nil {
			out = append(out, element{set: of(setGuarded, a), key: key})
			out = append(out, reach(a, setFrom, s.From, nets)...)
			out = append(out, ports(a, setInside, s.From, PeerOutside)...)
		}
		if s.To != nil {
			out = append(out, element{set: of(setLimited, a), key: key})
			out = append(out, reach(a, setTo, s.To, nets)...)
			out = append(out, ports(a, setOutside, s.To, PeerOutside)...)
			out = append(out, ports(a, setHost, s.To, PeerHost, PeerAny)...)
		}
	}
	return append(out, s.published()...)
}

func sameFamily(a, b netip.Addr) bool { return a.Unmap().Is4() == b.Unmap().Is4() }

// nets are the networks that a peer is; none of those that are known otherwise.
func (p Peer) nets(find func(string) []netip.Addr, pools func(string) []netip.Prefix) (out []netip.Prefix) {
	switch p.Kind {
	case PeerUnit:
		for _, a := range find(p.Name) {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
		}
	case PeerNet:
		out = []netip.Prefix{p.Net}
	case PeerBridge:
		out = pools(p.Name)
	case PeerAny:
		out = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
	case PeerHost, PeerOutside:
	}
	return out
}

// reach are the elements own . other . proto . port of the peers that are networks.
func reach(own netip.Addr, set string, peers []Peer, nets func(Peer) []netip.Prefix) []element {
	var boxes []box
	for _, p := range peers {
		for _, n := range nets(p) {
			if sameFamily(n.Addr(), own) {
				boxes = append(boxes, boxesOf(n, p)...)
			}
		}
	}
	return write(func(kind string) string { return of(set+kind, own) }, boxes, func(n netip.Prefix) (string, string) {
		return addrKey(own) + addrKey(n.Addr()), addrKey(own) + addrKey(LastOf(n))
	})
}

// ports are the elements own . proto . port of the peers of those kinds.
func ports(own netip.Addr, set string, peers []Peer, kinds ...PeerKind) []element {
	var boxes []box
	for _, p := range peers {
		if slices.Contains(kinds, p.Kind) {
			boxes = append(boxes, boxesOf(netip.PrefixFrom(own, own.BitLen()), p)...)
		}
	}
	return write(func(kind string) string { return of(set+kind, own) }, boxes, func(netip.Prefix) (string, string) { return addrKey(own), addrKey(own) })
}

// write puts each box into the set of that name which it fits. who gives the first
// and the last key of a network.
func write(set func(kind string) string, boxes []box, who func(netip.Prefix) (string, string)) (out []element) {
	var ranges []box
	for _, b := range boxes {
		key, _ := who(b.net)
		switch exact := b.net.IsSingleIP() || b.net.Bits() == 0; {
		case exact && b.proto == everyProto && b.port == everyPort:
			out = append(out, element{set: set(ofAll), key: key})
		case exact && b.proto.one() && b.port.one():
			out = append(out, element{set: set(ofPort), key: key + protoKey(b.proto.first) + portKey(b.port.first)})
		default:
			ranges = append(ranges, b)
		}
	}
	for _, b := range disjoint(ranges) {
		key, end := who(b.net)
		out = append(out, element{set: set(""), key: key + protoKey(b.proto.first) + portKey(b.port.first), end: end + protoKey(b.proto.last) + portKey(b.port.last)})
	}
	return out
}

// published are the elements of published ports: each leads to the first
// address of its family.
func (s *Service) published() (out []element) {
	for _, f := range families {
		var to netip.Addr
		for _, a := range s.addresses() {
			if !to.IsValid() && a.Unmap().Is4() == (f.suffix == four.suffix) {
				to = a
			}
		}
		if !to.IsValid() {
			continue
		}
		for _, p := range s.Publish {
			if p.Host.IsValid() && !sameFamily(p.Host, to) {
				continue
			}
			for i := uint16(0); ; i++ {
				e := element{set: setAny + f.suffix, key: protoKey(uint16(p.Proto)) + portKey(p.First+i), value: addrKey(to) + portKey(p.To+i)}
				if p.Host.IsValid() {
					e.set, e.key = setPorts+f.suffix, addrKey(p.Host)+e.key
				}
				out = append(out, e)
				if p.First+i == p.Last {
					break
				}
			}
		}
	}
	return out
}
