package launch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// testCgroups makes an instance of the test's own in the real tree.
func testCgroups(t *testing.T) *Cgroups {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("making cgroups needs root")
	}
	if _, _, err := CgroupMount(); err != nil {
		t.Skip(err)
	}
	c, err := OpenCgroups(fmt.Sprintf("nsinit-test-%d-%s", os.Getpid(), t.Name()), CgroupOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.RemoveRoot(); err != nil {
			t.Error(err)
		}
		if exists(c.abs(c.Root())) {
			t.Error("the instance's cgroup is left")
		}
	})
	return c
}

func create(t *testing.T, c *Cgroups, unit, slice string, n uint64) *Generation {
	t.Helper()
	g, err := c.Create(unit, slice, n, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.Kill()
		g.KillInit()
		waitEmpty(t, g)
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
		g.Close()
	})
	return g
}

// shell starts a shell in the cgroup and returns once it has printed a line.
func shell(t *testing.T, cgroup int, script string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.SysProcAttr = &unix.SysProcAttr{UseCgroupFD: true, CgroupFD: cgroup}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// waitEmpty waits until the payload has no processes, by the kernel's notice.
func waitEmpty(t *testing.T, g *Generation) {
	t.Helper()
	fd, err := g.EventsFD()
	if err != nil {
		return // removed
	}
	defer unix.Close(fd)
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		unix.Pread(fd, make([]byte, 128), 0)
		if full, err := g.Populated(); err != nil || !full {
			return
		}
		unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}}, 1000)
	}
	t.Error("the payload does not end")
}

func TestGenerationLifecycle(t *testing.T) {
	c := testCgroups(t)
	g := create(t, c, "web", "", 4)
	if want := c.Root() + "/web/4"; g.Path() != want {
		t.Errorf("path %q, want %q", g.Path(), want)
	}
	if full, err := g.Populated(); full || err != nil {
		t.Errorf("a new one is populated: %v, %v", full, err)
	}
	reaper := shell(t, g.InitFD(), "echo; exec sleep 600")
	main := shell(t, g.MainFD(), "sleep 600 & echo; wait")
	procs, err := g.Procs()
	if err != nil || len(procs) != 2 || !slices.Contains(procs, main.Process.Pid) {
		t.Errorf("processes %v, %v, want %d and its child", procs, err, main.Process.Pid)
	}
	if init, err := g.InitProcs(); err != nil || !slices.Equal(init, []int{reaper.Process.Pid}) {
		t.Errorf("reaper %v, %v, want %d", init, err, reaper.Process.Pid)
	}
	if s, err := g.Stat(); err != nil || s.Tasks != 2 {
		t.Errorf("stat %+v, %v, want 2 tasks", s, err)
	}
	if err := g.Remove(); !errors.Is(err, unix.EBUSY) {
		t.Errorf("removing it with processes: %v", err)
	}
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	main.Wait()
	waitEmpty(t, g)
	if err := reaper.Process.Signal(unix.Signal(0)); err != nil {
		t.Errorf("the reaper was killed too: %v", err)
	}
	if err := g.KillInit(); err != nil {
		t.Fatal(err)
	}
	reaper.Wait()
	if err := g.Remove(); err != nil {
		t.Fatal(err)
	}
	if exists(c.abs(c.Root() + "/web")) {
		t.Error("the unit's directory is left")
	}
	if s, err := g.Stat(); err != nil || s != (Stat{}) {
		t.Errorf("stat of a removed one: %+v, %v", s, err)
	}
	if err := g.Remove(); err != nil {
		t.Errorf("removing it again: %v", err)
	}
}

func TestRemoveTakesWhatTheServiceMade(t *testing.T) {
	c := testCgroups(t)
	g, other := create(t, c, "web", "", 1), create(t, c, "web", "", 2)
	deep := g.leaf("main")
	for range 40 {
		deep += "/x"
		if err := os.Mkdir(deep, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.Open(deep)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd := shell(t, int(dir.Fd()), "echo; exec sleep 600")
	if procs, err := g.Procs(); err != nil || !slices.Equal(procs, []int{cmd.Process.Pid}) {
		t.Errorf("processes %v, %v, want %d", procs, err, cmd.Process.Pid)
	}
	if full, err := g.Populated(); !full || err != nil {
		t.Errorf("populated %v, %v", full, err)
	}
	if err := g.Remove(); !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), fmt.Sprint(cmd.Process.Pid)) {
		t.Errorf("removing it: %v, want it busy with %d", err, cmd.Process.Pid)
	}
	g.Kill()
	cmd.Wait()
	waitEmpty(t, g)
	if err := g.Remove(); err != nil {
		t.Fatal(err)
	}
	if !exists(other.leaf("main")) {
		t.Error("the other generation is gone")
	}
}

func TestSignalReachesAll(t *testing.T) {
	g := create(t, testCgroups(t), "web", "", 1)
	// No trap: a child between fork and exec would take the signal for the shell.
	main := shell(t, g.MainFD(), "sleep 600 & sleep 600 & echo; wait")
	reaper := shell(t, g.InitFD(), "echo; exec sleep 600")
	if g.Has(reaper.Process.Pid) || g.Has(os.Getpid()) || !g.Has(main.Process.Pid) {
		t.Error("has takes processes that are elsewhere, or not its own")
	}
	if err := g.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	main.Wait()
	if ws := main.ProcessState.Sys().(syscall.WaitStatus); ws.Signal() != unix.SIGTERM {
		t.Errorf("the shell ended with %v", main.ProcessState)
	}
	waitEmpty(t, g) // its children, too
	if err := reaper.Process.Signal(unix.Signal(0)); err != nil {
		t.Errorf("the reaper got it too: %v", err)
	}
}

// The keeper's leaf is none of a unit's, not even of one that has its name.
func TestKeeperLeaf(t *testing.T) {
	c := testCgroups(t)
	if procs, err := c.KeeperProcs(); len(procs) != 0 || err != nil {
		t.Errorf("before there is one: %v, %v", procs, err)
	}
	if err := c.KillKeeper(); err != nil {
		t.Error(err)
	}
	create(t, c, keeperDir, "", 1)
	fd, err := c.MakeKeeper()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	process := shell(t, fd, "echo; exec sleep 600")
	if procs, err := c.KeeperProcs(); !slices.Equal(procs, []int{process.Process.Pid}) || err != nil {
		t.Errorf("%v, %v; want %d", procs, err, process.Process.Pid)
	}
	if found, err := c.Find(); len(found) != 1 || found[0].Unit != keeperDir || found[0].Populated {
		t.Errorf("found %+v, %v", found, err)
	}
	if err := c.KillKeeper(); err != nil {
		t.Error(err)
	}
	process.Wait() // killed
	if procs, err := c.KeeperProcs(); len(procs) != 0 || err != nil {
		t.Errorf("after its end: %v, %v", procs, err)
	}
}

func TestFindAndOpen(t *testing.T) {
	c := testCgroups(t)
	web, mail := create(t, c, "web", "", 1), create(t, c, "memory.max", "front", 12)
	reaper := shell(t, web.InitFD(), "echo; exec sleep 600")
	shell(t, mail.MainFD(), "echo; exec sleep 600")
	again, err := openCgroups(c.Mount(), c.Root(), CgroupOptions{}) // as a new manager does
	if err != nil {
		t.Fatal(err)
	}
	found, err := again.Find()
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(found)
	for _, want := range []Found{{Unit: "web", Number: 1, InitProcs: []int{reaper.Process.Pid}},
		{Unit: "memory.max", Slice: "front", Number: 12, Populated: true}} {
		if len(found) != 2 || !strings.Contains(got, fmt.Sprint(want)) {
			t.Errorf("found %s, want %v", got, want)
		}
	}
	g, err := again.Open("memory.max", "front", 12)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if full, err := g.Populated(); !full || err != nil {
		t.Errorf("populated %v, %v", full, err)
	}
	if _, err := again.Open("memory.max", "front", 13); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opening one that is not there: %v", err)
	}
}

// A start that was cut short leaves directories, which must not fail the next.
func TestCreateOverEmptyLeftover(t *testing.T) {
	c := testCgroups(t)
	if err := os.MkdirAll(filepath.Join(c.abs(c.Root()), "web", "1", "init"), 0o755); err != nil {
		t.Fatal(err)
	}
	g := create(t, c, "web", "", 1)
	shell(t, g.InitFD(), "echo; exec sleep 600")
	if _, err := c.Create("web", "", 1, Limits{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("making one that has processes: %v", err)
	}
	if procs, err := g.InitProcs(); err != nil || len(procs) != 1 || !exists(g.leaf("main")) {
		t.Errorf("the first one is not whole: %v, %v", procs, err)
	}
}

func TestCreateConcurrent(t *testing.T) {
	c := testCgroups(t)
	var wg sync.WaitGroup
	for i := range uint64(8) {
		wg.Go(func() {
			for n := range uint64(100) {
				g, err := c.Create("web", "front", i*1000+n, Limits{})
				if err != nil {
					t.Error(err)
					return
				}
				if err := g.Remove(); err != nil {
					t.Error(err)
				}
				g.Close()
			}
		})
	}
	wg.Wait()
	if found, err := c.Find(); err != nil || len(found) != 0 {
		t.Errorf("left: %v, %v", found, err)
	}
}

func TestFreeze(t *testing.T) {
	g := create(t, testCgroups(t), "web", "", 1)
	shell(t, g.MainFD(), "echo; exec sleep 600")
	for _, step := range []struct {
		do   func() error
		want uint64
	}{{g.Freeze, 1}, {g.Thaw, 0}} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		fd, err := g.EventsFD()
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			unix.Pread(fd, make([]byte, 128), 0)
			if n, _ := readKey(g.leaf("main")+"/cgroup.events", "frozen"); n == step.want {
				break
			}
			unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}}, 1000)
		}
		unix.Close(fd)
		if n, err := readKey(g.leaf("main")+"/cgroup.events", "frozen"); n != step.want || err != nil {
			t.Errorf("frozen %d, %v, want %d", n, err, step.want)
		}
	}
}

func TestLimitWithoutController(t *testing.T) {
	c := testCgroups(t)
	c.enabled = nil // whatever this machine has
	limit := uint64(1 << 30)
	_, err := c.Create("web", "", 1, Limits{MemoryMax: &limit})
	var le *LimitError
	if !errors.As(err, &le) || le.Key != "memory_max" || le.Controller != "memory" || !strings.Contains(err.Error(), c.Root()) {
		t.Errorf("error %v", err)
	}
	if found, _ := c.Find(); len(found) != 0 || exists(c.abs(c.Root()+"/web")) {
		t.Errorf("the failed start left %v", found)
	}
	g, err := c.Create("web", "", 1, Limits{MemoryMax: &limit, CPUWeight: 50, BestEffort: true, TasksMax: &limit, TasksMaxDefault: true})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	defer g.Remove()
	if len(g.Warnings) != 2 || !strings.Contains(g.Warnings[0], "memory_max") || !strings.Contains(g.Warnings[1], "cpu_weight") {
		t.Errorf("warnings %q", g.Warnings)
	}
	if _, err := c.Create("db", "", 1, Limits{TasksMax: &limit}); err == nil || !strings.Contains(err.Error(), "tasks_max") {
		t.Errorf("a tasks_max that was asked for: %v", err)
	}
}

func BenchmarkCreateRemove(b *testing.B) {
	if os.Getuid() != 0 {
		b.Skip("making cgroups needs root")
	}
	c, err := OpenCgroups(fmt.Sprintf("nsinit-bench-%d", os.Getpid()), CgroupOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer c.RemoveRoot()
	for n := uint64(1); b.Loop(); n++ {
		g, err := c.Create("web", "", n, Limits{})
		if err != nil {
			b.Fatal(err)
		}
		if err := g.Remove(); err != nil {
			b.Fatal(err)
		}
		g.Close()
	}
}
