package network

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
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
