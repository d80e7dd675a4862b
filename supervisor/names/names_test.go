package names

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func addresses(list ...string) (out []netip.Addr) {
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func TestHosts(t *testing.T) {
	machine := "127.0.0.1\tlocalhost db.local # the machine's\n127.0.1.1 box.example.org box\n::1 localhost ip6-localhost ip6-loopback\n" +
		"# a comment\n192.0.2.7  printer\t printer.lan\nnonsense here\n192.0.2.8\n127.0.0.2 other\n"
	got := Hosts(machine, "box", map[string]Entry{
		"web":        {Hostname: "web", Addresses: addresses("10.80.0.3", "fd80::3")},
		"db@15-main": {Hostname: "db-15-main", Addresses: addresses("10.80.0.2")},
		"z":          {Hostname: "web", Addresses: addresses("10.80.0.4")},
		"daemon":     {Hostname: "box", Addresses: addresses("10.80.0.5")},
	})
	want := "127.0.0.1\tlocalhost\n127.0.1.1\tbox.example.org box\n::1\tlocalhost ip6-localhost ip6-loopback\n192.0.2.7\tprinter printer.lan\n" +
		"10.80.0.5\tdaemon daemon.nsinit\n10.80.0.2\tdb@15-main db@15-main.nsinit db-15-main\n10.80.0.3\tweb web.nsinit\nfd80::3\tweb web.nsinit\n10.80.0.4\tz z.nsinit\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestResolvConf(t *testing.T) {
	const stub = "# by systemd-resolved\nnameserver 127.0.0.53\noptions edns0 trust-ad\nsearch example.org\n"
	for _, tt := range []struct {
		name, machine, upstream string
		own                     Resolver
		want, problem           string
	}{
		{"plain", "nameserver 192.0.2.53\n; x\ndomain example.org\n", "nameserver 192.0.2.99\n", Resolver{}, "nameserver 192.0.2.53\ndomain example.org\n", ""},
		{"stub", stub, "nameserver 192.0.2.54\nnameserver fe80::1%eth0\n", Resolver{}, "nameserver 192.0.2.54\noptions edns0 trust-ad\nsearch example.org\n", ""},
		{"stub alone", stub, "", Resolver{}, "options edns0 trust-ad\nsearch example.org\n", "the machine's name server 127.0.0.53 listens on its loopback alone"},
		{"some of both", "nameserver ::1\nnameserver 192.0.2.53\n", "", Resolver{}, "nameserver 192.0.2.53\n", ""},
		{"own servers", stub, "", Resolver{DNS: addresses("10.80.0.9", "fd80::9")}, "nameserver 10.80.0.9\nnameserver fd80::9\noptions edns0 trust-ad\nsearch example.org\n", ""},
		{"own domains", stub, "nameserver 192.0.2.54\n", Resolver{Search: []string{"a.test", "b.test"}}, "nameserver 192.0.2.54\nsearch a.test b.test\noptions edns0 trust-ad\n", ""},
		{"none", "", "", Resolver{}, "", ""},
	} {
		got, problem := ResolvConf(tt.machine, tt.upstream, tt.own)
		if got != tt.want || !strings.HasPrefix(problem, tt.problem) || (problem == "") != (tt.problem == "") {
			t.Errorf("%s: %q %q", tt.name, got, problem)
		}
	}
}

// place is a machine of the test's own and a store.
func place(t *testing.T) (*Store, Machine) {
	t.Helper()
	dir := t.TempDir()
	m := Machine{Hosts: dir + "/etc/hosts", Resolv: dir + "/etc/resolv.conf", Upstream: dir + "/run/resolv.conf"}
	for _, d := range []string{"etc", "run"} {
		must(t, os.Mkdir(filepath.Join(dir, d), 0o755))
	}
	must(t, os.WriteFile(m.Hosts, []byte("192.0.2.7 printer\n"), 0o644))
	must(t, os.WriteFile(m.Resolv, []byte("nameserver 192.0.2.53\n"), 0o644))
	return New(dir+"/names", m), m
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func text(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return string(b)
}

func put(t *testing.T, s *Store, unit, bridge, address string, own Resolver) {
	t.Helper()
	must(t, s.Put(unit, map[string]Entry{bridge: {Addresses: addresses(address)}}, own))
}

// TestStoreRewritesInPlace: who has a file open, as a service has it bound, reads
// what is written later.
func TestStoreRewritesInPlace(t *testing.T) {
	s, m := place(t)
	put(t, s, "web", "default", "10.80.0.2", Resolver{})
	bound, err := os.Open(s.HostsOf("default"))
	must(t, err)
	defer bound.Close()
	put(t, s, "db", "default", "10.80.0.3", Resolver{DNS: addresses("10.80.0.9")})
	put(t, s, "x", "tenant", "10.90.0.2", Resolver{})
	read := func() string {
		b := make([]byte, 4096)
		n, _ := bound.ReadAt(b, 0)
		return string(b[:n])
	}
	if want := "192.0.2.7\tprinter\n10.80.0.3\tdb db.nsinit\n10.80.0.2\tweb web.nsinit\n"; read() != want {
		t.Errorf("%q", read())
	}
	if s.BridgeOf("db") != "default" || s.BridgeOf("x") != "tenant" || s.BridgeOf("y") != "" {
		t.Error("BridgeOf")
	}
	if got := text(t, s.ResolvOf("db", Resolver{DNS: addresses("10.80.0.9")})); got != "nameserver 10.80.0.9\n" {
		t.Errorf("%q", got)
	}
	must(t, os.WriteFile(m.Hosts, nil, 0o644))
	must(t, os.WriteFile(m.Resolv, []byte("nameserver 192.0.2.99\nsearch a\n"), 0o644))
	must(t, s.Refresh())
	if got := text(t, s.ResolvOf("web", Resolver{})); got != "nameserver 192.0.2.99\nsearch a\n" {
		t.Errorf("%q", got)
	}
	if got := text(t, s.ResolvOf("db", Resolver{DNS: addresses("10.80.0.9")})); got != "nameserver 10.80.0.9\nsearch a\n" {
		t.Errorf("%q", got)
	}
	must(t, s.Delete("db"))
	put(t, s, "web", "tenant", "10.90.0.3", Resolver{}) // it has moved
	if read() != "" {
		t.Errorf("%q", read())
	}
	if _, err := os.Stat(s.ResolvOf("db", Resolver{DNS: addresses("10.80.0.9")})); err == nil {
		t.Error("db's resolv.conf is left")
	}
	must(t, s.Remove())
}

// TestWatch: a file that is replaced, one that a link leads to, and one that is
// made later are all told of; others are not.
func TestWatch(t *testing.T) {
	_, m := place(t)
	dir := filepath.Dir(filepath.Dir(m.Hosts))
	must(t, os.Mkdir(dir+"/stub", 0o755))
	must(t, os.WriteFile(dir+"/stub/stub.conf", nil, 0o644))
	must(t, os.Remove(m.Resolv))
	must(t, os.Symlink("../stub/stub.conf", m.Resolv))
	w, err := NewWatch(m)
	must(t, err)
	defer w.Close()
	readable := func() bool {
		n, _ := unix.Poll([]unix.PollFd{{Fd: int32(w.FD), Events: unix.POLLIN}}, 0)
		return n > 0
	}
	write := func(path string) func() {
		return func() { must(t, os.WriteFile(path, []byte("x"), 0o644)) }
	}
	for _, tt := range []struct {
		name string
		do   func()
		want bool
	}{
		{"nothing", func() {}, false},
		{"another file", write(dir + "/etc/passwd"), false},
		{"renamed over", func() { write(dir + "/etc/new")(); must(t, os.Rename(dir+"/etc/new", m.Hosts)) }, true},
		{"behind the link", write(dir + "/stub/stub.conf"), true},
		{"made", write(m.Upstream), true},
		{"removed", func() { must(t, os.Remove(m.Upstream)) }, true},
		{"another link", func() { must(t, os.Remove(m.Resolv)); must(t, os.Symlink(dir+"/run/other.conf", m.Resolv)) }, true},
		{"behind that", write(dir + "/run/other.conf"), true},
	} {
		tt.do()
		if got := readable() && w.Changed(); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
		if readable() {
			t.Errorf("%s: something is left to read", tt.name)
		}
	}
}
