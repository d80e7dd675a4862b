package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// netHost is the network of a machine, and that of its neighbour, for an instance
// whose links, routes, rules and sysctls are not to be this machine's. The link
// between the two is up0 in both: 192.0.2.1 is the machine, 192.0.2.2 the neighbour.
type netHost struct {
	host, outside string // names of network namespaces
	before        string // what the machine's has before a manager runs
	script        string // run by sh before a manager, in a mount namespace of its own; $0 and $@ are the manager
}

// newNetHost makes both. Their names have not the instance's in them, or they
// would count as left by it.
func newNetHost(in *instance) (*netHost, error) {
	number := strings.TrimPrefix(in.name, "nst")
	h := &netHost{host: "nsth" + number, outside: "nsto" + number}
	script := `set -e
ip netns add $H; ip netns add $O
for n in $H $O; do ip -n $n link set lo up; done
ip -n $H link add up0 type veth peer name up0 netns $O
ip -n $H address add 192.0.2.1/24 dev up0
ip -n $O address add 192.0.2.2/24 dev up0
for n in $H $O; do ip -n $n link set up0 up; done
ip -n $H route add default via 192.0.2.2`
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = append(os.Environ(), "H="+h.host, "O="+h.outside)
	if out, err := cmd.CombinedOutput(); err != nil {
		h.destroy()
		return nil, fmt.Errorf("cannot make a network: %v: %s", err, out)
	}
	var err error
	h.before, err = h.state()
	return h, err
}

// state is what an orderly stop leaves as it found it: links, addresses, routes,
// rules and forwarding.
func (h *netHost) state() (string, error) {
	script := `ip -br link | sed 's/<.*//'; ip -br address | sed 's/fe80[^ ]*//'; ip route; ip -6 route | grep -v fe80; nft list ruleset; cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding; true`
	out, err := h.command("sh", "-c", script).CombinedOutput()
	return string(out), err
}

// command is one that runs in the machine's network, with the mounts of the test:
// a manager that did not have those would not find what the one before has pinned.
func (h *netHost) command(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=/run/netns/" + h.host, name}, args...)...)
}

// manager is command for a manager, that sees what script has mounted.
func (h *netHost) manager(name string, args ...string) *exec.Cmd {
	if h.script == "" {
		return h.command(name, args...)
	}
	return h.command("unshare", append([]string{"--mount", "sh", "-ec", h.script + "\nexec \"$0\" \"$@\"", name}, args...)...)
}

func (h *netHost) left() (list []string) {
	after, err := h.state()
	if err != nil {
		return []string{err.Error()}
	}
	if after != h.before {
		list = append(list, fmt.Sprintf("in the machine's network, which was\n%sand is\n%s", h.before, after))
	}
	return list
}

func (h *netHost) destroy() {
	for _, name := range []string{h.host, h.outside} {
		if _, err := os.Stat(filepath.Join("/run/netns", name)); err == nil {
			exec.Command("ip", "netns", "delete", name).Run()
		}
	}
}

// needNetwork fails where programs are missing that networks are tested with.
func needNetwork() error {
	for _, program := range []string{"ip", "nft", "nsenter", "curl", "nginx"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("no %s here: packaging/deps.sh iproute2 nftables util-linux curl nginx", program)
		}
	}
	return nil
}

// TestNetworkExample runs examples/network: the web server is reached by a port
// of the machine and by the unit that may, and by nobody else.
func TestNetworkExample(t *testing.T) {
	needBinaries(t)
	if err := needNetwork(); err != nil {
		t.Fatal(err)
	}
	units := map[string]string{"stranger": "[service]\nexec_start = '@PROBE@ run'\n[network]\nmode = 'veth'\n"}
	for _, name := range []string{"web", "monitor"} {
		text, err := os.ReadFile(filepath.Join("../../examples/network", name+".toml"))
		if err != nil {
			t.Fatal(err)
		}
		units[name] = string(text)
	}
	in := idleInstance(t, units)
	var err error
	if in.net, err = newNetHost(in); err != nil {
		t.Fatal(err)
	}
	if err := in.start(); err != nil {
		t.Fatal(err)
	}
	if out, stderr, code := in.nsctl("start", "web", "monitor", "stranger"); code != 0 {
		t.Fatalf("nsctl start: exit %d: %s%s", code, out, stderr)
	}
	for what, args := range map[string][]string{
		"the machine":   {"netns", "exec", in.net.host, "curl", "-sI", "http://127.0.0.1:8080/"},
		"the neighbour": {"netns", "exec", in.net.outside, "curl", "-sI", "http://192.0.2.1:8080/"},
	} {
		err := eventually("the web server's answer to "+what, func() (bool, string) {
			out, err := exec.Command("ip", args...).Output()
			return err == nil && strings.HasPrefix(string(out), "HTTP/1.1 200"), string(out)
		})
		if err != nil {
			t.Error(err)
		}
	}
	err = eventually("the monitor's log", func() (bool, string) {
		out, _, _ := in.nsctl("logs", "-o", "cat", "-u", "monitor")
		return strings.Contains(out, "HTTP/1.1 200"), out
	})
	if err != nil {
		t.Error(err)
	}
	if out, _, code := in.nsctl("exec", "stranger", "curl", "-sI", "--max-time", "2", "http://web/"); code == 0 {
		t.Errorf("a unit that may not connect reads %s", out)
	}
}

// cmdNetworkHost: network-host. Managers of the script run in a network of its
// own from then on; $HOST and $OUTSIDE name the namespaces.
func cmdNetworkHost(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(needNetwork())
	h, err := newNetHost(its(ts))
	ts.Check(err)
	its(ts).net = h
	ts.Setenv("HOST", h.host)
	ts.Setenv("OUTSIDE", h.outside)
}

// cmdWaitExec: wait-exec REGEXP PROGRAM ARG...: until it ends well and says so.
func cmdWaitExec(ts *testscript.TestScript, _ bool, args []string) {
	need(ts, len(args) > 1, "wait-exec REGEXP PROGRAM [ARG...]")
	ts.Check(eventually(strings.Join(args[1:], " "), func() (bool, string) {
		cmd := exec.Command(args[1], args[2:]...)
		if args[1] == "nsctl" {
			cmd = exec.Command(filepath.Join(its(ts).bin, "nsctl"), args[2:]...)
		}
		cmd.Env = append(os.Environ(), "NSCTL_SOCKET="+its(ts).socket())
		out, err := cmd.CombinedOutput()
		return err == nil && matches(args[0], string(out)), fmt.Sprintf("%s%v", out, err)
	}))
}
