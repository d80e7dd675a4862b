package launch_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/isolate/launch"
	"github.com/nsinit/nsinit/reaper"
)

func see(t *testing.T, spec isolate.Spec) sight {
	t.Helper()
	var s sight
	out := runProbe(t, spec)
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return s
}

func TestDefaultServiceSees(t *testing.T) {
	s := see(t, strict("look"))
	t.Run("namespaces", func(t *testing.T) {
		host := ownNamespaces()
		for _, n := range []string{"mnt", "pid", "ipc", "uts", "cgroup", "net"} {
			if s.Namespaces[n] == host[n] || s.Namespaces[n] == "" {
				t.Errorf("%s namespace is %s, the host's %s", n, s.Namespaces[n], host[n])
			}
		}
	})
	t.Run("dev", func(t *testing.T) {
		want := []string{"fd", "full", "log", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout",
			"tty", "urandom", "zero"}
		if d := cmp.Diff(want, s.Dev); d != "" {
			t.Error(d)
		}
	})
	t.Run("descriptors", func(t *testing.T) {
		if d := cmp.Diff([]string{"0", "1", "2"}, s.handed()); d != "" {
			t.Errorf("%s\n%v", d, s.FDs)
		}
		if s.FDs["0"] != "/dev/null" || !strings.HasPrefix(s.FDs["1"], "pipe:") || s.FDs["1"] != s.FDs["2"] {
			t.Error(s.FDs)
		}
	})
	t.Run("names", func(t *testing.T) {
		if s.Hostname != "inside" || s.Cwd != "/" || s.Cgroup != "0::/\n" && !strings.Contains(s.Cgroup, "\n0::/\n") {
			t.Error(s.Hostname, s.Cwd, s.Cgroup)
		}
		if !strings.Contains(s.Loopback, "up") {
			t.Error("lo is", s.Loopback)
		}
	})
	t.Run("masks", func(t *testing.T) {
		closed := []string{"0 bytes", "ENOENT", "EACCES", "directory of 0, mode 000"}
		for p, got := range s.Masked {
			if !slices.Contains(closed, got) {
				t.Errorf("%s: %s", p, got)
			}
		}
	})
	t.Run("kernel knobs", func(t *testing.T) {
		for _, p := range s.Writable {
			if !slices.Contains(allowedKnobs, p) {
				t.Errorf("%s opens for writing", p)
			}
		}
	})
	t.Run("read-only", func(t *testing.T) {
		want := map[string]string{"/etc/probe": "EROFS", "/usr/probe": "EROFS", "/var/probe": "EROFS", "/probe": "EROFS",
			"/dev/probe": "EROFS", "/sys/probe": "EROFS", "/tmp/probe": "<nil>", "/run/new": "<nil>"}
		if d := cmp.Diff(want, s.ReadOnly); d != "" {
			t.Error(d)
		}
	})
	t.Run("credentials", func(t *testing.T) {
		caps := fmt.Sprintf("%016x", uint64(dockerCaps))
		want := map[string]string{"CapPrm": caps, "CapEff": caps, "CapBnd": caps, "CapInh": zero16, "CapAmb": zero16,
			"NoNewPrivs": "1", "SigBlk": zero16, "Umask": "0022"}
		for k, v := range want {
			if s.Status[k] != v {
				t.Errorf("%s: %s; want %s", k, s.Status[k], v)
			}
		}
	})
	t.Run("mounts", func(t *testing.T) { checkMounts(t, s.Mounts) })
}

// handed are the descriptors but those that the probe's own runtime and listing opened.
func (s *sight) handed() (got []string) {
	for n, to := range s.FDs {
		if !strings.Contains(to, "eventpoll") && !strings.Contains(to, "eventfd") && !strings.HasSuffix(to, "/fd") {
			got = append(got, n)
		}
	}
	slices.Sort(got)
	return got
}

// A descriptor that lost its close-on-exec flag does not reach the service;
// seen to without the step that closes all but stdio.
func TestNoDescriptorLeaks(t *testing.T) {
	leak := func(p *isolate.Program) {
		p.Execs[0].Steps = slices.Insert(p.Execs[0].Steps, 0, isolate.Step{Call: isolate.CallDup3,
			Args: []isolate.Arg{isolate.Int(reaper.FDRecord), isolate.Int(25), isolate.Int(0)}})
	}
	for _, c := range []struct {
		name     string
		sabotage []func(*isolate.Program)
		want     []string
	}{
		{"closed", []func(*isolate.Program){leak}, []string{"0", "1", "2"}},
		{"seen to leak without close_range", []func(*isolate.Program){leak, without("close_range everything")}, []string{"0", "1", "2", "25"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s sight
			if err := json.Unmarshal([]byte(runProbe(t, strict("look"), c.sabotage...)), &s); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, s.handed()); d != "" {
				t.Error(d)
			}
		})
	}
}

const zero16 = "0000000000000000"

// allowedKnobs are the files of /proc and /sys outside the processes' own that
// take a write by a default service: those of pressure ask to be told of it,
// and the others are /dev/null.
var allowedKnobs = []string{"/proc/keys", "/proc/kmsg", "/proc/timer_list", "/proc/kcore", "/proc/pressure/cpu", "/proc/pressure/io", "/proc/pressure/memory", "/proc/pressure/irq"}

// checkMounts holds that nothing propagates, that nothing of the host is
// writable, and that device files work in /dev alone.
func checkMounts(t *testing.T, lines []string) {
	writable := []string{"/proc", "/dev/pts", "/dev/shm", "/dev/mqueue", "/tmp", "/var/tmp", "/run"}
	points := map[string]bool{}
	for _, l := range lines {
		f := strings.Fields(l)
		point, options := f[4], strings.Split(f[5], ",")
		points[point] = true
		if !slices.Contains(f, "-") || slices.Index(f, "-") != 6 {
			t.Errorf("propagates: %s", l)
		}
		if !slices.Contains(options, "ro") && !slices.Contains(writable, point) {
			t.Errorf("writable: %s", l)
		}
		if !slices.Contains(options, "nodev") && point != "/dev" && point != "/dev/pts" && f[3] != "/null" {
			t.Errorf("has device files: %s", l)
		}
		// A cgroup outside its namespace reads as "/.." (cgroup_namespaces(7)).
		if point == "/sys/fs/cgroup" && (f[3] != "/" || !strings.Contains(l, " - cgroup2 ")) {
			t.Errorf("not the service's own cgroup: %s", l)
		}
	}
	for _, p := range []string{"/", "/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/tmp", "/run", "/proc/sys", "/sys/fs/cgroup"} {
		if !points[p] {
			t.Errorf("nothing is mounted on %s", p)
		}
	}
	if points["/sys/fs/cgroup/unified"] {
		t.Error("the host's cgroups are in the tree")
	}
}

// Each namespace alone is left out, and each alone is asked for.
func TestEveryNamespaceOnAndOff(t *testing.T) {
	names := map[isolate.Namespaces]string{isolate.Mount: "mnt", isolate.PID: "pid", isolate.IPC: "ipc", isolate.UTS: "uts",
		isolate.Cgroup: "cgroup", isolate.Net: "net"}
	host := ownNamespaces()
	for ns, name := range names {
		for _, set := range []isolate.Namespaces{allNamespaces &^ ns, ns} {
			t.Run(fmt.Sprint(set.Names()), func(t *testing.T) {
				s := see(t, unprotected(strict("namespaces"), set))
				for n, file := range names {
					if own := s.Namespaces[file] != host[file]; own != set.Has(n) {
						t.Errorf("%s: own is %v", file, own)
					}
				}
				if got := s.Namespaces[name] != host[name]; got != set.Has(ns) {
					t.Errorf("%s: own is %v", name, got)
				}
			})
		}
	}
}

func TestHostTreeOutOfReach(t *testing.T) {
	root := t.TempDir()
	for _, d := range []string{"proc", "sys", "dev", "tmp", "run", "var/tmp", "etc"} {
		if err := os.MkdirAll(root+"/"+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	spec := strict("look")
	spec.Tree.Root = root
	s := see(t, spec)
	var st unix.Stat_t
	if err := unix.Stat(root, &st); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%d:%d", st.Dev, st.Ino); s.Root != want {
		t.Errorf("the root is %s; want %s", s.Root, want)
	}
	for _, l := range s.Mounts {
		if f := strings.Fields(l); f[3] == "/" && f[4] == "/" {
			t.Errorf("the host's root is mounted: %s", l)
		}
	}
}

// A link in a root directory leads inside it, not to the host.
func TestWritablePathStaysInRoot(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	for _, d := range []string{"proc", "sys", "dev", "tmp", "run", "var/tmp", "etc"} {
		if err := os.MkdirAll(root+"/"+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, root+"/data"); err != nil {
		t.Fatal(err)
	}
	spec := strict("exit", "0")
	spec.Tree.Root = root
	spec.Paths = append(spec.Paths, isolate.PathRule{Action: isolate.PathReadWrite, Path: "/data"})
	if s, err := tryLaunch(t, spec); err == nil {
		r, _ := s.finish()
		t.Fatalf("a link to %s was followed: phase %d", outside, r.Phase)
	}
}

// A link that a service has put below what it may write is followed neither on
// the way to a directory of the unit nor to a path: at the next start it would
// choose what of the host is bound.
func TestLinksOfAServiceAreNotFollowed(t *testing.T) {
	base, outside := t.TempDir(), t.TempDir()
	for _, d := range []string{base + "/app/real/data", outside + "/data"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, base+"/app/d"); err != nil {
		t.Fatal(err)
	}
	app := isolate.PathRule{Action: isolate.PathReadWrite, Path: base + "/app"}
	for _, c := range []struct {
		name  string
		paths []isolate.PathRule
		dirs  []isolate.Directory
		ok    bool
	}{
		{"directory", nil, []isolate.Directory{{Base: base, Path: base + "/app/d/data"}}, false},
		{"directory without a link", nil, []isolate.Directory{{Base: base, Path: base + "/app/real/data"}}, true},
		{"writable path", []isolate.PathRule{app, {Action: isolate.PathReadWrite, Path: base + "/app/d/data"}}, nil, false},
		{"writable path without a link", []isolate.PathRule{app, {Action: isolate.PathReadWrite, Path: base + "/app/real/data"}}, nil, true},
		{"bind", []isolate.PathRule{app, {Action: isolate.PathBind, Source: base + "/app/d/data", Path: "/tmp/x"}}, nil, false},
		{"the operator's link", []isolate.PathRule{{Action: isolate.PathReadWrite, Path: base + "/app/d/data"}}, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := strict("exit", "0")
			spec.Tree.PrivateTmp = !strings.HasPrefix(base, "/tmp/") || c.name == "bind"
			spec.Paths, spec.Directory = append(spec.Paths, c.paths...), append(spec.Directory, c.dirs...)
			s, err := tryLaunch(t, spec)
			if err == nil {
				s.finish()
			}
			if ok := err == nil; ok != c.ok {
				t.Errorf("started %v: %v", ok, err)
			}
			if err != nil && !strings.Contains(err.Error(), "too many levels") {
				t.Error(err)
			}
		})
	}
}

// A working directory that leads out through a descriptor is refused, however
// long the path to it is.
func TestWorkingDirectoryStaysInside(t *testing.T) {
	for _, dir := range []string{"/proc/self/fd/19", "/proc/self/fd/3", "/proc/1/cwd/../../..", "/../../.."} {
		t.Run(dir, func(t *testing.T) {
			spec := strict("look")
			spec.Execs[0].Dir = dir
			s := launchSpec(t, spec)
			r, out := s.finish()
			if r.Phase == 4 && !strings.Contains(out, `"Cwd":"/"`) {
				t.Errorf("the service began in %s", out)
			}
		})
	}
}

// The descriptor of the cgroup's directory leads out of the tree; only the last
// check before execve keeps a service from beginning there.
func TestUnreachableDirectoryIsRefused(t *testing.T) {
	const cgroupFD = "/proc/self/fd/19"
	spec := strict("look")
	spec.Execs[0].Dir = cgroupFD
	s := launchSpec(t, spec)
	r := s.finishFailed()
	if err := launch.ProgramError(s.prog, r, 0); err.Errno != syscall.EXDEV || err.Class != isolate.ClassChdir {
		t.Error(err)
	}
	t.Run("seen to fail without the check", func(t *testing.T) {
		var got sight
		if err := json.Unmarshal([]byte(runProbe(t, spec, without("getcwd"))), &got); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(got.Cwd, "/") {
			t.Errorf("the service began in %q", got.Cwd)
		}
	})
}

// Without a cgroup namespace the service sees the host's cgroups, and changes none.
func TestHostCgroupsAreReadOnly(t *testing.T) {
	spec := strict("look")
	spec.Namespaces &^= isolate.Cgroup
	spec.Cgroup = isolate.CgroupHost
	s := see(t, spec)
	if !slices.ContainsFunc(s.Mounts, func(l string) bool {
		f := strings.Fields(l)
		return f[4] == "/sys/fs/cgroup" && strings.HasPrefix(f[5], "ro,") && strings.Contains(l, " - cgroup2 ")
	}) {
		t.Error(strings.Join(s.Mounts, "\n"))
	}
	if slices.ContainsFunc(s.Writable, func(p string) bool { return strings.HasPrefix(p, "/sys/") }) {
		t.Error(s.Writable)
	}
}

func TestNothingUndoesTheMounts(t *testing.T) {
	var got map[string]string
	if err := json.Unmarshal([]byte(runProbe(t, strict("undo"))), &got); err != nil {
		t.Fatal(err)
	}
	for what, e := range got {
		if e != "EPERM" {
			t.Errorf("%s: %s; want EPERM", what, e)
		}
	}
	t.Run("seen to fail with all capabilities", func(t *testing.T) {
		spec := strict("undo")
		spec.Execs[0].Cred = isolate.Credentials{KeepAll: true}
		var got map[string]string
		if err := json.Unmarshal([]byte(runProbe(t, spec)), &got); err != nil {
			t.Fatal(err)
		}
		if got["remount"] != "<nil>" || got["setattr"] != "<nil>" {
			t.Errorf("undoing mounts with CAP_SYS_ADMIN: %v", got)
		}
	})
}

// The service's mounts reach nobody: seen to fail on a host that propagates,
// without the step that makes the tree private.
func TestMountsDoNotPropagate(t *testing.T) {
	s := see(t, strict("look"))
	checkMounts(t, s.Mounts)
	t.Run("seen to fail without private", func(t *testing.T) {
		needRoot(t)
		cmd := exec.Command("unshare", "-m", "--propagation", "shared", os.Args[0],
			"-test.run", "^TestPropagationWithoutPrivate$", "-test.v")
		cmd.Env = append(os.Environ(), "SHARED_TREE=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "seen: ") {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// TestPropagationWithoutPrivate is run by TestMountsDoNotPropagate on a tree of
// mounts that propagate.
func TestPropagationWithoutPrivate(t *testing.T) {
	if os.Getenv("SHARED_TREE") == "" {
		return // not by itself
	}
	s := see(t, strict("look"))
	checkMounts(t, s.Mounts)
	out := runProbe(t, strict("look"), without("mount / private"))
	if !strings.Contains(out, "master:") {
		t.Fatal("a tree without the step does not propagate either")
	}
	fmt.Println("seen: a slave tree")
}

// Bindings, fresh directories and read-only trees as a unit combines them.
func TestPathRules(t *testing.T) {
	host := t.TempDir()
	if err := os.WriteFile(host+"/file", []byte("from the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	spec := strict("look")
	spec.Execs[0].Path, spec.Execs[0].Argv = "/bin/sh", []string{"sh", "-euc", `
		no() { if "$@" 2>/dev/null; then echo "this worked: $*"; exit 1; fi; }
		cat /home/me/x/file /run/deep/er/file /etc/greeting /mnt/ro/sub/file
		echo made >/home/me/x/written
		no touch /home/me/other
		no mkdir /home/you
		no touch /mnt/ro/x
		no touch /dev/no
		echo t >/opt/t
		echo dev >/dev/extra/ok
		echo s >/tmp/s; cat /run/own-tmp/s
		test -z "$(ls /var/log)"
	`}
	if err := os.MkdirAll(host+"/etc", 0o755); err != nil {
		t.Fatal(err)
	}
	spec.Paths = []isolate.PathRule{
		{Action: isolate.PathBind, Path: "/home/me/x", Source: host, Recursive: true},
		{Action: isolate.PathBind, Path: "/run/deep/er", Source: host},
		{Action: isolate.PathBind, Path: "/run/own-tmp", Source: "/tmp", SourceInside: true},
		{Action: isolate.PathTmpfs, Path: "/opt"},
		{Action: isolate.PathTmpfs, Path: "/mnt"},
		{Action: isolate.PathTmpfs, Path: "/mnt/ro"},
		{Action: isolate.PathReadOnly, Path: "/mnt/ro"},
		{Action: isolate.PathBind, Path: "/mnt/ro/sub", Source: host, ReadOnly: true},
		{Action: isolate.PathTmpfs, Path: "/dev/extra"},
		{Action: isolate.PathInaccessible, Path: "/var/log"},
		{Action: isolate.PathBind, Path: "/etc/greeting", Source: host + "/file"},
		{Action: isolate.PathTmpfs, Path: "/etc"},
		{Action: isolate.PathBind, Path: "/nowhere", Source: "/nowhere", Optional: true},
	}
	out := runProbe(t, spec)
	if n := strings.Count(out, "from the host\n"); n != 4 {
		t.Errorf("read %d of 4 files:\n%s", n, out)
	}
	if b, err := os.ReadFile(host + "/written"); err != nil || string(b) != "made\n" {
		t.Error("a writable bind is not:", err)
	}
	entries, err := os.ReadDir(host)
	if err != nil || len(entries) != 3 {
		t.Errorf("something was made on the host: %v %v", entries, err)
	}
}

// A program that is not root keeps the capabilities it is given, and no other.
func TestUserAndAmbient(t *testing.T) {
	spec := strict("look")
	spec.Execs[0].Cred = isolate.Credentials{UID: 65534, GID: 65534, Groups: []uint32{4}, SetIDs: true, Bounding: 1 << 10,
		Ambient: 1 << 10, NoNewPrivs: true}
	s := see(t, spec)
	bind := fmt.Sprintf("%016x", 1<<10)
	for k, v := range map[string]string{"CapPrm": bind, "CapEff": bind, "CapInh": bind, "CapAmb": bind, "CapBnd": bind, "Groups": "4",
		"Uid": strings.TrimSuffix(strings.Repeat("65534\t", 4), "\t"), "Gid": strings.TrimSuffix(strings.Repeat("65534\t", 4), "\t")} {
		if s.Status[k] != v {
			t.Errorf("%s: %q; want %q", k, s.Status[k], v)
		}
	}
}

func statusField(t *testing.T, pid int, name string) string {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "\n"+name+":")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

// A '+' command may write where its service may not.
func TestPrivilegedCommandWrites(t *testing.T) {
	host := t.TempDir()
	spec := strict("exit", "0")
	spec.Tree.PrivateTmp = false
	sh := func(kind isolate.ExecKind, script string) isolate.Exec {
		e := probeExec(kind)
		e.Path, e.Argv = "/bin/sh", []string{"sh", "-c", script, host}
		return e
	}
	pre := sh(isolate.ExecStartPre, "echo prepared >$0/by-pre")
	pre.Privileged, pre.Cred = true, isolate.Credentials{KeepAll: true}
	spec.Execs = []isolate.Exec{pre, sh(isolate.ExecStart, "cat $0/by-pre; if touch $0/by-main; then exit 1; fi 2>/dev/null")}
	if out := runProbe(t, spec); !strings.HasPrefix(out, "prepared\n") {
		t.Errorf("main printed %q", out)
	}
	if _, err := os.Stat(host + "/by-main"); err == nil {
		t.Error("the service wrote to the host")
	}
}
