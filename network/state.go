package network

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/nsinit/nsinit/network/filter"
)

// Attached lists what units have, by name, without what was counted.
func (n *Network) Attached() (list []State) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.states()
}

func (n *Network) states() (list []State) {
	for _, unit := range slices.Sorted(maps.Keys(n.units)) {
		list = append(list, State{Unit: unit, Links: slices.Clone(n.units[unit].links)})
	}
	return list
}

// Overview reads all that there is to show, what was counted with it.
func (n *Network) Overview() (o Overview, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	links, err := n.host.links()
	if err != nil {
		return o, err
	}
	byIndex := map[uint32]linkInfo{}
	for _, l := range links {
		byIndex[l.index] = l
	}
	var counted filter.Counters
	if n.table != nil {
		if counted, err = n.table.Counters(); err != nil {
			return o, err
		}
	}
	o.Units = n.states()
	for i := range o.Units {
		n.count(&o.Units[i], byIndex, counted)
	}
	if o.Foreign, o.Bridges, err = n.surroundings(byIndex, counted); err != nil {
		return o, err
	}
	o.Problems = slices.Clone(n.problems)
	return o, nil
}

// count fills in what has passed and what was refused.
func (n *Network) count(s *State, host map[uint32]linkInfo, counted filter.Counters) {
	var others map[string]Traffic
	for _, l := range s.Links {
		if l.Kind == Veth {
			s.Traffic = s.plus(host[l.index].traffic.turned())
		} else {
			if others == nil {
				others = n.inside(s.Unit)
			}
			s.Traffic = s.plus(others[l.Name])
		}
		for _, p := range l.Addresses {
			for from, packets := range counted.Refused[p.Addr()] {
				if s.Refused == nil {
					s.Refused = map[string]uint64{}
				}
				s.Refused[from.String()] += packets
			}
		}
	}
}

// inside is what links of a unit's namespace have carried; none where it cannot
// be read.
func (n *Network) inside(unit string) map[string]Traffic {
	k, err := n.dialInside(unit)
	if err != nil {
		return nil
	}
	defer k.close()
	links, _ := k.links()
	out := map[string]Traffic{}
	for _, l := range links {
		out[l.name] = l.traffic
	}
	return out
}

// surroundings are the host's other links, and the bridges that are there.
func (n *Network) surroundings(links map[uint32]linkInfo, counted filter.Counters) (foreign []Foreign, bridges []BridgeState, err error) {
	addresses, err := n.host.addresses()
	if err != nil {
		return nil, nil, err
	}
	routes, err := n.host.routes()
	if err != nil {
		return nil, nil, err
	}
	uplink := ""
	for _, r := range routes {
		if !r.to.IsValid() && uplink == "" {
			uplink = links[r.index].name
		}
	}
	for _, index := range slices.Sorted(maps.Keys(links)) {
		l := links[index]
		if l.name == "lo" || strings.HasPrefix(l.alias, n.tag()) {
			continue
		}
		f := Foreign{Name: l.name}
		for _, a := range addresses {
			if a.index == index && !a.prefix.Addr().IsLinkLocalUnicast() {
				f.Addresses = append(f.Addresses, a.prefix)
			}
		}
		foreign = append(foreign, f)
	}
	for _, name := range slices.Sorted(maps.Keys(n.bridges)) {
		b := n.bridges[name]
		if b.index == 0 {
			continue
		}
		st := BridgeState{Name: name, Link: links[b.index].name, NAT: b.NAT, Internal: b.Internal, Uplink: uplink}
		for _, p := range b.Pools {
			st.Gateways = append(st.Gateways, netip.PrefixFrom(gatewayOf(p), p.Bits()))
			st.Pools = append(st.Pools, PoolState{Prefix: p, Used: n.leases.used(p), Size: poolSizeOf(p)})
		}
		for _, a := range n.units {
			for _, l := range a.links {
				if l.Bridge == name {
					st.Spoofed += counted.Spoofed[l.index]
				}
			}
		}
		bridges = append(bridges, st)
	}
	return foreign, bridges, nil
}

// Plan says in words what Attach would do, each line a step, without doing it.
func (n *Network) Plan(s Spec) (lines []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	free := maps.Clone(n.leases)
	for i, l := range s.Links {
		words := []string{l.Kind.String()}
		if a := n.units[s.Unit]; a != nil && i < len(a.links) && a.links[i].Name == l.Name {
			words = append(words, a.links[i].Host, "kept")
			for _, p := range a.links[i].Addresses {
				words = append(words, p.String())
			}
			lines = append(lines, strings.Join(words, " "))
			continue
		}
		words = append(words, l.Name)
		if b := n.bridges[l.Bridge]; l.Kind == Veth && b != nil {
			words = append(words, "on "+b.Link)
			if l.Auto {
				for _, pool := range b.Pools {
					if a, err := free.next(pool); err == nil {
						free[a] = s.Unit
						words = append(words, netip.PrefixFrom(a, pool.Bits()).String())
					} else {
						words = append(words, err.Error())
					}
				}
			}
		} else if l.Kind != Veth {
			words = append(words, "on "+l.Parent)
		}
		for _, p := range l.Addresses {
			words = append(words, p.String())
		}
		lines = append(lines, strings.Join(words, " "))
	}
	for _, p := range s.Publish {
		lines = append(lines, fmt.Sprintf("publish %s", portText(p)))
	}
	return lines
}

// portText is "127.0.0.1:8080 -> 80/tcp".
func portText(p filter.Port) string {
	span := func(first, last uint16) string {
		if first == last {
			return fmt.Sprint(first)
		}
		return fmt.Sprintf("%d-%d", first, last)
	}
	from := span(p.First, p.Last)
	if p.Host.IsValid() {
		from = p.Host.String() + ":" + from
	}
	return fmt.Sprintf("%s -> %s/%s", from, span(p.To, p.To+p.Last-p.First), p.Proto)
}
