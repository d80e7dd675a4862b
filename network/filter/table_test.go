package filter

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

var mac = net.HardwareAddr{2, 0, 0, 0, 0, 1}

// service is one with an address of each family on the first bridge.
func service(n int) Service {
	return Service{Unit: fmt.Sprintf("s%d", n), Links: []Link{{Index: uint32(100 + n), MAC: mac,
		Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 80, byte(n >> 8), byte(n)}), addr(fmt.Sprintf("fd80::%x", n))}}}}
}

var bridges = []Bridge{
	{Name: "default", Pools: []netip.Prefix{netip.MustParsePrefix("10.80.0.0/16"), netip.MustParsePrefix("fd80::/64")}, NAT: true},
	{Name: "inner", Pools: []netip.Prefix{netip.MustParsePrefix("10.90.0.0/24")}, NAT: true, Internal: true},
}

// ruleset is the tables as nft(8) shows them.
func ruleset(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Fatalf("nft: %v: %s", err, out)
	}
	return string(out)
}

func open(t *testing.T, instance string) *Table {
	t.Helper()
	table, err := Open(instance)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := table.Close(true); err != nil {
			t.Error(err)
		}
	})
	return table
}

func TestTableHasWhatIsPut(t *testing.T) {
	table := open(t, "test")
	web, db := service(1), service(2)
	web.Publish = []Port{{First: 8080, Last: 8082, To: 80, Proto: TCP}, {Host: addr("127.0.0.1"), First: 53, Last: 53, To: 53, Proto: UDP}}
	db.From = []Peer{{Kind: PeerUnit, Name: "s1", First: 5432, Last: 5432, Proto: TCP}, {Kind: PeerOutside}}
	db.To = []Peer{}
	if err := table.Sync(bridges, []Service{db}); err != nil {
		t.Fatal(err)
	}
	before := ruleset(t)
	if err := table.Put(web); err != nil {
		t.Fatal(err)
	}
	with := ruleset(t)
	for _, want := range []string{"table inet nsinit-test", "tcp . 8082 : 10.80.0.1 . 82", "127.0.0.1 . udp . 53 : 10.80.0.1 . 53",
		"10.80.0.2 . 10.80.0.1 . tcp . 5432", "fd80::2 . fd80::1 . tcp . 5432"} {
		if !strings.Contains(with, want) {
			t.Errorf("no %q in\n%s", want, with)
		}
	}
	if err := table.Delete("s1"); err != nil {
		t.Fatal(err)
	}
	if after := ruleset(t); after != before {
		t.Errorf("what s1 had is not all gone:\n%s\nwant\n%s", after, before)
	}
}

func TestTablesOfTwoInstances(t *testing.T) {
	first, second := open(t, "nsinit"), open(t, "other")
	if err := first.Sync(bridges, []Service{service(1)}); err != nil {
		t.Fatal(err)
	}
	if err := second.Sync(bridges, []Service{service(2)}); err != nil {
		t.Fatal(err)
	}
	if err := second.Close(true); err != nil {
		t.Fatal(err)
	}
	if text := ruleset(t); !strings.Contains(text, "table inet nsinit {") || strings.Contains(text, "nsinit-other") {
		t.Errorf("after the end of one:\n%s", text)
	}
}

// A manager that was killed leaves its tables to the next.
func TestTableIsTakenOver(t *testing.T) {
	first := open(t, "test")
	if err := first.Sync(bridges, []Service{service(1), service(2)}); err != nil {
		t.Fatal(err)
	}
	second := open(t, "test")
	if err := second.Sync(bridges, []Service{service(2)}); err != nil {
		t.Fatal(err)
	}
	if text := ruleset(t); strings.Contains(text, "10.80.0.1") || !strings.Contains(text, "10.80.0.2") {
		t.Errorf("after it was taken over:\n%s", text)
	}
	if missing, err := second.Missing(); missing || err != nil {
		t.Errorf("missing: %v, %v", missing, err)
	}
	exec.Command("nft", "delete", "table", "inet", "nsinit-test").Run()
	if missing, err := second.Missing(); !missing || err != nil {
		t.Errorf("missing, with the table gone: %v, %v", missing, err)
	}
}

func TestForeignTableIsLeftAlone(t *testing.T) {
	if out, err := exec.Command("nft", "add table inet nsinit-test; add chain inet nsinit-test mine").CombinedOutput(); err != nil {
		t.Fatalf("nft: %v: %s", err, out)
	}
	defer exec.Command("nft", "delete table inet nsinit-test").Run()
	if _, err := Open("test"); err == nil || !strings.Contains(err.Error(), "not this instance's") {
		t.Errorf("Open beside a foreign table: %v", err)
	}
	if !strings.Contains(ruleset(t), "chain mine") {
		t.Error("the foreign table was changed")
	}
}

// A thousand services go into one transaction.
func TestManyServices(t *testing.T) {
	table := open(t, "test")
	var all []Service
	for n := range 1000 {
		s := service(n + 1)
		s.Publish = []Port{{First: uint16(20000 + n), Last: uint16(20000 + n), To: 80, Proto: TCP}}
		s.From = []Peer{{Kind: PeerUnit, Name: fmt.Sprintf("s%d", n)}, {Kind: PeerNet, Net: netip.MustParsePrefix("192.0.2.0/24")}}
		all = append(all, s)
	}
	if err := table.Sync(bridges, all); err != nil {
		t.Fatal(err)
	}
	if text := ruleset(t); !strings.Contains(text, "tcp . 20999 : 10.80.3.232 . 80") {
		t.Error("the last service is not there")
	}
}

// BenchmarkPut is one service that comes and goes beside others: without
// restrictions, and where each says by a unit or by a network who may connect to it.
func BenchmarkPut(b *testing.B) {
	for _, c := range []struct {
		name string
		from []Peer
	}{
		{"open", nil},
		{"unit", []Peer{{Kind: PeerUnit, Name: "s1", First: 80, Last: 80, Proto: TCP}, {Kind: PeerOutside}}},
		{"network", []Peer{{Kind: PeerNet, Net: netip.MustParsePrefix("192.0.2.0/24")}}},
	} {
		for _, others := range []int{10, 1000} {
			b.Run(fmt.Sprintf("%s/%d", c.name, others), func(b *testing.B) {
				table, err := Open("bench")
				if err != nil {
					b.Fatal(err)
				}
				defer table.Close(true)
				var all []Service
				for n := range others {
					s := service(n + 1)
					s.From = c.from
					all = append(all, s)
				}
				if err := table.Sync(bridges, all); err != nil {
					b.Fatal(err)
				}
				s := service(2000)
				s.From = c.from
				for b.Loop() {
					if err := table.Put(s); err != nil {
						b.Fatal(err)
					}
					if err := table.Delete(s.Unit); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
