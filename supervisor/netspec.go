package supervisor

import (
	"net/netip"

	"github.com/nsinit/nsinit/network"
	"github.com/nsinit/nsinit/network/filter"
	"github.com/nsinit/nsinit/unit"
)

// bridgesOf is what nsinit.toml says of bridges, in network's words.
func bridgesOf(config unit.InstanceConfig) []network.Bridge {
	var out []network.Bridge
	for _, b := range config.Bridges {
		out = append(out, network.Bridge{Name: b.Name, Link: b.Link, Pools: b.Pools, NAT: b.Nat, Internal: b.Internal, MTU: b.Mtu})
	}
	return out
}

// networkSpec is what a unit with links of its own asks network for. servers are
// the name servers that it is told of.
func networkSpec(u *unit.Unit, servers []netip.Addr) network.Spec {
	n := &u.Network
	spec := network.Spec{Unit: u.Name, DNS: servers, From: peersOf(n.AllowFrom), To: peersOf(n.AllowTo)}
	for _, l := range n.AllLinks() {
		spec.Links = append(spec.Links, linkSpec(l))
	}
	for _, p := range n.Publish {
		spec.Publish = append(spec.Publish, filter.Port{Host: p.Host, First: p.First, Last: p.Last, To: p.To, Proto: protocolOf(p.Protocol)})
	}
	return spec
}

func linkSpec(l unit.Link) network.Link {
	out := network.Link{Name: l.Name, Bridge: l.Bridge, Parent: l.Parent, Mode: l.MacvlanMode, ID: uint16(l.VlanId),
		MAC: l.Mac, MTU: l.Mtu, Gateway: l.Gateway}
	switch l.Mode {
	case unit.NetworkMacvlan:
		out.Kind = network.Macvlan
	case unit.NetworkVlan:
		out.Kind = network.VLAN
	default:
		out.Kind = network.Veth
	}
	for _, a := range l.Address {
		if a.Auto {
			out.Auto = true
		} else {
			out.Addresses = append(out.Addresses, a.Prefix)
		}
	}
	for _, r := range l.Routes {
		out.Routes = append(out.Routes, network.Route{Dst: r.To, Via: r.Via, Metric: r.Metric})
	}
	return out
}

// peersOf keeps apart no list, which restricts nothing, and an empty one.
func peersOf(list []unit.Peer) []filter.Peer {
	if list == nil {
		return nil
	}
	kinds := map[string]filter.PeerKind{unit.PeerUnit: filter.PeerUnit, unit.PeerNet: filter.PeerNet, unit.PeerHost: filter.PeerHost,
		unit.PeerOutside: filter.PeerOutside, unit.PeerBridge: filter.PeerBridge, unit.PeerAny: filter.PeerAny}
	out := []filter.Peer{}
	for _, p := range list {
		out = append(out, filter.Peer{Kind: kinds[p.Kind], Name: p.Name, Net: p.Net, First: p.First, Last: p.Last, Proto: protocolOf(p.Protocol)})
	}
	return out
}

func protocolOf(name string) filter.Proto {
	return map[string]filter.Proto{"tcp": filter.TCP, "udp": filter.UDP}[name]
}
