package network

import (
	"strings"
	"testing"
	"time"

	"github.com/nsinit/nsinit/network/filter"
)

// filled waits until the pool has made up for what was taken.
func filled(t testing.TB, n *Network) {
	t.Helper()
	for deadline := time.Now().Add(patience); n.spares.wants(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the pool does not fill up")
		}
	}
}

// A link that was made ahead is like any other, and one that nobody has used goes
// with the manager, however that ends.
func TestSpareLinks(t *testing.T) {
	n, config := start(t)
	attach(t, n, veth("first"))
	filled(t, n)
	web := veth("web")
	web.Publish = []filter.Port{{First: 8080, Last: 8080, To: 80, Proto: filter.TCP}}
	a := attach(t, n, web)
	if !strings.HasSuffix(a.Links[0].Host, "s") {
		t.Errorf("the link %s was not made ahead", a.Links[0].Host)
	}
	serve(t, n.pin("web"), "tcp", ":80")
	answers(t, outsideSpace, "tcp", "192.0.2.1:8080", "192.0.2.2")
	answers(t, n.pin("first"), "tcp", "10.80.0.3:80", "10.80.0.2")
	if text := in(t, n, "web", "ip link show eth0"); !strings.Contains(text, n.macOf("web", web.Links[0]).String()) {
		t.Errorf("its address is not the derived one: %s", text)
	}
	filled(t, n)
	taken, _ := n.spares.take() // as by a start that a kill cuts short: the link stays, its holder does not
	n = again(t, n, config)
	if text := sh(t, "ip -br link"); strings.Contains(text, taken.host.name) {
		t.Errorf("%s is left:\n%s", taken.host.name, text)
	}
	taken.drop()
	if again := attach(t, n, web); again.Made {
		t.Error("made anew after the manager was killed")
	}
	// One that is refused gives its link back.
	attach(t, n, veth("more"))
	filled(t, n)
	web.Unit = "other"
	refuses(t, n, web, "8080", "unit web")
}

func BenchmarkAttachSpare(b *testing.B) {
	machine(b)
	n, err := Open(Config{Instance: "netbench", Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close(true)
	attach(b, n, veth("first"))
	for b.Loop() {
		b.StopTimer()
		filled(b, n)
		b.StartTimer()
		attach(b, n, veth("web"))
		b.StopTimer()
		if err := n.Release("web"); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
