package pid1

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func TestOrders(t *testing.T) {
	machine := map[syscall.Signal]ending{unix.SIGINT: reboot, unix.SIGTERM: reboot, unix.SIGUSR1: halt, unix.SIGUSR2: powerOff, unix.SIGPWR: powerOff,
		37: halt, 38: powerOff, 39: reboot, 40: kexec}
	for n := syscall.Signal(0); n <= signals; n++ {
		if got := orderOf(n, false); got != machine[n] {
			t.Errorf("signal %d asks a machine for %v; want %v", n, got, machine[n])
		}
		want := machine[n]
		if n == unix.SIGINT || n == unix.SIGTERM {
			want = powerOff
		}
		if got := orderOf(n, true); got != want {
			t.Errorf("signal %d asks a container for %v; want %v", n, got, want)
		}
	}
}

func TestCmdline(t *testing.T) {
	for _, c := range []struct {
		line  string
		want  func(*cmdline)
		wrong []string
	}{
		{"", func(*cmdline) {}, nil},
		{"BOOT_IMAGE=/vmlinuz console=ttyS0 panic=-1 quiet\n", func(c *cmdline) { c.quiet = true }, nil},
		{"nsinit.unit=web nsinit.debug nsinit.watchdog=30", func(c *cmdline) { c.unit, c.debug, c.watchdog = "web", true, 30*time.Second }, nil},
		{"nsinit.rescue", func(c *cmdline) { c.rescueFirst = true }, nil},
		{"nsinit.rescue=reboot nsinit.stop_timeout=7", func(c *cmdline) { c.onFailure, c.stopTimeout = reboot, 7*time.Second }, nil},
		{"nsinit.rescue=shell", func(c *cmdline) { c.rescueShell = true }, nil},
		{"nsinit.rescue=dance nsinit.stop_timeout=0 nsinit.unit= nsinit.no rootwait=x nsinit.watchdog=1min", func(*cmdline) {},
			[]string{"nsinit.rescue=dance", "nsinit.stop_timeout=0", "nsinit.unit=", "nsinit.no", "rootwait=x", "nsinit.watchdog=1min"}},
		{`root="LABEL=my root" rootfstype=squashfs,ext4 rootflags=noatime,a=b rw init=/bin/x`, func(c *cmdline) {
			c.root, c.rootTypes, c.rootFlags, c.rootWrite, c.init = "LABEL=my root", []string{"squashfs", "ext4"}, "noatime,a=b", true, "/bin/x"
		}, nil},
		{"rw ro rootwait nsinit.overlay", func(c *cmdline) { c.rootWait, c.overlay = forever, true }, nil},
		{"quiet -- nsinit.debug --unit=x", func(c *cmdline) { c.quiet = true }, nil},
	} {
		want := cmdline{stopTimeout: defaultStop, rootWait: defaultRootWait}
		c.want(&want)
		if got, wrong := parseCmdline(c.line); !reflect.DeepEqual(got, want) && c.wrong == nil || !reflect.DeepEqual(wrong, c.wrong) {
			t.Errorf("%q:\n%+v, wrong %q; want\n%+v, wrong %q", c.line, got, wrong, want, c.wrong)
		}
	}
}

// Whatever a boot loader hands over, process 1 reads it.
func TestParsersTakeAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		line := rapid.String().Draw(t, "line")
		parseCmdline(line)
		parseModule(line, "/lib/modules/1")
		mountOptions(line)
		unescape(line)
	})
}

func TestParseModule(t *testing.T) {
	for line, want := range map[string][2]string{
		"kernel/a.ko\n": {"/m/kernel/a.ko", ""}, "/x/b.ko p=1  q=2": {"/x/b.ko", "p=1  q=2"}, "# no": {}, "  \n": {}, "": {},
	} {
		path, parameters, ok := parseModule(line, "/m")
		if path != want[0] || parameters != want[1] || ok != (want[0] != "") {
			t.Errorf("%q: %q %q %v", line, path, parameters, ok)
		}
	}
}

func TestMountOptions(t *testing.T) {
	flags, data := mountOptions("noatime,subvol=a,,ro,rw,nodev,compress")
	if flags != unix.MS_NOATIME|unix.MS_RDONLY|unix.MS_NODEV || data != "subvol=a,compress" {
		t.Errorf("%#x %q", flags, data)
	}
}

// A manager that is killed again and again, but was ready each time, is started
// again and again; one that never gets there is given up after some seconds.
func TestDeaths(t *testing.T) {
	var d deaths
	for i := range deathsMax - 1 {
		if wait, hopeless := d.next(true, time.Second); hopeless || wait > readyWait || wait < firstWait {
			t.Fatalf("killed %d times: wait %v, hopeless %v", i+1, wait, hopeless)
		}
	}
	if _, hopeless := d.next(true, time.Second); !hopeless {
		t.Error("a manager that is never up for a minute is no reason to do something else")
	}
	d = deaths{}
	var sum time.Duration
	for i := 1; ; i++ {
		wait, hopeless := d.next(false, time.Millisecond)
		if hopeless {
			if i != unreadyMax || wait != longLife {
				t.Errorf("given up after %d starts, next in %v", i, wait)
			}
			break
		}
		sum += wait
	}
	if sum < 5*time.Second || sum > 30*time.Second {
		t.Errorf("given up after %v", sum)
	}
	d = deaths{count: deathsMax - 1, unready: unreadyMax - 1}
	if wait, hopeless := d.next(false, longLife); hopeless || wait != firstWait {
		t.Errorf("after a long life: wait %v, hopeless %v", wait, hopeless)
	}
}

func TestUnescape(t *testing.T) {
	if got := unescape(`/a\040b\134c\`); got != `/a b\c\` {
		t.Errorf("%q", got)
	}
}

// The init of another root is found through that root's links, and not through
// this one's.
func TestFindInit(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"usr/sbin", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := findInit(root, ""); err == nil || !strings.Contains(err.Error(), "/sbin/init") {
		t.Errorf("an empty root: %v", err)
	}
	os.Symlink("usr/sbin", filepath.Join(root, "sbin"))
	os.Symlink("/usr/sbin/real", filepath.Join(root, "usr/sbin/init"))
	if _, err := findInit(root, ""); err == nil {
		t.Error("a link to nothing is no init")
	}
	if err := os.WriteFile(filepath.Join(root, "usr/sbin/real"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if path, err := findInit(root, ""); err != nil || path != "/sbin/init" {
		t.Errorf("%q, %v", path, err)
	}
	if _, err := findInit(root, "/bin/sh"); err == nil {
		t.Error("/bin/sh of this machine was taken for one of the root's")
	}
}

// Nothing is collected any more once process 1 runs: what happens often must not
// allocate. (Writing a line about a signal goes to a descriptor that is none.)
func TestEventsDoNotAllocate(t *testing.T) {
	orders := make(chan os.Signal, 1)
	p := &pid1{signals: orders, timer: time.NewTimer(time.Hour), say: reporter{kmsg: -1, console: -1}}
	for i := range p.say.lines {
		p.say.lines[i] = []byte("ignored\n")
	}
	n := syscall.Signal(0)
	if got := testing.AllocsPerRun(1000, func() {
		n = (n + 1) % signals
		if orderOf(n, false) != stay {
			n = unix.SIGWINCH
		}
		orders <- n
		p.wait(p.reap())
		p.childless()
		p.manager.due = time.Now()
		p.wait(false)
		p.manager.due = time.Time{}
	}); got != 0 {
		t.Errorf("%v allocations for a signal, a wait and a look for children", got)
	}
}

// nsinit.rescue=reboot: a manager that cannot be started is not waited for. A
// container ends, and its code says that it failed.
func TestHopeless(t *testing.T) {
	for _, c := range []struct {
		container bool
		want      ending
		code      int
	}{{false, reboot, 0}, {true, powerOff, 1}} {
		p := &pid1{container: c.container, timer: time.NewTimer(time.Hour), say: reporter{kmsg: -1, console: -1}, manager: newManager()}
		p.cmd.onFailure = reboot
		p.manager.path, p.manager.due, p.manager.deaths = "/dev/null/nsinit", time.Now(), deaths{unready: unreadyMax - 1}
		p.serve() // would sleep for a minute
		if p.asked != c.want || p.exitCode != c.code {
			t.Errorf("container %v: asked for %v, exit status %d", c.container, p.asked, p.exitCode)
		}
	}
}

// A fault in one step is said, and what follows it is done.
func TestSurvive(t *testing.T) {
	said, out := pipe(t)
	p := &pid1{say: reporter{kmsg: -1, console: out}}
	p.survive(func() { panic("of a test") })
	b := make([]byte, 256)
	if n, _ := unix.Read(said, b); !strings.Contains(string(b[:max(n, 0)]), "internal error: of a test; going on") {
		t.Errorf("it said %q", b[:max(n, 0)])
	}
}

// What hangs is given up, and what faults has ended.
func TestWithin(t *testing.T) {
	p := &pid1{say: reporter{kmsg: -1, console: -1}}
	release := make(chan struct{})
	if p.within(10*time.Millisecond, func() { <-release }) {
		t.Error("what never ends has ended")
	}
	close(release)
	if !p.within(time.Minute, func() { panic("of a test") }) {
		t.Error("a fault was waited for")
	}
}

// A container's log that nobody reads must not stop process 1, nor become
// non-blocking for those who share the descriptor.
func TestFullLogIsNotWaitedFor(t *testing.T) {
	_, out := pipe(t)
	say := reporter{kmsg: -1, console: nonblocking(out)}
	if say.console == out {
		t.Fatal("the pipe was not opened anew: the test would hang")
	}
	defer unix.Close(say.console)
	for range 1 << 12 {
		say.warn("%s", strings.Repeat("x", 64))
	}
	if flags, err := unix.FcntlInt(uintptr(out), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("flags of the descriptor: %#o, %v", flags, err)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if got := nonblocking(int(file.Fd())); got != int(file.Fd()) {
		t.Error("a file was opened anew, and would be written from its beginning")
	}
}

// Ctrl-alt-del ends the wait for a disk that never comes.
func TestWaitForRootHearsOrders(t *testing.T) {
	orders := make(chan os.Signal, 1)
	p := &pid1{signals: orders, timer: time.NewTimer(time.Hour), say: reporter{kmsg: -1, console: -1}}
	p.cmd.root, p.cmd.rootWait = "/dev/none-such", forever
	orders <- unix.SIGINT
	if _, err := p.rootDevice(); err == nil || p.asked != reboot {
		t.Errorf("%v, asked for %v", err, p.asked)
	}
}

// Memory is collected before it grows without bound.
func TestBoundMemory(t *testing.T) {
	procs := runtime.GOMAXPROCS(0)
	t.Cleanup(func() {
		runtime.GOMAXPROCS(procs)
		debug.SetGCPercent(100)
		debug.SetMemoryLimit(math.MaxInt64)
	})
	boundMemory()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 512 {
		garbage = make([]byte, 1<<20)
	}
	runtime.ReadMemStats(&after)
	if after.NumGC == before.NumGC {
		t.Errorf("nothing was collected; %d MiB in use", after.Sys>>20)
	}
}

var garbage []byte

func pipe(t *testing.T) (read, write int) {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	return fds[0], fds[1]
}

func TestRootLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shadow")
	if rootLocked(path) {
		t.Error("without the file nothing is locked")
	}
	for line, want := range map[string]bool{
		"root:!*:::::::": true, "root:*:19000::::::": true, "root:!$6$x$y:::::::": true,
		"root:$6$x$y:::::::": false, "root::::::::": false, "other:!:::::::": false, "bin:!:::::::\nroot:!:::::::": true,
	} {
		if err := os.WriteFile(path, []byte(line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := rootLocked(path); got != want {
			t.Errorf("%q: locked is %v, want %v", line, got, want)
		}
	}
}
