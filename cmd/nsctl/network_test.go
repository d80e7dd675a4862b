package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/nsinit/nsinit/supervisor/control"
)

func testNetwork() control.NetworkStatus {
	veth := func(unit, state, host string, n control.Network, addresses ...string) control.NetworkUnit {
		n.Mode, n.Address, n.Link = "veth", addresses[0], "nsbr0"
		n.Links = []control.NetworkLink{{Name: "eth0", HostLink: host, Kind: "veth", Bridge: "default", Addresses: addresses}}
		return control.NetworkUnit{Unit: unit, State: state, Network: n}
	}
	return control.NetworkStatus{
		Bridges: []control.BridgeStatus{
			{Name: "default", Link: "nsbr0", Gateways: []string{"10.80.0.1/24"}, NAT: true, Uplink: "eth0", Pools: []control.PoolStatus{{Prefix: "10.80.0.0/24", Used: 3, Size: 253}},
				Units: []control.NetworkUnit{
					veth("nginx", "up", "nsa41f3c020", control.Network{Publish: []string{"80:80/tcp", "127.0.0.1:8443:443/tcp"}, RxBytes: 1258291, TxBytes: 48 << 20}, "10.80.0.2/24"),
					veth("db", "up", "ns77b0e9110", control.Network{AllowFrom: []string{"nginx:5432/tcp"}, Refused: []control.Refusal{{From: "cache", Count: 4}}}, "10.80.0.3/24", "fd80::3/64"),
					veth("cache", "kept", "ns0d2b77130", control.Network{}, "10.80.0.4/24"),
				}},
			{Name: "tenant-a", Link: "tena0", Gateways: []string{"10.90.0.1/24"}, Internal: true, Pools: []control.PoolStatus{{Prefix: "10.90.0.0/24", Used: 0, Size: 253}, {Prefix: "fd90::/64"}}},
		},
		Others: []control.NetworkUnit{{Unit: "dhcp", State: "up", Network: control.Network{Mode: "macvlan", Link: "eth0", Links: []control.NetworkLink{{Name: "eth0", Kind: "macvlan", Parent: "eth0"}}}}},
		Host:   []string{"cron", "postgresql@15-main", "ssh"}, Private: []string{"batch", "mail-queue"}, Joined: []string{"exporter (unit:nginx)"},
		Foreign:  []control.ForeignLink{{Name: "eth0", Addresses: []string{"192.0.2.10/24"}}, {Name: "docker0\x1b[31m"}},
		Problems: []string{"iptables' FORWARD drops what no rule accepts"},
	}
}

func TestRenderNetwork(t *testing.T) {
	for _, width := range []int{0, 80} {
		var b bytes.Buffer
		renderNetwork(&b, testView(width), testNetwork())
		golden(t, fmt.Sprintf("network-%d", width), b.Bytes())
		for line := range strings.Lines(b.String()) {
			if strings.ContainsFunc(strings.TrimSuffix(line, "\n"), dangerous) {
				t.Errorf("not clean: %q", line)
			}
		}
	}
}

func TestPublishText(t *testing.T) {
	for _, tt := range []struct {
		publish      []string
		status, tree string
	}{
		{nil, "", ""},
		{[]string{"80:80/tcp", "8443:443/tcp"}, "80,443 -> host 80,8443", "80/tcp -> :80, 443/tcp -> :8443"},
		{[]string{"[2001:db8::1]:53:53/udp"}, "53/udp -> host [2001:db8::1]:53", "53/udp -> [2001:db8::1]:53"},
		{[]string{"127.0.0.1:8000-8009:9000-9009/tcp"}, "9000-9009 -> host 127.0.0.1:8000-8009", "9000-9009/tcp -> 127.0.0.1:8000-8009"},
	} {
		if status, tree := publishText(tt.publish), portsText(tt.publish); status != tt.status || tree != tt.tree {
			t.Errorf("%v: %q %q", tt.publish, status, tree)
		}
	}
}
