package supervisor

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/network"
	"github.com/nsinit/nsinit/supervisor/control"
	"github.com/nsinit/nsinit/supervisor/names"
	"github.com/nsinit/nsinit/unit"
)

// connections are the networks of units, and the files that they resolve names
// by. Its methods talk to the kernel, so they are for workers; has alone is not.
type connections struct {
	net     *network.Network
	names   *names.Store
	tell    func(control.Event)
	bridges []unit.Bridge   // as they were when it was opened
	found   []network.State // then, until adopt

	watch     *names.Watch // the loop's: of the machine's names; nil until there is a need
	unwatched bool         // it cannot be

	mu       sync.Mutex
	attached map[string]bool // units with links, that run or not
}

// openConnections finds what an earlier manager has left, or nothing. The bridges
// are those of nsinit.toml now.
func (m *Manager) openConnections() (*connections, error) {
	config, err := unit.LoadConfig(m.cfg.configFile())
	if err != nil { // load says so
		config = unit.InstanceConfig{Bridges: []unit.Bridge{{Name: unit.DefaultBridge, Nat: true}}}
	}
	n, err := network.Open(network.Config{Instance: m.cfg.Instance, Dir: m.cfg.RuntimeDir, Bridges: bridgesOf(config)})
	if err != nil {
		return nil, err
	}
	c := &connections{net: n, names: names.New(filepath.Join(m.cfg.RuntimeDir, "names"), names.TheMachine()), bridges: config.Bridges, attached: map[string]bool{}, tell: m.events.publish}
	c.found = n.Attached()
	for _, st := range c.found {
		c.attached[st.Unit] = true
	}
	return c, nil
}

// close ends the use of it; with removeAll nothing of it stays.
func (c *connections) close(removeAll bool) error {
	if c.watch != nil {
		c.watch.Close()
	}
	err := c.net.Close(removeAll)
	if removeAll {
		err = errors.Join(err, c.names.Remove())
	}
	return err
}

// adopt writes the names of what an earlier manager has left. Units give their
// definitions by name.
func (c *connections) adopt(defs func(name string) *unit.Unit) error {
	var errs []error
	for _, st := range c.found {
		if u := defs(st.Unit); u != nil {
			errs = append(errs, c.names.Put(u.Name, namesOf(u, st.Links), resolverOf(u)))
		}
	}
	c.found = nil
	return errors.Join(errs...)
}

// followNames has the names follow the machine's own, from when the first unit has
// some. It runs on the loop.
func (m *Manager) followNames() {
	c := m.links
	if c.watch != nil || c.unwatched || len(c.all()) == 0 {
		return
	}
	var err error
	if c.watch, err = names.NewWatch(names.TheMachine()); err == nil {
		err = m.poller.Add(c.watch.FD, unix.EPOLLIN, func(uint32) {
			if c.watch.Changed() {
				m.refreshNames()
			}
		})
	}
	if err != nil {
		c.unwatched = true
		m.problem(err)
	}
}

// refreshNames writes the names again. Units that may connect to nobody but whom
// they name are let through to the name servers that there are now.
func (m *Manager) refreshNames() {
	var bound []*unit.Unit
	for _, name := range m.links.all() {
		if u := m.attachedAs(name); u != nil && u.Network.AllowTo != nil {
			bound = append(bound, u)
		}
	}
	m.onWorker(m.tidying, func() {
		err := m.links.names.Refresh()
		for _, u := range bound {
			if !m.links.has(u.Name) {
				continue // gone meanwhile
			}
			netns, _, e := m.links.attach(u)
			if err = errors.Join(err, e); e == nil {
				unix.Close(netns)
			}
		}
		if err != nil {
			m.log.Warn().Err(err).Msg("services do not follow the machine's names")
		}
	})
}

// has reports whether the unit has links of its own.
func (c *connections) has(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.attached[name]
}

// all lists the units with links.
func (c *connections) all() (list []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.attached {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

func (c *connections) note(name string, is bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if is {
		c.attached[name] = true
	} else {
		delete(c.attached, name)
	}
}

// attach has the links of u ready, and the names. The descriptor is the caller's.
func (c *connections) attach(u *unit.Unit) (netns int, problem string, err error) {
	// The files first: what the service is told of, its rules let through.
	own := resolverOf(u)
	servers, problem, err := c.names.Servers(own)
	if err != nil {
		return -1, "", err
	}
	a, err := c.net.Attach(networkSpec(u, servers))
	if err != nil {
		return -1, "", err
	}
	c.note(u.Name, true)
	if a.Made {
		c.tell(control.Event{Unit: u.Name, Type: "network", Text: "has " + linksText(a.Links)})
	}
	if err := c.names.Put(u.Name, namesOf(u, a.Links), own); err != nil {
		unix.Close(a.NetNS)
		return -1, "", err
	}
	return a.NetNS, problem, nil
}

// linksText is "eth0 10.80.0.2/24, wan 192.0.2.7/24".
func linksText(links []network.AttachedLink) string {
	var list []string
	for _, l := range links {
		list = append(list, strings.Join(append([]string{l.Name}, written(l.Addresses)...), " "))
	}
	return strings.Join(list, ", ")
}

// join has the namespace of another unit, or a named one, ready.
func (c *connections) join(u *unit.Unit) (netns int, err error) {
	if n := u.Network; n.Mode == unit.NetworkUnit {
		netns, err = c.net.Of(n.Unit)
	} else {
		netns, err = c.net.Path(n.Path)
	}
	if own := resolverOf(u); err == nil && len(own.DNS)+len(own.Search) > 0 {
		if err = c.names.Put(u.Name, nil, own); err != nil {
			unix.Close(netns)
		}
	}
	return netns, err
}

// resolverOf is what a unit says of resolving.
func resolverOf(u *unit.Unit) names.Resolver {
	return names.Resolver{DNS: u.Network.Dns, Search: u.Network.Search}
}

// namesOf are the addresses of links, by bridge.
func namesOf(u *unit.Unit, links []network.AttachedLink) map[string]names.Entry {
	out := map[string]names.Entry{}
	for _, l := range links {
		if l.Bridge == "" {
			continue
		}
		e := out[l.Bridge]
		e.Hostname = u.Isolation.Hostname
		for _, a := range l.Addresses {
			e.Addresses = append(e.Addresses, a.Addr())
		}
		out[l.Bridge] = e
	}
	return out
}

// release gives up the links of units, and what else they have of a network.
func (c *connections) release(units ...string) error {
	var errs []error
	var held []string
	for _, name := range units {
		if c.has(name) {
			held = append(held, name)
		} else {
			errs = append(errs, c.net.Drop(name))
		}
	}
	errs = append(errs, c.names.Delete(units...))
	if len(held) > 0 {
		errs = append(errs, c.net.Release(held...))
		for _, name := range held {
			c.note(name, false)
			c.tell(control.Event{Unit: name, Type: "network", Text: "its links and addresses are given up"})
		}
	}
	return errors.Join(errs...)
}

// nameFiles are the files that u is to resolve names by, "" where its root's
// serve: the hosts file of its bridge, or of the unit's that it has joined, and a
// resolv.conf where the machine's may name what cannot be reached.
func (c *connections) nameFiles(u *unit.Unit) (hosts, resolv string) {
	n := &u.Network
	own := resolverOf(u)
	bridge := ""
	if l, ok := n.Veth(); ok {
		bridge = l.Bridge
	} else if n.Mode == unit.NetworkUnit {
		bridge = c.names.BridgeOf(n.Unit)
	}
	if bridge != "" {
		hosts = c.names.HostsOf(bridge)
	}
	joined := n.Mode == unit.NetworkUnit && c.has(n.Unit)
	if n.Attached() || joined || len(own.DNS)+len(own.Search) > 0 {
		resolv = c.names.ResolvOf(u.Name, own)
	}
	return hosts, resolv
}

// plan is what attach would do.
func (c *connections) plan(u *unit.Unit) []string {
	servers, _, err := c.names.Servers(resolverOf(u))
	if err != nil {
		return []string{err.Error()}
	}
	return c.net.Plan(networkSpec(u, servers))
}
