package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/network/filter"
)

// ready has the bridges of the links there, and those of all that is attached, and
// the table. It repairs what was taken away behind our back. A bridge that only
// others are on and that cannot be had is a problem, and not in the way of links.
func (n *Network) ready(links []Link) error {
	wanted := map[string]bool{} // by name: whether links need it
	for _, a := range n.units {
		for _, l := range a.links {
			if l.Kind == Veth {
				wanted[l.Bridge] = false
			}
		}
	}
	for _, l := range links {
		if l.Kind != Veth {
			continue
		}
		if n.bridges[l.Bridge] == nil {
			return fmt.Errorf("cannot connect %s: there is no bridge %s (declare [bridge.%s] in nsinit.toml)", l.Name, l.Bridge, l.Bridge)
		}
		wanted[l.Bridge] = true
	}
	changed := false
	var errs []error
	for name, needed := range wanted {
		b := n.bridges[name]
		if b == nil { // not declared any more; those on it keep what they have
			continue
		}
		made, err := n.ensure(b)
		if err != nil && needed {
			errs = append(errs, err)
		} else if err != nil {
			n.problem(err)
		}
		changed = changed || made
	}
	if len(wanted) == 0 || len(errs) > 0 && !changed {
		return errors.Join(errs...)
	}
	return errors.Join(append(errs, n.readyTable(changed))...)
}

// ensure has a bridge there. One that was removed is made again; one that is new
// is checked against the host's networks.
func (n *Network) ensure(b *bridge) (made bool, err error) {
	if b.index != 0 {
		l, err := n.host.link(b.index, "")
		if err == nil && l.alias == n.bridgeTag(b.Name) {
			b.Link = l.name // it may have been renamed
			return false, n.sys.forward(b.six())
		}
		n.problem(fmt.Errorf("the bridge %s was removed, and is made again", b.Link))
	} else if err := n.free(b); err != nil {
		return false, err
	}
	return true, n.makeBridge(b)
}

// free says what of the host's is in the way of a bridge.
func (n *Network) free(b *bridge) error {
	links, err := n.host.links()
	if err != nil {
		return err
	}
	for _, l := range links {
		if l.name == b.Link {
			return fmt.Errorf("cannot make the bridge %s: a link of that name is there which is not this instance's; it is left alone (give [bridge.%s] another link in nsinit.toml)", b.Link, b.Name)
		}
	}
	return n.roomFor(b, b.Pools)
}

// roomFor says what of the host's, other than the bridge's, overlaps one of the pools.
func (n *Network) roomFor(b *bridge, pools []netip.Prefix) error {
	links, err := n.host.links()
	if err != nil {
		return err
	}
	names := map[uint32]string{}
	for _, l := range links {
		if !strings.HasPrefix(l.alias, n.tag()) { // what leads to our services is in nobody's way
			names[l.index] = l.name
		}
	}
	addresses, err := n.host.addresses()
	if err != nil {
		return err
	}
	routes, err := n.host.routes()
	if err != nil {
		return err
	}
	for _, pool := range pools {
		for _, a := range addresses {
			if names[a.index] != "" && a.prefix.Overlaps(pool) {
				return fmt.Errorf("cannot make the bridge %s: its pool %s overlaps %s of %s (give [bridge.%s] another pool in nsinit.toml)", b.Link, pool, a.prefix, names[a.index], b.Name)
			}
		}
		for _, r := range routes {
			if (names[r.index] != "" || r.index == 0) && r.to.IsValid() && r.to.Bits() > 0 && r.to.Overlaps(pool) {
				return fmt.Errorf("cannot make the bridge %s: its pool %s overlaps the route to %s over %s (give [bridge.%s] another pool in nsinit.toml)", b.Link, pool, r.to, names[r.index], b.Name)
			}
		}
	}
	return nil
}

// readdress gives a bridge of an earlier manager the addresses of the pools that
// nsinit.toml has now. One that units still have for a gateway stays.
func (n *Network) readdress(b *bridge) error {
	all, err := n.host.addresses()
	if err != nil {
		return err
	}
	var list []request
	have := map[netip.Prefix]bool{}
	for _, a := range all {
		if a.index == b.index && !a.prefix.Addr().IsLinkLocalUnicast() {
			have[a.prefix] = true
			if !slices.Contains(b.Pools, a.prefix.Masked()) && n.leases.used(a.prefix.Masked()) == 0 {
				list = append(list, removeAddress(b.index, a.prefix))
			}
		}
	}
	var missing []netip.Prefix
	for _, pool := range b.Pools {
		if own := netip.PrefixFrom(gatewayOf(pool), pool.Bits()); !have[own] {
			missing = append(missing, pool)
			list = append(list, addAddress(b.index, own, false))
		}
	}
	if len(list) == 0 {
		return nil
	}
	if err := n.roomFor(b, missing); err != nil {
		return err
	}
	return errors.Join(n.host.do(list...), n.sys.forward(b.six()))
}

// derivedMAC is a locally administered address that is the same each time.
func derivedMAC(parts ...string) net.HardwareAddr {
	mac := net.HardwareAddr{0x02, 0x6e, 0, 0, 0, 0} // 0x6e is "n"
	binary.BigEndian.PutUint32(mac[2:], hash(parts...))
	return mac
}

// makeBridge makes the link that has the host's addresses of the pools. Services'
// links are no ports of it: each ends at the host, which routes between them, so
// that all that a service sends is routed, filtered and counted, and nobody can
// speak for another. (As ports of a bridge, isolated from each other, they are
// not: with br_netfilter, which container engines turn on, the bridge translates
// what is for a published port by itself, and then keeps it from the other port.)
func (n *Network) makeBridge(b *bridge) error {
	if err := n.host.do(addBridge(b.Link, derivedMAC(n.config.Instance, b.Name), b.MTU, n.unfinished())); err != nil {
		return needing("bridge", err)
	}
	l, err := n.host.link(0, b.Link)
	if err != nil {
		return err
	}
	list := []request{setAlias(l.index, b.Link, n.bridgeTag(b.Name)), setUp(l.index, b.Link, true)}
	for _, p := range b.gateways() {
		list = append(list, addAddress(l.index, p, false))
	}
	for _, a := range n.units { // the kernel has removed them with the address that they give
		for i := range a.links {
			if a.links[i].index != 0 && a.links[i].Bridge == b.Name {
				list = append(list, a.links[i].routes()...)
			}
		}
	}
	err = n.host.do(list...)
	if err == nil {
		err = n.host.settle(0, "", b.gateways()...)
	}
	if err == nil {
		err = n.sys.forward(b.six())
	}
	if err != nil {
		return errors.Join(err, n.host.do(deleteLink(l.index, b.Link)))
	}
	b.index = l.index
	return nil
}

// readyTable has the table there. Where there can be none, links work without.
func (n *Network) readyTable(changed bool) error {
	if n.table == nil {
		var table *filter.Table
		err := writeFile(n.tableMark(), nil) // before there is a table that nobody knows of
		if err == nil {
			table, err = filter.Open(n.config.Instance)
		}
		if err != nil {
			n.tableErr = err
			n.problem(fmt.Errorf("services are not kept apart, and ports cannot be published: %w", err))
			return nil
		}
		n.table, changed = table, true
	}
	if !changed {
		missing, err := n.table.Missing()
		if err != nil {
			return err
		}
		if !missing {
			return nil
		}
		n.problem(errors.New("the rules were removed, and are made again"))
	}
	var bridges []filter.Bridge
	for _, b := range n.bridges {
		if b.index != 0 {
			bridges = append(bridges, filter.Bridge{Name: b.Name, Pools: b.Pools, NAT: b.NAT, Internal: b.Internal})
		}
	}
	var services []filter.Service
	for _, a := range n.units {
		services = append(services, service(a.spec, a.links))
	}
	err := n.table.Sync(bridges, services)
	if err != nil {
		n.table.Close(false)
		n.table, n.tableErr = nil, err
	}
	if errors.Is(err, filter.ErrUnavailable) {
		n.problem(fmt.Errorf("services are not kept apart, and ports cannot be published: %w", err))
		return nil
	}
	return err
}

func (n *Network) removeBridges() error {
	var errs []error
	for _, b := range n.bridges {
		if b.index != 0 {
			errs = append(errs, gone(n.host.do(deleteLink(b.index, b.Link))))
			b.index = 0
		}
	}
	return errors.Join(errs...)
}

// Repair makes again what was taken away behind our back: a bridge, the rules.
func (n *Network) Repair() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ready(nil)
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
			case a == pool.Addr(), a.Is4() && a == lastOf(pool):
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
