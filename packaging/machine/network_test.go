package machine_test

import (
	"fmt"
	"strings"
	"testing"
)

// answering is a unit that says "hello" on port 80 over the links of a table.
func answering(tables ...string) string {
	return "[service]\ntype = \"notify\"\nexec_start = \"/usr/lib/machine/probe http :80\"\n" + strings.Join(tables, "\n") + "\n"
}

// above is a unit with a link on another of the machine.
func above(mode, parent, address string, keys ...string) string {
	return answering(append([]string{"[network]", `mode = "` + mode + `"`, `parent = "` + parent + `"`, `address = "` + address + `"`}, keys...)...)
}

// parents are what tenants are on: the two ends of a wire each, up0 and up1 with
// nothing else on them. The ip is iproute2's: busybox's, which its shell prefers,
// cannot name both ends.
const parents = `set -e
for wire in up:0 m:0 p:0 q:0; do n=${wire%:*}
	/usr/bin/ip link add ${n}0 type veth peer name ${n}1; /usr/bin/ip link set ${n}0 up; /usr/bin/ip link set ${n}1 up
done
/usr/bin/ip addr add 10.2.1.9/24 dev p1; /usr/bin/ip addr add 10.2.2.9/24 dev q1`

// networkState is what units' links must leave as it was.
const networkState = `/usr/bin/ip -br link | sed 's/ .*//' | grep -v '^ns[0-9a-f]*s@' | sort; /usr/bin/ip addr | grep inet | grep -v fe80; /usr/bin/ip route; ls /run/nsinit/netns`

// TestNetwork: networks of services on the oldest kernel, one after the other in
// the same machine. The modules are those that the builder takes for the units.
func TestNetwork(t *testing.T) {
	units := map[string]string{
		"web":     answering("[network]", `mode = "veth"`, `publish = "8080:80"`, `allow_from = ["client:80/tcp", "outside", "host"]`),
		"client":  answering("[network]", `mode = "veth"`, `publish = "8081:80"`),
		"third":   answering("[network]", `mode = "veth"`),
		"a":       above("vlan", "up0", "10.1.0.1/24", "vlan_id = 10"),
		"x":       above("vlan", "up0", "10.1.0.2/24", "vlan_id = 20"),
		"b":       above("vlan", "up1", "10.1.0.3/24", "vlan_id = 10"),
		"again":   above("vlan", "up0", "10.1.0.4/24", "vlan_id = 10"),
		"bridge1": above("macvlan", "m0", "10.2.0.1/24"), "bridge2": above("macvlan", "m0", "10.2.0.2/24"),
		"private1": above("macvlan", "p0", "10.2.1.1/24", `macvlan_mode = "private"`), "private2": above("macvlan", "p0", "10.2.1.2/24", `macvlan_mode = "private"`),
		"pass": above("macvlan", "q0", "10.2.2.1/24", `macvlan_mode = "passthru"`), "second": above("macvlan", "q0", "10.2.2.2/24", `macvlan_mode = "passthru"`),
	}
	m := boot(t, image{units: units, list: []string{"program /usr/sbin/nft /usr/bin/ip",
		"file /etc/nsinit/nsinit.toml " + file(t, "[bridge.default]\npool = [\"10.80.0.0/24\", \"fd80::/64\"]\n")}}, power{})
	m.sh(t, parents)
	before := m.sh(t, networkState)
	for _, step := range []struct {
		name string
		test func(*testing.T, *machine)
	}{
		{"veth", testVeth}, {"vlan", testVlan}, {"macvlan", testMacvlan}, {"manager_killed", testNetworkKept},
		{"gone", func(t *testing.T, m *machine) { testNetworkGone(t, m, before) }}, {"module_missing", testModuleMissing},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.test(t, m) }) {
			return
		}
	}
}

// reaches asks from a unit, or from the machine where that is "", for a page.
func (m *machine) reaches(t *testing.T, from, address string) {
	t.Helper()
	if got := m.sh(t, asking(from, address)); got != "hello" {
		t.Errorf("%s asks %s, which answers %q", from, address, got)
	}
}

func (m *machine) refused(t *testing.T, from, address string) {
	t.Helper()
	if a, err := m.run(asking(from, address), patience); err != nil || a.Code == 0 {
		t.Errorf("%s asks %s, which answers %q (%v); it must not", from, address, a.Out, err)
	}
}

// asking bounds how long: what is dropped is never answered.
func asking(from, address string) string {
	command := "timeout 2 /usr/lib/machine/probe get http://" + address + "/"
	if from != "" {
		command = "nsctl exec " + from + " " + command
	}
	return command
}

func testVeth(t *testing.T, m *machine) {
	m.start(t, "web client third")
	m.reaches(t, "client", "web:80")
	m.reaches(t, "web", "client:80")
	m.reaches(t, "", "127.0.0.1:8080")
	m.reaches(t, "", "127.0.0.1:8081")
	m.reaches(t, "third", "client:80")
	m.refused(t, "third", "web:80")
	m.until(t, "nsctl network | grep -q 'refused.*third'")
	m.reaches(t, "client", "[fd80::2]:80") // the first that was given, whoever has it
	// Who speaks as another is not heard. The address is the link's, so that the
	// namespace's own kernel sends it.
	m.sh(t, "nsenter --net=/run/nsinit/netns/third sh -c '/usr/bin/ip addr add 10.80.0.200/32 dev eth0; ping -c 1 -W 1 -I 10.80.0.200 10.80.0.1; /usr/bin/ip addr del 10.80.0.200/32 dev eth0; true'")
	m.until(t, "nsctl network | grep -q 'with a false sender dropped'")
}

func testVlan(t *testing.T, m *machine) {
	m.start(t, "a b x")
	m.reaches(t, "a", "10.1.0.3:80")
	m.reaches(t, "b", "10.1.0.1:80")
	m.refused(t, "a", "10.1.0.2:80")
	m.refused(t, "x", "10.1.0.1:80")
	m.refused(t, "x", "10.1.0.3:80")
	m.wantError(t, "again", "a link has one VLAN of each id, in all network namespaces: 10 is taken")
}

func testMacvlan(t *testing.T, m *machine) {
	m.start(t, "bridge1 bridge2 private1 private2 pass")
	m.reaches(t, "bridge1", "10.2.0.2:80")
	m.refused(t, "private1", "10.2.1.2:80")
	for _, address := range []string{"10.2.1.1:80", "10.2.1.2:80", "10.2.2.1:80"} { // by the wire all are there
		m.reaches(t, "", address)
	}
	m.wantError(t, "second", "cannot make the macvlan eth0 on q0")
}

// wantError starts a unit that cannot be started.
func (m *machine) wantError(t *testing.T, unit, want string) {
	t.Helper()
	got := m.sh(t, fmt.Sprintf("! nsctl start %s 2>&1; nsctl status %s; true", unit, unit))
	if !strings.Contains(got, want) {
		t.Errorf("start of %s says\n%s\nwant %q", unit, got, want)
	}
}

// kept is all that a manager's death must not change. What was refused is counted
// anew by the next, and links that nobody uses yet go with the manager.
const kept = `spares="-e none"
	for s in $(/usr/bin/ip -o link | grep '/spare' | sed 's/^[0-9]*: \([^@:]*\)[@:].*/\1/'); do spares="$spares -e $s"; done
	/usr/bin/ip -o link | grep -v -F $spares | sed 's/ qdisc [^\\]*//'; /usr/bin/ip -o addr | grep -v -F $spares; /usr/bin/ip route; /usr/bin/ip neigh | grep PERM; nft list ruleset | grep -v -e 'counter packets' -e '^[[:space:]]*}$'
	for n in /run/nsinit/netns/*; do echo $n; nsenter --net=$n sh -c 'readlink /proc/self/ns/net; /usr/bin/ip addr; /usr/bin/ip route'; done`

func testNetworkKept(t *testing.T, m *machine) {
	before := m.sh(t, kept)
	m.sh(t, "pid="+managerPID+"; kill -9 $pid; until test -n \""+managerPID+"\" && test \""+managerPID+"\" != $pid; do sleep 0.1; done")
	m.until(t, "nsctl is-active web client third a b x pass >/dev/null")
	if after := m.sh(t, kept); lacking(after, before)+lacking(before, after) != "" {
		t.Errorf("after the manager's death the network has no more\n%s\nand has\n%s", lacking(after, before), lacking(before, after))
	}
	m.reaches(t, "client", "web:80")
	m.reaches(t, "", "127.0.0.1:8080")
	m.refused(t, "third", "web:80")
	m.reaches(t, "a", "10.1.0.3:80")
}

// lacking gives the lines of b that a has not.
func lacking(a, b string) (lines string) {
	for line := range strings.Lines(b) {
		if !strings.Contains(a, strings.TrimSpace(line)) {
			lines += line
		}
	}
	return lines
}

// testNetworkGone: units that have no file any more leave nothing. The bridge and
// its table, in which only counters are left, are the instance's, and last as long
// as that.
func testNetworkGone(t *testing.T, m *machine, before string) {
	m.sh(t, "cd /etc/nsinit/units && nsctl stop web client third a b x bridge1 bridge2 private1 private2 pass && mkdir /run/kept && "+
		"mv web.toml client.toml third.toml a.toml b.toml x.toml again.toml bridge?.toml private?.toml pass.toml second.toml /run/kept && nsctl daemon-reload")
	m.until(t, "test -z \"$(ls /run/nsinit/netns)\"")
	rest := `| grep -v -e nsbr0 -e '10\.80\.0\.' -e 'fd80:'`
	if after := m.sh(t, "("+networkState+") "+rest); after != before {
		t.Errorf("the network, which was\n%s\nis\n%s", before, after)
	}
	if got := m.sh(t, "nft list ruleset | grep -v 'counter packets'"); strings.Contains(got, "8080") || strings.Contains(got, "10.80.0.2") {
		t.Errorf("rules of units are left:\n%s", got)
	}
}

// testModuleMissing takes 8021q out of the kernel, which finds it nowhere again:
// the image has no index for modprobe.
func testModuleMissing(t *testing.T, m *machine) {
	m.sh(t, "rmmod 8021q && mv /run/kept/a.toml /etc/nsinit/units/ && nsctl daemon-reload")
	m.wantError(t, "a", "the kernel module 8021q is missing: modprobe 8021q; process 1 loads those that /etc/nsinit/modules lists")
	m.sh(t, "insmod $(grep 8021q /etc/nsinit/modules)")
	m.start(t, "a")
}
