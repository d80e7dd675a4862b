package control

import (
	"context"
	"net/http"
)

// Network is how the unit is connected.
type Network struct {
	// Mode is as unit files have it: "private", "host", "veth", "unit:web" ...
	Mode string `json:"mode"`
	// Address is the first one, with its prefix length; Link what it is on: the
	// bridge of a veth, or the parent.
	Address string        `json:"address,omitempty"`
	Link    string        `json:"link,omitempty"`
	Links   []NetworkLink `json:"links,omitempty"`
	// Publish has the machine's ports that lead here, as unit files have them.
	Publish []string `json:"publish,omitempty"`
	// AllowFrom and AllowTo are the unit's; null is no restriction.
	AllowFrom []string `json:"allow_from,omitempty"`
	AllowTo   []string `json:"allow_to,omitempty"`
	// The counters are seen from the service, and are those of all its links.
	RxBytes   uint64 `json:"rx_bytes,omitempty"`
	TxBytes   uint64 `json:"tx_bytes,omitempty"`
	RxPackets uint64 `json:"rx_packets,omitempty"`
	TxPackets uint64 `json:"tx_packets,omitempty"`
	// Refused counts the connections that rules have refused, by who asked.
	Refused []Refusal `json:"refused,omitempty"`
}

// NetworkLink is one link of a service.
type NetworkLink struct {
	// Name is what the service sees it as ("eth0"), HostLink the machine's end.
	Name     string `json:"name"`
	HostLink string `json:"host_link,omitempty"`
	// Kind is "veth", "macvlan" or "vlan".
	Kind      string   `json:"kind"`
	Bridge    string   `json:"bridge,omitempty"`
	Parent    string   `json:"parent,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
	Gateways  []string `json:"gateways,omitempty"`
}

// Refusal is how many connections somebody has tried in vain. From is a unit, or
// an address.
type Refusal struct {
	From  string `json:"from"`
	Count uint64 `json:"count"`
}

// NetworkStatus is the network of the instance.
type NetworkStatus struct {
	Bridges []BridgeStatus `json:"bridges"`
	// Others have links that are on no bridge.
	Others []NetworkUnit `json:"others,omitempty"`
	// Host has the units on the machine's network, Private those with loopback
	// alone; Joined those in another unit's ("exporter (unit:web)") or in a named one.
	Host    []string `json:"host,omitempty"`
	Private []string `json:"private,omitempty"`
	Joined  []string `json:"joined,omitempty"`
	// Foreign has the machine's links that are not the instance's.
	Foreign []ForeignLink `json:"foreign,omitempty"`
	// Problems say what keeps traffic from flowing as units ask for.
	Problems []string `json:"problems,omitempty"`
}

// BridgeStatus is a bridge and who is on it.
type BridgeStatus struct {
	// Name is that of nsinit.toml, Link the machine's.
	Name     string       `json:"name"`
	Link     string       `json:"link"`
	Gateways []string     `json:"gateways,omitempty"`
	Pools    []PoolStatus `json:"pools,omitempty"`
	NAT      bool         `json:"nat,omitempty"`
	Internal bool         `json:"internal,omitempty"`
	// Uplink is the machine's link that the default route is on.
	Uplink string        `json:"uplink,omitempty"`
	Units  []NetworkUnit `json:"units,omitempty"`
	// Spoofed counts the packets that were dropped as their sender was not theirs.
	Spoofed uint64 `json:"spoofed,omitempty"`
}

// PoolStatus is how much of a pool is taken. Size is 0 where it is too many to count.
type PoolStatus struct {
	Prefix string `json:"prefix"`
	Used   uint64 `json:"used"`
	Size   uint64 `json:"size,omitempty"`
}

// NetworkUnit is a unit with links.
type NetworkUnit struct {
	Unit string `json:"unit"`
	// State is "up", or "kept" while the service is not running and its address is held.
	State   string  `json:"state"`
	Network Network `json:"network"`
}

// ForeignLink is a link of the machine that is not the instance's.
type ForeignLink struct {
	Name      string   `json:"name"`
	Addresses []string `json:"addresses,omitempty"`
}

func (s *Server) getNetwork(w *reply, r *http.Request) error {
	return getPlain(w, r, func(ctx context.Context) (NetworkStatus, error) {
		st, err := s.cfg.Backend.Network(ctx)
		st.Bridges = notNil(st.Bridges)
		return st, err
	})
}

// Network asks for bridges, and who is on which network.
func (c *Client) Network(ctx context.Context) (NetworkStatus, error) {
	return fetch[NetworkStatus](ctx, c, "/v1/network", nil)
}
