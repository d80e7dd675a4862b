package network

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/nsinit/nsinit/network/filter"
)

// try is a call from somewhere, to an address of each family.
type try struct {
	space, network string
	four, six      string
	answered       bool
}

func (c try) check(t *testing.T) {
	t.Helper()
	wait := lost
	if c.answered {
		wait = patience
	}
	for _, address := range []string{c.four, c.six} {
		if from := call(t, c.space, c.network, address, wait); (from != "") != c.answered {
			t.Errorf("%s %s from %s: answered as %q, want answered: %v", c.network, address, c.space, from, c.answered)
		}
	}
}

func nets(first, last uint16, proto filter.Proto, prefixes ...string) (out []filter.Peer) {
	for _, p := range prefixes {
		out = append(out, filter.Peer{Kind: filter.PeerNet, Net: netip.MustParsePrefix(p), First: first, Last: last, Proto: proto})
	}
	return out
}

func one(p filter.Peer) []filter.Peer { return []filter.Peer{p} }

// Every way to name who may connect: all ports, one, a range; an address, a network,
// everybody, the outside.
func TestPeersFrom(t *testing.T) {
	n, _ := start(t)
	db := veth("db")
	for _, proto := range []filter.Proto{filter.TCP, filter.UDP} {
		db.Publish = append(db.Publish, filter.Port{First: 8080, Last: 8081, To: 80, Proto: proto})
	}
	attach(t, n, db)
	attach(t, n, veth("web"))
	attach(t, n, veth("other"))
	web, other := n.pin("web"), n.pin("other")
	for _, network := range []string{"tcp", "udp"} {
		serve(t, n.pin("db"), network, ":80")
		serve(t, n.pin("db"), network, ":81")
	}
	inside := func(space, network string, port int, answered bool) try {
		return try{space, network, fmt.Sprintf("10.80.0.2:%d", port), fmt.Sprintf("[fd80::2]:%d", port), answered}
	}
	outside := func(network string, port int, answered bool) try {
		return try{outsideSpace, network, fmt.Sprintf("192.0.2.1:%d", port+8000), fmt.Sprintf("[2001:db8::1]:%d", port+8000), answered}
	}
	for _, c := range []struct {
		name  string
		from  []filter.Peer
		tries []try
	}{
		{"unit", one(filter.Peer{Name: "web"}), []try{inside(web, "tcp", 80, true), inside(web, "udp", 81, true), inside(other, "tcp", 80, false), outside("tcp", 80, false)}},
		{"unit:80", one(filter.Peer{Name: "web", First: 80, Last: 80}), []try{inside(web, "tcp", 80, true), inside(web, "udp", 80, true), inside(web, "tcp", 81, false)}},
		{"unit/udp", one(filter.Peer{Name: "web", Proto: filter.UDP}), []try{inside(web, "udp", 80, true), inside(web, "tcp", 80, false)}},
		{"unit:80-81/tcp", one(filter.Peer{Name: "web", First: 80, Last: 81, Proto: filter.TCP}), []try{inside(web, "tcp", 81, true), inside(web, "udp", 80, false), inside(other, "tcp", 80, false)}},
		{"net:80", nets(80, 80, filter.Any, "10.80.0.0/24", "fd80::/64"), []try{inside(other, "tcp", 80, true), inside(other, "udp", 80, true), inside(web, "tcp", 81, false), outside("tcp", 80, false)}},
		{"any:80/tcp", one(filter.Peer{Kind: filter.PeerAny, First: 80, Last: 80, Proto: filter.TCP}), []try{inside(web, "tcp", 80, true), outside("tcp", 80, true), outside("tcp", 81, false), outside("udp", 80, false)}},
		{"any", one(filter.Peer{Kind: filter.PeerAny}), []try{inside(web, "udp", 81, true), outside("tcp", 81, true)}},
		{"outside", one(filter.Peer{Kind: filter.PeerOutside}), []try{inside(web, "tcp", 80, false), outside("udp", 81, true)}},
		{"outside:81", one(filter.Peer{Kind: filter.PeerOutside, First: 81, Last: 81}), []try{inside(web, "tcp", 81, false), outside("tcp", 81, true), outside("tcp", 80, false)}},
		{"outside:80-81/udp", one(filter.Peer{Kind: filter.PeerOutside, First: 80, Last: 81, Proto: filter.UDP}), []try{inside(web, "udp", 81, false), outside("udp", 81, true), outside("tcp", 80, false)}},
		{"host", one(filter.Peer{Kind: filter.PeerHost}), []try{inside(hostSpace, "tcp", 80, true), inside(web, "tcp", 80, false)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			db.From = c.from
			attach(t, n, db)
			for _, try := range c.tries {
				try.check(t)
			}
		})
	}
}

// And every way to name where a service may connect to.
func TestPeersTo(t *testing.T) {
	n, _ := start(t)
	web := veth("web")
	attach(t, n, web)
	attach(t, n, veth("db"))
	for _, network := range []string{"tcp", "udp"} {
		for port := range 2 {
			serve(t, n.pin("db"), network, fmt.Sprintf(":%d", 80+port))
			serve(t, outsideSpace, network, fmt.Sprintf(":%d", 80+port))
			serve(t, hostSpace, network, fmt.Sprintf(":%d", 80+port))
		}
	}
	to := func(four, six string) func(string, int, bool) try {
		return func(network string, port int, answered bool) try {
			return try{n.pin("web"), network, fmt.Sprintf("%s:%d", four, port), fmt.Sprintf("[%s]:%d", six, port), answered}
		}
	}
	db, outside, host := to("10.80.0.3", "fd80::3"), to("192.0.2.2", "2001:db8::2"), to("10.80.0.1", "fd80::1")
	for _, c := range []struct {
		name  string
		to    []filter.Peer
		tries []try
	}{
		{"nobody", []filter.Peer{}, []try{db("tcp", 80, false), outside("udp", 80, false), host("tcp", 80, false)}},
		{"unit", one(filter.Peer{Name: "db"}), []try{db("tcp", 80, true), db("udp", 81, true), outside("tcp", 80, false), host("tcp", 80, false)}},
		{"unit:80", one(filter.Peer{Name: "db", First: 80, Last: 80}), []try{db("udp", 80, true), db("tcp", 81, false)}},
		{"net:80-81/tcp", nets(80, 81, filter.TCP, "192.0.2.0/24", "2001:db8::/64", "10.80.0.3/32", "fd80::3/128"), []try{outside("tcp", 81, true), db("tcp", 81, true), outside("udp", 80, false)}},
		{"any:80/tcp", one(filter.Peer{Kind: filter.PeerAny, First: 80, Last: 80, Proto: filter.TCP}), []try{db("tcp", 80, true), outside("tcp", 80, true), host("tcp", 80, true), outside("tcp", 81, false), host("udp", 80, false)}},
		{"any", one(filter.Peer{Kind: filter.PeerAny}), []try{db("udp", 81, true), outside("tcp", 81, true), host("udp", 81, true)}},
		{"outside", one(filter.Peer{Kind: filter.PeerOutside}), []try{outside("tcp", 81, true), db("tcp", 80, false), host("tcp", 80, false)}},
		{"outside:81", one(filter.Peer{Kind: filter.PeerOutside, First: 81, Last: 81}), []try{outside("udp", 81, true), outside("tcp", 80, false)}},
		{"outside:80-81/udp", one(filter.Peer{Kind: filter.PeerOutside, First: 80, Last: 81, Proto: filter.UDP}), []try{outside("udp", 81, true), outside("tcp", 80, false)}},
		{"host", one(filter.Peer{Kind: filter.PeerHost}), []try{host("udp", 81, true), outside("tcp", 80, false)}},
		{"host:81", one(filter.Peer{Kind: filter.PeerHost, First: 81, Last: 81}), []try{host("tcp", 81, true), host("tcp", 80, false)}},
		{"host:80-81/udp", one(filter.Peer{Kind: filter.PeerHost, First: 80, Last: 81, Proto: filter.UDP}), []try{host("udp", 80, true), host("tcp", 80, false)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			web.To = c.to
			attach(t, n, web)
			for _, try := range c.tries {
				try.check(t)
			}
		})
	}
}

// A port that is published on one address of the host is open there, to the service
// itself too, and not on its others.
func TestPublishOnOneAddress(t *testing.T) {
	n, _ := start(t)
	web := veth("web")
	for _, host := range []string{"192.0.2.1", "2001:db8::1"} {
		for _, proto := range []filter.Proto{filter.TCP, filter.UDP} {
			web.Publish = append(web.Publish, filter.Port{Host: netip.MustParseAddr(host), First: 8080, Last: 8081, To: 80, Proto: proto})
		}
	}
	attach(t, n, web)
	attach(t, n, veth("other"))
	for _, network := range []string{"tcp", "udp"} {
		serve(t, n.pin("web"), network, ":80")
		serve(t, n.pin("web"), network, ":81")
		for _, space := range []string{outsideSpace, hostSpace, n.pin("web"), n.pin("other")} {
			try{space, network, "192.0.2.1:8081", "[2001:db8::1]:8081", true}.check(t)
		}
		try{n.pin("other"), network, "10.80.0.1:8080", "[fd80::1]:8080", false}.check(t)
	}
}
