package compile

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/unit"
)

const minimal = "[service]\nexec_start = \"/bin/x\"\n"

func start(t *testing.T, text string, h isolate.Host) (*Service, error) {
	t.Helper()
	return Start(loadText(t, text), h, testFacts())
}

func TestStartErrors(t *testing.T) {
	tests := []struct {
		name, text, key, want string
		class                 isolate.Class
	}{
		{"group", minimal + "group = \"www\"\nsupplementary_groups = [\"nosuch\"]", "service.supplementary_groups", `group "nosuch" is not in /etc/group`, isolate.ClassGroup},
		{"shared", minimal + "[filesystem]\nmount_flags = \"shared\"", "filesystem.mount_flags", "slave", isolate.ClassNamespace},
		{"root without mount", minimal + "[isolation]\nprofile = \"host\"\n[filesystem]\nroot_directory = \"/srv\"", "filesystem.root_directory", "+mount", isolate.ClassNamespace},
		{"devices without mount", minimal + "[isolation]\nprofile = \"host\"\n[security]\ndevice_allow = \"/dev/fuse\"", "security.device_allow", "+mount", isolate.ClassNamespace},
		{"device that is not there", minimal + "user = \"www\"\n[security]\ndevice_allow = \"/dev/nosuch r\"", "security.device_allow", "/dev/nosuch: there is no such device", isolate.ClassNamespace},
		{"devices of the machine", minimal + "[filesystem]\nprivate_devices = false\n[security]\ndevice_allow = \"/dev/fuse\"", "security.device_allow", "private_devices", isolate.ClassNamespace},
		{"own tmp as a source", minimal + "[filesystem]\nbind_paths = \"/tmp/x:/srv\"", "filesystem.bind_paths", "begins empty", isolate.ClassNamespace},
		{"tmpfs option", minimal + "[filesystem]\ntemporary_file_system = \"/srv:bogus\"", "filesystem.temporary_file_system", `"bogus"`, isolate.ClassNamespace},
		{"empty argv[0]", "[service]\nexec_start = \"@/bin/x $NOSUCH\"", "service.exec_start", "argv[0]", isolate.ClassExec},
		{"open_file", minimal + "open_file = [" + strings.Repeat("'/etc/x', ", 33) + "]", "service.open_file", "33 entries", isolate.ClassFDs},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			service, err := start(t, tt.text, isolate.OldestHost())
			var failure *Error
			if !errors.As(err, &failure) {
				t.Fatalf("got %v, %v; want an *Error", service, err)
			}
			if failure.Key != tt.key || failure.Class != tt.class || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %+v (%v)", failure, err)
			}
		})
	}
}

// The accounts of the service's root count, which the loader does not see.
func TestUnknownAccount(t *testing.T) {
	u := load(t, "user")
	facts := testFacts()
	facts.Accounts.Users = facts.Accounts.Users[:1]
	_, err := Start(u, isolate.OldestHost(), facts)
	if want := `user: cannot start: user "www" is not in /etc/passwd (status 217/USER)`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	u = load(t, "ambient")
	facts.Accounts.Users = testAccounts().Users
	facts.Accounts.Groups = nil
	_, err = Start(u, isolate.OldestHost(), facts)
	if want := `ambient: cannot start: group "adm" is not in /etc/group of /srv/chroot (status 216/GROUP)`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestTarget(t *testing.T) {
	if _, err := start(t, "[unit]\ndescription = \"x\"\n", isolate.OldestHost()); err == nil || !strings.Contains(err.Error(), "target") {
		t.Errorf("Start of a target: %v", err)
	}
}

func TestNumericAccount(t *testing.T) {
	for _, tt := range []struct {
		text     string
		uid, gid uint32
		groups   []uint32
		home     string
	}{
		{"user = \"1234\"", 1234, 1234, []uint32{1234}, "/"},
		{"user = \"33\"", 33, 33, []uint32{33, 101}, "/var/www"},
		{"user = \"1234\"\ngroup = \"www\"", 1234, 33, []uint32{33}, "/"},
		{"group = \"www\"", 0, 33, nil, ""},
		{"user = \"root\"", 0, 0, []uint32{0}, "/root"},
	} {
		service, err := start(t, minimal+tt.text, isolate.OldestHost())
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		cred := service.Spec.Execs[0].Cred
		if !cred.SetIDs || cred.UID != tt.uid || cred.GID != tt.gid || !slices.Equal(cred.Groups, tt.groups) {
			t.Errorf("%s: %+v", tt.text, cred)
		}
		if home := lookup(service.Spec.Execs[0].Env, "HOME"); home != tt.home {
			t.Errorf("%s: HOME is %q, want %q", tt.text, home, tt.home)
		}
	}
}

func lookup(env []string, name string) string {
	for _, assignment := range env {
		if value, found := strings.CutPrefix(assignment, name+"="); found {
			return value
		}
	}
	return ""
}

func TestRlimitsStayBelowTheHosts(t *testing.T) {
	text := minimal + "limit_nofile = \"2000:1000000\"\nlimit_core = \"infinity\"\n"
	h := isolate.OldestHost()
	h.Rlimits[unix.RLIMIT_NOFILE] = isolate.Rlimit{Soft: 1024, Hard: 1500}
	h.Rlimits[unix.RLIMIT_CORE] = isolate.Rlimit{Soft: 0, Hard: 4096}
	for _, tt := range []struct {
		caps uint64
		want []isolate.Rlimit
	}{
		{unit.AllCapabilities, []isolate.Rlimit{{Resource: unix.RLIMIT_CORE, Soft: unit.Unlimited, Hard: unit.Unlimited},
			{Resource: unix.RLIMIT_NOFILE, Soft: 2000, Hard: 1000000}}},
		{unit.AllCapabilities &^ (1 << unix.CAP_SYS_RESOURCE), []isolate.Rlimit{{Resource: unix.RLIMIT_CORE, Soft: 4096, Hard: 4096},
			{Resource: unix.RLIMIT_NOFILE, Soft: 1500, Hard: 1500}}},
	} {
		h.Caps = tt.caps
		service, err := start(t, text, h)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, service.Spec.Execs[0].Rlimits); diff != "" {
			t.Errorf("capabilities %#x (-want +got):\n%s", tt.caps, diff)
		}
	}
}

func TestEnvironmentOrder(t *testing.T) {
	u := loadText(t, minimal+"environment = { A = \"table\", B = \"table\", LANG = \"C\", NOTIFY_SOCKET = \"/evil\", D = \"x\" }\npass_environment = [\"A\", \"SECRET\", \"PATH\"]\n"+
		"unset_environment = [\"INVOCATION_ID\", \"D=y\"]\nnotify_access = \"main\"\n")
	facts := testFacts()
	facts.Environ = append(facts.Environ, "A=manager", "PATH=/manager")
	facts.EnvironmentFile = []unit.EnvAssignment{{Name: "B", Value: "file"}, {Name: "B", Value: "second file"}}
	service, err := Start(u, isolate.OldestHost(), facts)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"A=table", "B=second file", "D=x", "LANG=C", "NOTIFY_SOCKET=/run/nsinit/notify", "PATH=/manager", "SECRET=x", "container=nsinit"}
	if diff := cmp.Diff(want, service.Spec.Execs[0].Env); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSuccess(t *testing.T) {
	text := "[service]\ntype = \"oneshot\"\nexec_start = [\"/bin/x\"]\nsuccess_exit_status = \"3 255 SIGKILL\"\n"
	service, err := start(t, text, isolate.OldestHost())
	if err != nil {
		t.Fatal(err)
	}
	var want isolate.StatusSet
	want.AddCode(0)
	want.AddCode(3)
	want.AddCode(255)
	want.Signals = 1 << (syscall.SIGKILL - 1)
	if got := service.Spec.Execs[0].Success; got != want {
		t.Errorf("oneshot: %+v, want %+v", got, want)
	}
}

func TestHostsKnowsItsName(t *testing.T) {
	for _, tt := range []struct{ hosts, want string }{
		{"127.0.0.1 localhost", "127.0.0.1 localhost\n127.0.1.1\ttest\n"},
		{"127.0.0.1 localhost # test\n", "127.0.0.1 localhost # test\n127.0.1.1\ttest\n"},
		{"127.0.0.1 localhost test\n", ""}, {"", ""},
	} {
		facts := testFacts()
		facts.Hosts = tt.hosts
		service, err := Start(loadText(t, minimal), isolate.OldestHost(), facts)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if len(service.Spec.Files) > 0 {
			got = service.Spec.Files[0].Content
		}
		if got != tt.want {
			t.Errorf("hosts %q becomes %q, want %q", tt.hosts, got, tt.want)
		}
	}
}

func TestRunTargetInOwnDirectory(t *testing.T) {
	facts := testFacts()
	facts.RunTargets = []string{"/run/test/resolv.conf", "/run/tester/x"}
	service, err := Start(loadText(t, minimal+"[filesystem]\nruntime_directory = \"test\"\n"), isolate.OldestHost(), facts)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, rule := range service.Spec.Paths {
		got = append(got, rule.Path)
	}
	if want := []string{"/run/tester/x", "/dev/log", "/run/systemd/journal/socket"}; !slices.Equal(got, want) {
		t.Errorf("binds %q, want %q", got, want)
	}
}

func TestRunCommand(t *testing.T) {
	u := load(t, "ambient")
	request := ExecRequest{Path: "/bin/sh", Argv: []string{"sh", "-l"}, Env: []string{"TERM=xterm"}, TTY: true}
	join, err := RunCommand(u, isolate.OldestHost(), testFacts(), request, Hook{MainPID: 7})
	if err != nil {
		t.Fatal(err)
	}
	cred := join.Exec.Cred
	if cred.UID != 33 || cred.Ambient != 1<<unix.CAP_NET_BIND_SERVICE || !cred.NoNewPrivs || join.Exec.Privileged {
		t.Errorf("the service's own user: %+v", cred)
	}
	if lookup(join.Exec.Env, "TERM") != "xterm" || lookup(join.Exec.Env, "MAINPID") != "7" || lookup(join.Exec.Env, "NOTIFY_SOCKET") != "" {
		t.Errorf("environment %q", join.Exec.Env)
	}
	if !join.Exec.Stdin.TTY || join.Exec.Stdin.Kind != isolate.StdioDesc || join.Namespaces.Has(isolate.Cgroup) || !join.OwnCgroup {
		t.Errorf("join %+v", join)
	}
	request.User, request.Privileged, request.Dir = "root", true, "/var"
	join, err = RunCommand(u, isolate.OldestHost(), testFacts(), request, Hook{})
	if err != nil {
		t.Fatal(err)
	}
	if cred := join.Exec.Cred; !cred.KeepAll || cred.NoNewPrivs || cred.Ambient != 0 || cred.UID != 0 || join.Exec.Dir != "/var" {
		t.Errorf("privileged root: %+v", join.Exec)
	}
	for _, bad := range []ExecRequest{{}, {Path: "sh", Argv: []string{"sh"}}, {Path: "/bin/sh", Argv: []string{"sh"}, User: "nosuch"}} {
		if _, err := RunCommand(u, isolate.OldestHost(), testFacts(), bad, Hook{}); err == nil {
			t.Errorf("RunCommand(%+v) is accepted", bad)
		}
	}
}

func TestRunHookIndex(t *testing.T) {
	if _, err := RunHook(load(t, "strict"), isolate.OldestHost(), testFacts(), isolate.ExecReload, 0, Hook{}); err == nil {
		t.Error("a hook that the unit does not have is accepted")
	}
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestReadAccounts(t *testing.T) {
	root := t.TempDir()
	if a, err := ReadAccounts(root); err != nil || len(a.Users) != 0 {
		t.Errorf("an empty root: %+v, %v", a, err)
	}
	write(t, filepath.Join(root, "etc/passwd"), "root:x:0:0::/root:/bin/sh\nwww:x:33:34:Web:/var/www:\n")
	write(t, filepath.Join(root, "etc/group"), "www:x:34:\nssl:x:101:a,www\n")
	a, err := ReadAccounts(root)
	if err != nil {
		t.Fatal(err)
	}
	if u, found := a.user("www"); !found || u.Uid != 33 || u.Gid != 34 {
		t.Errorf("www is %+v", u)
	}
	if got := a.groupsOf("www", 34); !slices.Equal(got, []uint32{34, 101}) {
		t.Errorf("its groups are %v", got)
	}
}

// A service may own its root: nothing there leads the manager out of it, nor
// makes it wait.
func TestReadAccountsOfHostileRoot(t *testing.T) {
	secret := write(t, filepath.Join(t.TempDir(), "passwd"), "mallory:x:0:0::/:/bin/sh\n")
	for name, prepare := range map[string]func(file string) error{
		"absolute link": func(file string) error { return os.Symlink(secret, file) },
		"relative link": func(file string) error { return os.Symlink("../../../../../.."+secret, file) },
		"fifo":          func(file string) error { return unix.Mkfifo(file, 0o644) },
		"directory":     func(file string) error { return os.Mkdir(file, 0o755) },
		"endless":       func(file string) error { return os.WriteFile(file, make([]byte, maxFactFile+1), 0o644) },
	} {
		root := t.TempDir()
		if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := prepare(filepath.Join(root, "etc/passwd")); err != nil {
			t.Fatal(err)
		}
		if a, err := ReadAccounts(root); err == nil {
			t.Errorf("%s: %+v is accepted", name, a)
		}
	}
}

func TestGatherEnvironmentFiles(t *testing.T) {
	dir := t.TempDir()
	one, two := write(t, filepath.Join(dir, "1.env"), "A=1\nB=1\n"), write(t, filepath.Join(dir, "2.env"), "B=2\n")
	bad := write(t, filepath.Join(dir, "bad"), "A=1\nB='\n")
	load := func(list string) (Facts, error) {
		return Gather(loadText(t, minimal+"environment_file = ["+list+"]\n"))
	}
	want := []unit.EnvAssignment{{Name: "A", Value: "1"}, {Name: "B", Value: "1"}, {Name: "B", Value: "2"}}
	for _, list := range []string{"'" + one + "','-/no/such','" + two + "'", "'" + dir + "/*.env'", "'-" + dir + "/none*', '" + dir + "/?.env'"} {
		f, err := load(list)
		if diff := cmp.Diff(want, f.EnvironmentFile); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", list, err, diff)
		}
	}
	for list, want := range map[string]string{"'/no/such'": "test: cannot start: cannot read environment_file /no/such: no such file",
		"'" + bad + "'": "line 2: B: the quote", "'" + dir + "'": "no regular file", "'" + dir + "/none*'": "nothing matches"} {
		if f, err := load(list); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v; want an error with %q", list, f, err, want)
		}
	}
}

func TestRunTargets(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "run/resolver/stub.conf"), "x")
	write(t, filepath.Join(root, "etc/hosts"), "x")
	if err := os.Symlink("../run/resolver/stub.conf", filepath.Join(root, "etc/resolv.conf")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../run/missing", filepath.Join(root, "etc/localtime")); err != nil {
		t.Fatal(err)
	}
	if got, want := runTargets(root), []string{"/run/resolver/stub.conf"}; !slices.Equal(got, want) {
		t.Errorf("runTargets = %q, want %q", got, want)
	}
}

func TestFindProgram(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"bin/plain", "usr/bin/tool", "usr/bin/plain"} {
		if err := os.Chmod(write(t, filepath.Join(root, name), "#!"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(root, "bin/data"), "x")
	if err := os.Mkdir(filepath.Join(root, "bin/dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"bin/relative": "../usr/bin/tool", "bin/absolute": "/etc/alternatives/x", "bin/dangling": "nowhere"} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"plain": "/bin/plain", "tool": "/usr/bin/tool", "relative": "/bin/relative", "absolute": "/bin/absolute",
		"/any/where": "/any/where", "data": "", "dir": "", "dangling": "", "nosuch": "", "a/b": "", "..": "", "": ""} {
		got, err := FindProgram(root, "/bin:relative:/usr/bin", name)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("FindProgram(%q) = %q, %v; want %q", name, got, err, want)
		}
	}
}

// A fresh directory of the service as a source is its own, not the machine's.
func TestOwnDirectoryAsSource(t *testing.T) {
	service, err := start(t, minimal+"[filesystem]\nbind_paths = \"/tmp:/mnt\"", isolate.OldestHost())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range service.Spec.Paths {
		if r.Path == "/mnt" && r.SourceInside && r.Source == "/tmp" {
			return
		}
	}
	t.Errorf("%+v", service.Spec.Paths)
}
