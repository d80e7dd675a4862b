package launch

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// fakeTree makes directories that look like a cgroup tree with all controllers,
// with the unit web's generation 4 in it.
func fakeTree(t *testing.T, slice string) *Generation {
	t.Helper()
	mount := t.TempDir()
	c := &Cgroups{mount: mount, root: "nsinit", enabled: controllers[:]}
	g, err := c.Named("web", slice, 4)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(g.leaf("main"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range append(g.parents(), c.abs(c.root), c.abs(g.path), g.leaf("main")) {
		for _, f := range []string{"cgroup.controllers", "cgroup.subtree_control"} {
			if err := writeFile(d, f, strings.Join(controllers[:], " ")); err != nil {
				t.Fatal(err)
			}
		}
	}
	return g
}

// written collects what control files below the instance hold.
func written(t *testing.T, g *Generation) map[string]string {
	t.Helper()
	got := map[string]string{}
	root := g.cgroups.abs(g.cgroups.root)
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.HasPrefix(e.Name(), "cgroup.") {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		got[rel], err = readTrimmed(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func ptr(n uint64) *uint64 { return &n }

func TestLimitsAreWritten(t *testing.T) {
	tests := map[string]struct {
		limits Limits
		want   map[string]string
	}{
		"nothing": {Limits{}, map[string]string{}},
		"memory": {Limits{MemoryHigh: ptr(1 << 20), MemoryMax: ptr(2 << 20), MemorySwapMax: ptr(0), OOMGroup: true}, map[string]string{
			"web/4/main/memory.high": "1048576", "web/4/main/memory.max": "2097152", "web/4/main/memory.swap.max": "0",
			"web/4/main/memory.oom.group": "1"}},
		"protection on the whole way": {Limits{MemoryMin: ptr(4096), MemoryLow: ptr(Unlimited)}, map[string]string{
			"web/memory.min": "4096", "web/4/memory.min": "4096", "web/4/main/memory.min": "4096",
			"web/memory.low": "max", "web/4/memory.low": "max", "web/4/main/memory.low": "max"}},
		"max": {Limits{MemoryMax: ptr(Unlimited), TasksMax: ptr(Unlimited)}, map[string]string{
			"web/4/main/memory.max": "max", "web/4/main/pids.max": "max"}},
		"tasks":       {Limits{TasksMax: ptr(512), TasksMaxDefault: true}, map[string]string{"web/4/main/pids.max": "512"}},
		"no tasks":    {Limits{TasksMax: ptr(0)}, map[string]string{"web/4/main/pids.max": "0"}},
		"weights":     {Limits{CPUWeight: 300, IOWeight: 20}, map[string]string{"web/cpu.weight": "300", "web/io.weight": "default 20"}},
		"idle":        {Limits{CPUIdle: true, CPUWeight: 5}, map[string]string{"web/cpu.idle": "1"}},
		"quota":       {Limits{CPUQuotaUsec: 25000}, map[string]string{"web/4/main/cpu.max": "25000 100000"}},
		"no quota":    {Limits{CPUQuotaUsec: Unlimited, CPUPeriodUsec: 50000}, map[string]string{"web/4/main/cpu.max": "max 50000"}},
		"small quota": {Limits{CPUQuotaUsec: 500}, map[string]string{"web/4/main/cpu.max": "1000 200000"}},
		"least quota": {Limits{CPUQuotaUsec: 1}, map[string]string{"web/4/main/cpu.max": "1000 1000000"}},
		"cpus":        {Limits{AllowedCPUs: []int{0, 2, 3}}, map[string]string{"web/4/main/cpuset.cpus": "0,2,3"}},
		"io":          {Limits{IOMax: []IOMax{{Device: "8:16", WriteIOPS: ptr(99)}}}, map[string]string{"web/4/main/io.max": "8:16 wiops=99"}},
		"io max":      {Limits{IOMax: []IOMax{{Device: "8:16", ReadBPS: ptr(Unlimited)}}}, map[string]string{"web/4/main/io.max": "8:16 rbps=max"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := fakeTree(t, "")
			if err := g.limit(tt.limits, true); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, written(t, g)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

// What a generation that is still there has set on the unit is taken back.
func TestLimitsResetTheUnit(t *testing.T) {
	g := fakeTree(t, "")
	unit := g.parents()[0]
	for file, value := range map[string]string{"cpu.idle": "1", "cpu.weight": "5", "memory.min": "4096"} {
		if err := writeFile(unit, file, value); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.limit(Limits{CPUWeight: 300}, false); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"web/cpu.idle": "0", "web/cpu.weight": "300", "web/memory.min": "0"}
	if diff := cmp.Diff(want, written(t, g)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// The parents have what their children ask for, and no more.
func TestProtectionOfParents(t *testing.T) {
	g := fakeTree(t, "front")
	root, slice := g.cgroups.abs("nsinit"), g.parents()[0]
	for _, d := range []string{root, slice, filepath.Join(root, "db")} {
		os.MkdirAll(d, 0o755)
		for _, f := range protected {
			if err := writeFile(d, f, "0"); err != nil {
				t.Fatal(err)
			}
		}
	}
	writeFile(filepath.Join(root, "db"), "memory.min", "1000")
	if err := g.limit(Limits{MemoryMin: ptr(4096), MemoryLow: ptr(Unlimited)}, true); err != nil {
		t.Fatal(err)
	}
	got := written(t, g)
	for file, want := range map[string]string{"memory.min": "5096", "front.slice/memory.min": "4096", "front.slice/web/memory.min": "4096",
		"memory.low": "max", "front.slice/memory.low": "max"} {
		if got[file] != want {
			t.Errorf("%s is %q, want %q", file, got[file], want)
		}
	}
	if err := g.limit(Limits{}, false); err != nil {
		t.Fatal(err)
	}
	if got := written(t, g)["memory.min"]; got != "1000" {
		t.Errorf("afterwards the instance's memory.min is %q, want 1000", got)
	}
}

func TestLimitErrors(t *testing.T) {
	g := fakeTree(t, "")
	if err := os.Mkdir(g.leaf("main")+"/memory.max", 0o755); err != nil { // a file that refuses to be written
		t.Fatal(err)
	}
	err := g.limit(Limits{MemoryMax: ptr(1)}, true)
	var le *LimitError
	if !errors.As(err, &le) || le.Key != "memory_max" || !errors.Is(err, unix.EISDIR) {
		t.Errorf("error %v", err)
	}
	err = g.limit(Limits{IOMax: []IOMax{{Device: "/proc", ReadIOPS: ptr(5)}}}, true)
	if !errors.As(err, &le) || le.Key != "io_read_iops_max" {
		t.Errorf("a path without a device: %v", err)
	}
	err = g.limit(Limits{IOMax: []IOMax{{Device: "/proc", ReadIOPS: ptr(5)}}, CPUWeight: 7, BestEffort: true}, true)
	if err != nil || len(g.Warnings) != 1 || written(t, g)["web/cpu.weight"] != "7" {
		t.Errorf("with best effort: %v, warnings %q, written %v", err, g.Warnings, written(t, g))
	}
	g.cgroups.enabled = []string{"pids"}
	err = g.delegate(Limits{Delegate: Delegate{Enabled: true, Controllers: []string{"memory"}}})
	if !errors.As(err, &le) || le.Controller != "memory" {
		t.Errorf("delegating what there is not: %v", err)
	}
}

func TestOpenCgroupsNamesWhatLacks(t *testing.T) {
	for instance, want := range map[string]string{"": "cannot name a cgroup", "a/b": "cannot name a cgroup", "x": "parent does not exist"} {
		if _, err := openCgroups("/nowhere", instance, CgroupOptions{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", instance, err, want)
		}
	}
}

func TestDirNames(t *testing.T) {
	for unit, want := range map[string]string{"web": "web", "web@1": "web@1", "memory.max": "_memory.max", "cgroup.procs": "_cgroup.procs",
		"_web": "__web", ".hidden": "_.hidden", "front.slice": "_front.slice", "memory": "memory", "a.b": "a.b", "..": "_.."} {
		if got, err := dirName(unit); got != want || err != nil {
			t.Errorf("dirName(%q) is %q, %v, want %q", unit, got, err, want)
		}
	}
}

func TestDirNamesAreApart(t *testing.T) {
	name := rapid.StringMatching(`[_.a-c-]?(memory|web|cpu|[a-z]{1,3})(\.max|\.slice|\.[a-z]|)(\.slice)?`)
	rapid.Check(t, func(t *rapid.T) {
		unit, slice := name.Draw(t, "unit"), name.Draw(t, "slice")
		u, err := dirName(unit)
		if err != nil || fromDirName(u) != unit || isSlice(u) || isControlFile(u) {
			t.Fatalf("unit %q: %q, %v", unit, u, err)
		}
		if s, err := sliceName(slice); err == nil && (!isSlice(s) || fromSliceName(s) != slice || s == u) {
			t.Fatalf("slice %q: %q, beside unit %q", slice, s, u)
		}
	})
}

func TestStat(t *testing.T) {
	g := fakeTree(t, "")
	for file, value := range map[string]string{"pids.current": "3", "pids.max": "max", "memory.current": "4096", "memory.peak": "8192",
		"memory.max": "16384", "memory.high": "max", "memory.events": "low 0\noom 5\noom_kill 2\n", "cpu.stat": "usage_usec 7\nuser_usec 4\n",
		"io.stat": "8:0 rbytes=10 wbytes=20 rios=1 wios=1\n8:16 rbytes=1 wbytes=2 rios=1 wios=1\n"} {
		if err := writeFile(g.leaf("main"), file, strings.TrimSpace(value)+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	want := Stat{Tasks: 3, TasksMax: Unlimited, Memory: 4096, MemoryPeak: 8192, MemoryMax: 16384, MemoryHigh: Unlimited,
		CPUNsec: 7000, IORead: 11, IOWrite: 22}
	got, err := g.Stat()
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("stat (-want +got), %v:\n%s", err, diff)
	}
	if kills, err := g.OOMKills(); kills != 2 || err != nil {
		t.Errorf("%d OOM kills, %v, want 2", kills, err)
	}
	os.Remove(g.leaf("main") + "/memory.events")
	if _, err := g.OOMKills(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without the controller: %v", err)
	}
}

// What was asked for is turned on once, and what the
// parent has not to give is left out.
func TestEnable(t *testing.T) {
	for name, tt := range map[string]struct{ have, on, want string }{
		"nothing to give":  {"", "", ""},
		"some":             {"cpu hugetlb memory pids", "", "+cpu +memory +pids"},
		"the others are":   {"cpu io memory", "cpu memory", "+io"},
		"all are already":  {"cpu memory", "memory cpu", "memory cpu"},
		"not ours to want": {"hugetlb rdma misc", "", ""},
	} {
		dir := t.TempDir()
		writeFile(dir, "cgroup.controllers", tt.have)
		writeFile(dir, "cgroup.subtree_control", tt.on)
		if _, err := enable(dir, controllers[:]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got, _ := readTrimmed(dir + "/cgroup.subtree_control"); got != tt.want {
			t.Errorf("%s: wrote %q, want %q", name, got, tt.want)
		}
	}
}

// The service gets what it needs to manage cgroups of its own, and not its
// limits.
func TestDelegate(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("giving files away needs root")
	}
	g := fakeTree(t, "")
	writeFile(g.leaf("main"), "cgroup.procs", "")
	l := Limits{MemoryMax: ptr(4096), Delegate: Delegate{Enabled: true, UID: 1234, GID: 1235}}
	if err := g.limit(l, true); err != nil {
		t.Fatal(err)
	}
	if err := g.delegate(l); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]uint32{"": 1234, "/cgroup.procs": 1234, "/cgroup.subtree_control": 1234, "/memory.max": 0, "/..": 0} {
		var st unix.Stat_t
		if err := unix.Stat(g.leaf("main")+file, &st); err != nil || st.Uid != want {
			t.Errorf("main%s belongs to %d, %v, want %d", file, st.Uid, err, want)
		}
	}
}
