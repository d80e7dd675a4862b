package network

import (
	"net"
	"net/netip"

	"github.com/nsinit/nsinit/network/filter"
)

// DefaultBridge is the name of the instance's own bridge.
const DefaultBridge = "default"

// Config is what an instance declares.
type Config struct {
	Instance string // names the tables of nftables, the default bridge, and the tags of links
	Dir      string // the runtime directory, on a tmpfs
	Bridges  []Bridge
}

// Bridge is one that services are connected to.
type Bridge struct {
	Name     string         // DefaultBridge is the instance's own
	Link     string         // of the host; "" is derived
	Pools    []netip.Prefix // addresses for services; the first of each is the host's. None: derived
	NAT      bool           // what goes outside has the host's address
	Internal bool           // nothing goes outside
	MTU      int            // 0 is the kernel's, bytes
}

// Kind is what a link is.
type Kind uint8

// The kinds of links.
const (
	Veth    Kind = iota // a pair, whose other end is the host's
	Macvlan             // on a link of the host, with an address of its own
	VLAN                // IEEE 802.1Q on a link of the host
)

// String is the kernel's name of the kind.
func (k Kind) String() string { return [...]string{"veth", "macvlan", "vlan"}[k] }

// Spec is the network that a unit asks for.
type Spec struct {
	Unit     string
	Links    []Link
	Publish  []filter.Port
	From, To []filter.Peer // nil: not restricted; empty: nobody
	DNS      []netip.Addr  // name servers, which may always be asked
}

// Link is one that a service sees.
type Link struct {
	Name      string // as the service sees it
	Kind      Kind
	Bridge    string // of a veth
	Parent    string // of the others: a link of the host
	Mode      string // of a macvlan: bridge, private, vepa, passthru
	ID        uint16 // of a vlan
	Addresses []netip.Prefix
	Auto      bool             // one of each of the bridge's pools too
	MAC       net.HardwareAddr // none: derived for a veth, else the kernel's
	MTU       int              // 0: the bridge's or the kernel's, bytes
	Routes    []Route
	Gateway   netip.Addr // of the default route; invalid: the bridge's, or none
}

// Route leads to a network over a link.
type Route struct {
	Dst    netip.Prefix
	Via    netip.Addr
	Metric int // 0: the kernel's
}

// Attachment is a network that is ready to be entered.
type Attachment struct {
	NetNS int  // descriptor, close-on-exec, the caller's
	Made  bool // it was not there before
	Links []AttachedLink
}

// AttachedLink is a link as it is.
type AttachedLink struct {
	Name       string // as the service sees it
	Kind       Kind
	Host       string // the host's end of a veth
	Bridge     string // its name, and that of its link
	BridgeLink string
	Parent     string
	Addresses  []netip.Prefix
	Gateways   []netip.Addr

	index   uint32           // of the host's end
	mac     net.HardwareAddr // of the service's end
	hostMAC net.HardwareAddr // of the host's
}

// Traffic is what has passed, as the service sees it.
type Traffic struct{ RxBytes, TxBytes, RxPackets, TxPackets uint64 }

func (t Traffic) plus(o Traffic) Traffic {
	return Traffic{t.RxBytes + o.RxBytes, t.TxBytes + o.TxBytes, t.RxPackets + o.RxPackets, t.TxPackets + o.TxPackets}
}

// turned is the traffic as the other end of a veth sees it.
func (t Traffic) turned() Traffic { return Traffic{t.TxBytes, t.RxBytes, t.TxPackets, t.RxPackets} }

// State is the network of a unit as it is.
type State struct {
	Unit  string
	Links []AttachedLink
	Traffic
	Refused map[string]uint64 // packets, by the address that they came from
}

// Overview is all that there is to show of an instance's networks.
type Overview struct {
	Units    []State
	Bridges  []BridgeState
	Foreign  []Foreign // links of the host that are not ours
	Problems []string
}

// BridgeState is a bridge as it is.
type BridgeState struct {
	Name, Link    string
	Gateways      []netip.Prefix
	Pools         []PoolState
	NAT, Internal bool
	Uplink        string // the link of the host's default route
	Spoofed       uint64 // packets that were dropped because of the address they came from
}

// PoolState is how much of a pool is taken.
type PoolState struct {
	Prefix     netip.Prefix
	Used, Size uint64
}

// Foreign is a link of the host that is not ours.
type Foreign struct {
	Name      string
	Addresses []netip.Prefix
}
