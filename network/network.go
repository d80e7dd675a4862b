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
	"reflect"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/network/filter"
)

// Network is the networks of an instance: its bridges, and of every unit the
// namespace, the links and the addresses. They outlive restarts of units and of
// the manager; what a unit holds goes by Release. Safe for concurrent use.
//
// The kernel has the state: a link of ours is told by its alias, nsinit/INSTANCE/...,
// and nothing else is ever changed or removed. What a unit asked for stands in a
// file beside, for the rules of a service that runs while the manager is replaced.
type Network struct {
	*Namespaces
	config Config
	files  string // directory of what units asked for

	mu       sync.Mutex // before those of units in Namespaces
	host     *kernel
	sys      *sysctls
	table    *filter.Table // nil while nothing is attached, or where there is none
	tableErr error         // why there is none
	bridges  map[string]*bridge
	units    map[string]*attachment
	leases   leases
	spares   *pool[spare]
	problems []string
}

// bridge is a declared one, and its link once that is there.
type bridge struct {
	Bridge
	index uint32
}

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

// attachment is what a unit has.
type attachment struct {
	spec     Spec
	links    []AttachedLink
	reserved *reservation
}

// Open finds what an earlier manager has left, or nothing, and makes nothing. What
// was left half made is removed.
func Open(config Config) (*Network, error) {
	config.Bridges = complete(config.Instance, config.Bridges)
	if err := checkPools(config.Bridges); err != nil {
		return nil, err
	}
	spaces, err := OpenNamespaces(config.Dir)
	if err != nil {
		return nil, err
	}
	n := &Network{Namespaces: spaces, config: config, files: filepath.Join(config.Dir, "networks"),
		bridges: map[string]*bridge{}, units: map[string]*attachment{}, leases: leases{}}
	n.spares = newPool(n.makeSpare, spare.drop)
	for _, b := range config.Bridges {
		n.bridges[b.Name] = &bridge{Bridge: b}
	}
	if err := n.adopt(); err != nil {
		return nil, errors.Join(err, n.Close(false))
	}
	return n, nil
}

// tag begins the alias of every link of the instance.
func (n *Network) tag() string { return "nsinit/" + n.config.Instance + "/" }

// unfinished is the group that links are born into, which they leave when they get
// their tag: so none is ever nobody's, at whatever moment the manager is killed.
func (n *Network) unfinished() uint32 { return hash(n.config.Instance, "unfinished") }

func (n *Network) bridgeTag(name string) string { return n.tag() + "bridge/" + name }

// unitTag tells a unit's links: a name may be longer than an alias.
func (n *Network) unitTag(unit, link string) string {
	return fmt.Sprintf("%sunit/%016x/%s", n.tag(), longHash(unit), link)
}

// tableMark is the file that says that there is a table, so that an instance
// which never had one need not have the kernel load its code to look.
func (n *Network) tableMark() string { return filepath.Join(n.files, ".table") }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func (n *Network) file(unit string) string { return filepath.Join(n.files, pinName(unit)) }

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

// problem keeps one for Overview.
func (n *Network) problem(err error) {
	if text := err.Error(); !slices.Contains(n.problems, text) {
		n.problems = append(n.problems, text)
	}
}

// Attach has the network of s ready. What is there as it is asked for is not
// touched. On an error nothing is left of what was not there before. The error
// names the unit.
func (n *Network) Attach(s Spec) (a Attachment, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if a, err = n.attach(s); err != nil {
		return a, fmt.Errorf("%s: %w", s.Unit, err)
	}
	return a, nil
}

func (n *Network) attach(s Spec) (Attachment, error) {
	if err := n.ready(s.Links); err != nil {
		return Attachment{}, err
	}
	if need := n.needsTable(s); need != "" && n.table == nil {
		return Attachment{}, fmt.Errorf("cannot %s: %w", need, n.tableErr)
	}
	if old := n.units[s.Unit]; old != nil {
		fd, err := n.intact(old)
		if err == nil && n.current(old) && reflect.DeepEqual(old.spec.Links, s.Links) {
			if err := n.change(old, s); err != nil {
				unix.Close(fd)
				return Attachment{}, err
			}
			return Attachment{NetNS: fd, Links: old.links}, nil
		}
		if err == nil {
			unix.Close(fd)
		}
		if err := n.detach(s.Unit); err != nil {
			return Attachment{}, err
		}
	}
	fd, made, fresh, err := n.space(s)
	if err != nil {
		return Attachment{}, err
	}
	at := &attachment{}
	n.units[s.Unit] = at
	if !fresh {
		err = n.clear(s)
	}
	if err == nil {
		err = n.build(at, s, fd, made)
	}
	if err != nil {
		err = errors.Join(err, n.detach(s.Unit))
		if made != nil {
			err = errors.Join(err, gone(n.host.do(deleteLink(made.index, made.name))))
		}
		if fresh {
			err = errors.Join(err, unpin(n.pin(s.Unit)))
		}
		unix.Close(fd)
		return Attachment{}, err
	}
	return Attachment{NetNS: fd, Made: true, Links: at.links}, nil
}

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

// space gives the unit's namespace, pinned; a fresh one was not there. made is the
// host's end of a link that is in it already, or nil.
func (n *Network) space(s Spec) (fd int, made *linkInfo, fresh bool, err error) {
	if fd, err = n.open(s.Unit); !errors.Is(err, fs.ErrNotExist) {
		return fd, nil, false, err
	}
	one, ok := spare{}, false
	if n.fits(s) {
		one, ok = n.spares.take()
	}
	if ok {
		made = &one.host
	} else if one.netns, err = n.Namespaces.fresh(); err != nil {
		return -1, nil, false, err
	}
	if err = pin(one.netns, n.pin(s.Unit)); err != nil {
		one.drop()
		return -1, nil, false, err
	}
	return one.netns, made, true, nil
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

// build makes the links of a unit. The rules are there before anything can pass, as
// a unit that joined the namespace may run there already, and the file last: what
// it has is whole.
func (n *Network) build(a *attachment, s Spec, netns int, made *linkInfo) error {
	k, err := dial(netns)
	if err != nil {
		return err
	}
	defer k.close()
	if err := n.connect(k, a, s, netns, made); err != nil {
		return err
	}
	if err := n.rules(a, s); err != nil {
		return err
	}
	for i, l := range s.Links {
		if l.Kind == Veth {
			if err := n.raise(&a.links[i]); err != nil {
				return err
			}
			err := errors.Join(k.settle(netns, l.Name, a.links[i].Addresses...), n.host.settle(0, a.links[i].Host))
			if err != nil {
				return err
			}
		}
	}
	return n.remember(a, s)
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

// Release gives up all that the units have, their namespaces too.
func (n *Network) Release(units ...string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	var known []string
	for _, u := range units {
		if n.units[u] != nil {
			known = append(known, u)
		}
	}
	errs = append(errs, n.detach(known...))
	for _, u := range units {
		errs = append(errs, n.Drop(u))
	}
	return errors.Join(errs...)
}

// detach removes the links, rules and addresses of units; their namespaces stay.
func (n *Network) detach(units ...string) error {
	if len(units) == 0 {
		return nil
	}
	var errs []error
	var links []linkInfo
	var held []AttachedLink
	for _, u := range units {
		a := n.units[u]
		held = append(held, a.links...)
		a.reserved.release()
		for _, l := range a.links {
			if l.Kind == Veth && l.index != 0 {
				links = append(links, linkInfo{index: l.index, name: l.Host})
			} else if l.Kind != Veth {
				errs = append(errs, n.removeInside(u, l.Name))
			}
		}
		n.leases.drop(u)
		delete(n.units, u)
		if err := os.Remove(n.file(u)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	// The rules last: somebody may run in the namespaces who was under them.
	errs = append(errs, n.removeLinks(links))
	if n.table != nil {
		errs = append(errs, n.table.Delete(units...))
	}
	return errors.Join(append(errs, n.cutOff(held))...)
}

// batch is the group that links get which are removed together.
const batch = 0x6e736474

// removeLinks removes host's ends of veths, and the other ends with them.
func (n *Network) removeLinks(links []linkInfo) error {
	if len(links) == 1 {
		return gone(n.host.do(deleteLink(links[0].index, links[0].name)))
	}
	grouped := false
	for _, l := range links {
		err := gone(n.host.do(setGroup(l.index, l.name, batch)))
		if err != nil {
			return err
		}
		grouped = true
	}
	if !grouped {
		return nil
	}
	return gone(n.host.do(deleteGroup(batch)))
}

// gone takes a link that is not there any more for removed.
func gone(err error) error {
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// restoreSettings puts back the host's, unless another instance has need of them.
func (n *Network) restoreSettings() error {
	links, err := n.host.links()
	if err != nil {
		return err
	}
	for _, l := range links {
		if strings.HasPrefix(l.alias, "nsinit/") && strings.Contains(l.alias, "/bridge/") && !strings.HasPrefix(l.alias, n.tag()) {
			return nil
		}
	}
	return n.sys.restore()
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

// Close ends the use of it; with removeAll nothing is left of it on the host.
func (n *Network) Close(removeAll bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.spares.close()
	var errs []error
	marked := exists(n.tableMark())
	if removeAll && n.host != nil {
		var units []string
		for u := range n.units {
			units = append(units, u)
		}
		errs = append(errs, n.detach(units...), n.removeBridges())
	}
	if n.table == nil && removeAll && marked {
		n.table, _ = filter.Open(n.config.Instance) // where there is none, none is to be removed
	}
	if n.table != nil {
		errs = append(errs, n.table.Close(removeAll))
		n.table = nil
	}
	if removeAll && n.host != nil { // the files last: they say what there is to remove
		errs = append(errs, n.restoreSettings(), os.RemoveAll(n.files))
	}
	for _, a := range n.units {
		a.reserved.release()
	}
	if n.host != nil {
		errs = append(errs, n.host.close())
		n.host = nil
	}
	return errors.Join(append(errs, n.Namespaces.Close(removeAll))...)
}
