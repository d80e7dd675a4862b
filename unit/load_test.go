package unit

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSearchPath(t *testing.T) {
	s, root := loadFiles(t, map[string]string{
		"etc/a.toml":           simple + "[unit]\ndescription = 'etc'\n",
		"lib/a.toml":           simple + "[unit]\ndescription = 'lib'\n",
		"run/b.toml":           simple,
		"lib/a.toml.d/20.toml": "[service]\nuser = 'lib20'\nnice = 1\n",
		"etc/a.toml.d/10.toml": "[service]\nuser = 'etc10'\ngroup = 'g'\n",
		"run/a.toml.d/30.toml": "[service]\nnice = 3\n",
		"etc/a.toml.d/30.toml": "[service]\nnice = 2\n",
		"lib/a.toml.d/40.toml": "[service]\nnice = 4\n",
		"etc/a.toml.d/40.toml": "-> /dev/null",
	})
	u := resolve(t, s, "a")
	if u.Description != "etc" || u.Service.User != "lib20" || u.Service.Group != "g" || *u.Service.Nice != 2 {
		t.Errorf("merged %q %q %q %d", u.Description, u.Service.User, u.Service.Group, *u.Service.Nice)
	}
	want := []string{"etc/a.toml.d/10.toml", "lib/a.toml.d/20.toml", "etc/a.toml.d/30.toml"}
	for i := range want {
		want[i] = filepath.Join(root, want[i])
	}
	if diff := cmp.Diff(want, u.DropIns); diff != "" {
		t.Error(diff)
	}
	if got := u.Origins("service.user"); len(got) != 2 || got[1] != (Position{want[1], 2, 1}) {
		t.Errorf("origins %v", got)
	}
	resolve(t, s, "b")
}

// TestMergeRules is rule 6 of the format.
func TestMergeRules(t *testing.T) {
	base := "[service]\ntype = 'oneshot'\nexec_start = ['/bin/a', '/bin/b']\nenvironment = { A = '1', B = '1' }\n[unit]\ndocumentation = ['man:a']\n"
	for _, tt := range []struct {
		name, dropIn string
		starts, docs []string
		env          []EnvAssignment
	}{
		{"nothing", "", []string{"/bin/a", "/bin/b"}, []string{"man:a"}, []EnvAssignment{{"A", "1"}, {"B", "1"}}},
		{"scalar replaces", "[service]\nexec_start = '/bin/c'\nenvironment = 'C=3'\n", []string{"/bin/c"}, []string{"man:a"}, []EnvAssignment{{"C", "3"}}},
		{"array appends", "[service]\nexec_start = ['/bin/c']\nenvironment = ['C=3']\n[unit]\ndocumentation = ['man:b']\n",
			[]string{"/bin/a", "/bin/b", "/bin/c"}, []string{"man:a", "man:b"}, []EnvAssignment{{"A", "1"}, {"B", "1"}, {"C", "3"}}},
		{"leading empty replaces", "[service]\nexec_start = ['', '/bin/c']\n", []string{"/bin/c"}, []string{"man:a"}, []EnvAssignment{{"A", "1"}, {"B", "1"}}},
		{"empty empties", "[unit]\ndocumentation = []\n", []string{"/bin/a", "/bin/b"}, nil, []EnvAssignment{{"A", "1"}, {"B", "1"}}},
		{"empty string resets", "[unit]\ndocumentation = ''\n", []string{"/bin/a", "/bin/b"}, nil, []EnvAssignment{{"A", "1"}, {"B", "1"}}},
		{"table merges", "[service.environment]\nB = '2'\nC = '3'\n", []string{"/bin/a", "/bin/b"}, []string{"man:a"}, []EnvAssignment{{"A", "1"}, {"B", "2"}, {"C", "3"}}},
		{"argv", "[service]\nexec_start = [['/bin/c', 'd e']]\n", []string{"/bin/a", "/bin/b", "/bin/c"}, []string{"man:a"}, []EnvAssignment{{"A", "1"}, {"B", "1"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := loadFiles(t, map[string]string{"etc/a.toml": base, "etc/a.toml.d/x.toml": tt.dropIn})
			u := resolve(t, s, "a")
			var starts []string
			for _, c := range u.Service.ExecStart {
				starts = append(starts, c.Path)
			}
			if diff := cmp.Diff([]any{tt.starts, tt.docs, tt.env}, []any{starts, u.Documentation, u.Service.Environment}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestErrorsInDropInsNameThem(t *testing.T) {
	s, root := loadFiles(t, map[string]string{
		"etc/a.toml": simple + "nice = 100\n", "lib/a.toml.d/x.toml": "[service]\nusr = 'x'\numask = 5\n",
	})
	want := "etc/a.toml:3:8: nice = 100: between -20 and 19\n" +
		"lib/a.toml.d/x.toml:2:1: unknown key usr in [service]; did you mean user?\n" +
		"lib/a.toml.d/x.toml:3:9: umask: 5 is a number; write the mode as an octal string, \"05\""
	got := strings.Split(errorsOf(s, root, "a"), "\n")
	slices.Sort(got)
	if diff := cmp.Diff(want, strings.Join(got, "\n")); diff != "" {
		t.Error(diff)
	}
}

func TestTemplates(t *testing.T) {
	s, root := loadFiles(t, map[string]string{
		"etc/getty@.toml":                   "[unit]\ndescription = 'Getty on %I'\n[service]\nexec_start = '/sbin/agetty %i %% %p %n'\n[install]\nwanted_by = 'getty'\ndefault_instance = 'tty1'\n",
		"lib/getty@.toml.d/50.toml":         "[service]\nnice = 1\ngroup = 'template'\n",
		"etc/getty@tty1.toml.d/10.toml":     "[service]\nnice = 2\n",
		"etc/getty.toml.d/50-instance.toml": "[unit]\nwants = ['getty@tty1.service']\n",
	})
	u := resolve(t, s, "getty@tty1")
	if u.Description != "Getty on tty1" || *u.Service.Nice != 2 || u.Service.Group != "template" {
		t.Errorf("instance: %q %d %q", u.Description, *u.Service.Nice, u.Service.Group)
	}
	if diff := cmp.Diff([]string{"/sbin/agetty", "tty1", "%", "getty", "getty@tty1"}, u.Service.ExecStart[0].Argv); diff != "" {
		t.Error(diff)
	}
	if u.Template != "getty@" || u.Instance != "tty1" || u.Path != root+"/etc/getty@.toml" {
		t.Errorf("identity %q %q %q", u.Template, u.Instance, u.Path)
	}
	if !slices.Contains(s.Names(), "getty@tty1") || slices.Contains(s.Names(), "getty@") {
		t.Errorf("names %v", s.Names())
	}
	if g := resolve(t, s, "getty"); !slices.Contains(g.After, "getty@tty1") {
		t.Errorf("a target is after what it wants: %v", g.After)
	}
	other := resolve(t, s, "getty@dev-tty5.service")
	if other.Description != "Getty on dev/tty5" || other.Isolation.Hostname != "getty-dev-tty5" {
		t.Errorf("on demand: %q %q", other.Description, other.Isolation.Hostname)
	}
	if g := resolve(t, s, "getty"); slices.Contains(g.Wants, "getty@dev-tty5") {
		t.Error("an instance that nothing enables is wanted")
	}
	if _, err := s.Resolve("getty@"); err == nil || !strings.Contains(err.Error(), "is a template") {
		t.Errorf("Resolve(getty@): %v", err)
	}
}

func TestTemplateThatNamesItself(t *testing.T) {
	s, _ := loadFiles(t, map[string]string{
		"etc/x@.toml": "[unit]\nwants = 'x@%i0'\n" + simple,
		"etc/a.toml":  "[unit]\nwants = 'x@1'\n" + simple,
	})
	if len(s.Names()) > maxInstances+100 {
		t.Errorf("%d units", len(s.Names()))
	}
	resolve(t, s, "a")
}

func TestMasksAndAliases(t *testing.T) {
	s, root := loadFiles(t, map[string]string{
		"etc/masked.toml": "-> /dev/null", "lib/masked.toml": simple,
		"etc/ssh.toml": simple + "[install]\nalias = 'sshd'\n", "etc/link.toml": "-> ssh.toml",
		"etc/a.toml":   "[unit]\nwants = ['masked', 'sshd.service', 'link', 'multi-user.target']\n" + simple,
		"etc/b.toml":   "[unit]\nrequires = 'masked'\n" + simple,
		"etc/tar.toml": simple + "[install]\nalias = ['sshd', 'a']\n",
	})
	if _, err := s.Resolve("masked.service"); err == nil || !strings.Contains(err.Error(), "is masked") {
		t.Errorf("masked: %v", err)
	}
	if u := resolve(t, s, "sshd.service"); u.Name != "ssh" || !slices.Equal(u.Aliases, []string{"link", "sshd"}) {
		t.Errorf("sshd is %s %v", u.Name, u.Aliases)
	}
	if got := resolve(t, s, "a").Wants; !slices.Equal(got, []string{"ssh", "default"}) {
		t.Errorf("wants %v", got)
	}
	if got := errorsOf(s, root, "b"); got != `etc/b.toml:2:12: requires = "masked": this unit is masked` {
		t.Error(got)
	}
	want := "etc/tar.toml:4:10: alias = \"sshd\": unit ssh has this alias already\netc/tar.toml:4:18: alias = \"a\": there is a unit of this name"
	if diff := cmp.Diff(want, errorsOf(s, root, "tar")); diff != "" {
		t.Error(diff)
	}
}

func TestResolveUnknown(t *testing.T) {
	s, _ := loadFiles(t, map[string]string{"etc/nginx.toml": simple})
	_, err := s.Resolve("nginxx")
	if !errors.Is(err, ErrUnknown) || !strings.HasSuffix(err.Error(), "did you mean nginx?") {
		t.Error(err)
	}
	for _, name := range []string{"", "../nginx", "a/b", "a\x00", "-a", strings.Repeat("a", 256)} {
		if _, err := s.Resolve(name); err == nil || errors.Is(err, ErrUnknown) {
			t.Errorf("Resolve(%q): %v", name, err)
		}
	}
	if _, err := s.Resolve("nginx.socket"); err == nil || !strings.Contains(err.Error(), "not supported yet") {
		t.Errorf("trigger: %v", err)
	}
}

func TestDefaultDependencies(t *testing.T) {
	s, root := loadFiles(t, map[string]string{
		"etc/a.toml":     "[unit]\nafter = ['nothing', 'networ']\nbefore = 'b'\n" + simple + "[install]\nwanted_by = ['default', 'group', 'nowhere']\nrequired_by = 'b'\n",
		"etc/b.toml":     "[unit]\nrequires = 'basic'\n" + simple,
		"etc/early.toml": "[unit]\ndefault_dependencies = false\n" + simple,
		"etc/group.toml": "[unit]\ndescription = 'a group'\n",
	})
	a, b := resolve(t, s, "a"), resolve(t, s, "b")
	got := []any{a.After, a.Before, a.Conflicts, b.Requires, resolve(t, s, "early").After, resolve(t, s, "group").Wants, resolve(t, s, "default").Wants}
	want := []any{[]string{"basic"}, []string{"b", "shutdown"}, []string{"shutdown"}, []string{"basic", "a"}, []string(nil), []string{"a"}, []string{"basic", "a"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !resolve(t, s, "group").IsTarget() || a.IsTarget() {
		t.Error("a target is a unit without [service]")
	}
	wantWarnings := "etc/a.toml:2:10: after = \"nothing\": no such unit; ignored, as systemd does\n" +
		"etc/a.toml:2:21: after = \"networ\": no such unit (nearest: network); ignored, as systemd does\n" +
		"etc/a.toml:7:34: wanted_by = \"nowhere\": no such unit; ignored, as systemd does"
	if diff := cmp.Diff(wantWarnings, warningsOf(a, root)); diff != "" {
		t.Error(diff)
	}
	if got := warningsOf(b, root); !strings.Contains(got, `requires = "basic" without after`) {
		t.Errorf("rule 18: %q", got)
	}
}

// Who shares a network starts after the unit that makes it, unless it says that
// it comes before.
func TestSharedNetworkIsOrdered(t *testing.T) {
	s, _ := loadFiles(t, map[string]string{
		"etc/server.toml": simple + "[install]\nalias = 'srv'\n",
		"etc/client.toml": simple + "[network]\nmode = 'unit:srv'\n",
		"etc/first.toml":  "[unit]\nbefore = 'server'\n" + simple + "[network]\nmode = 'unit:server'\n",
	})
	got := [][]string{resolve(t, s, "client").After, resolve(t, s, "first").After}
	if diff := cmp.Diff([][]string{{"server", "basic"}, {"basic"}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestBuiltinTargets(t *testing.T) {
	s, _ := loadFiles(t, nil)
	for _, name := range strings.Fields("default multi-user graphical basic sysinit sockets timers paths getty getty-pre network-pre network network-online local-fs remote-fs nss-lookup nss-user-lookup time-set time-sync shutdown rescue emergency") {
		if u := resolve(t, s, name+".target"); !u.IsTarget() || u.Path != "" {
			t.Errorf("%s: %v", name, u)
		}
	}
}

func TestProfiles(t *testing.T) {
	load := func(profile, more string) *Unit {
		return loadText(t, "web@1", simple+more+"\n[isolation]\nprofile = '"+profile+"'\n")
	}
	strict, daemon, host := load("strict", ""), load("daemon", ""), load("host", "")
	if strict.Network.Mode != "private" || daemon.Network.Mode != "host" || host.Network.Mode != "host" {
		t.Error("networks", strict.Network, daemon.Network, host.Network)
	}
	if strict.Isolation.Hostname != "web-1" || daemon.Isolation.Hostname != "box.example.org" || host.Isolation.Hostname != "" {
		t.Error("host names", strict.Isolation.Hostname, daemon.Isolation.Hostname, host.Isolation.Hostname)
	}
	if len(strict.Relaxations) != 0 {
		t.Errorf("strict is relaxed: %v", strict.Relaxations)
	}
	if diff := cmp.Diff([]string{"network host (whole machine)"}, daemon.Relaxations); diff != "" {
		t.Error(diff)
	}
	if host.Isolation.Namespaces != (Namespaces{}) || host.Security.CapabilityBoundingSet != AllCapabilities ||
		host.Security.NoNewPrivileges || host.Filesystem.PrivateTmp || host.Filesystem.ProtectSystem != "false" || host.Security.ProtectClock {
		t.Errorf("host: %+v %+v %+v", host.Isolation, host.Security, host.Filesystem)
	}
	written := load("host", "[security]\nno_new_privileges = true\n[network]\nmode = 'private'\n")
	if !written.Security.NoNewPrivileges || written.Network.Mode != "private" {
		t.Error("a written key does not win")
	}
	changed := loadText(t, "a", simple+"[isolation]\nnamespaces = ['~pid']\n[security]\ncapability_bounding_set = ['+CAP_NET_RAW', '~CAP_CHOWN']\n")
	if changed.Isolation.Namespaces != (Namespaces{Mount: true, Ipc: true, Uts: true, Cgroup: true}) ||
		changed.Security.CapabilityBoundingSet != strictCapabilities&^1|1<<13 {
		t.Errorf("changed: %+v %x", changed.Isolation.Namespaces, changed.Security.CapabilityBoundingSet)
	}
}

// TestBoundingSet is rule 28.
func TestBoundingSet(t *testing.T) {
	for more, want := range map[string]uint64{
		"": strictCapabilities, "user = 'x'\n": 0, "user = 'root'\n": strictCapabilities,
		"user = 'x'\nexec_reload = '+/bin/kill 1'\n":                        strictCapabilities,
		"user = 'x'\nexec_start_pre = '!/bin/y'\n":                          strictCapabilities,
		"user = 'x'\n[security]\nambient_capabilities = 'CAP_KILL'\n":       strictCapabilities,
		"user = 'x'\n[security]\ncapability_bounding_set = 'CAP_KILL'\n":    1 << 5,
		"user = 'x'\n[isolation]\nprofile = 'host'\n":                       AllCapabilities,
		"[isolation]\nprofile = 'host'\n[security]\nprotect_clock = true\n": AllCapabilities &^ (1<<25 | 1<<35),
		"[security]\ncapability_bounding_set = []\n":                        0,
	} {
		if got := loadText(t, "a", simple+more).Security.CapabilityBoundingSet; got != want {
			t.Errorf("%q: %#x; want %#x", more, got, want)
		}
	}
}

func TestComputedDefaults(t *testing.T) {
	u := loadText(t, "a", "[service]\ntype = 'oneshot'\nexec_start = ['/bin/a', '/bin/b']\n")
	if s := u.Service; s.Restart != "no" || s.TimeoutStartSec != Infinity || s.TimeoutStopSec != 90*time.Second {
		t.Errorf("oneshot: %q %v %v", s.Restart, s.TimeoutStartSec, s.TimeoutStopSec)
	}
	u = loadText(t, "a", "[service]\ntype = 'notify'\nexec_start = '/bin/a'\ntimeout_sec = 5\ntimeout_stop_sec = '7s'\nkill_signal = 'SIGQUIT'\nstart_limit_burst = 9\n"+
		"[log]\nstandard_output = 'append:/var/log/x'\n[filesystem]\nstate_directory = ['x', { path = 'y/z', mode = '2750', owner = 'u:g' }]\nruntime_directory = 'r'\nruntime_directory_preserve = true\n")
	s := u.Service
	if s.Restart != "on-failure" || s.TimeoutStartSec != 5*time.Second || s.TimeoutStopSec != 7*time.Second || s.TimeoutAbortSec != 7*time.Second ||
		s.RestartKillSignal != syscall.SIGQUIT || s.NotifyAccess != "main" || u.StartLimitBurst != 9 {
		t.Errorf("notify: %+v", s)
	}
	if u.Log.StandardError != (Stream{"append", "/var/log/x"}) {
		t.Errorf("standard_error %v", u.Log.StandardError)
	}
	want := []Directory{{Path: "x", Mode: 0o755}, {Path: "y/z", Mode: 0o2750, User: "u", Group: "g"}}
	if diff := cmp.Diff(want, u.Filesystem.StateDirectory); diff != "" {
		t.Error(diff)
	}
	if got := u.Filesystem.RuntimeDirectory; got[0].Preserve != "yes" {
		t.Errorf("preserve %v", got)
	}
}

func TestOwnership(t *testing.T) {
	root := tree(t, map[string]string{"etc/good.toml": simple, "etc/open.toml": simple, "etc/fifo.toml.d/x": "", "run/x.toml": simple, "out/y.toml": simple, "etc/z.toml": "-> ../out/y.toml"})
	must(t, os.Chmod(root+"/etc/open.toml", 0o666))
	must(t, os.Chmod(root+"/run", 0o777))
	must(t, syscall.Mkfifo(root+"/etc/fifo.toml", 0o644))
	s := loadTree(root)
	resolve(t, s, "good")
	for name, want := range map[string]string{
		"open": "cannot read: mode 0666 lets others write to it; chmod go-w", "fifo": "cannot read: not a regular file",
		"z": "cannot read: the link leads out of the unit directories", root + "/run": "cannot read units: mode 0777 lets others write to it",
	} {
		if got := s.problems[name].Error(); !strings.Contains(got, want) {
			t.Errorf("%s: %q; want %q", name, got, want)
		}
	}
	if _, err := s.Resolve("x"); !errors.Is(err, ErrUnknown) {
		t.Errorf("a unit of a directory that others write to: %v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestBadNames(t *testing.T) {
	s, root := loadFiles(t, map[string]string{
		"etc/a b.toml": simple, "etc/\x1b[31m.toml": simple, "etc/ünit.toml": simple, "etc/Nginx.toml": simple, "etc/nginx.toml": simple, "etc/-x.toml": simple,
	})
	resolve(t, s, "nginx")
	all := ""
	for _, list := range s.Problems() {
		all += list.Error() + "\n"
	}
	if strings.ContainsAny(all, "\x1b") || len(s.Problems()) != 5 {
		t.Errorf("%q", all)
	}
	if got := errorsOf(s, root, "Nginx"); got != `etc/Nginx.toml: unit name "Nginx" differs from "nginx" only in case` {
		t.Error(got)
	}
}
