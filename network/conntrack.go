package network

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"

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
	for _, a := range addresses {
		for _, way := range []uint16{ctaTupleOrig, ctaTupleReply} {
			if err := cutOffWay(conn, a, way); err != nil {
				return &stepError{"end the connections of " + a.String(), err}
			}
		}
	}
	return nil
}

// cutOffWay ends the connections that come from the address: the connections
// themselves, or what answers them.
func cutOffWay(conn *netlink.Conn, a netip.Addr, way uint16) error {
	list, err := conn.Execute(netlink.Message{Header: netlink.Header{Type: ctGet, Flags: netlink.Request | netlink.Dump}, Data: connectionsFrom(a, way)})
	if err != nil {
		return err
	}
	for _, m := range list {
		if len(m.Data) < nfgenSize {
			continue
		}
		id, source, err := identify(m.Data[nfgenSize:], way)
		if err != nil {
			return err
		}
		if !bytes.Equal(source, a.AsSlice()) {
			continue
		}
		_, err = conn.Execute(netlink.Message{Header: netlink.Header{Type: ctDelete, Flags: netlink.Request | netlink.Acknowledge}, Data: append(nfgen(a), id...)})
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

// identify gives the attributes that name a connection, and the address that it,
// or what answers it, comes from.
func identify(b []byte, way uint16) (id, source []byte, err error) {
	d, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return nil, nil, err
	}
	e := netlink.NewAttributeEncoder()
	for d.Next() {
		switch d.Type() {
		case ctaTupleOrig:
			e.Bytes(ctaTupleOrig|netlink.Nested, d.Bytes())
		case ctaID, ctaZone:
			e.Bytes(d.Type(), d.Bytes())
		}
		if d.Type() == way {
			d.Nested(func(d *netlink.AttributeDecoder) error {
				source = sourceIn(d)
				return nil
			})
		}
	}
	if err := d.Err(); err != nil {
		return nil, nil, err
	}
	id, err = e.Encode()
	return id, source, err
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
