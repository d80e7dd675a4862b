package filter

import (
	"cmp"
	"net/netip"
	"slices"
)

// span is a closed range of numbers.
type span struct{ first, last uint16 }

func (s span) one() bool { return s.first == s.last }

func (s span) meets(o span) bool { return s.first <= o.last && o.first <= s.last }

// minus gives what of s lies before o and what lies after it.
func (s span) minus(o span) (parts []span) {
	if s.first < o.first {
		parts = append(parts, span{s.first, o.first - 1})
	}
	if o.last < s.last {
		parts = append(parts, span{o.last + 1, s.last})
	}
	return parts
}

// box is a set of packets: of a network, of protocols and of ports.
type box struct {
	net   netip.Prefix
	proto span // 0 to 255
	port  span
}

var (
	everyProto = span{0, 255}
	everyPort  = span{0, 65535}
)

// boxesOf gives what a peer may of a network: a port without a protocol is one of
// TCP and one of UDP, as others have no port there.
func boxesOf(net netip.Prefix, p Peer) (out []box) {
	b := box{net: net.Masked(), proto: everyProto, port: everyPort}
	protos := []Proto{p.Proto}
	if p.First != 0 {
		b.port = span{p.First, p.Last}
		if p.Proto == Any {
			protos = []Proto{TCP, UDP}
		}
	}
	for _, proto := range protos {
		if proto != Any {
			b.proto = span{uint16(proto), uint16(proto)}
		}
		out = append(out, b)
	}
	return out
}

// disjoint gives boxes that hold the same packets and no packet twice: the
// kernel's sets of ranges refuse an element that begins or ends in another
// (nft_set_pipapo.c). Of two networks that meet one holds the other, so what is
// taken away from the smaller leaves it whole.
func disjoint(boxes []box) (out []box) {
	boxes = slices.Clone(boxes)
	slices.SortStableFunc(boxes, func(a, b box) int {
		return cmp.Or(cmp.Compare(a.net.Bits(), b.net.Bits()), b.size()-a.size())
	})
	for _, b := range boxes {
		rest := []box{b}
		for _, earlier := range out {
			var left []box
			for _, r := range rest {
				left = append(left, r.minus(earlier)...)
			}
			rest = left
		}
		out = append(out, rest...)
	}
	return out
}

func (b box) size() int {
	return (int(b.proto.last-b.proto.first) + 1) * (int(b.port.last-b.port.first) + 1)
}

// minus gives b without what is in o, whose network is not smaller.
func (b box) minus(o box) (parts []box) {
	if !o.net.Overlaps(b.net) || !o.proto.meets(b.proto) || !o.port.meets(b.port) {
		return []box{b}
	}
	for _, proto := range b.proto.minus(o.proto) {
		parts = append(parts, box{b.net, proto, b.port})
	}
	common := span{max(b.proto.first, o.proto.first), min(b.proto.last, o.proto.last)}
	for _, port := range b.port.minus(o.port) {
		parts = append(parts, box{b.net, common, port})
	}
	return parts
}
