package network

import (
	"encoding/binary"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// allSettings are those of the host's network, without what it counts.
func allSettings(t testing.TB) map[string]string {
	t.Helper()
	all := map[string]string{}
	filepath.WalkDir(sysctlRoot, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.Contains(path, "/neigh/") && !strings.Contains(path, "conntrack") {
			if b, err := os.ReadFile(path); err == nil {
				all[path] = strings.TrimSpace(string(b))
			}
		}
		return nil
	})
	return all
}

// What the kernel changes by itself when it is told to route is put back as well.
func TestSettingsArePutBack(t *testing.T) {
	n, config := start(t)
	sh(t, `cd /proc/sys/net; echo 0 > ipv4/conf/all/accept_redirects
echo 1 > ipv4/conf/eth0/forwarding; echo 1 > ipv6/conf/eth0/forwarding; echo 0 > ipv6/conf/default/accept_ra`)
	defer sh(t, `cd /proc/sys/net; echo 1 > ipv4/conf/all/accept_redirects
echo 0 > ipv4/conf/eth0/forwarding; echo 0 > ipv6/conf/eth0/forwarding; echo 1 > ipv6/conf/default/accept_ra`)
	before := allSettings(t)
	attach(t, n, veth("web"))
	on := allSettings(t)
	for name, want := range map[string]string{"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1", "ipv6/conf/eth0/accept_ra": "2", "ipv6/conf/default/accept_ra": "0"} {
		if got := on[filepath.Join(sysctlRoot, name)]; got != want {
			t.Errorf("%s is %s while services run, want %s", name, got, want)
		}
	}
	n = again(t, n, config)
	if err := n.Close(true); err != nil {
		t.Fatal(err)
	}
	after := allSettings(t)
	for path, was := range before {
		if after[path] != was {
			t.Errorf("%s is %q, was %q", path, after[path], was)
		}
	}
}

// Somebody's sysctl --system while services run.
func TestForwardingIsRepaired(t *testing.T) {
	n, _ := start(t)
	attach(t, n, veth("web"))
	sh(t, "echo 0 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv6/conf/all/forwarding")
	if err := n.Repair(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{forward4, forward6} {
		if got, err := setting(name); err != nil || got != "1" {
			t.Errorf("%s is %s, %v", name, got, err)
		}
	}
}

// The end of one instance is not that of another's network.
func TestTwoInstances(t *testing.T) {
	n, _ := start(t)
	other, err := Open(Config{Instance: "netother", Dir: t.TempDir(), Bridges: []Bridge{{Name: DefaultBridge, Pools: []netip.Prefix{netip.MustParsePrefix("10.91.0.0/24")}}}})
	if err != nil {
		t.Fatal(err)
	}
	attach(t, other, veth("web")) // turns forwarding on
	attach(t, n, veth("web"))
	serve(t, outsideSpace, "udp", ":80")
	if err := other.Close(true); err != nil {
		t.Fatal(err)
	}
	answers(t, n.pin("web"), "udp", "192.0.2.2:80", "192.0.2.1")
	sh(t, "echo 0 > /proc/sys/net/ipv4/ip_forward") // the last cannot know what it was
}

// A service that passes for a router is no way out for the host, not even where
// there are no rules.
func TestNoRoutesFromServices(t *testing.T) {
	n, _ := start(t)
	a := attach(t, n, veth("evil"))
	sh(t, "nft delete table inet nsinit-nettest")
	in(t, n, "evil", "ip -6 addr add fe80::66/64 dev eth0 nodad")
	within(t, n.pin("evil"), func() {
		link, err := net.InterfaceByName("eth0")
		if err != nil {
			t.Fatal(err)
		}
		s, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(s)
		if err := unix.SetsockoptInt(s, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255); err != nil {
			t.Fatal(err)
		}
		advertisement := make([]byte, 16) // RFC 4861, section 4.2
		advertisement[0], advertisement[4] = 134, 64
		binary.BigEndian.PutUint16(advertisement[6:], 1800) // seconds that it is a default router
		to := netip.MustParseAddr("ff02::1").As16()
		if err := unix.Sendto(s, advertisement, 0, &unix.SockaddrInet6{Addr: to, ZoneId: uint32(link.Index)}); err != nil {
			t.Fatal(err)
		}
	})
	if got := sh(t, "ip -6 route show default dev "+a.Links[0].Host); got != "" {
		t.Errorf("the host goes out by a service: %s", got)
	}
}
