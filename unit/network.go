package unit

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// Network is the [network] table. Mode is one of the Network constants; Link is
// the link of a mode that has one, which the service sees as MainLink.
type Network struct {
	Mode string
	Unit string // whose network namespace, for mode unit
	Path string // of a network namespace, for mode path
	Link

	Publish []PublishedPort
	Dns     []netip.Addr // nil: the machine's
	Search  []string     // nil: the machine's

	// AllowFrom says who may connect in, AllowTo where the service may connect
	// to. nil is no restriction; empty and not nil is nobody.
	AllowFrom []Peer
	AllowTo   []Peer

	Links []Link // of [network.link.NAME], by name
}

// The values of Network.Mode, of which the last three are those of Link.Mode too.
const (
	NetworkPrivate = "private" // loopback only, and the links of [network.link.NAME]
	NetworkHost    = "host"
	NetworkUnit    = "unit"
	NetworkPath    = "path"
	NetworkVeth    = "veth"
	NetworkMacvlan = "macvlan"
	NetworkVlan    = "vlan"
)

// MainLink is what a service sees the link of [network] as.
const MainLink = "eth0"

// DefaultBridge is the bridge of an instance that a veth is on unless its unit
// names another.
const DefaultBridge = "default"

// Link is a link of a service.
type Link struct {
	Name string // as the service sees it; "" of none
	Mode string // veth, macvlan, vlan

	Bridge      string        // of a veth: a name of nsinit.toml
	Address     []LinkAddress // of a veth "auto" unless written
	Gateway     netip.Addr    // invalid: a veth's bridge, or none
	Mtu         int           // 0: the bridge's or the parent's
	Mac         net.HardwareAddr
	Routes      []Route
	Parent      string // of macvlan and vlan: a link of the machine
	MacvlanMode string // bridge, private, vepa, passthru
	VlanId      int    // 1..4094
}

// LinkAddress is one of the addresses of a link.
type LinkAddress struct {
	Auto   bool // one of each of the bridge's pools
	Prefix netip.Prefix
}

// Route is one of the routes of a link.
type Route struct {
	To     netip.Prefix
	Via    netip.Addr
	Metric int // 0: the kernel's
}

// PublishedPort is a port, or a range of them, of the machine that leads to the
// service.
type PublishedPort struct {
	Host        netip.Addr // of the machine; invalid: all of them
	First, Last uint16     // on the machine
	To          uint16     // of the service, for First; the rest follow
	Protocol    string     // tcp, udp
}

// Peer is one entry of allow_from or allow_to.
type Peer struct {
	Kind        string       // one of the Peer constants
	Name        string       // of PeerUnit and PeerBridge
	Net         netip.Prefix // of PeerNet
	First, Last uint16       // of the one who is connected to; 0, 0: every port
	Protocol    string       // tcp, udp; "": both, and everything else
}

// The values of Peer.Kind.
const (
	PeerUnit    = "unit"
	PeerNet     = "net"
	PeerHost    = "host"    // the machine's own addresses
	PeerOutside = "outside" // what is on none of the instance's bridges
	PeerBridge  = "bridge"
	PeerAny     = "any"
)

// Attached reports whether the service has links of its own that the manager makes.
func (n *Network) Attached() bool { return n.Link.Mode != "" || len(n.Links) > 0 }

// AllLinks lists the link of the mode, and the others after it.
func (n *Network) AllLinks() []Link {
	if n.Link.Mode == "" {
		return n.Links
	}
	return append([]Link{n.Link}, n.Links...)
}

// Veth gives the first link that is on a bridge: whose names the service is
// given, and which published ports lead to.
func (n *Network) Veth() (l Link, ok bool) {
	for _, l := range n.AllLinks() {
		if l.Mode == NetworkVeth {
			return l, true
		}
	}
	return Link{}, false
}

// peerList is who one of the keys names.
type peerList struct {
	key   string
	peers []Peer
}

func (n *Network) peerLists() []peerList {
	return []peerList{{"allow_from", n.AllowFrom}, {"allow_to", n.AllowTo}}
}

// link finds one of Links, which is made if it is not there.
func (n *Network) link(name string) *Link {
	for i := range n.Links {
		if n.Links[i].Name == name {
			return &n.Links[i]
		}
	}
	n.Links = append(n.Links, Link{Name: name})
	return &n.Links[len(n.Links)-1]
}

// Text is the mode as unit files have it: "unit:vpn".
func (n Network) Text() string {
	switch n.Mode {
	case NetworkUnit:
		return n.Mode + ":" + n.Unit
	case NetworkPath:
		return n.Mode + ":" + n.Path
	}
	return n.Mode
}

// String is the address as unit files have it.
func (a LinkAddress) String() string { return pick(a.Auto, "auto", a.Prefix.String()) }

// String is the route as unit files have it.
func (r Route) String() string {
	text := r.To.String() + " via " + r.Via.String()
	if r.Metric > 0 {
		text += " metric " + strconv.Itoa(r.Metric)
	}
	return text
}

// String is the port as unit files have it: "127.0.0.1:8080:80/tcp".
func (p PublishedPort) String() string {
	host := ""
	if p.Host.Is6() {
		host = "[" + p.Host.String() + "]:"
	} else if p.Host.IsValid() {
		host = p.Host.String() + ":"
	}
	return host + ports(p.First, p.Last) + ":" + ports(p.To, p.To+(p.Last-p.First)) + "/" + p.Protocol
}

func ports(first, last uint16) string {
	if first == last {
		return strconv.Itoa(int(first))
	}
	return fmt.Sprintf("%d-%d", first, last)
}

// String is the entry as unit files have it.
func (p Peer) String() string {
	text := pick(p.Kind == PeerUnit, p.Name, p.Kind)
	switch {
	case p.Kind == PeerBridge:
		text += ":" + p.Name
	case p.Kind == PeerNet:
		if text = p.Net.String(); p.Net.IsSingleIP() {
			text = p.Net.Addr().String()
		}
		if p.First != 0 && p.Net.Addr().Is6() {
			text = "[" + text + "]"
		}
	}
	if p.First != 0 {
		text += ":" + ports(p.First, p.Last)
	}
	return text + pick(p.Protocol == "", "", "/"+p.Protocol)
}

func relaxedNetwork(n *Network, add adder) {
	add(n.Mode == NetworkHost, "network host (whole machine)")
	add(n.Mode == NetworkUnit, "network of unit %s", n.Unit)
	add(n.Mode == NetworkPath, "network of %s", n.Path)
	if n.Link.Mode != "" {
		add(true, "network %s", n.Link.relaxation())
	}
	for _, l := range n.Links {
		add(true, "link %s: %s", l.Name, l.relaxation())
	}
	for _, p := range n.Publish {
		add(true, "published %s", p)
	}
}

// relaxation is the kind of the link, and what it is on.
func (l *Link) relaxation() string {
	switch {
	case l.Mode == NetworkMacvlan:
		return "macvlan of " + l.Parent
	case l.Mode == NetworkVlan:
		return fmt.Sprintf("vlan %d of %s", l.VlanId, l.Parent)
	case l.Bridge != DefaultBridge:
		return "veth on bridge " + l.Bridge
	}
	return l.Mode
}
