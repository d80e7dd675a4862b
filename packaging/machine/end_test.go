package machine_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The units of a machine that keeps its data on an ext4 disk.
var withDisk = map[string]string{
	"disk": "[service]\ntype = \"oneshot\"\nremain_after_exit = true\nexec_start = \"/bin/mount -t ext4 /dev/vda /srv\"\n[isolation]\nprofile = \"host\"\n",
	"writer": shell("while :; do date >/srv/new && mv /srv/new /srv/now; dd if=/dev/zero of=/srv/data bs=64k count=16 2>/dev/null; done",
		"[isolation]", `profile = "host"`, "[unit]", `requires = "disk"`, `after = "disk"`, "[install]", `wanted_by = "default"`),
	"redis": "[service]\ntype = \"notify\"\nexec_start = \"/usr/bin/redis-server --supervised systemd --dir /var/lib/redis\"\nuser = \"redis\"\n" +
		"[filesystem]\nstate_directory = [{ path = \"redis\", mode = \"0750\" }]\n[install]\nwanted_by = \"default\"\n",
	"one": service, "two": service,
}

// ext4 makes a disk with a file system.
func ext4(t *testing.T) string {
	t.Helper()
	file := disk(t, 64)
	hostRun(t, "mke2fs", "-q", "-t", "ext4", file)
	return file
}

func hostRun(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

// wantClean looks at a file system that no machine uses: it is sound, and its
// journal has nothing to replay.
func wantClean(t *testing.T, file string) {
	t.Helper()
	hostRun(t, "e2fsck", "-f", "-n", file)
	if said := hostRun(t, "dumpe2fs", "-h", file); strings.Contains(said, "needs_recovery") {
		t.Error("the file system was not unmounted: its journal needs recovery")
	}
}

// withShell adds the example's shell on the console, which as an interactive one
// ignores SIGTERM.
func withShell(t *testing.T, units map[string]string) map[string]string {
	t.Helper()
	shell, err := os.ReadFile("../appliance/example/units/shell@.toml")
	if err != nil {
		t.Fatal(err)
	}
	units = maps.Clone(units)
	units["shell@"], units["default"] = string(shell), "[unit]\nwants = [\"shell@ttyS0\"]\n"
	return units
}

// TestEndings: every way to end a machine that runs services leaves its disk
// clean, and says to QEMU what was meant. In between it boots again.
func TestEndings(t *testing.T) {
	file := ext4(t)
	m := newMachine(t, image{units: withShell(t, withDisk)})
	for _, way := range []struct {
		name, reason string
		end          func() error
	}{
		{"ctrl-alt-del", "guest-reset", func() error { return m.qmp.keys("ctrl", "alt", "delete") }},
		{"SIGTERM", "guest-reset", func() error { _, err := m.run("kill -15 1", patience); return err }},
		{"poweroff", "guest-shutdown", func() error { _, err := m.run("poweroff", patience); return err }},
	} {
		t.Run(way.name, func(t *testing.T) {
			m.on(t, power{disks: []string{file}})
			m.ready(t)
			m.until(t, "nsctl is-active disk writer redis one two shell@ttyS0 >/dev/null")
			m.until(t, "test -e /srv/now")
			m.off = true
			way.end() // the machine may be gone before the answer comes
			if reason := m.wentOff(t, patience); reason != way.reason {
				t.Errorf("the machine went off by %q, want %q", reason, way.reason)
			}
			wantClean(t, file)
		})
	}
}

// TestShutdownHasADeadline: twenty services that ignore SIGTERM, each of which
// may take ten minutes, do not keep the machine longer than nsinit.stop_timeout.
func TestShutdownHasADeadline(t *testing.T) {
	units := map[string]string{}
	for name, text := range withDisk {
		units[name] = text
	}
	for i := range 20 {
		units[fmt.Sprintf("stubborn%d", i)] = shell("trap : TERM; while :; do sleep 1000; done", "timeout_stop_sec = 600", "[install]", `wanted_by = "default"`)
	}
	const deadline = 8 * time.Second
	file := ext4(t)
	m := boot(t, image{units: units}, power{disks: []string{file}, append: fmt.Sprintf("nsinit.stop_timeout=%d", int(deadline.Seconds()))})
	for i := range 20 {
		m.until(t, fmt.Sprintf("nsctl is-active stubborn%d >/dev/null", i))
	}
	began := time.Now()
	m.off = true
	m.run("kill -USR2 1", patience)
	if reason := m.wentOff(t, deadline+patience); reason != "guest-shutdown" {
		t.Errorf("the machine went off by %q", reason)
	}
	t.Logf("off after %v, the deadline is %v", time.Since(began).Round(100*time.Millisecond), deadline)
	wantClean(t, file)
}

// TestPowerCut: whatever was being written when the power went, the next boot
// has every unit.
func TestPowerCut(t *testing.T) {
	file := ext4(t)
	m := newMachine(t, image{units: withDisk})
	for range 3 {
		m.on(t, power{disks: []string{file}})
		m.ready(t)
		m.until(t, "nsctl is-active disk writer redis one two shell@ttyS0 >/dev/null")
		m.until(t, "test -e /srv/now")
		time.Sleep(time.Duration(rand.IntN(1000)) * time.Millisecond) // the moment is the test
		m.cut()
	}
	hostRun(t, "e2fsck", "-p", file) // replays the journal, and fails if that was not enough
}

// TestSquashfsRoot: the initramfs hands over to a root that cannot be written.
func TestSquashfsRoot(t *testing.T) {
	m := newMachine(t, image{disk: true, units: map[string]string{"redis": withDisk["redis"], "one": service}})
	m.on(t, power{append: "root=/dev/vda nsinit.overlay", disks: []string{m.image + "/root.squashfs"}})
	m.ready(t)
	if got := m.sh(t, "cat /proc/mounts"); !strings.Contains(got, "/dev/vda ") && !strings.Contains(got, "overlay / overlay") {
		t.Errorf("the root is not the disk under an overlay:\n%s", got)
	}
	if got := m.sh(t, "readlink /proc/1/exe"); got != "/usr/sbin/nsinit" {
		t.Errorf("process 1 is %s", got)
	}
	m.until(t, "nsctl is-active one >/dev/null")
	m.until(t, "nsctl is-active redis >/dev/null")
	wantKernelTime(t, m)
	if said := m.sh(t, "dmesg | grep \"Can't find\" || true"); said != "" {
		t.Errorf("noise about types that the root is not: %s", said)
	}
}

// wantKernelTime: the kernel's share of a boot ends where it runs the first
// program of the initramfs, not where it makes the process for that, nor where
// the init of the root follows.
func wantKernelTime(t *testing.T, m *machine) {
	t.Helper()
	stamp := func(line string) float64 {
		text := m.sh(t, "dmesg | sed -n 's/^\\[ *\\([0-9.]*\\)\\] "+line+".*/\\1/p' | tail -n 1")
		seconds, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatalf("the kernel's log has no line %q: %v", line, err)
		}
		return seconds
	}
	var times struct {
		Kernel float64 `json:"kernel_nsec"`
	}
	if err := json.Unmarshal([]byte(m.until(t, "nsctl analyze --json")), &times); err != nil {
		t.Fatal(err)
	}
	first, second := stamp("Run .init as init process"), stamp("nsinit: nsinit .* is process 1")
	if took := times.Kernel / 1e9; took < first/2 || took > second {
		t.Errorf("the kernel took %v s, want what its log says: between %v and %v", took, first, second)
	}
}
