package network

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Messages and attributes of the tracking of connections
// (linux/netfilter/nfnetlink_conntrack.h).
const (
	ctGet    = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1
	ctDelete = unix.NFNL_SUBSYS_CTNETLINK<<8 | 2

	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaID         = 12
	ctaZone       = 18
	ctaFilter     = 25 // Linux 5.8; before, everything is listed
	ctaTupleIP    = 1
	ctaSource4    = 1
	ctaSource6    = 3

	ctaFilterOrig  = 1
	ctaFilterReply = 2
	ctaFilterIPSrc = 1
)

// cutOff ends the connections from and to the addresses: what belongs to one that
// was let through passes the rules, and so it would when the rules are others by
// now, or the address another service's.
func cutOff(addresses []netip.Addr) (err error) {
	if len(addresses) == 0 {
		return nil
	}
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return fmt.Errorf("cannot talk to the kernel about connections: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	sought := map[string]bool{}
	for _, a := range addresses {
		sought[string(a.AsSlice())] = true
	}
	for _, body := range questions(addresses) {
		if err := cutOffListed(conn, body, sought); err != nil {
			return &stepError{"end connections", err}
		}
	}
	return nil
}

// few is up to how many addresses the kernel is asked about one by one: it goes
// through its whole table for each, and twice.
const few = 4

// questions list at least the connections of the addresses: of few alone those, of
// many all that there are.
func questions(addresses []netip.Addr) (bodies [][]byte) {
	if len(addresses) > few {
		return [][]byte{nfgen(netip.IPv4Unspecified()), nfgen(netip.IPv6Unspecified())}
	}
	for _, a := range addresses {
		bodies = append(bodies, connectionsFrom(a, ctaTupleOrig), connectionsFrom(a, ctaTupleReply))
	}
	return bodies
}

// cutOffListed ends those of a list that come from one of the addresses: the
// connections themselves, or what answers them.
func cutOffListed(conn *netlink.Conn, question []byte, sought map[string]bool) error {
	list, err := conn.Execute(netlink.Message{Header: netlink.Header{Type: ctGet, Flags: netlink.Request | netlink.Dump}, Data: question})
	if err != nil {
		return err
	}
	for _, m := range list {
		if len(m.Data) < nfgenSize {
			continue
		}
		id, ends, err := identify(m.Data[nfgenSize:])
		if err != nil {
			return err
		}
		if !sought[string(ends[0])] && !sought[string(ends[1])] {
			continue
		}
		_, err = conn.Execute(netlink.Message{Header: netlink.Header{Type: ctDelete, Flags: netlink.Request | netlink.Acknowledge}, Data: append(slices.Clone(m.Data[:nfgenSize]), id...)})
		if err != nil && !errors.Is(err, unix.ENOENT) { // it has ended by itself
			return err
		}
	}
	return nil
}

// nfgen is a struct nfgenmsg for the family of an address.
func nfgen(a netip.Addr) []byte { return []byte{familyOf(a), unix.NFNETLINK_V0, 0, 0} }

const nfgenSize = 4

func sourceOf(a netip.Addr) uint16 {
	if a.Is4() {
		return ctaSource4
	}
	return ctaSource6
}

// connectionsFrom asks for those of the address alone.
func connectionsFrom(a netip.Addr, way uint16) []byte {
	flags := map[uint16]uint32{way: ctaFilterIPSrc}
	return append(nfgen(a), attributes(func(e *netlink.AttributeEncoder) {
		nested(e, way, func(e *netlink.AttributeEncoder) {
			nested(e, ctaTupleIP, func(e *netlink.AttributeEncoder) { e.Bytes(sourceOf(a), a.AsSlice()) })
		})
		nested(e, ctaFilter, func(e *netlink.AttributeEncoder) {
			e.Uint32(ctaFilterOrig, flags[ctaTupleOrig])
			e.Uint32(ctaFilterReply, flags[ctaTupleReply])
		})
	})...)
}

// identify gives the attributes that name a connection, and the addresses that it,
// and what answers it, comes from.
func identify(b []byte) (id []byte, ends [2][]byte, err error) {
	d, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return nil, ends, err
	}
	e := netlink.NewAttributeEncoder()
	for d.Next() {
		switch d.Type() {
		case ctaTupleOrig:
			e.Bytes(ctaTupleOrig|netlink.Nested, d.Bytes())
			d.Nested(func(d *netlink.AttributeDecoder) error { ends[0] = sourceIn(d); return nil })
		case ctaTupleReply:
			d.Nested(func(d *netlink.AttributeDecoder) error { ends[1] = sourceIn(d); return nil })
		case ctaID, ctaZone:
			e.Bytes(d.Type(), d.Bytes())
		}
	}
	if err := d.Err(); err != nil {
		return nil, ends, err
	}
	id, err = e.Encode()
	return id, ends, err
}

func sourceIn(tuple *netlink.AttributeDecoder) (source []byte) {
	for tuple.Next() {
		if tuple.Type() != ctaTupleIP {
			continue
		}
		tuple.Nested(func(d *netlink.AttributeDecoder) error {
			for d.Next() {
				if t := d.Type(); t == ctaSource4 || t == ctaSource6 {
					source = d.Bytes()
				}
			}
			return nil
		})
	}
	return source
}
