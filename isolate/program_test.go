package isolate

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// strict is what the default profile makes of a unit.
func strict() Spec {
	e := Exec{Kind: ExecStart, Path: "/usr/sbin/web", Argv: []string{"web", "-f"}, Env: []string{"PATH=/usr/bin:/bin"},
		Stdout: Stdio{Kind: StdioLog}, Stderr: Stdio{Kind: StdioLog}, IgnoreSIGPIPE: true, Umask: 0o22,
		Cred: Credentials{Bounding: 0xa80405fb, NoNewPrivs: true}}
	e.Success.AddCode(0)
	return Spec{Unit: "web", Namespaces: Mount | PID | IPC | UTS | Cgroup | Net, NetNS: true, Hostname: "web",
		Tree: Tree{System: SystemStrictReadOnly, Home: Hidden, Boot: Hidden, Modules: Hidden, PrivateTmp: true,
			PrivateRun: true, PrivateDev: true},
		Directory: []Directory{{Kind: StateDirectory, Path: "/var/lib/web", Mode: 0o755}},
		Proc:      ProcOptions{HidePID: "invisible"},
		Kernel:    KernelRules{Tunables: true, Logs: true, Clock: true, Masks: true},
		Cgroup:    CgroupReadOnly, Execs: []Exec{e}}
}

// profileHost isolates nothing but cgroup and log.
func profileHost() Spec {
	s := strict()
	s.Namespaces, s.NetNS, s.Hostname, s.Tree, s.Directory = 0, false, "", Tree{}, nil
	s.Proc, s.Kernel, s.Cgroup = ProcOptions{}, KernelRules{}, CgroupHost
	s.Execs[0].Cred = Credentials{KeepAll: true}
	return s
}

// goldens are the programs that are pinned step by step.
var goldens = map[string]func(*Spec, *Host){
	"strict": func(*Spec, *Host) {},
	"no-mount": func(s *Spec, _ *Host) {
		s.Namespaces &^= Mount
		s.Tree, s.Directory = Tree{}, nil
	},
	"no-pid":    func(s *Spec, _ *Host) { s.Namespaces &^= PID },
	"no-ipc":    func(s *Spec, _ *Host) { s.Namespaces &^= IPC },
	"no-uts":    func(s *Spec, _ *Host) { s.Namespaces &^= UTS; s.Hostname = "" },
	"no-cgroup": func(s *Spec, _ *Host) { s.Namespaces &^= Cgroup; s.Cgroup = CgroupHost },
	"no-net":    func(s *Spec, _ *Host) { s.Namespaces &^= Net; s.NetNS = false },
	"net-alone": func(s *Spec, _ *Host) { s.NetNS = false },
	"host":      func(s *Spec, _ *Host) { *s = profileHost() },
	"nohup":     func(_ *Spec, h *Host) { h.Ignored = 1 },
	"root":      func(s *Spec, _ *Host) { s.Tree.Root = "/srv/web" },
	"slave":     func(s *Spec, _ *Host) { s.Tree.Slave = true },
	"delegate":  func(s *Spec, _ *Host) { s.Cgroup = CgroupWritable },
	"user": func(s *Spec, _ *Host) {
		s.Execs[0].Cred = Credentials{UID: 33, GID: 33, Groups: []uint32{4, 33}, SetIDs: true, Bounding: 1 << 10,
			Ambient: 1 << 10, NoNewPrivs: true, SecureBits: 3}
	},
	"hidden": func(s *Spec, _ *Host) {
		s.Paths = []PathRule{{Action: PathBind, Path: "/home/web/data", Source: "/srv/data", Recursive: true},
			{Action: PathReadWrite, Path: "/root/cache"}}
	},
	"paths": func(s *Spec, _ *Host) {
		s.Paths = []PathRule{
			{Action: PathReadOnly, Path: "/etc/ssl/private", Optional: true},
			{Action: PathTmpfs, Path: "/srv", Options: "size=1M"}, {Action: PathReadOnly, Path: "/srv"},
			{Action: PathBind, Path: "/srv/a/b", Source: "/data", ReadOnly: true, Optional: true},
			{Action: PathBind, Path: "/run/scratch", Source: "/tmp", SourceInside: true},
			{Action: PathBind, Path: "/var/run/x", Source: "/opt/x"}, {Action: PathReadWrite, Path: "/run/x/y"},
			{Action: PathReadWrite, Path: "/var/spool/web", Optional: true}, {Action: PathExec, Path: "/var/lib/web/bin"},
			{Action: PathNoExec, Path: "/var"}, {Action: PathInaccessible, Path: "/etc/shadow", Optional: true}}
		s.Links = []Link{{Path: "/run/sub/link", Target: "/etc"}}
		s.Files = []File{{Path: "/etc/hosts", Content: "127.0.0.1 localhost\n", Mode: 0o644}}
	},
	"missing": func(s *Spec, _ *Host) {
		s.Paths = []PathRule{{Action: PathBind, Path: "/opt/a/b", Source: "/srv/data", Recursive: true, ReadOnly: true},
			{Action: PathTmpfs, Path: "/opt/tmp", Options: "mode=0755"},
			{Action: PathBind, Path: "/opt/a/b/c", Source: "/etc", ReadOnly: true}}
		s.Missing = []Missing{
			{Path: "/opt/a/b", Dir: "/opt", Mode: 0o750, GID: 4, Entries: []DirEntry{{Name: "x", Dir: true}, {Name: "file"}, {Name: "link", Link: "x"}}},
			{Path: "/opt/tmp", Dir: "/opt", Mode: 0o750, GID: 4, Entries: []DirEntry{{Name: "x", Dir: true}}},
			{Path: "/opt/a/b/c", Dir: "/opt/a/b", Mode: 0o755, Entries: []DirEntry{{Name: "data.db"}}}}
	},
	"missing-top": func(s *Spec, _ *Host) {
		s.Paths = []PathRule{{Action: PathBind, Path: "/data", Source: "/srv/data", Recursive: true}}
		s.Missing = []Missing{{Path: "/data", Dir: "/", Mode: 0o755, Entries: []DirEntry{{Name: "bin", Link: "usr/bin"},
			{Name: "dev", Dir: true}, {Name: "etc", Dir: true}, {Name: "proc", Dir: true}, {Name: "run", Dir: true}, {Name: "usr", Dir: true}, {Name: "var", Dir: true}}}}
	},
	"passed": func(s *Spec, _ *Host) {
		s.Execs[0].Passed = 2
		s.Execs[0].Env = append(s.Execs[0].Env, "LISTEN_FDS=2", ListenPID)
	},
	"devices": func(s *Spec, _ *Host) {
		s.Devices = []Device{{Path: "/dev/fuse"}, {Path: "/dev/snd/timer", Own: &DeviceNode{Major: 116, Minor: 33, Mode: 0o440, GID: 29}}}
	},
	"devices-only": func(s *Spec, _ *Host) {
		s.OnlyThese, s.NoPTS = true, true
		s.Devices = []Device{{Path: "/dev/loop0", Own: &DeviceNode{Block: true, Major: 7, Mode: 0o400}}}
	},
	"terminal": func(s *Spec, _ *Host) {
		*s = profileHost()
		e := &s.Execs[0]
		e.Stdin = Stdio{Kind: StdioTTY, Path: "/dev/tty1"}
		e.Stdout, e.Stderr = Stdio{Kind: StdioInput}, Stdio{Kind: StdioInput}
	},
	"terminal-force": func(s *Spec, _ *Host) {
		s.Devices = []Device{{Path: "/dev/ttyS0"}}
		e := &s.Execs[0]
		e.Cred = Credentials{UID: 33, GID: 33, Groups: []uint32{33}, SetIDs: true, NoNewPrivs: true}
		e.Stdin = Stdio{Kind: StdioTTY, Path: "/dev/ttyS0", Acquire: AcquireForce}
		e.Stdout = Stdio{Kind: StdioInput}
	},
	"everything": func(s *Spec, h *Host) {
		h.PIDMaxPerNS = true
		s.PIDMax = 400
		nice, policy, class, oom, slack, mask := -5, 2, 1, 500, time.Millisecond, uint64(0x33)
		e := &s.Execs[0]
		e.Sched = Scheduling{Nice: &nice, Policy: &policy, Priority: 7, IOClass: &class, IOPriority: 3, Affinity: []int{0, 65}, TimerSlack: &slack}
		e.OOMScoreAdj, e.CoredumpMask, e.Dir, e.DirMaybe = &oom, &mask, "/var/lib/web", true
		e.Rlimits = []Rlimit{{Resource: 7, Soft: 1024, Hard: Unlimited}}
		e.Stdin = Stdio{Kind: StdioDesc, TTY: true}
		e.Stdout = Stdio{Kind: StdioFile, Path: "/var/log/web.log", Flags: 0x441}
		e.Stderr = Stdio{Kind: StdioSame}
		pre := Exec{Kind: ExecStartPre, Path: "/bin/true", Argv: []string{"true"}, IgnoreFailure: true, Privileged: true,
			Cred: Credentials{KeepAll: true}}
		s.Execs = []Exec{pre, *e}
	},
}

// listing prints a program, a line a step.
func listing(p *Program) string {
	var b strings.Builder
	n := 0
	line := func(who string, s fmt.Stringer) {
		n++
		fmt.Fprintf(&b, "%-9s%3d  %s\n", who, n, s)
	}
	who := "manager"
	for _, o := range p.Open {
		line(who, o)
		who = ""
	}
	who = "reaper"
	for _, s := range p.Setup {
		line(who, s)
		who = ""
	}
	for _, e := range p.Execs {
		fmt.Fprintf(&b, "%s: %s\n", e.Label(), strings.Join(e.Argv, " "))
		for _, s := range e.Steps {
			line("", s)
		}
	}
	return b.String()
}

// TestLines: plan shows every step once, the manager's openings first.
func TestLines(t *testing.T) {
	s, h := strict(), OldestHost()
	p, err := Compile(s, h)
	if err != nil {
		t.Fatal(err)
	}
	lines := p.Lines()
	if len(lines) != len(p.Open)+p.Steps() {
		t.Fatalf("%d lines for %d openings and %d steps", len(lines), len(p.Open), p.Steps())
	}
	for i, l := range lines {
		if (l.By == "manager") != (i < len(p.Open)) {
			t.Errorf("line %d is by %s", i, l.By)
		}
	}
	if last := lines[len(lines)-1]; last.Call != "execve" || last.By != "exec_start" {
		t.Errorf("the last line is %+v", last)
	}
}

func TestPrograms(t *testing.T) {
	for name, change := range goldens {
		t.Run(name, func(t *testing.T) {
			s, h := strict(), OldestHost()
			change(&s, &h)
			p, err := Compile(s, h)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, listing(p)+"\n"+detail(p))
		})
	}
}

func TestTemplates(t *testing.T) {
	mounts := []string{"/", "/proc", "/sys", "/dev", "/dev/pts", "/run", "/run/user/0", "/home", "/sys/fs/cgroup", "/dev/pts", "/srv"}
	for name, tree := range map[string]Tree{
		"template-strict": strict().Tree,
		"template-root":   {Root: "/srv/web", System: SystemStrictReadOnly, PrivateDev: true},
		"template-full":   {System: SystemFullReadOnly, Home: ReadOnly},
		"template-tmpfs":  {System: SystemUsrReadOnly, Home: Empty, PrivateRun: true},
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			for _, s := range TemplateSteps(tree, mounts) {
				fmt.Fprintln(&b, describe(s))
			}
			golden(t, name, b.String())
		})
	}
}

func TestJoins(t *testing.T) {
	e := strict().Execs[0]
	e.Kind, e.Stdout, e.Stderr = ExecReload, Stdio{Kind: StdioDesc}, Stdio{Kind: StdioSame}
	for name, j := range map[string]JoinSpec{
		"join":      {Unit: "web", Namespaces: Mount | PID | IPC | UTS | Net, OwnCgroup: true, Exec: e},
		"join-host": {Unit: "web", Exec: e},
	} {
		p, err := CompileJoin(j, OldestHost())
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, listing(p)+"\n"+detail(p))
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got; go test -update writes it anew):\n%s", name, d)
	}
}

// detail prints every argument of every step.
func detail(p *Program) string {
	var b strings.Builder
	for _, o := range p.Open {
		fmt.Fprintf(&b, "open %+v\n", struct {
			Desc                Desc
			Root, Path          string
			Recursive, Optional bool
		}{o.Desc, o.Root, o.Path, o.Recursive, o.Optional})
	}
	for _, s := range p.Setup {
		fmt.Fprintln(&b, describe(s))
	}
	for _, e := range p.Execs {
		fmt.Fprintf(&b, "%s ignore=%v success=%v\n", e.Label(), e.IgnoreFailure, e.Success)
		for _, s := range e.Steps {
			fmt.Fprintln(&b, describe(s))
		}
	}
	return b.String()
}

func describe(s Step) string {
	var args []string
	for _, a := range s.Args {
		switch a.Kind {
		case ArgInt:
			args = append(args, fmt.Sprintf("%#x", a.N))
		case ArgString:
			args = append(args, fmt.Sprintf("%q", a.S))
		case ArgBytes:
			args = append(args, fmt.Sprintf("[%x]", a.B))
		case ArgDesc:
			args = append(args, "<"+a.S+">")
		case ArgResult:
			args = append(args, "<saved>")
		case ArgListenPID:
			args = append(args, "<LISTEN_PID>")
		case ArgVector:
			args = append(args, fmt.Sprintf("%q", a.V))
		}
	}
	text := fmt.Sprintf("%s(%s) %s", s.Call, strings.Join(args, ", "), s.Class)
	for _, e := range s.Tolerate {
		if e != 0 {
			text += fmt.Sprintf(" tolerate=%d", int(e))
		}
	}
	if s.SkipFail+s.SkipDone != 0 {
		text += fmt.Sprintf(" skip=%d/%d", s.SkipFail, s.SkipDone)
	}
	if s.Back != 0 {
		text += fmt.Sprintf(" back=%d", s.Back)
	}
	if s.Save {
		text += " save"
	}
	if s.If.Desc != "" {
		text += fmt.Sprintf(" if=%s/%d", s.If.Desc, s.If.Node)
	}
	if s.Ahead {
		text += " ahead"
	}
	return text
}

// What a host cannot give is refused by name before anything is made.
func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Spec, *Host)
		want   string
	}{
		"namespace": {func(_ *Spec, h *Host) { h.Namespaces &^= UTS }, "no uts namespace"},
		"missing in what is writable": {func(s *Spec, _ *Host) {
			s.Missing = []Missing{{Path: "/var/lib/web/x", Dir: "/var/lib/web"}}
		}, "/var/lib/web/x is missing in /var/lib/web"},
		"paths":         {func(s *Spec, _ *Host) { s.Namespaces &^= Mount; s.Paths = make([]PathRule, 1) }, "[filesystem]"},
		"hostname":      {func(s *Spec, _ *Host) { s.Namespaces &^= UTS }, "needs the uts namespace"},
		"long hostname": {func(s *Spec, _ *Host) { s.Hostname = strings.Repeat("x", 65) }, "65 bytes"},
		"delegate":      {func(s *Spec, h *Host) { s.Cgroup, h.NSDelegate = CgroupWritable, false }, "nsdelegate"},
		"pid_max":       {func(s *Spec, _ *Host) { s.PIDMax = 100 }, "6.14"},
	} {
		s, h := strict(), OldestHost()
		c.change(&s, &h)
		if _, err := Compile(s, h); err == nil || !strings.HasPrefix(err.Error(), "web: cannot isolate: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := CompileJoin(JoinSpec{Unit: "web", Namespaces: Time}, Host{}); err == nil || !strings.Contains(err.Error(), "no time namespace") {
		t.Error(err)
	}
}
