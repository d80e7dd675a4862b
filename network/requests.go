package network

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// attributes encodes.
func attributes(f func(*netlink.AttributeEncoder)) []byte {
	e := netlink.NewAttributeEncoder()
	f(e)
	b, err := e.Encode()
	if err != nil { // only an attribute of 64 KiB is one
		panic(err)
	}
	return b
}

func nested(e *netlink.AttributeEncoder, kind uint16, f func(*netlink.AttributeEncoder)) {
	e.Nested(kind, func(e *netlink.AttributeEncoder) error { f(e); return nil })
}

// linkBody is a struct ifinfomsg, with the flags that are to be set, and its
// attributes.
func linkBody(index, flags uint32, f func(*netlink.AttributeEncoder)) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b[4:], index)
	binary.NativeEndian.PutUint32(b[8:], flags)
	binary.NativeEndian.PutUint32(b[12:], flags)
	if f == nil {
		return b
	}
	return append(b, attributes(f)...)
}

const makeNew = netlink.Create | netlink.Excl

// Attributes that golang.org/x/sys/unix does not have (linux/if_link.h).
const (
	vethInfoPeer     = 1
	macvlanMode      = 1
	vlanID           = 1
	bridgeMcastSnoop = 23
	inet6AddrGenMode = 8
	addrGenNone      = 1
	operUp           = 6
)

var macvlanModes = map[string]uint32{"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}

// noLinkLocal keeps the kernel from giving the link an address of its own.
func noLinkLocal(e *netlink.AttributeEncoder) {
	nested(e, unix.IFLA_AF_SPEC, func(e *netlink.AttributeEncoder) {
		nested(e, unix.AF_INET6, func(e *netlink.AttributeEncoder) { e.Uint8(inet6AddrGenMode, addrGenNone) })
	})
}

// addVeth makes a pair: name here, of the group, and peer where netns is.
func addVeth(name string, peer string, netns int, mac net.HardwareAddr, mtu int, group uint32) request {
	return request{"make the veth " + name, unix.RTM_NEWLINK, makeNew, linkBody(0, 0, func(e *netlink.AttributeEncoder) {
		e.String(unix.IFLA_IFNAME, name)
		e.Uint32(unix.IFLA_GROUP, group)
		if mtu > 0 {
			e.Uint32(unix.IFLA_MTU, uint32(mtu))
		}
		nested(e, unix.IFLA_LINKINFO, func(e *netlink.AttributeEncoder) {
			e.String(unix.IFLA_INFO_KIND, "veth")
			nested(e, unix.IFLA_INFO_DATA, func(e *netlink.AttributeEncoder) {
				e.Bytes(vethInfoPeer, linkBody(0, 0, func(e *netlink.AttributeEncoder) {
					e.String(unix.IFLA_IFNAME, peer)
					e.Uint32(unix.IFLA_NET_NS_FD, uint32(netns))
					if len(mac) > 0 {
						e.Bytes(unix.IFLA_ADDRESS, mac)
					}
					if mtu > 0 {
						e.Uint32(unix.IFLA_MTU, uint32(mtu))
					}
				}))
			})
		})
	})}
}

// addBridge makes a bridge without spanning tree, delay and multicast snooping.
func addBridge(name string, mac net.HardwareAddr, mtu int, group uint32) request {
	return request{"make the bridge " + name, unix.RTM_NEWLINK, makeNew, linkBody(0, 0, func(e *netlink.AttributeEncoder) {
		e.String(unix.IFLA_IFNAME, name)
		e.Uint32(unix.IFLA_GROUP, group)
		e.Bytes(unix.IFLA_ADDRESS, mac)
		if mtu > 0 {
			e.Uint32(unix.IFLA_MTU, uint32(mtu))
		}
		nested(e, unix.IFLA_LINKINFO, func(e *netlink.AttributeEncoder) {
			e.String(unix.IFLA_INFO_KIND, "bridge")
			nested(e, unix.IFLA_INFO_DATA, func(e *netlink.AttributeEncoder) {
				e.Uint32(unix.IFLA_BR_FORWARD_DELAY, 0)
				e.Uint32(unix.IFLA_BR_STP_STATE, 0)
				e.Uint8(bridgeMcastSnoop, 0)
			})
		})
	})}
}

// addAbove makes a macvlan or vlan on the link parent, in the namespace netns.
func addAbove(l Link, parent uint32, netns int) request {
	return request{fmt.Sprintf("make the %s %s on %s", l.Kind, l.Name, l.Parent), unix.RTM_NEWLINK, makeNew, linkBody(0, 0, func(e *netlink.AttributeEncoder) {
		e.String(unix.IFLA_IFNAME, l.Name)
		e.Uint32(unix.IFLA_LINK, parent)
		e.Uint32(unix.IFLA_NET_NS_FD, uint32(netns))
		if len(l.MAC) > 0 {
			e.Bytes(unix.IFLA_ADDRESS, l.MAC)
		}
		if l.MTU > 0 {
			e.Uint32(unix.IFLA_MTU, uint32(l.MTU))
		}
		nested(e, unix.IFLA_LINKINFO, func(e *netlink.AttributeEncoder) {
			e.String(unix.IFLA_INFO_KIND, l.Kind.String())
			nested(e, unix.IFLA_INFO_DATA, func(e *netlink.AttributeEncoder) {
				if l.Kind == VLAN {
					e.Uint16(vlanID, l.ID)
				} else {
					e.Uint32(macvlanMode, macvlanModes[l.Mode])
				}
			})
		})
	})}
}

// setUp sets a link up; quiet gives it no address of its own.
func setUp(index uint32, name string, quiet bool) request {
	return setFlags(index, name, unix.IFF_UP, quiet)
}

// setUpSilent is setUp of a link whose neighbours are told to the kernel: it does
// not ask by ARP nor answer, and learns from nobody who asks it. The kernel's table
// of neighbours is one for all links, and a service could fill it.
func setUpSilent(index uint32, name string) request {
	return setFlags(index, name, unix.IFF_UP|unix.IFF_NOARP, true)
}

func setFlags(index uint32, name string, flags uint32, quiet bool) request {
	return request{"set up " + name, unix.RTM_NEWLINK, 0, linkBody(index, flags, func(e *netlink.AttributeEncoder) {
		if quiet {
			noLinkLocal(e)
		}
	})}
}

// setAlias gives a link its tag, and with it takes it out of the group that it was
// made in.
func setAlias(index uint32, name, alias string) request {
	return request{"tag " + name, unix.RTM_NEWLINK, 0, linkBody(index, 0, func(e *netlink.AttributeEncoder) {
		e.String(unix.IFLA_IFALIAS, alias)
		e.Uint32(unix.IFLA_GROUP, 0)
		noLinkLocal(e) // now, as it is down: Linux 6.1 gives the address when it comes up
	})}
}

func setMAC(index uint32, name string, mac net.HardwareAddr) request {
	return request{"set the address of " + name, unix.RTM_NEWLINK, 0, linkBody(index, 0, func(e *netlink.AttributeEncoder) {
		e.Bytes(unix.IFLA_ADDRESS, mac)
	})}
}

func setGroup(index uint32, name string, group uint32) request {
	return request{"group " + name, unix.RTM_NEWLINK, 0, linkBody(index, 0, func(e *netlink.AttributeEncoder) {
		e.Uint32(unix.IFLA_GROUP, group)
	})}
}

func deleteLink(index uint32, name string) request {
	return request{"remove " + name, unix.RTM_DELLINK, 0, linkBody(index, 0, nil)}
}

// deleteGroup removes all links of a group at once.
func deleteGroup(group uint32) request {
	return request{"remove links", unix.RTM_DELLINK, 0, linkBody(0, 0, func(e *netlink.AttributeEncoder) {
		e.Uint32(unix.IFLA_GROUP, group)
	})}
}

func familyOf(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// addAddress gives a link an address; bare leaves out the route to its network.
func addAddress(index uint32, p netip.Prefix, bare bool) request {
	b := make([]byte, unix.SizeofIfAddrmsg)
	b[0], b[1] = familyOf(p.Addr()), byte(p.Bits())
	binary.NativeEndian.PutUint32(b[4:], index)
	flags := uint32(0)
	if p.Addr().Is6() {
		flags |= unix.IFA_F_NODAD // nobody else is on the link, or it is said who is
	}
	if bare {
		flags |= unix.IFA_F_NOPREFIXROUTE
	}
	return request{"add the address " + p.String(), unix.RTM_NEWADDR, makeNew, append(b, attributes(func(e *netlink.AttributeEncoder) {
		e.Bytes(unix.IFA_LOCAL, p.Addr().AsSlice())
		e.Bytes(unix.IFA_ADDRESS, p.Addr().AsSlice())
		e.Uint32(unix.IFA_FLAGS, flags)
	})...)}
}

func removeAddress(index uint32, p netip.Prefix) request {
	b := make([]byte, unix.SizeofIfAddrmsg)
	b[0], b[1] = familyOf(p.Addr()), byte(p.Bits())
	binary.NativeEndian.PutUint32(b[4:], index)
	return request{"remove the address " + p.String(), unix.RTM_DELADDR, 0, append(b, attributes(func(e *netlink.AttributeEncoder) {
		e.Bytes(unix.IFA_LOCAL, p.Addr().AsSlice())
	})...)}
}

// addRoute leads to a network: over the link itself where via is none.
func addRoute(index uint32, to netip.Prefix, via netip.Addr, metric int) request {
	return addRouteFrom(index, to, via, netip.Addr{}, metric)
}

// addRouteFrom has what the host itself sends there come from an address. It
// replaces a route that is there.
func addRouteFrom(index uint32, to netip.Prefix, via, from netip.Addr, metric int) request {
	b := make([]byte, unix.SizeofRtMsg)
	b[0], b[1] = familyOf(to.Addr()), byte(to.Bits())
	b[4], b[5], b[6], b[7] = unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST
	what := "add the route to " + to.String()
	if !via.IsValid() && to.Addr().Is4() {
		b[6] = unix.RT_SCOPE_LINK
	}
	flags := makeNew
	if from.IsValid() {
		flags = netlink.Create | netlink.Replace
	}
	return request{what, unix.RTM_NEWROUTE, flags, append(b, attributes(func(e *netlink.AttributeEncoder) {
		if to.Bits() > 0 {
			e.Bytes(unix.RTA_DST, to.Addr().AsSlice())
		}
		e.Uint32(unix.RTA_OIF, index)
		if via.IsValid() {
			e.Bytes(unix.RTA_GATEWAY, via.AsSlice())
		}
		if from.IsValid() {
			e.Bytes(unix.RTA_PREFSRC, from.AsSlice())
		}
		if metric > 0 {
			e.Uint32(unix.RTA_PRIORITY, uint32(metric))
		}
	})...)}
}

// addNeighbour says what link-layer address is behind an address, for good: nobody
// asks by ARP or neighbour discovery, so nobody can answer in another's name.
func addNeighbour(index uint32, a netip.Addr, mac net.HardwareAddr) request {
	b := make([]byte, unix.SizeofNdMsg)
	b[0] = familyOf(a)
	binary.NativeEndian.PutUint32(b[4:], index)
	binary.NativeEndian.PutUint16(b[8:], unix.NUD_PERMANENT)
	return request{"say where " + a.String() + " is", unix.RTM_NEWNEIGH, netlink.Create | netlink.Replace, append(b, attributes(func(e *netlink.AttributeEncoder) {
		e.Bytes(unix.NDA_DST, a.AsSlice())
		e.Bytes(unix.NDA_LLADDR, mac)
	})...)}
}
