package network

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// settleTime bounds how long a link may take to carry packets.
const settleTime = 2 * time.Second

// settle waits until nothing is dropped of what is sent over a link, nor of what is
// sent to the addresses. The kernel makes the first so a moment after the carrier is
// there (linkwatch; since Linux 6.8 a question after the link makes it so at once),
// and the second for IPv6 when it comes to it (addrconf_dad_work), however busy it
// is: until then one who connects waits a second to try again. k speaks of the
// namespace that netns has open; no name is no link.
func (k *kernel) settle(netns int, name string, addresses ...netip.Prefix) error {
	settled := func() (bool, error) {
		if name != "" {
			if l, err := k.link(0, name); err != nil || !l.ready {
				return false, err
			}
		}
		for _, p := range addresses {
			if at, err := k.isLocal(p.Addr()); err != nil || !at {
				return false, err
			}
		}
		return true, nil
	}
	if ok, err := settled(); err != nil || ok {
		return err
	}
	news, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: netns, Groups: unix.RTMGRP_LINK | unix.RTMGRP_IPV6_ROUTE})
	if err != nil {
		return fmt.Errorf("cannot watch the link %s: %w", name, err)
	}
	defer news.Close()
	news.SetReadDeadline(time.Now().Add(settleTime))
	for { // the question comes after the subscription, so no news is missed
		if ok, err := settled(); err != nil || ok {
			return err
		}
		if _, err := news.Receive(); err != nil && !errors.Is(err, unix.ENOBUFS) { // more news than fit is news
			return fmt.Errorf("cannot wait for the link %s to be up: %w", name, err)
		}
	}
}

// isLocal reports whether what is sent to an address is taken in. That of IPv4 is
// from when it is there.
func (k *kernel) isLocal(a netip.Addr) (bool, error) {
	if a.Is4() {
		return true, nil
	}
	b := make([]byte, unix.SizeofRtMsg)
	b[0], b[1] = familyOf(a), byte(a.BitLen())
	question := netlink.Message{Header: netlink.Header{Type: unix.RTM_GETROUTE, Flags: netlink.Request},
		Data: append(b, attributes(func(e *netlink.AttributeEncoder) { e.Bytes(unix.RTA_DST, a.AsSlice()) })...)}
	list, err := k.conn.Execute(question)
	if errors.Is(err, unix.ENETUNREACH) {
		return false, nil
	}
	if err != nil {
		return false, &stepError{"find the way to " + a.String(), err}
	}
	return len(list) > 0 && len(list[0].Data) >= unix.SizeofRtMsg && list[0].Data[7] == unix.RTN_LOCAL, nil
}
