package unit

import (
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// parserCase is one input of a parser; a nil want means that it is refused.
type parserCase struct {
	in   string
	want any
}

func runParser[T any](t *testing.T, name string, parse func(string) (T, error), cases []parserCase) {
	t.Helper()
	for _, tt := range cases {
		got, err := parse(tt.in)
		switch {
		case tt.want == nil && err == nil:
			t.Errorf("%s(%q) = %+v, want an error", name, tt.in, got)
		case tt.want != nil && err != nil:
			t.Errorf("%s(%q): %v", name, tt.in, err)
		case tt.want != nil:
			if diff := cmp.Diff(tt.want, any(got)); diff != "" {
				t.Errorf("%s(%q) (-want +got):\n%s", name, tt.in, diff)
			}
		}
	}
}

func TestParseSignal(t *testing.T) {
	runParser(t, "ParseSignal", ParseSignal, []parserCase{
		{"SIGTERM", syscall.SIGTERM}, {"TERM", syscall.SIGTERM}, {"15", syscall.SIGTERM}, {"SIGRTMIN", syscall.Signal(34)},
		{"RTMIN+3", syscall.Signal(37)}, {"SIGRTMAX-1", syscall.Signal(63)}, {"SIGRTMAX", syscall.Signal(64)}, {"64", syscall.Signal(64)},
		{"SIGUSR1", syscall.SIGUSR1}, {"0", nil}, {"65", nil}, {"-1", nil}, {"", nil}, {"SIG", nil}, {"SIGFOO", nil}, {"sigterm", nil},
		{"SIGRTMIN-1", nil}, {"SIGRTMAX+1", nil}, {"SIGRTMIN+31", nil}, {"SIGRTMIN+", nil}, {"SIGRTMIN+x", nil}, {"SIGSIGTERM", nil},
	})
	if _, err := ParseSignal("sighup"); err == nil || !strings.Contains(err.Error(), `write "SIGHUP"`) {
		t.Errorf("ParseSignal(sighup): %v", err)
	}
}

func TestParseMode(t *testing.T) {
	runParser(t, "ParseMode", ParseMode, []parserCase{
		{"0755", uint32(0o755)}, {"755", uint32(0o755)}, {"2775", uint32(0o2775)}, {"0", uint32(0)}, {"7777", uint32(0o7777)},
		{"10000", nil}, {"", nil}, {"8", nil}, {"-1", nil}, {"+7", nil}, {"rwx", nil}, {"0o755", nil}, {"0x1", nil}, {" 755", nil},
	})
}

func TestParseCPUSet(t *testing.T) {
	runParser(t, "ParseCPUSet", ParseCPUSet, []parserCase{
		{"0", []int{0}}, {"3,1 2", []int{1, 2, 3}}, {"0-3,2,7", []int{0, 1, 2, 3, 7}}, {"8191", []int{8191}},
		{"", nil}, {",", nil}, {"3-1", nil}, {"8192", nil}, {"0-99999999", nil}, {"-1", nil}, {"1-", nil}, {"a", nil}, {"1-2-3", nil},
	})
}

func TestParseRlimit(t *testing.T) {
	tests := []struct {
		kind, in string
		want     Rlimit // zero: refused
	}{
		{"nofile", "1024:524288", Rlimit{1024, 524288}}, {"nofile", "64", Rlimit{64, 64}}, {"nofile", "1:infinity", Rlimit{1, Unlimited}},
		{"cpu", "1min", Rlimit{60, 60}}, {"cpu", "1500ms", Rlimit{2, 2}}, {"cpu", "infinity", Rlimit{Unlimited, Unlimited}},
		{"rttime", "1ms", Rlimit{1000, 1000}}, {"rttime", "7:8", Rlimit{7, 8}}, {"rttime", "1ns", Rlimit{1, 1}},
		{"memlock", "64K:1M", Rlimit{64 << 10, 1 << 20}}, {"nice", "-5", Rlimit{25, 25}}, {"nice", "+19", Rlimit{1, 1}}, {"nice", "40", Rlimit{40, 40}},
		{"nofile", "2:1", Rlimit{}}, {"nofile", "infinity:1", Rlimit{}}, {"nofile", "1K", Rlimit{}}, {"nofile", "", Rlimit{}}, {"nofile", ":", Rlimit{}},
		{"nofile", "1:2:3", Rlimit{}}, {"nofile", "-1", Rlimit{}}, {"nice", "41", Rlimit{}}, {"nice", "-21", Rlimit{}}, {"nice", "", Rlimit{}}, {"cpu", "1x", Rlimit{}},
		{"stack", "1Q", Rlimit{}}, {"nosuch", "1", Rlimit{}}, {"nofile", "18446744073709551615", Rlimit{}},
	}
	for _, tt := range tests {
		got, err := ParseRlimit(tt.kind, tt.in)
		if (err != nil) != (tt.want == Rlimit{}) || err == nil && got != tt.want {
			t.Errorf("ParseRlimit(%s, %q) = %+v, %v; want %+v", tt.kind, tt.in, got, err, tt.want)
		}
	}
}

func TestParseExitStatusSet(t *testing.T) {
	tests := []struct {
		in   []string
		want ExitStatusSet
	}{
		{nil, ExitStatusSet{}},
		{[]string{"255"}, ExitStatusSet{Codes: []int{255}}},
		{[]string{"TEMPFAIL 250", "SIGKILL", "9 KILL", "TEMPFAIL"}, ExitStatusSet{Codes: []int{9, 75, 250}, Signals: []syscall.Signal{9}}},
		{[]string{"NAMESPACE"}, ExitStatusSet{Codes: []int{226}}},
	}
	for _, tt := range tests {
		got, err := ParseExitStatusSet(tt.in)
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("ParseExitStatusSet(%q): %v\n%s", tt.in, err, diff)
		}
	}
	for _, bad := range []string{"256", "-1", "tempfail", "NOSUCH", "1.5"} {
		if got, err := ParseExitStatusSet([]string{bad}); err == nil {
			t.Errorf("ParseExitStatusSet(%q) = %+v, want an error", bad, got)
		}
	}
	if got := ExitStatusName(226); got != "NAMESPACE" {
		t.Errorf("ExitStatusName(226) = %q", got)
	}
}

func TestParseCapabilities(t *testing.T) {
	const chown, kill, netAdmin = 1 << 0, 1 << 5, 1 << 12
	base := uint64(chown | kill)
	tests := []struct {
		in   []string
		want uint64
	}{
		{nil, base}, {[]string{}, 0}, {[]string{""}, 0},
		{[]string{"CAP_NET_ADMIN"}, netAdmin},
		{[]string{"+CAP_NET_ADMIN"}, base | netAdmin},
		{[]string{"~CAP_KILL"}, chown},
		{[]string{"+CAP_NET_ADMIN", "~CAP_CHOWN"}, kill | netAdmin},
		{[]string{"CAP_CHOWN CAP_KILL", "~CAP_KILL"}, chown},
		{[]string{"+CAP_NET_ADMIN ~CAP_CHOWN"}, kill | netAdmin},
		{[]string{"~CAP_KILL", "CAP_KILL"}, 0},
		{[]string{"~CAP_KILL", "+CAP_KILL"}, base},
		{[]string{"CAP_CHECKPOINT_RESTORE"}, 1 << 40},
	}
	for _, tt := range tests {
		got, err := ParseCapabilities(tt.in, base)
		if err != nil || got != tt.want {
			t.Errorf("ParseCapabilities(%q) = %#x, %v; want %#x", tt.in, got, err, tt.want)
		}
	}
	for _, bad := range []string{"cap_chown", "CHOWN", "CAP_NOSUCH", "~CAP_KILL CAP_CHOWN", "+~CAP_KILL", "+", "-CAP_KILL"} {
		if got, err := ParseCapabilities([]string{bad}, base); err == nil {
			t.Errorf("ParseCapabilities(%q) = %#x, want an error", bad, got)
		}
	}
}

func TestCapabilityNames(t *testing.T) {
	seen := map[string]bool{}
	for n := range 41 {
		name := CapabilityName(n)
		if got, err := ParseCapability(name); err != nil || got != n || seen[name] {
			t.Errorf("capability %d is %q, which is %d, %v", n, name, got, err)
		}
		seen[name] = true
	}
	if CapabilityName(41) != "" || CapabilityName(-1) != "" {
		t.Error("there are more than 41 capabilities")
	}
	if n, _ := ParseCapability("CAP_NET_BIND_SERVICE"); n != 10 {
		t.Errorf("CAP_NET_BIND_SERVICE is %d", n)
	}
}

func TestParseDeviceAllow(t *testing.T) {
	runParser(t, "ParseDeviceAllow", ParseDeviceAllow, []parserCase{
		{"/dev/sda", DeviceRule{Path: "/dev/sda", Read: true, Write: true, Mknod: true}},
		{"/dev/sda r", DeviceRule{Path: "/dev/sda", Read: true}},
		{"char-pts rw", DeviceRule{Path: "char-pts", Class: true, Read: true, Write: true}},
		{"block-* m", DeviceRule{Path: "block-*", Class: true, Mknod: true}},
		{"", nil}, {"/dev/sda x", nil}, {"/etc/passwd r", nil}, {"/dev/../etc r", nil}, {"sda r", nil}, {"/dev/sda r w", nil}, {"char-", nil}, {"/dev", nil},
	})
}

func TestParseBind(t *testing.T) {
	runParser(t, "ParseBind", ParseBind, []parserCase{
		{"/srv", Bind{Source: "/srv", Destination: "/srv", Recursive: true}},
		{"-/srv:/data:norbind", Bind{Source: "/srv", Destination: "/data", Optional: true}},
		{"/srv::norbind", Bind{Source: "/srv", Destination: "/srv"}},
		{`/a\:b:/c//d/`, Bind{Source: "/a:b", Destination: "/c/d", Recursive: true}},
		{"/:/host", Bind{Source: "/", Destination: "/host", Recursive: true}},
		{"", nil}, {"srv", nil}, {"/srv:data", nil}, {"/srv:/data:ro", nil}, {"/a:/b:rbind:x", nil}, {"/a:/", nil}, {"/a/../b", nil}, {"/a:/b/..", nil},
	})
	runParser(t, "ParseTmpfs", ParseTmpfs, []parserCase{
		{"/var", Tmpfs{Path: "/var"}}, {"/var:ro,mode=0700", Tmpfs{Path: "/var", Options: "ro,mode=0700"}}, {"/", nil}, {"var", nil}, {"/a:b:c", nil},
	})
}

func TestParsePathEntry(t *testing.T) {
	runParser(t, "ParsePathEntry", ParsePathEntry, []parserCase{
		{"/etc", PathEntry{Path: "/etc"}}, {"-/etc/", PathEntry{Path: "/etc", Optional: true}},
		{"+-/a", PathEntry{Path: "/a", Optional: true, InRoot: true}}, {"-+/a", PathEntry{Path: "/a", Optional: true, InRoot: true}},
		{"", nil}, {"--/a", nil}, {"a", nil}, {"/a/..", nil}, {"/" + strings.Repeat("a", 4096), nil},
	})
	runParser(t, "ParseWorkingDirectory", ParseWorkingDirectory, []parserCase{
		{"~", WorkingDirectory{Home: true}}, {"-/srv", WorkingDirectory{Path: "/srv", Optional: true}}, {"-~", WorkingDirectory{Home: true, Optional: true}},
		{"srv", nil}, {"~root", nil}, {"", nil},
	})
}

func TestParseCondition(t *testing.T) {
	parse := func(kind string) func(string) (Condition, error) {
		return func(s string) (Condition, error) { return ParseCondition(kind, s) }
	}
	runParser(t, "ParseCondition", parse("path_exists"), []parserCase{
		{"/a", Condition{Kind: "path_exists", Value: "/a"}},
		{"!/a", Condition{Kind: "path_exists", Value: "/a", Negate: true}},
		{"|!/a", Condition{Kind: "path_exists", Value: "/a", Negate: true, Trigger: true}},
		{"| ! /a", Condition{Kind: "path_exists", Value: "/a", Negate: true, Trigger: true}},
		{"!|/a", nil}, {"a", nil}, {"", nil}, {"!", nil},
	})
	runParser(t, "ParseCondition", parse("virtualization"), []parserCase{{"!container", Condition{Kind: "virtualization", Value: "container", Negate: true}}})
	if got := (Condition{Kind: "host", Value: "x", Negate: true, Trigger: true}).String(); got != "host=|!x" {
		t.Errorf("String() = %q", got)
	}
}

func TestExpandSpecifiers(t *testing.T) {
	ctx := SpecifierContext{Name: "pg@15-main", Prefix: "pg-x", Instance: `15-main\x2d`, Host: "h.example", RuntimeDir: "/run",
		UID: "0", Home: "/root", MachineID: "abc", KernelRelease: "6.1", FragmentPath: "/etc/u/pg@.toml", OSRelease: map[string]string{"ID": "debian"}}
	expand := func(s string) (string, error) { return ExpandSpecifiers(s, ctx) }
	runParser(t, "ExpandSpecifiers", expand, []parserCase{
		{"", ""}, {"100%%", "100%"}, {"%n %N", "pg@15-main pg@15-main"}, {"%p %P %j %J", "pg-x pg/x x x"}, {"%i|%I", `15-main\x2d|15/main-`},
		{"%H %l", "h.example h"}, {"%t/%p", "/run/pg-x"}, {"%u %g %U %h", "root root 0 /root"}, {"%m%v", "abc6.1"}, {"%y %Y", "/etc/u/pg@.toml /etc/u"},
		{"%o%w", "debian"}, {"%f", "/15/main-"}, {"%%i", "%i"},
		{"%", nil}, {"%z", nil}, {"a%", nil}, {"%b", nil}, {"% ", nil},
	})
}

func TestMatchesClass(t *testing.T) {
	for _, c := range []struct {
		rule, kind string
		drivers    []string
		major      uint32
		want       bool
	}{
		{"char-input", "char", []string{"input"}, 13, true}, {"char-input", "block", []string{"input"}, 13, false},
		{"char-in*", "char", []string{"input"}, 13, true}, {"char-tty", "char", []string{"ttyS"}, 4, false},
		{"char-tty", "char", []string{"ttyS", "tty"}, 4, true}, {"char-cpu*", "char", []string{"cpu/msr"}, 202, true},
		{"char-13", "char", nil, 13, true}, {"char-1", "char", nil, 13, false}, {"block-*", "block", nil, 7, true},
		{"/dev/null", "char", []string{"mem"}, 1, false},
	} {
		r, err := ParseDeviceAllow(c.rule)
		if got := r.MatchesClass(c.kind, c.drivers, c.major); err != nil || got != c.want {
			t.Errorf("%s for %s %v %d: %v, %v", c.rule, c.kind, c.drivers, c.major, got, err)
		}
	}
	if _, err := ParseDeviceAllow("char-[x"); err == nil {
		t.Error("a bad pattern is accepted")
	}
}

// Rules about devices that nothing would enforce are refused.
func TestDeviceRulesAreEnforced(t *testing.T) {
	const strict = "[security]\ndevice_policy = 'strict'\n"
	for text, want := range map[string]string{
		strict: "",
		strict + "capability_bounding_set = '+CAP_MKNOD'\n[filesystem]\nprivate_devices = false\n":           "CAP_MKNOD",
		strict + "capability_bounding_set = '+CAP_SYS_ADMIN'\n":                                              "CAP_SYS_ADMIN",
		strict + "[filesystem]\nprivate_devices = false\n":                                                   "private_devices",
		strict + "[filesystem]\nbind_paths = '/dev/sda:/dev/sda'\n":                                          "/dev/sda",
		strict + "[filesystem]\nbind_paths = '/srv:/dev/shm/x'\n":                                            "",
		"[security]\ndevice_allow = '/dev/sda r'\n":                                                          "CAP_DAC_OVERRIDE",
		"[security]\ndevice_allow = '/dev/ptmx r'\n":                                                         "",
		"[security]\ndevice_allow = '/dev/sda r'\ncapability_bounding_set = '~CAP_DAC_OVERRIDE'\n":           "",
		"user = 'nobody'\n[security]\ndevice_allow = '/dev/sda r'\n":                                         "",
		"user = 'nobody'\n[security]\ndevice_allow = '/dev/sda r'\nambient_capabilities = 'CAP_SYS_ADMIN'\n": "CAP_SYS_ADMIN",
	} {
		s, _ := loadFiles(t, map[string]string{"etc/a.toml": "[service]\nexec_start = '/bin/x'\n" + text})
		_, err := s.Resolve("a")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}
