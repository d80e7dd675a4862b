package network

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/network/filter"
)

// A manager that is killed is a process of this program that is told what to do by
// these, and dies at its turn of calling the kernel.
const (
	killedTask = "NSINIT_NETWORK_KILLED"
	killedDir  = "NSINIT_NETWORK_KILLED_DIR"
)

func killConfig(dir string) Config {
	return Config{Instance: "nettest", Dir: dir, Bridges: []Bridge{{Name: DefaultBridge, Pools: twoPools, NAT: true}}}
}

func killSpecs() (db, web Spec) {
	db, web = veth("db"), veth("web")
	db.From = []filter.Peer{peer("web", 80)}
	web.Publish = []filter.Port{{First: 8080, Last: 8080, To: 80, Proto: filter.UDP}}
	web.Links = append(web.Links, Link{Name: "lan", Kind: Macvlan, Parent: "eth0", Mode: "bridge", Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/24")}})
	return db, web
}

// killTasks are what a manager may be at.
var killTasks = map[string]func(*Network) error{
	"attach": attachBoth, // the next attaches too
	"begin":  attachBoth, // the next is told to end at once
	"change": func(n *Network) error {
		_, web := killSpecs()
		web.Links[0].MTU = 1400
		return attachAll(n, web)
	},
	"release": func(n *Network) error { return n.Release("db", "web") },
	"end":     func(n *Network) error { return n.Close(true) },
}

func attachBoth(n *Network) error {
	db, web := killSpecs()
	return attachAll(n, db, web)
}

func attachAll(n *Network, list ...Spec) error {
	for _, s := range list {
		a, err := n.Attach(s)
		if err != nil {
			return err
		}
		unix.Close(a.NetNS)
	}
	return nil
}

// killedMain is the manager that is killed. Without a kill it ends with 0.
func killedMain(task string) int {
	n, err := Open(killConfig(os.Getenv(killedDir)))
	if err == nil {
		err = killTasks[task](n)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// changing are the calls that may change something, in the kernel or in files.
var changing = []uint64{unix.SYS_SENDTO, unix.SYS_SENDMSG, unix.SYS_WRITE, unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_MKDIRAT, unix.SYS_RENAMEAT, unix.SYS_UNLINKAT, unix.SYS_UNSHARE}

// enters gives the number of the system call that a stopped thread enters
// (PTRACE_GET_SYSCALL_INFO of ptrace(2), Linux 5.3).
func enters(tid int) (nr uint64, ok bool) {
	var info struct {
		op   uint8
		_    [3]byte
		arch uint32
		_    [2]uint64
		nr   uint64
		_    [8]uint64
	}
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, 0x420e, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	return info.nr, errno == 0 && info.op == 1
}

// killAt runs a manager and kills it where it enters its turn'th call that may
// change something. It reports whether the manager came to its end before that.
func killAt(t *testing.T, task, dir string, turn int) (ended bool) {
	t.Helper()
	runtime.LockOSThread() // ptrace(2) is of a thread
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), killedTask+"="+task, killedDir+"="+dir)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Release()
	pid, calls := cmd.Process.Pid, 0
	for first := true; ; first = false {
		var status unix.WaitStatus
		tid, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
		if err != nil {
			t.Fatal(err)
		}
		if first {
			if err := unix.PtraceSetOptions(pid, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_EXITKILL); err != nil {
				t.Fatal(err)
			}
		}
		if status.Exited() || status.Signaled() {
			if tid != pid {
				continue
			}
			if status.Exited() && status.ExitStatus() != 0 {
				t.Fatalf("the manager that is at %s fails", task)
			}
			return status.Exited()
		}
		pass := 0
		switch signal := status.StopSignal(); signal {
		case unix.SIGTRAP | 0x80:
			if nr, ok := enters(tid); ok && slices.Contains(changing, nr) {
				if calls++; calls == turn {
					unix.Kill(pid, unix.SIGKILL)
				}
			}
		case unix.SIGTRAP, unix.SIGSTOP: // a thread begins
		default:
			pass = int(signal)
		}
		unix.PtraceSyscall(tid, pass) // it may have been killed
	}
}

// accounted wants each link of the host that can be of the instance to be a bridge's
// or a unit's.
func accounted(t *testing.T, n *Network) {
	t.Helper()
	known := map[string]bool{"lo": true, "eth0": true}
	for _, b := range n.bridges {
		known[b.Link] = true
	}
	for _, st := range n.Attached() {
		for _, l := range st.Links {
			known[l.Host] = true
		}
	}
	links, err := n.host.links()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if !known[l.name] {
			t.Errorf("%s is left, and nobody's", l.name)
		}
	}
}

// Whatever a manager is at when it is killed, the next has all as it is wanted, and
// at the end nothing is left.
func TestKilledAtEveryCall(t *testing.T) {
	machine(t)
	was := traces{baseline(t), allSettings(t)}
	for _, task := range []string{"attach", "begin", "change", "release", "end"} {
		t.Run(task, func(t *testing.T) {
			turn := 1
			for ended := false; !ended && !t.Failed(); turn++ {
				ended = killedOnce(t, was, task, turn)
			}
			t.Logf("killed at %d calls", turn-2)
			if turn < 20 {
				t.Error("the manager is not killed where it is at work")
			}
		})
	}
}

// traces are what a network may leave on the host.
type traces struct {
	baseline string
	settings map[string]string
}

func killedOnce(t *testing.T, was traces, task string, turn int) (ended bool) {
	t.Helper()
	hold := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("killed at call %d of %s: %v", turn, task, err)
		}
	}
	dir, err := os.MkdirTemp(t.TempDir(), "")
	hold(err)
	db, web := killSpecs()
	if task != "attach" && task != "begin" {
		n, err := Open(killConfig(dir))
		hold(err)
		hold(attachAll(n, db, web, veth("stays")))
		hold(n.Close(false))
	}
	ended = killAt(t, task, dir, turn)

	n, err := Open(killConfig(dir))
	hold(err)
	accounted(t, n)
	switch task {
	case "release":
		hold(n.Release("db", "web"))
		answersFrom(t, n, "stays", "10.80.0.4")
	case "attach", "change":
		hold(attachAll(n, db, web))
		answersFrom(t, n, "web", "10.80.0.3")
	}
	hold(n.Close(true))
	if after := baseline(t); after != was.baseline {
		t.Errorf("killed at call %d of %s: the host has\n%s\nhad\n%s", turn, task, after, was.baseline)
	}
	after := allSettings(t)
	for path, value := range was.settings {
		if after[path] != value {
			t.Errorf("killed at call %d of %s: %s is %q, was %q", turn, task, path, after[path], value)
		}
	}
	if left, _ := filepath.Glob(dir + "/*"); len(left) > 0 {
		t.Errorf("killed at call %d of %s: %v is left", turn, task, left)
	}
	return ended
}

// answersFrom wants the host to reach a unit at the address, over a link of its own.
func answersFrom(t *testing.T, n *Network, unit, address string) {
	t.Helper()
	serve(t, n.pin(unit), "udp", address+":80")
	answers(t, hostSpace, "udp", address+":80", "10.80.0.1")
}
