package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/network/filter"
)

// tableMark is the file that says that there is a table, so that an instance
// which never had one need not have the kernel load its code to look.
func (n *Network) tableMark() string { return filepath.Join(n.files, ".table") }

// needsTable says what s asks for that there are rules for. A service without them
// would be open to more than it says.
func (n *Network) needsTable(s Spec) string {
	switch {
	case len(s.Publish) > 0:
		return "publish ports"
	case s.From != nil || s.To != nil:
		return "keep to who may connect"
	}
	for _, l := range s.Links {
		if b := n.bridges[l.Bridge]; l.Kind == Veth && b != nil && b.Internal {
			return "keep the bridge " + b.Name + " internal"
		}
	}
	return ""
}

// change has what is there follow another s with the same links.
func (n *Network) change(a *attachment, s Spec) error {
	if reflect.DeepEqual(a.spec, s) {
		return nil
	}
	if err := n.rules(a, s); err != nil {
		return err
	}
	return n.remember(a, s)
}

// rules has published ports reserved, and the table say what s says.
func (n *Network) rules(a *attachment, s Spec) error {
	if !reflect.DeepEqual(a.spec.Publish, s.Publish) || a.reserved == nil {
		if err := n.publishable(s); err != nil {
			return err
		}
		a.reserved.release()
		r, err := reserve(s.Publish)
		if err != nil { // what it has leads to it still
			r, again := reserve(a.spec.Publish)
			a.reserved = r
			return errors.Join(err, again)
		}
		a.reserved = r
	}
	if n.table != nil {
		if err := n.table.Put(service(s, a.links)); err != nil {
			return err
		}
	}
	if narrowed := len(a.spec.Links) > 0 && !sameReach(a.spec, s); narrowed {
		if err := n.cutOff(a.links); err != nil {
			return err
		}
	}
	return n.loopback(s, a.links)
}

// sameReach reports whether the same may connect by both.
func sameReach(a, b Spec) bool {
	return reflect.DeepEqual(a.From, b.From) && reflect.DeepEqual(a.To, b.To) && reflect.DeepEqual(a.Publish, b.Publish)
}

// cutOff ends what is connected over links. A kernel that cannot be asked for
// connections (nf_conntrack_netlink) keeps them.
func (n *Network) cutOff(links []AttachedLink) error {
	if n.table == nil { // nothing was let through, and maybe nothing tracked
		return nil
	}
	var all []netip.Addr
	for _, l := range links {
		for _, p := range l.Addresses {
			if l.Kind == Veth {
				all = append(all, p.Addr())
			}
		}
	}
	err := cutOff(all)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EINVAL) {
		n.problem(fmt.Errorf("what was connected to a service stays so when its rules change or its address is another's: %w", err))
		return nil
	}
	return err
}

// loopback has published ports work on 127.0.0.1 too: without this, the kernel
// routes nothing of 127.0.0.0/8 over a link (route_localnet of ip-sysctl). What a
// service sends from there is dropped like all that is not its own.
func (n *Network) loopback(s Spec, links []AttachedLink) error {
	for _, l := range links {
		if l.Kind == Veth && len(s.Publish) > 0 {
			if err := os.WriteFile(filepath.Join(sysctlRoot, "ipv4/conf", l.Host, "route_localnet"), []byte("1"), 0); err != nil {
				return fmt.Errorf("cannot publish ports on the loopback: %w", err)
			}
		}
	}
	return nil
}

// publishable names another unit that publishes a port of s already.
func (n *Network) publishable(s Spec) error {
	for _, p := range s.Publish {
		for unit, a := range n.units {
			if unit == s.Unit || a.reserved == nil {
				continue
			}
			for _, o := range a.reserved.ports {
				same := !p.Host.IsValid() || !o.Host.IsValid() || p.Host == o.Host
				if p.Proto == o.Proto && same && p.First <= o.Last && o.First <= p.Last {
					return fmt.Errorf("cannot publish port %d/%s: unit %s publishes it", max(p.First, o.First), p.Proto, unit)
				}
			}
		}
	}
	return nil
}

// service is what the table is told.
func service(s Spec, links []AttachedLink) filter.Service {
	out := filter.Service{Unit: s.Unit, Publish: s.Publish, From: s.From, To: s.To, DNS: s.DNS}
	for _, l := range links {
		if l.Kind != Veth || l.index == 0 {
			continue
		}
		f := filter.Link{Index: l.index, MAC: l.mac}
		for _, p := range l.Addresses {
			f.Addresses = append(f.Addresses, p.Addr())
		}
		out.Links = append(out.Links, f)
	}
	return out
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
			n.withoutTable(err)
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
	if err == nil {
		return nil
	}
	n.table.Close(false)
	n.table, n.tableErr = nil, err
	if !errors.Is(err, filter.ErrUnavailable) {
		return err
	}
	n.withoutTable(err)
	return nil
}

// withoutTable goes on where there can be no table, for those who need none.
func (n *Network) withoutTable(err error) {
	n.tableErr = err
	n.problem(fmt.Errorf("services are not kept apart, and ports cannot be published: %w", err))
}
