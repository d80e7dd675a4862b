package launch_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/isolate/launch"
	"github.com/nsinit/nsinit/reaper"
)

func attacks(t *testing.T, spec isolate.Spec, sabotage ...func(*isolate.Program)) map[string]string {
	t.Helper()
	var got map[string]string
	if err := json.Unmarshal([]byte(runProbe(t, spec, sabotage...)), &got); err != nil {
		t.Fatal(err)
	}
	return got
}

// weakReaper gives the reaper exactly the capabilities of its payload, so that
// they are no defence.
func weakReaper(p *isolate.Program) {
	caps := make([]byte, 24)
	for i, b := range binary.LittleEndian.AppendUint32(nil, dockerCaps) {
		caps[i], caps[4+i] = b, b
	}
	// Its programs can then not make a namespace or mount any more.
	without("[cgroup]", "cgroup2", "capset")(p)
	p.Setup = append(p.Setup,
		isolate.Step{Call: isolate.CallPrctl, Args: []isolate.Arg{isolate.Int(unix.PR_CAPBSET_DROP), isolate.Int(19)}},
		isolate.Step{Call: isolate.CallCapset, Args: []isolate.Arg{isolate.Bytes([]byte{0x22, 0x05, 0x08, 0x20, 0, 0, 0, 0}), isolate.Bytes(caps)}})
}

// From inside, as root, PID 1 cannot be traced, read, opened or robbed.
func TestReaperIsOutOfReach(t *testing.T) {
	visible := strict("attack")
	visible.Proc.HidePID = ""
	for _, c := range []struct {
		name     string
		sabotage []func(*isolate.Program)
		refused  bool
	}{
		{"default", nil, true},
		{"dumpable alone defends", []func(*isolate.Program){weakReaper, without("saved group")}, true},
		{"capabilities alone defend", []func(*isolate.Program){without("no dump", "saved group")}, true},
		{"its group alone defends", []func(*isolate.Program){weakReaper, without("no dump")}, true},
		{"seen to fail without all", []func(*isolate.Program){weakReaper, without("no dump", "saved group")}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for what, e := range attacks(t, visible, c.sabotage...) {
				if refused := e == "EPERM" || e == "EACCES"; refused != c.refused {
					t.Errorf("%s: %s", what, e)
				}
			}
		})
	}
}

// Root inside cannot limit the reaper. If it could, a record cut short would not
// be the last word: the reaper ends, which its manager sees.
func TestReaperLimitsAreItsOwn(t *testing.T) {
	t.Run("default", func(t *testing.T) {
		s := launchSpec(t, strict("limit"))
		if got := s.line(); got != "EPERM" {
			t.Error("prlimit of the reaper:", got)
		}
		s.await(ended)
	})
	t.Run("seen to fail without its own group", func(t *testing.T) {
		s := launchSpec(t, strict("limit"), without("saved group"))
		if got := s.line(); got != "<nil>" {
			t.Error("prlimit of the reaper:", got)
		}
		fds := []unix.PollFd{{Fd: int32(s.proc.PIDFD), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, int(patience.Milliseconds())); n != 1 {
			t.Error("the reaper lives and cannot write its record:", n, err)
		}
	})
}

// 200,000 signals to PID 1 leave none pending; with the mask that the clone
// leaves blocked they would.
func TestQueuedSignalsLeaveNothing(t *testing.T) {
	for _, c := range []struct {
		name     string
		n        int
		sabotage []func(*isolate.Program)
		clean    bool
	}{
		{"default", 200000, nil, true},
		{"seen to fail with the mask blocked", 2000, []func(*isolate.Program){without("SIGCHLD unblocked")}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := launchSpec(t, strict("queue", strconv.Itoa(c.n)), c.sabotage...)
			if got := s.line(); got != "queued" {
				t.Fatal(got)
			}
			pending := statusField(t, s.proc.PID, "SigPnd") + statusField(t, s.proc.PID, "ShdPnd")
			// SIGCHLD is blocked for the reaper to wait for; it is taken at once.
			if clean := strings.Trim(strings.ReplaceAll(pending, "10000", ""), "0") == ""; clean != c.clean {
				t.Errorf("pending: %s", pending)
			}
		})
	}
}

// What the reaper holds, and what it costs.
func TestReaperHoldsOnlyItsOwn(t *testing.T) {
	s := launchSpec(t, strict("hold"))
	if got := s.line(); got != "ready" {
		t.Fatal(got)
	}
	awaitRest(t, s.proc.PID)
	pid := strconv.Itoa(s.proc.PID)
	fds := links("/proc/" + pid + "/fd")
	var got []string
	for n := range fds {
		got = append(got, n)
	}
	slices.SortFunc(got, func(a, b string) int { x, _ := strconv.Atoi(a); y, _ := strconv.Atoi(b); return x - y })
	want := []string{"0", "1", "2", strconv.Itoa(reaper.FDRecord), strconv.Itoa(reaper.FDDoorbell), strconv.Itoa(reaper.FDMain)}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s\n%v", d, fds)
	}
	for n, suffix := range map[string]string{"0": "/null", "1": "/null", "2": "/null", "3": "/record", "4": "[eventfd]", "9": "[pidfd]"} {
		if !strings.HasSuffix(fds[n], suffix) {
			t.Errorf("descriptor %s is %s", n, fds[n])
		}
	}
	checkCost(t, s.proc.PID)
	entry, err := os.Readlink("/proc/" + pid + "/cwd")
	if err != nil || entry != "/" {
		t.Error(entry, err)
	}
}

// checkCost asserts at most 48 KiB, private memory and page tables, and one task.
func checkCost(t *testing.T, pid int) {
	t.Helper()
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	kib := 0
	for _, l := range strings.Split(string(rollup), "\n") {
		if strings.HasPrefix(l, "Private_") {
			n, _ := strconv.Atoi(strings.Fields(l)[1])
			kib += n
		}
	}
	pte, _ := strconv.Atoi(strings.Fields(statusField(t, pid, "VmPTE"))[0])
	t.Logf("reaper: %d KiB private, %d KiB page tables", kib, pte)
	if kib+pte > 48 || pte == 0 {
		t.Errorf("the reaper takes %d KiB and %d KiB of page tables; the most is 48", kib, pte)
	}
	if n := statusField(t, pid, "Threads"); n != "1" {
		t.Errorf("%s tasks", n)
	}
}

// All descriptors that a manager hands in arrive, and main's pidfd beside them.
func TestReaperKeepsEveryDescriptor(t *testing.T) {
	l := needRoot(t)
	spec := strict("hold")
	spec.Execs = append([]isolate.Exec{probeExec(isolate.ExecStartPre, "exit", "0")}, spec.Execs...)
	s := prepare(t, spec)
	defer s.initDir.Close()
	dir := t.TempDir()
	open := func(name string) int {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return int(f.Fd())
	}
	s.record, _ = os.OpenFile(filepath.Join(dir, "record"), os.O_RDWR|os.O_CREATE, 0o600)
	s.bell, _ = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.out = out
	s.proc, err = l.Launch(s.prog, 1, launch.Files{Record: int(s.record.Fd()), Doorbell: s.bell, Init: int(s.initDir.Fd()), Main: int(s.mainDir.Fd()),
		StdoutRead: open("out"), StderrRead: open("err"), Notify: open("notify"), Syslog: open("syslog"),
		Stdout: int(in.Fd()), Stderr: int(in.Fd()), Dir: dir})
	in.Close()
	if err != nil {
		t.Fatal(err)
	}
	s.line()
	fds := links(fmt.Sprintf("/proc/%d/fd", s.proc.PID))
	for n, suffix := range map[string]string{"3": "/record", "5": "/out", "6": "/err", "7": "/notify", "8": "/syslog", "9": "[pidfd]"} {
		if !strings.HasSuffix(fds[n], suffix) {
			t.Errorf("descriptor %s is %q", n, fds[n])
		}
	}
	for range 1000 { // it closes the rest once main runs
		if len(fds) == 10 {
			break
		}
		time.Sleep(time.Millisecond)
		fds = links(fmt.Sprintf("/proc/%d/fd", s.proc.PID))
	}
	if len(fds) != 10 {
		t.Errorf("%d descriptors: %v", len(fds), fds)
	}
	r := s.await(func(r *reaper.Record) bool { return r.Phase == reaper.MainStarted })
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/9", s.proc.PID))
	if m, _ := r.Main(); !strings.Contains(string(b), fmt.Sprintf("NSpid:\t%d", hostPID(t, s))) {
		t.Errorf("descriptor 9 is not main (%d inside): %s", m.PID, b)
	}
}

// hostPID gives the one process of the payload as the host numbers it.
func hostPID(t *testing.T, s *service) int {
	t.Helper()
	b, err := os.ReadFile(s.cgroup + "/main/cgroup.procs")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestTenThousandOrphans(t *testing.T) {
	const n = 10000
	s := launchSpec(t, strict("orphans", strconv.Itoa(n)))
	r := s.await(func(r *reaper.Record) bool { return ended(r) && r.Exits >= 2*n+1 })
	if m, _ := r.Main(); syscall.WaitStatus(m.Status).ExitStatus() != 42 {
		t.Errorf("main: %+v", m)
	}
	if r.Exits != 2*n+1 {
		t.Errorf("%d exits; want %d", r.Exits, 2*n+1)
	}
	if state := statusField(t, s.proc.PID, "State"); strings.HasPrefix(state, "Z") || strings.HasPrefix(state, "X") {
		t.Errorf("the reaper is %s", state)
	}
}

// Who truncates the record harms the record, until the next exit.
func TestRecordTruncated(t *testing.T) {
	s := launchSpec(t, strict("hold"))
	s.line()
	for range 3 {
		// The exit of the orphan's parent, a command of the manager, is not the reaper's.
		before := s.await(func(r *reaper.Record) bool { return true })
		if err := s.record.Truncate(0); err != nil {
			t.Fatal(err)
		}
		joined := joinProbe(t, s, "once") // leaves an orphan to the reaper
		if _, err := joined.Wait(); err != nil {
			t.Fatal(err)
		}
		after := s.await(func(r *reaper.Record) bool { return r.Seq > before.Seq })
		if m, ok := after.Main(); !ok || m.State != reaper.Executed || after.Exits == 0 {
			t.Errorf("%+v", m)
		}
	}
	// A manager that finds it damaged asks for it.
	if err := s.record.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if err := s.proc.Signal(syscall.SIGCHLD); err != nil {
		t.Fatal(err)
	}
	if m, ok := s.await(func(*reaper.Record) bool { return true }).Main(); !ok || m.State != reaper.Executed {
		t.Errorf("%+v", m)
	}
	if err := syscall.Kill(hostPID(t, s), 0); err != nil {
		t.Error("the service is gone:", err)
	}
}

// 200 launches at once beside a garbage collector that is kept busy.
func TestParallelLaunches(t *testing.T) {
	needRoot(t)
	stop := make(chan struct{})
	var busy sync.WaitGroup
	busy.Add(1)
	go func() {
		defer busy.Done()
		var keep [][]byte
		for {
			select {
			case <-stop:
				runtime.KeepAlive(keep)
				return
			default:
				keep = append(keep[max(0, len(keep)-64):], make([]byte, 1<<16))
				runtime.GC()
			}
		}
	}()
	before := unkept(links("/proc/self/fd"))
	t.Run("all", func(t *testing.T) {
		for i := range 200 {
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				s := launchSpec(t, strict("echo", strconv.Itoa(i)))
				r, out := s.finish()
				s.checkSetup(r)
				if out != fmt.Sprintln(i) {
					t.Errorf("printed %q", out)
				}
				s.release()
			})
		}
	})
	close(stop)
	busy.Wait()
	if after := unkept(links("/proc/self/fd")); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	var ws syscall.WaitStatus
	if pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil); err != syscall.ECHILD {
		t.Errorf("a child is left: %d %v", pid, err)
	}
}

// unkept counts the descriptors that are not of templates and of stages, which
// the launcher keeps.
func unkept(fds map[string]string) (n int) {
	for _, to := range fds {
		kept := strings.HasSuffix(to, "/mountinfo")
		for _, ns := range []string{"mnt:[", "ipc:[", "uts:["} {
			kept = kept || strings.HasPrefix(to, ns)
		}
		if !kept {
			n++
		}
	}
	return n
}
