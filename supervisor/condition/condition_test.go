package condition

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nsinit/nsinit/unit"
)

// machine makes a directory that stands for the root of a machine. A content
// that begins with "->" makes a link, a path that ends in "/" a directory.
func machine(t *testing.T, files map[string]string) Host {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		target, link := strings.CutPrefix(content, "->")
		switch {
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(p, 0o755)
		case link:
			err = os.Symlink(target, p)
		default:
			err = os.WriteFile(p, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return Host{Root: root, Release: "6.1.0-18-amd64", Architecture: "x86-64", Name: "Web1.example.org", Memory: 4 << 30, CPUs: 2,
		Capabilities: 1<<12 | 1<<0, Groups: []int{0, 4}, Environ: []string{"PATH=/bin", "DEBUG=1"}, Controllers: []string{"cpu", "memory"}}
}

// holdsCase is a value of a condition and what it comes out as: "yes", "no",
// or "bad" for one that cannot be evaluated.
type holdsCase struct{ kind, value, want string }

func checkCases(t *testing.T, h Host, cases []holdsCase) {
	t.Helper()
	for _, tt := range cases {
		c, err := unit.ParseCondition(tt.kind, tt.value)
		if err != nil {
			t.Errorf("%s=%s: %v", tt.kind, tt.value, err)
			continue
		}
		got := "yes"
		failure := Check([]unit.Condition{c}, h)
		if failure != nil {
			got = "no"
			if strings.Contains(failure.Error(), "cannot evaluate") {
				got = "bad"
			}
		}
		if got != tt.want {
			t.Errorf("%s=%s: %s, want %s (%v)", tt.kind, tt.value, got, tt.want, failure)
		}
		c.Negate = !c.Negate
		if negated := Check([]unit.Condition{c}, h); tt.want != "bad" && (negated == nil) == (failure == nil) {
			t.Errorf("%s: its negation comes out the same", c)
		} else if tt.want == "bad" && negated == nil {
			t.Errorf("%s cannot be evaluated and its negation holds", tt.kind)
		}
	}
}

func TestFileConditions(t *testing.T) {
	h := machine(t, map[string]string{"etc/a.conf": "x", "etc/b.conf": "", "empty/": "", "backups/.x": "1", "backups/y~": "1",
		"full/x": "1", "link": "->etc/a.conf", "dirlink": "->full", "dangling": "->nowhere", "bin/run": "#!"})
	if err := os.Chmod(filepath.Join(h.Root, "bin/run"), 0o755); err != nil {
		t.Fatal(err)
	}
	checkCases(t, h, []holdsCase{
		{"path_exists", "/etc/a.conf", "yes"}, {"path_exists", "!/etc/a.conf", "no"}, {"path_exists", "/nosuch", "no"},
		{"path_exists", "/dangling", "no"}, {"path_exists", "/etc/a.conf/x", "no"},
		{"path_exists_glob", "/etc/*.conf", "yes"}, {"path_exists_glob", "/etc/*.txt", "no"}, {"path_exists_glob", "/etc/[", "bad"},
		{"path_is_directory", "/etc", "yes"}, {"path_is_directory", "/dirlink", "yes"}, {"path_is_directory", "/link", "no"}, {"path_is_directory", "/x", "no"},
		{"path_is_symbolic_link", "/link", "yes"}, {"path_is_symbolic_link", "/dangling", "yes"}, {"path_is_symbolic_link", "/etc", "no"}, {"path_is_symbolic_link", "/x", "no"},
		{"path_is_read_write", "/etc", "yes"}, {"path_is_read_write", "/nosuch", "no"},
		{"path_is_mount_point", "/etc", "no"}, {"path_is_mount_point", "/nosuch", "no"},
		{"directory_not_empty", "/full", "yes"}, {"directory_not_empty", "/empty", "no"}, {"directory_not_empty", "/backups", "no"},
		{"directory_not_empty", "/link", "no"}, {"directory_not_empty", "/x", "no"},
		{"file_not_empty", "/etc/a.conf", "yes"}, {"file_not_empty", "/etc/b.conf", "no"}, {"file_not_empty", "/etc", "no"}, {"file_not_empty", "/x", "no"},
		{"file_is_executable", "/bin/run", "yes"}, {"file_is_executable", "/etc/a.conf", "no"}, {"file_is_executable", "/etc", "no"}, {"file_is_executable", "/x", "no"},
	})
	checkCases(t, Host{Root: "/"}, []holdsCase{{"path_is_mount_point", "/proc", "yes"}, {"path_is_mount_point", "/proc/self", "no"}})
}

func TestMachineConditions(t *testing.T) {
	h := machine(t, map[string]string{"etc/machine-id": "0123456789abcdef0123456789abcdef\n", "proc/cmdline": "root=/dev/sda quiet debug=1\n",
		"etc/passwd": "root:x:0:0::/:\nalice:x:1000:1000::/:\n", "etc/group": "root:x:0:\nadm:x:4:\nusers:x:100:\n"})
	checkCases(t, h, []holdsCase{
		{"architecture", "x86-64", "yes"}, {"architecture", "native", "yes"}, {"architecture", "arm64", "no"},
		{"host", "web1.example.org", "yes"}, {"host", "WEB*", "yes"}, {"host", "db*", "no"}, {"host", "[", "bad"},
		{"host", "01234567-89ab-cdef-0123-456789abcdef", "yes"}, {"host", "f123456789abcdef0123456789abcdef", "no"},
		{"kernel_command_line", "quiet", "yes"}, {"kernel_command_line", "debug", "yes"}, {"kernel_command_line", "debug=1", "yes"},
		{"kernel_command_line", "debug=2", "no"}, {"kernel_command_line", "qui", "no"},
		{"kernel_version", ">=5.10", "yes"}, {"kernel_version", ">= 5.10 < 6.2", "yes"}, {"kernel_version", "<6.1", "no"}, {"kernel_version", ">6.1", "yes"},
		{"kernel_version", "6.1.*", "yes"}, {"kernel_version", "5.*", "no"}, {"kernel_version", "=6.1.0-18-amd64", "yes"}, {"kernel_version", "!=6.1", "yes"}, {"kernel_version", ">=", "bad"},
		{"capability", "CAP_NET_ADMIN", "yes"}, {"capability", "CAP_KILL", "no"}, {"capability", "CAP_NOSUCH", "bad"},
		{"memory", "4G", "yes"}, {"memory", ">4G", "no"}, {"memory", "< 8G", "yes"}, {"memory", "5G", "no"}, {"memory", "x", "bad"},
		{"cpus", "2", "yes"}, {"cpus", ">=3", "no"}, {"cpus", "=2", "yes"}, {"cpus", "-1", "bad"},
		{"user", "root", "yes"}, {"user", "0", "yes"}, {"user", "@system", "yes"}, {"user", "alice", "no"}, {"user", "nobody", "bad"},
		{"group", "adm", "yes"}, {"group", "users", "no"}, {"group", "@system", "yes"}, {"group", "nosuch", "bad"},
		{"first_boot", "no", "yes"}, {"first_boot", "true", "no"}, {"first_boot", "maybe", "bad"},
		{"environment", "DEBUG", "yes"}, {"environment", "DEBUG=1", "yes"}, {"environment", "DEBUG=2", "no"}, {"environment", "NOSUCH", "no"},
		{"control_group_controller", "cpu memory", "yes"}, {"control_group_controller", "v2", "yes"}, {"control_group_controller", "v1", "no"}, {"control_group_controller", "cpu io", "no"},
		{"ac_power", "true", "yes"}, {"ac_power", "false", "no"}, {"security", "selinux", "no"}, {"security", "nosuch", "bad"},
		{"virtualization", "no", "yes"}, {"virtualization", "vm", "no"}, {"nosuch", "x", "bad"},
	})
}

func TestFirstBoot(t *testing.T) {
	for _, files := range []map[string]string{{}, {"etc/machine-id": ""}, {"etc/machine-id": "uninitialized\n"}} {
		checkCases(t, machine(t, files), []holdsCase{{"first_boot", "yes", "yes"}, {"first_boot", "no", "no"}})
	}
}

func TestPowerAndSecurity(t *testing.T) {
	supply := func(name, kind, attribute, value string) map[string]string {
		dir := "sys/class/power_supply/" + name + "/"
		return map[string]string{dir + "type": kind + "\n", dir + attribute: value + "\n"}
	}
	merge := func(maps ...map[string]string) map[string]string {
		all := map[string]string{}
		for _, m := range maps {
			for k, v := range m {
				all[k] = v
			}
		}
		return all
	}
	discharging := supply("BAT0", "Battery", "status", "Discharging")
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"mains online", merge(supply("AC", "Mains", "online", "1"), discharging), "yes"},
		{"mains offline, battery", merge(supply("AC", "Mains", "online", "0"), discharging), "no"},
		{"full battery on offline mains", merge(supply("AC", "Mains", "online", "0"), supply("BAT0", "Battery", "status", "Full")), "no"},
		{"a battery alone", discharging, "no"},
		{"a mouse", merge(supply("mouse", "Battery", "status", "Discharging"), supply("mouse", "Battery", "scope", "Device")), "yes"},
		{"a server with one dead supply", supply("AC", "Mains", "online", "0"), "yes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			checkCases(t, machine(t, tt.files), []holdsCase{{"ac_power", "true", tt.want}})
		})
	}
	h := machine(t, map[string]string{"sys/fs/selinux/enforce": "0", "sys/module/apparmor/parameters/enabled": "Y\n",
		secureBoot[1:]: "\x06\x00\x00\x00\x01", "sys/class/tpmrm/tpmrm0/": ""})
	checkCases(t, h, []holdsCase{{"security", "selinux", "yes"}, {"security", "apparmor", "yes"}, {"security", "uefi-secureboot", "yes"},
		{"security", "tpm2", "yes"}, {"security", "smack", "no"}, {"security", "ima", "no"}, {"security", "tomoyo", "no"}})
}

func TestVirtualization(t *testing.T) {
	for _, tt := range []struct {
		files     map[string]string
		environ   []string
		name, not string // what it is, and what it is not
	}{
		{map[string]string{"sys/class/dmi/id/sys_vendor": "QEMU\n"}, nil, "qemu", "container"},
		{map[string]string{"sys/class/dmi/id/product_name": "KVM\n"}, nil, "kvm", "container"},
		{map[string]string{"proc/cpuinfo": "flags : fpu hypervisor lm\n"}, nil, "vm-other", "container"},
		{map[string]string{"proc/1/environ": "A=1\x00container=lxc\x00"}, nil, "lxc", "vm"},
		{map[string]string{"sys/class/dmi/id/sys_vendor": "QEMU\n"}, []string{"container=docker"}, "docker", "vm"},
		{map[string]string{".dockerenv": ""}, nil, "docker", "vm"},
	} {
		h := machine(t, tt.files)
		h.Environ = tt.environ
		kind := map[bool]string{true: "vm", false: "container"}[tt.not == "container"]
		checkCases(t, h, []holdsCase{{"virtualization", tt.name, "yes"}, {"virtualization", kind, "yes"}, {"virtualization", "yes", "yes"},
			{"virtualization", tt.not, "no"}, {"virtualization", "no", "no"}, {"virtualization", "xen", "no"}})
	}
	machineUsers := machine(t, map[string]string{"proc/self/uid_map": "         0          0 4294967295\n"})
	checkCases(t, machineUsers, []holdsCase{{"virtualization", "private-users", "no"}})
	checkCases(t, machine(t, map[string]string{"proc/self/uid_map": "0 1000 1\n"}), []holdsCase{{"virtualization", "private-users", "yes"}})
}

func TestTriggers(t *testing.T) {
	h := machine(t, map[string]string{"yes": "x"})
	for _, tt := range []struct {
		values string
		want   string // part of the failure; "" holds
	}{
		{"", ""}, {"/yes", ""}, {"/yes !/no", ""}, {"/yes /no", "/no does not exist"},
		{"|/no |/yes", ""}, {"|/yes |/no", ""}, {"|/no |!/yes", "none of 2 triggering"}, {"|/no", "/no does not exist"},
		{"/yes |/no", "/no"}, {"/no |/yes", "/no does not exist"}, {"|/yes !/yes", "/yes exists"},
	} {
		var list []unit.Condition
		for _, value := range strings.Fields(tt.values) {
			c, err := unit.ParseCondition("path_exists", value)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, c)
		}
		failure := Check(list, h)
		if (failure == nil) != (tt.want == "") || failure != nil && !strings.Contains(failure.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.values, failure, tt.want)
		}
	}
}

func TestFailureInWords(t *testing.T) {
	h := machine(t, map[string]string{"etc/off": "x"})
	failure := Check([]unit.Condition{{Kind: "path_exists", Value: "/etc/off", Negate: true}}, h)
	if want := `path_exists = "!/etc/off" does not hold: /etc/off exists`; failure == nil || failure.Error() != want {
		t.Errorf("got %v, want %s", failure, want)
	}
}

func TestCompareVersions(t *testing.T) {
	rising := []string{"1~rc1", "1", "1-1", "1^post", "1.0", "1.0.1", "1.2", "1.10", "1.010.1", "2.0", "2a", "2b", "10"}
	for i, a := range rising {
		for j, b := range rising {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := compareVersions(a, b); got != want {
				t.Errorf("compareVersions(%q, %q) = %d, want %d", a, b, got, want)
			}
		}
	}
	if got := compareVersions("6.01", "6.1"); got != 0 {
		t.Errorf("6.01 against 6.1: %d", got)
	}
}

func TestProbe(t *testing.T) {
	h, err := Probe([]string{"cpu"})
	if err != nil {
		t.Fatal(err)
	}
	if h.CPUs < 1 || h.Memory == 0 || h.Release == "" || h.Architecture == "" || len(h.Groups) == 0 {
		t.Errorf("Probe() = %+v", h)
	}
}

// Every key that units may write can be evaluated.
func TestEveryKeyIsKnown(t *testing.T) {
	count := 0
	for _, key := range unit.Keys() {
		kind, found := strings.CutPrefix(key.Name, "condition_")
		if !found {
			kind, found = strings.CutPrefix(key.Name, "assert_")
		}
		if !found {
			continue
		}
		count++
		if !Known(kind) {
			t.Errorf("%s is a key and cannot be evaluated", key.Name)
		}
	}
	if want := 2 * len(tests()); count != want {
		t.Errorf("%d keys for conditions, want %d", count, want)
	}
}
