package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// kernel speaks rtnetlink(7) with one network namespace.
type kernel struct{ conn *netlink.Conn }

// dial opens a socket in the namespace that netns has open; 0 is the caller's.
func dial(netns int) (*kernel, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: netns})
	if err != nil {
		return nil, fmt.Errorf("cannot talk to the kernel about links: %w", err)
	}
	return &kernel{conn}, nil
}

func (k *kernel) close() error { return k.conn.Close() }

// request is one message, and in words what it asks for.
type request struct {
	what  string
	kind  uint16
	flags netlink.HeaderFlags
	body  []byte
}

// stepError is a request that the kernel refused.
type stepError struct {
	what string
	err  error
}

func (e *stepError) Error() string {
	hint := ""
	if errors.Is(e.err, unix.EPERM) {
		hint = " (this needs CAP_NET_ADMIN)"
	}
	return "cannot " + e.what + ": " + errnoText(e.err) + hint
}

func (e *stepError) Unwrap() error { return e.err }

// modules are what the kernel's code for a kind of link is in, where that is not
// called like the kind.
var modules = map[string]string{VLAN.String(): "8021q"}

// needing says which kernel module is missing where a link could not be made
// because the kernel does not know its kind: it has asked /sbin/modprobe by then.
func needing(kind string, err error) error {
	if !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	module := kind
	if m, ok := modules[kind]; ok {
		module = m
	}
	return fmt.Errorf("%w (the kernel module %s is missing: modprobe %s; process 1 loads those that /etc/nsinit/modules lists)", err, module, module)
}

// errnoText leaves out what the library puts around an errno.
func errnoText(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}

// do sends all requests at once. The first that is refused is the error; those
// after it were carried out, so each list is one that may stop anywhere.
func (k *kernel) do(list ...request) (err error) {
	messages := make([]netlink.Message, len(list))
	for i, r := range list {
		messages[i] = netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(r.kind), Flags: netlink.Request | netlink.Acknowledge | r.flags}, Data: r.body}
	}
	if _, err := k.conn.SendMessages(messages); err != nil {
		return &stepError{list[0].what, err}
	}
	for _, r := range list { // each is answered by itself, in this order
		if _, e := k.conn.Receive(); e != nil && err == nil {
			err = &stepError{r.what, e}
		}
	}
	return err
}

// dumpTries is how often a list is asked for that something comes into meanwhile.
const dumpTries = 10

// dump lists what a request of that kind lists. What comes or goes meanwhile may
// have an older kernel leave out something else, which it says (NLM_F_DUMP_INTR of
// netlink(7)): it is asked again.
func (k *kernel) dump(what string, kind uint16, body []byte) (list []netlink.Message, err error) {
	interrupted := func(m netlink.Message) bool { return m.Header.Flags&netlink.DumpInterrupted != 0 }
	for range dumpTries {
		list, err = k.conn.Execute(netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: netlink.Request | netlink.Dump}, Data: body})
		if err != nil {
			return nil, &stepError{what, err}
		}
		if !slices.ContainsFunc(list, interrupted) {
			break
		}
	}
	return list, nil
}

// linkInfo is what the kernel says of a link.
type linkInfo struct {
	index, lower      uint32 // lower is the link that it is made on, or a veth's other end
	name, alias, kind string
	mac               net.HardwareAddr
	group             uint32
	up                bool
	ready             bool    // what is sent over it is not dropped (IF_OPER_UP, RFC 2863)
	traffic           Traffic // as the link sees it
}

// links lists those of the namespace.
func (k *kernel) links() (list []linkInfo, err error) {
	messages, err := k.dump("list links", unix.RTM_GETLINK, linkBody(0, 0, nil))
	for _, m := range messages {
		l, e := parseLink(m.Data)
		if e != nil {
			return nil, fmt.Errorf("cannot list links: %w", e)
		}
		list = append(list, l)
	}
	return list, err
}

// link finds one by index, or by name where that is 0.
func (k *kernel) link(index uint32, name string) (l linkInfo, err error) {
	body := linkBody(index, 0, func(e *netlink.AttributeEncoder) {
		if index == 0 {
			e.String(unix.IFLA_IFNAME, name)
		}
	})
	list, err := k.conn.Execute(netlink.Message{Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request}, Data: body})
	if err != nil {
		return l, &stepError{"find the link " + name, err}
	}
	if len(list) == 0 {
		return l, &stepError{"find the link " + name, unix.ENODEV}
	}
	return parseLink(list[0].Data)
}

func parseLink(b []byte) (l linkInfo, err error) {
	if len(b) < unix.SizeofIfInfomsg {
		return l, unix.EBADMSG
	}
	l.index = binary.NativeEndian.Uint32(b[4:])
	l.up = binary.NativeEndian.Uint32(b[8:])&unix.IFF_UP != 0
	d, err := netlink.NewAttributeDecoder(b[unix.SizeofIfInfomsg:])
	if err != nil {
		return l, err
	}
	for d.Next() {
		switch d.Type() {
		case unix.IFLA_IFNAME:
			l.name = d.String()
		case unix.IFLA_IFALIAS:
			l.alias = d.String()
		case unix.IFLA_OPERSTATE:
			l.ready = d.Uint8() == operUp
		case unix.IFLA_GROUP:
			l.group = d.Uint32()
		case unix.IFLA_LINK:
			l.lower = d.Uint32()
		case unix.IFLA_ADDRESS:
			l.mac = d.Bytes()
		case unix.IFLA_LINKINFO:
			d.Nested(func(d *netlink.AttributeDecoder) error {
				for d.Next() {
					if d.Type() == unix.IFLA_INFO_KIND {
						l.kind = d.String()
					}
				}
				return nil
			})
		case unix.IFLA_STATS64:
			if s := d.Bytes(); len(s) >= 32 { // struct rtnl_link_stats64
				n := func(i int) uint64 { return binary.NativeEndian.Uint64(s[8*i:]) }
				l.traffic = Traffic{RxPackets: n(0), TxPackets: n(1), RxBytes: n(2), TxBytes: n(3)}
			}
		}
	}
	return l, d.Err()
}

// address is one of a link.
type address struct {
	index  uint32
	prefix netip.Prefix
}

func (k *kernel) addresses() (list []address, err error) {
	messages, err := k.dump("list addresses", unix.RTM_GETADDR, make([]byte, unix.SizeofIfAddrmsg))
	for _, m := range messages {
		if len(m.Data) < unix.SizeofIfAddrmsg {
			continue
		}
		d, e := netlink.NewAttributeDecoder(m.Data[unix.SizeofIfAddrmsg:])
		if e != nil {
			return nil, fmt.Errorf("cannot list addresses: %w", e)
		}
		var local, peer netip.Addr
		for d.Next() {
			switch d.Type() {
			case unix.IFA_LOCAL:
				local, _ = netip.AddrFromSlice(d.Bytes())
			case unix.IFA_ADDRESS:
				peer, _ = netip.AddrFromSlice(d.Bytes())
			}
		}
		if !local.IsValid() { // of IPv6
			local = peer
		}
		list = append(list, address{binary.NativeEndian.Uint32(m.Data[4:]), netip.PrefixFrom(local, int(m.Data[1]))})
	}
	return list, err
}

// route is one of the main table; to is invalid for a default route.
type route struct {
	index uint32
	to    netip.Prefix
}

func (k *kernel) routes() (list []route, err error) {
	messages, err := k.dump("list routes", unix.RTM_GETROUTE, make([]byte, unix.SizeofRtMsg))
	for _, m := range messages {
		if len(m.Data) < unix.SizeofRtMsg || m.Data[4] != unix.RT_TABLE_MAIN || m.Data[7] != unix.RTN_UNICAST {
			continue
		}
		d, e := netlink.NewAttributeDecoder(m.Data[unix.SizeofRtMsg:])
		if e != nil {
			return nil, fmt.Errorf("cannot list routes: %w", e)
		}
		var r route
		for d.Next() {
			switch d.Type() {
			case unix.RTA_DST:
				if a, ok := netip.AddrFromSlice(d.Bytes()); ok {
					r.to = netip.PrefixFrom(a, int(m.Data[1]))
				}
			case unix.RTA_OIF:
				r.index = d.Uint32()
			}
		}
		list = append(list, r)
	}
	return list, err
}
