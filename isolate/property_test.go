package isolate

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// drawSpec draws what a unit could ask for.
func drawSpec(t *rapid.T) Spec {
	s := strict()
	s.Namespaces = Namespaces(rapid.IntRange(0, 1<<6-1).Draw(t, "namespaces"))
	s.NetNS = s.Namespaces.Has(Net) && rapid.Bool().Draw(t, "netns")
	if !s.Namespaces.Has(UTS) {
		s.Hostname = ""
	}
	visible := func(name string) Visibility { return Visibility(rapid.IntRange(0, 3).Draw(t, name)) }
	s.Tree = Tree{System: SystemAccess(rapid.IntRange(0, 3).Draw(t, "system")), Home: visible("home"), Boot: visible("boot"),
		PrivateTmp: rapid.Bool().Draw(t, "tmp"), PrivateRun: rapid.Bool().Draw(t, "run"), PrivateDev: rapid.Bool().Draw(t, "dev"),
		Slave: rapid.Bool().Draw(t, "slave")}
	s.Paths = rapid.SliceOfN(rapid.Custom(drawRule), 0, 8).Draw(t, "rules")
	if !s.Namespaces.Has(Mount) {
		s.Tree, s.Paths, s.Directory = Tree{}, nil, nil
	}
	e := &s.Execs[0]
	e.Cred = Credentials{SetIDs: rapid.Bool().Draw(t, "ids"), UID: rapid.SampledFrom([]uint32{0, 33}).Draw(t, "uid"),
		Bounding: rapid.Uint64Range(0, 1<<41-1).Draw(t, "bounding"), KeepAll: rapid.Bool().Draw(t, "keep"), NoNewPrivs: rapid.Bool().Draw(t, "nnp")}
	e.Cred.Ambient = e.Cred.Bounding & rapid.Uint64Range(0, 1<<41-1).Draw(t, "ambient")
	return s
}

func drawRule(t *rapid.T) PathRule {
	name := rapid.SampledFrom([]string{"a", "b", "a-b", "c"})
	p := path.Join("/", rapid.SampledFrom([]string{"etc", "home", "root", "run", "tmp", "var/run", "var/tmp", "srv", "dev", "dev/shm"}).Draw(t, "top"),
		strings.Join(rapid.SliceOfN(name, 0, 3).Draw(t, "below"), "/"))
	r := PathRule{Action: PathAction(rapid.IntRange(int(PathTmpfs), int(PathInaccessible)).Draw(t, "action")), Path: p,
		Optional: rapid.Bool().Draw(t, "optional")}
	if r.Action == PathBind {
		r.Source = "/source" + rapid.SampledFrom([]string{"", "/x", "/y/z"}).Draw(t, "source")
		r.ReadOnly, r.Recursive = rapid.Bool().Draw(t, "ro"), rapid.Bool().Draw(t, "recursive")
	}
	return r
}

func draw(t *rapid.T) (Spec, *Program) {
	s := drawSpec(t)
	p, err := Compile(s, OldestHost())
	if err != nil {
		t.Fatal(err)
	}
	return s, p
}

func TestEqualInputsEqualPrograms(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, p := draw(t)
		slices.Reverse(s.Paths) // the order in the file means nothing, but for rules of one path
		slices.SortStableFunc(s.Paths, func(a, b PathRule) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		again, err := Compile(s, OldestHost())
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, r := range s.Paths {
			key := fmt.Sprint(canonical(r.Path), r.Action)
			if seen[key] {
				return // two rules say different things of one path
			}
			seen[key] = true
		}
		if d := cmp.Diff(p, again); d != "" {
			t.Error(d)
		}
	})
}

func TestRulesAreSortedParentsFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSpec(t)
		c := &compiler{spec: s, host: OldestHost(), prog: &Program{}, made: map[string]bool{}}
		rules := c.rules()
		for i, r := range rules {
			for _, later := range rules[i+1:] {
				if below(r.Path, later.Path) {
					t.Errorf("%s before %s", r.Path, later.Path)
				}
				if r.Path == later.Path && r.Action > later.Action {
					t.Errorf("%s: action %d before %d", r.Path, r.Action, later.Action)
				}
			}
		}
	})
}

// Whatever a unit asks for, its programs keep the order that safety needs.
func TestOrderOfSteps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, p := draw(t)
		if p.Setup[0].What != "no dump" || !strings.HasPrefix(p.Setup[1].What, "all but SIGCHLD") {
			t.Error("the reaper is not made safe first")
		}
		for _, e := range p.Execs {
			last := len(e.Steps) - 1
			at := func(f func(Step) bool) int { return slices.IndexFunc(e.Steps, f) }
			is := func(c Call) int { return at(func(s Step) bool { return s.Call == c }) }
			nnp := at(func(s Step) bool { return s.What == "no new privileges" })
			if is(CallExecve) != last || is(CallCloseRange) != last-1 {
				t.Error("close_range and execve are not last")
			}
			if caps := is(CallCapset); nnp >= 0 && nnp < caps {
				t.Error("no_new_privs before capset")
			}
			if (nnp >= 0) != s.Execs[0].Cred.NoNewPrivs {
				t.Error("no_new_privs is not what was asked for")
			}
			if is(CallChdir) < is(CallSetresuid) || is(CallVerifyDir) < is(CallChdir) {
				t.Error("the directory is not entered with the user's rights and then verified")
			}
			dump := at(func(s Step) bool { return s.What == "no dump" })
			if dump < max(is(CallCapset), is(CallSetresuid)) {
				t.Error("a change of credentials may make the reaper traceable")
			}
		}
	})
}

// Every path that a step makes lies in a mount that this start made, skips
// count steps that are always there, and what is optional is tolerated.
func TestStepsStayInTheirTree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, p := draw(t)
		own := map[string]bool{} // mount points: is what is there this start's own?
		for i, step := range p.Setup {
			var target string
			switch step.Call {
			case CallMkdir, CallMknod:
				target = step.Args[1].S
				if !ownPlace(own, target) {
					t.Errorf("%s is made on the host", step)
				}
			case CallMount:
				target = step.Args[1].S
				switch {
				case step.Args[2].S == "tmpfs":
					own[target] = true
				case step.Args[3].N&unix.MS_BIND != 0 && step.Args[0].S != target:
					own[target] = false
				}
			case CallMoveMount:
				own[step.Args[3].S] = false
			}
			for n := 1; n <= max(step.SkipDone, step.SkipFail); n++ {
				if i+n >= len(p.Setup) || p.Setup[i+n].If.Desc != "" {
					t.Errorf("%s skips a step that may not be there", step)
				}
			}
		}
		checkOptional(t, s, p)
	})
}

func ownPlace(own map[string]bool, target string) bool {
	for d := path.Dir(target); d != "/"; d = path.Dir(d) {
		if is, known := own[d]; known {
			return is
		}
	}
	return false
}

// checkOptional holds that every step about a path that only optional rules
// name is left out or tolerated where the path is missing.
func checkOptional(t *rapid.T, s Spec, p *Program) {
	for _, o := range p.Open {
		i := slices.IndexFunc(s.Paths, func(r PathRule) bool { return strings.HasSuffix(string(o.Desc), " "+canonical(r.Path)) && !r.Optional })
		j := slices.IndexFunc(s.Paths, func(r PathRule) bool { return strings.HasSuffix(string(o.Desc), " "+canonical(r.Path)) })
		if j >= 0 && i < 0 && !o.Optional {
			t.Errorf("%s is not optional", o)
		}
	}
	for _, step := range p.Setup {
		if step.Call == CallMoveMount && step.If.Desc == "" {
			t.Errorf("%s has no condition", step)
		}
	}
}

// Nothing that is mounted below a path without execution lifts that.
func TestNoExecHoldsBelow(t *testing.T) {
	s := strict()
	s.Paths = []PathRule{{Action: PathNoExec, Path: "/var"}, {Action: PathTmpfs, Path: "/var/cache"}, {Action: PathExec, Path: "/var/opt"},
		{Action: PathReadWrite, Path: "/var/opt/x"}}
	p, err := Compile(s, OldestHost())
	if err != nil {
		t.Fatal(err)
	}
	text := listing(p)
	for _, want := range []string{"mount_setattr /var/lib/web nodev noexec private", "mount_setattr /var/opt/x nodev private"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	i := slices.IndexFunc(p.Setup, func(s Step) bool { return s.What == "tmpfs on /var/cache" })
	if p.Setup[i].Args[3].N&unix.MS_NOEXEC == 0 {
		t.Error("a tmpfs below may execute")
	}
}
