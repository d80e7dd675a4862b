package filter

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// nft runs nft(8).
func nft(t *testing.T, command string) {
	t.Helper()
	if out, err := exec.Command("nft", command).CombinedOutput(); err != nil {
		t.Fatalf("nft %s: %v: %s", command, err, out)
	}
}

// prefixes meet, touch and hold one another.
var prefixes = []string{"0.0.0.0/0", "10.0.0.0/8", "10.80.0.0/16", "10.80.1.0/24", "10.80.0.1/32", "255.255.255.255/32", "192.0.2.0/24", "::/0", "fd80::/64", "fd80::1/128"}

func genPeer(t *rapid.T) Peer {
	p := Peer{
		Kind: rapid.SampledFrom([]PeerKind{PeerUnit, PeerNet, PeerHost, PeerOutside, PeerBridge, PeerAny}).Draw(t, "kind"),
		Net:  netip.MustParsePrefix(rapid.SampledFrom(prefixes).Draw(t, "net")),
	}
	switch p.Kind {
	case PeerUnit:
		p.Name = rapid.SampledFrom([]string{"s1", "s2", "s3", "nobody"}).Draw(t, "unit")
	case PeerBridge:
		p.Name = rapid.SampledFrom([]string{"default", "inner", "nowhere"}).Draw(t, "bridge")
	}
	if p.Proto = rapid.SampledFrom([]Proto{Any, TCP, UDP}).Draw(t, "proto"); p.Proto != Any && rapid.Bool().Draw(t, "ports") {
		p.First = uint16(rapid.SampledFrom([]int{1, 80, 100, 65535}).Draw(t, "first"))
		p.Last = uint16(min(65535, int(p.First)+rapid.SampledFrom([]int{0, 1, 20, 65535}).Draw(t, "more")))
	}
	return p
}

func genPeers(t *rapid.T, label string) []Peer {
	if rapid.Bool().Draw(t, label+" unrestricted") {
		return nil
	}
	return append([]Peer{}, rapid.SliceOfN(rapid.Custom(genPeer), 0, 6).Draw(t, label)...)
}

func genServices(t *rapid.T) (all []Service) {
	for n := range rapid.IntRange(0, 3).Draw(t, "services") {
		s := service(n + 1)
		s.From, s.To = genPeers(t, "from"), genPeers(t, "to")
		if rapid.Bool().Draw(t, "publishes") {
			first := uint16(1000 * (n + 1))
			s.Publish = []Port{{First: first, Last: first + uint16(rapid.IntRange(0, 600).Draw(t, "range")), To: 65535 - 600, Proto: TCP},
				{Host: addr("127.0.0.1"), First: first, Last: first, To: 53, Proto: UDP}}
		}
		if rapid.Bool().Draw(t, "resolves") {
			s.DNS = []netip.Addr{addr("192.0.2.53"), addr("2001:db8::53"), addr("192.0.2.53")}
		}
		all = append(all, s)
	}
	return all
}

// lines are elements without order, each once.
func lines(list []element) (out []string) {
	for _, e := range list {
		out = append(out, fmt.Sprintf("%s %x %x %x", e.set, e.key, e.end, e.value))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Whatever services there are and come to be, the kernel takes it, and has then what
// was wanted, byte by byte: by a comparison with what it had, and by single changes.
func TestKernelHasWhatIsWanted(t *testing.T) {
	table := open(t, "test")
	touching := append(slices.Clone(bridges), Bridge{Name: "next", Pools: []netip.Prefix{netip.MustParsePrefix("10.81.0.0/16"), netip.MustParsePrefix("10.89.255.0/24")}, NAT: true})
	rapid.Check(t, func(rt *rapid.T) {
		check := func(step string) {
			has, err := table.read()
			if err != nil {
				rt.Fatal(err)
			}
			if diff := cmp.Diff(lines(table.all()), lines(has)); diff != "" {
				rt.Fatalf("%s: the kernel has not what was wanted (-want +have):\n%s", step, diff)
			}
		}
		if err := table.Sync(touching[:rapid.IntRange(0, 3).Draw(rt, "bridges")], genServices(rt)); err != nil {
			rt.Fatal(err)
		}
		check("Sync")
		if err := table.Put(genServices(rt)...); err != nil {
			rt.Fatal(err)
		}
		check("Put")
		if err := table.Delete("s1", "nobody"); err != nil {
			rt.Fatal(err)
		}
		check("Delete")
	})
}

// The next process takes over what is right, with what it has counted, and repairs
// what was changed behind our back.
func TestTakingOverKeepsCounts(t *testing.T) {
	first := open(t, "test")
	if err := first.Sync(bridges, []Service{service(1), service(2)}); err != nil {
		t.Fatal(err)
	}
	want := ruleset(t)
	nft(t, "add element inet nsinit-test refused4 { 10.80.0.1 . 10.80.0.2 counter packets 7 bytes 70 }")
	nft(t, "add element inet nsinit-test limited4 { 192.0.2.1 }")
	nft(t, "delete element inet nsinit-test self4 { 10.80.0.1 . 10.80.0.1 }")
	nft(t, "flush chain inet nsinit-test forward")
	second := open(t, "test")
	if err := second.Sync(bridges, []Service{service(2), service(1)}); err != nil {
		t.Fatal(err)
	}
	c, err := second.Counters()
	if err != nil {
		t.Fatal(err)
	}
	if c.Refused[addr("10.80.0.1")][addr("10.80.0.2")] != 7 {
		t.Errorf("what was counted is gone: %v", c)
	}
	nft(t, "flush set inet nsinit-test refused4")
	if diff := cmp.Diff(elementsSorted(want), elementsSorted(ruleset(t))); diff != "" {
		t.Errorf("not repaired (-want +have):\n%s", diff)
	}
}

// elementsSorted is a listing whose elements, which the kernel gives in any order,
// and handles are made comparable.
func elementsSorted(text string) []string {
	words := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '\n' })
	for i := range words {
		words[i] = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(words[i]), "elements = {"))
		words[i] = strings.TrimSpace(strings.TrimSuffix(words[i], "}"))
	}
	slices.Sort(words)
	return words
}

// A table of another layout, as another version of nsinit may have left, is replaced.
func TestOtherLayoutIsReplaced(t *testing.T) {
	nft(t, "add table inet nsinit-test; add set inet nsinit-test inner4 { type ifname; }; add chain inet nsinit-test old")
	table := open(t, "test")
	if err := table.Put(service(1)); err != nil { // without a Sync before
		t.Fatal(err)
	}
	if text := ruleset(t); strings.Contains(text, "chain old") || !strings.Contains(text, "10.80.0.1") {
		t.Errorf("not replaced:\n%s", text)
	}
}

// What the kernel refuses changes nothing, and the next change goes well.
func TestRefusedChange(t *testing.T) {
	table := open(t, "test")
	web, db := service(1), service(2)
	web.Publish = []Port{{First: 80, Last: 80, To: 80, Proto: TCP}}
	db.Publish = web.Publish
	if err := table.Sync(bridges, []Service{web}); err != nil {
		t.Fatal(err)
	}
	before := ruleset(t)
	if err := table.Put(db); err == nil || !strings.HasPrefix(err.Error(), "cannot change the nftables table nsinit-test: ") {
		t.Errorf("a port that is published twice: %v", err)
	}
	if after := ruleset(t); after != before {
		t.Errorf("a refused change left\n%s\nwas\n%s", after, before)
	}
	if _, err := table.Counters(); err != nil {
		t.Error(err)
	}
	db.Publish = []Port{{First: 81, Last: 81, To: 80, Proto: TCP}}
	if err := table.Put(db); err != nil {
		t.Errorf("after a refused change: %v", err)
	}
	if text := ruleset(t); !strings.Contains(text, "10.80.0.2") {
		t.Error("the change after a refused one is not there")
	}
}

// A table that goes between two changes is made again by the second.
func TestTableGoesBetweenChanges(t *testing.T) {
	table := open(t, "test")
	if err := table.Sync(bridges, []Service{service(1)}); err != nil {
		t.Fatal(err)
	}
	nft(t, "flush ruleset")
	if err := table.Put(service(2)); err != nil {
		t.Fatal(err)
	}
	if text := ruleset(t); !strings.Contains(text, "10.80.0.1") || !strings.Contains(text, "10.80.0.2") {
		t.Errorf("not made again:\n%s", text)
	}
}

// Others may change their tables all the time.
func TestOthersChangeMeanwhile(t *testing.T) {
	table := open(t, "test")
	churn := exec.Command("sh", "-c", "while :; do nft 'add table inet churn; add chain inet churn a; delete table inet churn'; done")
	churn.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := churn.Start(); err != nil {
		t.Fatal(err)
	}
	defer churn.Wait()
	defer syscall.Kill(-churn.Process.Pid, syscall.SIGKILL)
	for n := range 100 {
		if err := table.Sync(bridges, []Service{service(n + 1), service(n + 2)}); err != nil {
			t.Fatal(err)
		}
		if missing, err := table.Missing(); missing || err != nil {
			t.Fatalf("missing: %v, %v", missing, err)
		}
		if has, err := table.read(); err != nil || !slices.Equal(lines(has), lines(table.all())) {
			t.Fatalf("after %d rounds: %v, %v", n, lines(has), err)
		}
	}
}

const powerless = "NSINIT_FILTER_POWERLESS"

// A process without CAP_NET_ADMIN is told so.
func TestUnavailable(t *testing.T) {
	if os.Getenv(powerless) != "" {
		_, err := Open("test")
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(fmt.Sprint(err), "CAP_NET_ADMIN") {
			t.Errorf("Open without permission: %v", err)
		}
		return
	}
	// Root of a user namespace of its own has no say over this network.
	cmd := exec.Command("/proc/self/exe", "-test.run", "^TestUnavailable$")
	cmd.Env = append(os.Environ(), powerless+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}, GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
