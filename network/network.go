package network

import (
	"errors"
	"fmt"
	"io/fs"
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

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func (n *Network) file(unit string) string { return filepath.Join(n.files, pinName(unit)) }

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
