// Package filter is the nftables of an instance: translation of addresses,
// published ports, who may reach whom, and from which address a service may send.
//
// There is one table, of family inet. Its chains are made once; all that is known
// of a service is elements of its sets and maps, so that neither a packet nor a
// change costs more where there are more services.
//
// A service's packets come in by a link that nothing else is on, and go on by the
// host's routes, so each passes here, whoever it is for.
package filter

import (
	"errors"
	"net"
	"net/netip"
)

// ErrUnavailable is wrapped where the kernel has no nftables for this process.
var ErrUnavailable = errors.New("nftables is not to be had")

// Bridge is a bridge of the instance.
type Bridge struct {
	Name     string
	Pools    []netip.Prefix
	NAT      bool // what goes outside has the host's address
	Internal bool // nothing goes outside
}

// Proto is a transport protocol, by its number in the IP header.
type Proto uint8

// The protocols that entries name. Any is every protocol, ports or none.
const (
	Any Proto = 0
	TCP Proto = 6
	UDP Proto = 17
)

// String is "tcp", "udp" or "".
func (p Proto) String() string {
	return map[Proto]string{TCP: "tcp", UDP: "udp"}[p]
}

// Port is a published range of ports.
type Port struct {
	Host        netip.Addr // of the host; invalid: every local address
	First, Last uint16     // of the host
	To          uint16     // of the service, for First
	Proto       Proto      // TCP or UDP
}

// PeerKind says what a Peer is.
type PeerKind uint8

// The kinds of peers.
const (
	PeerUnit    PeerKind = iota // Name, a unit of the instance
	PeerNet                     // Net
	PeerHost                    // the host's own addresses
	PeerOutside                 // what is on none of the instance's bridges
	PeerBridge                  // Name, a bridge: all that is on it
	PeerAny                     // everybody
)

// Peer is one of those whom a service may hear from, or talk to.
type Peer struct {
	Kind        PeerKind
	Name        string
	Net         netip.Prefix
	First, Last uint16 // ports of the one who is connected to; 0, 0: all
	Proto       Proto
}

// Link is the host's end of a service's link.
type Link struct {
	Index     uint32
	MAC       net.HardwareAddr // of the service's end
	Addresses []netip.Addr     // which alone it may send from
}

// Service is what there is to know of a service.
type Service struct {
	Unit     string
	Links    []Link
	Publish  []Port
	From, To []Peer // nil: everybody on the same bridge, and everywhere but the host and other bridges
	DNS      []netip.Addr
}

// addresses are those of all links.
func (s *Service) addresses() (all []netip.Addr) {
	for _, l := range s.Links {
		all = append(all, l.Addresses...)
	}
	return all
}
