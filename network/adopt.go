package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// record is the file of a unit: what it asked for, and what each link was given.
// Its namespace is not asked for that: a service with CAP_NET_ADMIN may have
// given itself the addresses of others there.
type record struct {
	Spec  Spec
	Given []given
}

type given struct {
	Addresses []netip.Prefix
	MAC       net.HardwareAddr
}

// adopt takes over what is there.
func (n *Network) adopt() (err error) {
	if err := os.MkdirAll(n.files, 0o700); err != nil {
		return fmt.Errorf("cannot make the directory of networks: %w", err)
	}
	if n.sys, err = openSysctls(filepath.Join(n.files, ".settings")); err != nil {
		return err
	}
	if n.host, err = dial(0); err != nil {
		return err
	}
	list, err := n.host.links()
	if err != nil {
		return err
	}
	ours := map[string]linkInfo{} // by alias, or where none was given yet, by name
	for _, l := range list {
		if strings.HasPrefix(l.alias, n.tag()) {
			ours[l.alias] = l
		} else if l.alias == "" && l.group == n.unfinished() {
			ours[l.name] = l
		}
	}
	for _, b := range n.bridges {
		if l, ok := ours[n.bridgeTag(b.Name)]; ok {
			b.index, b.Link = l.index, l.name
			delete(ours, n.bridgeTag(b.Name))
		}
	}
	if err := n.adoptUnits(ours); err != nil {
		return err
	}
	for _, l := range ours { // half made, or of a bridge that is not declared any more
		if err := n.host.do(deleteLink(l.index, l.name)); err != nil && !errors.Is(err, unix.ENODEV) {
			n.problem(err)
		}
	}
	for _, b := range n.bridges {
		if b.index != 0 {
			if err := n.readdress(b); err != nil {
				n.problem(err)
			}
		}
	}
	if len(n.units) == 0 {
		return nil
	}
	if err := n.ready(nil); err != nil { // services run, and want a manager more than this
		n.problem(err)
	}
	return nil
}

// adoptUnits finds the units that have a file and all that it says, and takes
// their links out of ours.
func (n *Network) adoptUnits(ours map[string]linkInfo) error {
	entries, err := os.ReadDir(n.files)
	if err != nil {
		return fmt.Errorf("cannot read the directory of networks: %w", err)
	}
	for _, e := range entries {
		unit, ok := fromPinName(e.Name())
		if !ok || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		a, err := n.adoptUnit(unit, ours)
		if err != nil { // its next start makes it anew
			n.problem(fmt.Errorf("%s: %w", unit, err))
			os.Remove(n.file(unit))
			continue
		}
		n.units[unit] = a
		if !n.current(a) {
			n.problem(fmt.Errorf("%s has an address of a pool that its bridge has no more: restart it", unit))
		}
	}
	return nil
}

func (n *Network) adoptUnit(unit string, ours map[string]linkInfo) (*attachment, error) {
	b, err := os.ReadFile(n.file(unit))
	if err != nil {
		return nil, err
	}
	var was record
	if err := json.Unmarshal(b, &was); err != nil {
		return nil, fmt.Errorf("cannot read what its network was to be: %w", err)
	}
	if was.Spec.Unit != unit || len(was.Given) != len(was.Spec.Links) {
		return nil, errors.New("cannot tell what its network was: its file is another's")
	}
	a := &attachment{spec: was.Spec}
	for i, l := range a.spec.Links {
		at := n.described(l)
		at.Addresses, at.mac = was.Given[i].Addresses, was.Given[i].MAC
		if l.Kind == Veth {
			end := ours[n.unitTag(unit, l.Name)] // none: index 0
			at.Host, at.index, at.hostMAC = end.name, end.index, end.mac
			delete(ours, n.unitTag(unit, l.Name))
		}
		a.links = append(a.links, at)
	}
	fd, err := n.intact(a)
	switch {
	case errors.Is(err, fs.ErrNotExist): // without a namespace there is nothing
		return nil, fmt.Errorf("cannot find its network namespace: %w", err)
	case err != nil: // a service runs with what it has; its next start has all of it
		n.problem(fmt.Errorf("%s: %w: restart it", unit, err))
	default:
		unix.Close(fd)
	}
	for _, l := range a.links {
		for _, p := range l.Addresses {
			if l.Kind == Veth {
				n.leases[p.Addr()] = unit
			}
		}
	}
	if a.reserved, err = reserve(a.spec.Publish); err != nil { // taken while no manager ran; the rules go before it
		n.problem(fmt.Errorf("%s: %w", unit, err))
	}
	return a, nil
}

// intact opens the namespace of a unit, or says what is not there any more of what
// the unit was given.
func (n *Network) intact(a *attachment) (fd int, err error) {
	if fd, err = n.open(a.spec.Unit); err != nil {
		return -1, err
	}
	k, err := dial(fd)
	if err == nil {
		err = errors.Join(n.whole(k, a), k.close())
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (n *Network) whole(k *kernel, a *attachment) error {
	have, err := k.addresses()
	if err != nil {
		return err
	}
	for _, l := range a.links {
		own, err := k.link(0, l.Name)
		switch {
		case err != nil:
			return err
		case own.kind != l.Kind.String() || !own.up:
			return fmt.Errorf("the link %s is another or was set down", l.Name)
		}
		if l.Kind == Veth {
			end, err := n.host.link(l.index, l.Host)
			if err != nil {
				return err
			}
			if end.alias != n.unitTag(a.spec.Unit, l.Name) || own.lower != end.index {
				return fmt.Errorf("the host's end of the link %s is another", l.Name)
			}
		}
		for _, p := range l.Addresses {
			if !slices.Contains(have, address{own.index, p}) {
				return fmt.Errorf("the link %s has the address %s no more", l.Name, p.Addr())
			}
		}
	}
	return nil
}

// current reports whether what a unit was given is of the pools that there are now.
func (n *Network) current(a *attachment) bool {
	for i, l := range a.spec.Links {
		if l.Kind != Veth || !l.Auto || n.bridges[l.Bridge] == nil {
			continue
		}
		pools, have := n.bridges[l.Bridge].Pools, a.links[i].Addresses
		if len(have) != len(l.Addresses)+len(pools) {
			return false
		}
		for _, pool := range pools {
			if !slices.ContainsFunc(have, func(p netip.Prefix) bool { return p.Masked() == pool }) {
				return false
			}
		}
	}
	return true
}

// remember writes the file of a unit.
func (n *Network) remember(a *attachment, s Spec) error {
	r := record{Spec: s}
	for _, l := range a.links {
		r.Given = append(r.Given, given{l.Addresses, l.mac})
	}
	text, err := json.Marshal(r)
	if err == nil {
		err = writeFile(n.file(s.Unit), text)
	}
	if err != nil {
		return fmt.Errorf("cannot remember its network: %w", err)
	}
	a.spec = s
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
