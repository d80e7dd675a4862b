package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/network/filter"
)

// dialInside speaks with the kernel about a unit's namespace.
func (n *Network) dialInside(unit string) (*kernel, error) {
	fd, err := n.open(unit)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return dial(fd)
}

// described is a link as it is asked for, with its bridge.
func (n *Network) described(l Link) AttachedLink {
	at := AttachedLink{Name: l.Name, Kind: l.Kind, Parent: l.Parent}
	if l.Kind != Veth {
		if l.Gateway.IsValid() {
			at.Gateways = []netip.Addr{l.Gateway}
		}
		return at
	}
	b := n.bridges[l.Bridge]
	if b == nil {
		return at
	}
	at.Bridge, at.BridgeLink = b.Name, b.Link
	for _, p := range b.Pools {
		at.Gateways = append(at.Gateways, gatewayOf(p))
	}
	return at
}

// clear removes links of those names from a namespace that was there before, as a
// manager that was killed may have left them.
func (n *Network) clear(s Spec) error {
	for _, l := range s.Links {
		if err := n.removeInside(s.Unit, l.Name); err != nil {
			return err
		}
	}
	return nil
}

// removeLinks removes host's ends of veths, and the other ends with them: many by a
// group of the instance's own, which costs what one does.
func (n *Network) removeLinks(links []linkInfo) error {
	switch len(links) {
	case 0:
		return nil
	case 1:
		return gone(n.host.do(deleteLink(links[0].index, links[0].name)))
	}
	group := hash(n.config.Instance, "removed")
	for _, l := range links {
		if err := gone(n.host.do(setGroup(l.index, l.name, group))); err != nil {
			return err
		}
	}
	return gone(n.host.do(deleteGroup(group)))
}

// gone takes a link that is not there any more for removed.
func gone(err error) error {
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

func (n *Network) removeInside(unit, link string) error {
	k, err := n.dialInside(unit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it has gone with its namespace
	}
	if err != nil {
		return err
	}
	defer k.close()
	l, err := k.link(0, link)
	if err != nil {
		return gone(err)
	}
	return gone(k.do(deleteLink(l.index, link)))
}

// derivedMAC is a locally administered address that is the same each time.
func derivedMAC(parts ...string) net.HardwareAddr {
	mac := net.HardwareAddr{0x02, 0x6e, 0, 0, 0, 0} // 0x6e is "n"
	binary.BigEndian.PutUint32(mac[2:], hash(parts...))
	return mac
}

// connect makes the links of s in the namespace that netns has open, and k speaks
// of. The host's ends of veths are down still, but for made, which is that of the
// first if it is not nil.
func (n *Network) connect(k *kernel, a *attachment, s Spec, netns int, made *linkInfo) error {
	a.spec.Unit = s.Unit
	for i, l := range s.Links {
		at, err := n.address(s.Unit, l)
		if err != nil {
			return err
		}
		a.links = append(a.links, at)
		switch {
		case l.Kind != Veth:
			err = n.addAbove(l, netns)
		case i == 0 && made != nil:
			err = n.take(k, s.Unit, l, &a.links[i], made)
		default:
			err = n.addPair(s.Unit, l, &a.links[i], netns)
		}
		if err != nil {
			return err
		}
		if err := furnish(k, l, &a.links[i], i); err != nil {
			return err
		}
	}
	return nil
}

// address finds the addresses of a link, and holds them.
func (n *Network) address(unit string, l Link) (AttachedLink, error) {
	at := n.described(l)
	if l.Kind != Veth {
		at.Addresses = l.Addresses
		return at, nil
	}
	b := n.bridges[l.Bridge]
	for _, p := range l.Addresses {
		err := n.usable(p.Addr(), b)
		if err == nil {
			err = n.leases.take(p.Addr(), unit)
		}
		if err != nil {
			return at, fmt.Errorf("cannot connect %s: %w", l.Name, err)
		}
		at.Addresses = append(at.Addresses, p)
	}
	if !l.Auto {
		return at, nil
	}
	for _, pool := range b.Pools {
		a, err := n.leases.next(pool)
		if err != nil {
			return at, fmt.Errorf("cannot connect %s to the bridge %s: %w", l.Name, b.Name, err)
		}
		n.leases[a] = unit
		at.Addresses = append(at.Addresses, netip.PrefixFrom(a, pool.Bits()))
	}
	return at, nil
}

// macOf is the address of the service's end.
func (n *Network) macOf(unit string, l Link) net.HardwareAddr {
	if len(l.MAC) > 0 {
		return l.MAC
	}
	return derivedMAC(n.config.Instance, unit, l.Name)
}

// take has a unit use a veth that was made ahead.
func (n *Network) take(k *kernel, unit string, l Link, at *AttachedLink, made *linkInfo) error {
	at.mac, at.Host, at.index, at.hostMAC = n.macOf(unit, l), made.name, made.index, made.mac
	if err := n.host.do(setAlias(at.index, at.Host, n.unitTag(unit, l.Name))); err != nil {
		return err
	}
	own, err := k.link(0, l.Name)
	if err != nil {
		return err
	}
	return k.do(setMAC(own.index, l.Name, at.mac))
}

// usable says why no service on the bridge can have the address.
func (n *Network) usable(a netip.Addr, b *bridge) error {
	if !a.IsGlobalUnicast() {
		return fmt.Errorf("%s is no address for a service", a)
	}
	for _, other := range n.bridges {
		for _, pool := range other.Pools {
			switch {
			case !pool.Contains(a):
			case other != b:
				return fmt.Errorf("the address %s is of the pool %s of bridge %s", a, pool, other.Name)
			case a == gatewayOf(pool):
				return fmt.Errorf("the address %s is the bridge's own", a)
			case a == pool.Addr(), a.Is4() && a == filter.LastOf(pool):
				return fmt.Errorf("the address %s is that of the whole network %s", a, pool)
			}
		}
	}
	addresses, err := n.host.addresses()
	for _, o := range addresses {
		if o.prefix.Addr() == a {
			return fmt.Errorf("the address %s is the host's own", a)
		}
	}
	return err
}

// generations is how many names a veth may have: one that was just removed is
// there for some more milliseconds.
const generations = 64

// addPair makes a veth and finds the host's end. Its name has a hash and a
// generation: the first that is free.
func (n *Network) addPair(unit string, l Link, at *AttachedLink, netns int) error {
	b := n.bridges[l.Bridge]
	at.mac = n.macOf(unit, l)
	mtu := l.MTU
	if mtu == 0 {
		mtu = b.MTU
	}
	var err error
	for generation := range generations {
		name := fmt.Sprintf("ns%08x%x", hash(n.config.Instance, unit, l.Name), generation)
		if err = n.host.do(addVeth(name, l.Name, netns, at.mac, mtu, n.unfinished())); !errors.Is(err, unix.EEXIST) {
			at.Host = name
			break
		}
	}
	if err == nil {
		err = noAdvertisements(at.Host)
	}
	if err != nil {
		return needing(Veth.String(), err)
	}
	end, err := n.host.link(0, at.Host)
	if err != nil {
		return err
	}
	at.index, at.hostMAC = end.index, end.mac
	return n.host.do(setAlias(at.index, at.Host, n.unitTag(unit, at.Name)))
}

// raise sets up the host's end, after the other one: that is when both have a
// carrier. What is for the service's addresses leads there, and nowhere else.
func (n *Network) raise(at *AttachedLink) error {
	list := []request{setUpSilent(at.index, at.Host)}
	return n.host.do(append(list, at.routes()...)...)
}

// routes lead to a service from the host, which speaks to it as the bridge.
func (at *AttachedLink) routes() (list []request) {
	for _, p := range at.Addresses {
		list = append(list, addNeighbour(at.index, p.Addr(), at.mac),
			addRouteFrom(at.index, netip.PrefixFrom(p.Addr(), p.Addr().BitLen()), netip.Addr{}, sameFamily(at.Gateways, p.Addr()), 0))
	}
	return list
}

// sameFamily gives the first of the gateways that is of the family of a.
func sameFamily(gateways []netip.Addr, a netip.Addr) netip.Addr {
	for _, g := range gateways {
		if g.Is4() == a.Is4() {
			return g
		}
	}
	return netip.Addr{}
}

func (n *Network) addAbove(l Link, netns int) error {
	parent, err := n.host.link(0, l.Parent)
	if errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("cannot make the %s %s: the host has no link %s (there are: %s)", l.Kind, l.Name, l.Parent, n.linkNames())
	}
	if err != nil {
		return err
	}
	err = n.host.do(addAbove(l, parent.index, netns))
	if l.Kind == VLAN && errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("%w (a link has one VLAN of each id, in all network namespaces: %d is taken)", err, l.ID)
	}
	return needing(l.Kind.String(), err)
}

func (n *Network) linkNames() string {
	links, _ := n.host.links()
	var names []string
	for _, l := range links {
		if l.name != "lo" && !strings.HasPrefix(l.alias, "nsinit/") {
			names = append(names, l.name)
		}
	}
	return strings.Join(names, ", ")
}

// furnish gives a link in a service's namespace its addresses and routes. place
// is its number: of several default routes that of the first link counts.
func furnish(k *kernel, l Link, at *AttachedLink, place int) error {
	have, err := k.link(0, l.Name)
	if err != nil {
		return err
	}
	if l.Kind != Veth {
		at.mac = have.mac
	}
	veth := l.Kind == Veth
	list := []request{setUp(have.index, l.Name, veth)}
	for _, p := range at.Addresses {
		list = append(list, addAddress(have.index, p, veth))
	}
	gateways := at.Gateways
	if l.Gateway.IsValid() {
		gateways = []netip.Addr{l.Gateway}
	}
	for _, g := range gateways {
		if !slices.ContainsFunc(at.Addresses, func(p netip.Prefix) bool { return p.Addr().Is4() == g.Is4() }) {
			continue
		}
		if veth { // the address has no route to its network: all goes by the host
			list = append(list, addNeighbour(have.index, g, at.hostMAC), addRoute(have.index, netip.PrefixFrom(g, g.BitLen()), netip.Addr{}, 0))
		}
		everywhere := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if g.Is6() {
			everywhere = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		list = append(list, addRoute(have.index, everywhere, g, place*100))
	}
	for _, r := range l.Routes {
		list = append(list, addRoute(have.index, r.Dst, r.Via, r.Metric))
	}
	return k.do(list...)
}
