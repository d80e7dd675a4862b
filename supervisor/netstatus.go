package supervisor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nsinit/nsinit/network"
	"github.com/nsinit/nsinit/supervisor/control"
	"github.com/nsinit/nsinit/unit"
)

// networkOf is what the unit file says of the network.
func networkOf(u *unit.Unit) *control.Network {
	n := &control.Network{Mode: u.Network.Text()}
	for _, p := range u.Network.Publish {
		n.Publish = append(n.Publish, p.String())
	}
	for _, list := range []struct {
		from []unit.Peer
		to   *[]string
	}{{u.Network.AllowFrom, &n.AllowFrom}, {u.Network.AllowTo, &n.AllowTo}} {
		for _, p := range list.from {
			*list.to = append(*list.to, p.String())
		}
		if list.from != nil && len(list.from) == 0 {
			*list.to = []string{"nobody"}
		}
	}
	return n
}

// listening lists the sockets of pid's network, where they are the service's own,
// and says of each who can reach it when that may surprise.
func (s *sight) listening(pid int) (out []control.Listening) {
	u := s.def()
	if u == nil || u.Network.Mode != unit.NetworkPrivate && !u.Network.Attached() {
		return nil
	}
	sockets, _ := network.Listening(pid) // it may have ended
	for _, l := range sockets {
		out = append(out, control.Listening{Protocol: l.Protocol, Address: l.Address.String(), Note: reachNote(u, l)})
	}
	return out
}

// reachNote marks a socket that nobody outside can reach.
func reachNote(u *unit.Unit, l network.Socket) string {
	n := &u.Network
	_, bridged := n.Veth()
	switch {
	case !n.Attached():
		return `inside only: network is private; publish it or use mode = "host"`
	case l.Address.Addr().IsLoopback():
		return "inside only: it listens on loopback"
	case !bridged:
		return ""
	}
	port := l.Address.Port()
	if slices.ContainsFunc(n.Publish, func(p unit.PublishedPort) bool {
		return p.Protocol == l.Protocol && p.To <= port && port-p.To <= p.Last-p.First
	}) {
		return ""
	}
	return fmt.Sprintf("not from outside: publish = \"%d:%[1]d/%s\" would open it", port, l.Protocol)
}

// Network gives the bridges, and who is on which network.
func (b backend) Network(ctx context.Context) (st control.NetworkStatus, err error) {
	m := b.m
	var sights []*sight
	err = m.call(ctx, func() {
		for _, name := range m.unitNames() {
			sights = append(sights, m.look(name))
		}
	})
	if err != nil {
		return st, err
	}
	overview, err := m.links.net.Overview()
	if err != nil {
		return st, &control.Error{Code: control.CodeFailed, Message: "cannot read the networks: " + err.Error()}
	}
	for _, br := range overview.Bridges {
		st.Bridges = append(st.Bridges, bridgeStatus(br))
	}
	for _, f := range overview.Foreign {
		st.Foreign = append(st.Foreign, control.ForeignLink{Name: f.Name, Addresses: written(f.Addresses)})
	}
	st.Problems = overview.Problems
	byUnit, names := map[string]network.State{}, holders(overview)
	for _, s := range overview.Units {
		byUnit[s.Unit] = s
	}
	for _, s := range sights {
		s.place(&st, byUnit, names)
		delete(byUnit, s.name)
	}
	for _, name := range slices.Sorted(maps.Keys(byUnit)) { // nobody knows these any more, and they are about to go
		(&sight{name: name}).place(&st, byUnit, names)
	}
	return st, nil
}

// place puts a unit into the group of its network, or below its bridges.
func (s *sight) place(st *control.NetworkStatus, links map[string]network.State, names map[string]string) {
	u := s.def()
	if state, ok := links[s.name]; ok {
		s.placeLinks(st, state, names)
		return
	}
	if u == nil || u.IsTarget() || s.snap.State.Down() {
		return
	}
	switch u.Network.Mode {
	case unit.NetworkHost:
		st.Host = append(st.Host, s.name)
	case unit.NetworkPrivate:
		st.Private = append(st.Private, s.name)
	case unit.NetworkUnit, unit.NetworkPath:
		st.Joined = append(st.Joined, s.name+" ("+u.Network.Text()+")")
	}
}

// placeLinks puts a unit below each bridge and each parent that it is on.
func (s *sight) placeLinks(st *control.NetworkStatus, state network.State, names map[string]string) {
	on := map[string]*control.BridgeStatus{}
	for i := range st.Bridges {
		on[st.Bridges[i].Name] = &st.Bridges[i]
	}
	whole := control.Network{}
	if u := s.def(); u != nil {
		whole = *networkOf(u)
	}
	fillNetwork(&whole, state, names)
	for i, l := range state.Links {
		if i > 0 && slices.ContainsFunc(state.Links[:i], func(o network.AttachedLink) bool { return o.Bridge == l.Bridge && o.Parent == l.Parent }) {
			continue // it is there already
		}
		n := whole
		n.Links = slices.DeleteFunc(slices.Clone(whole.Links), func(o control.NetworkLink) bool { return o.Bridge != l.Bridge || o.Parent != l.Parent })
		n.Link = orElse(l.Parent, l.Bridge)
		e := control.NetworkUnit{Unit: s.name, State: "up", Network: n}
		if s.snap.State.Down() {
			e.State = "kept"
		}
		if br := on[l.Bridge]; br != nil {
			e.Network.Link = br.Link
			br.Units = append(br.Units, e)
		} else {
			st.Others = append(st.Others, e)
		}
	}
}

func bridgeStatus(br network.BridgeState) control.BridgeStatus {
	out := control.BridgeStatus{Name: br.Name, Link: br.Link, Gateways: written(br.Gateways), NAT: br.NAT, Internal: br.Internal, Uplink: br.Uplink, Spoofed: br.Spoofed}
	for _, p := range br.Pools {
		out.Pools = append(out.Pools, control.PoolStatus{Prefix: p.Prefix.String(), Used: p.Used, Size: p.Size})
	}
	return out
}

// networkSide is what the kernel knows of a unit's links, which are there while it
// does not run, too.
func (m *Manager) networkSide(s *sight, st *control.UnitStatus) {
	if st.Network == nil || !m.links.has(s.name) {
		return
	}
	overview, err := m.links.net.Overview()
	if err != nil {
		st.Problems = append(st.Problems, err.Error())
	}
	for _, state := range overview.Units {
		if state.Unit == s.name {
			fillNetwork(st.Network, state, holders(overview))
		}
	}
}

// listNetworks fills in addresses and counters of units with links.
func (m *Manager) listNetworks(list []control.UnitListEntry) {
	if len(m.links.all()) == 0 {
		return
	}
	overview, err := m.links.net.Overview()
	if err != nil {
		m.log.Warn().Err(err).Msg("cannot read the counters of networks")
	}
	states := map[string]network.State{}
	for _, st := range overview.Units {
		states[st.Unit] = st
	}
	for i := range list {
		st, ok := states[list[i].Name]
		if !ok {
			continue
		}
		var n control.Network
		if fillNetwork(&n, st, nil); n.Address != "" {
			list[i].Network, _, _ = strings.Cut(n.Address, "/")
		}
		list[i].NetworkReceiveBytes, list[i].NetworkTransmitBytes = n.RxBytes, n.TxBytes
	}
}

// holders are the units by their addresses.
func holders(o network.Overview) map[string]string {
	out := map[string]string{}
	for _, st := range o.Units {
		for _, l := range st.Links {
			for _, p := range l.Addresses {
				out[p.Addr().String()] = st.Unit
			}
		}
	}
	return out
}

// fillNetwork adds what the kernel knows of a unit's links. units has the names of
// those who are refused.
func fillNetwork(n *control.Network, st network.State, units map[string]string) {
	for _, l := range st.Links {
		n.Links = append(n.Links, control.NetworkLink{Name: l.Name, HostLink: l.Host, Kind: l.Kind.String(), Bridge: l.Bridge, Parent: l.Parent,
			Addresses: written(l.Addresses), Gateways: written(l.Gateways)})
		if n.Address == "" && len(l.Addresses) > 0 {
			n.Address, n.Link = l.Addresses[0].String(), orElse(l.BridgeLink, l.Parent)
		}
	}
	n.RxBytes, n.TxBytes, n.RxPackets, n.TxPackets = st.RxBytes, st.TxBytes, st.RxPackets, st.TxPackets
	refused := map[string]uint64{} // a unit may have several addresses
	for from, count := range st.Refused {
		refused[orElse(units[from], from)] += count
	}
	for _, from := range slices.Sorted(maps.Keys(refused)) {
		n.Refused = append(n.Refused, control.Refusal{From: from, Count: refused[from]})
	}
}

func written[T fmt.Stringer](list []T) (out []string) {
	for _, v := range list {
		out = append(out, v.String())
	}
	return out
}
