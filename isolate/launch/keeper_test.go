package launch_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate/launch"
	"github.com/nsinit/nsinit/reaper"
)

// launchKeeper starts one in a cgroup of its own, with a pair that has one
// message with a pipe's read end; w is the pipe's write end.
func launchKeeper(t *testing.T) (proc *launch.Process, w int) {
	t.Helper()
	l := needRoot(t)
	mount, _, err := launch.CgroupMount()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(mount, fmt.Sprintf("nsinit-launchtest-%d-%d", os.Getpid(), serial.Add(1)))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	leaf, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if err := unix.Sendmsg(ends[0], []byte("pipe"), unix.UnixRights(p[0]), nil, 0); err != nil {
		t.Fatal(err)
	}
	proc, err = l.LaunchKeeper(ends[0], ends[1], int(leaf.Fd()))
	for _, fd := range []int{ends[0], ends[1], p[0]} {
		unix.Close(fd)
	}
	t.Cleanup(func() {
		unix.Close(p[1])
		leaf.Close()
		if proc != nil {
			proc.Signal(unix.SIGKILL)
			if _, err := proc.Wait(); err != nil {
				t.Error(err)
			}
		}
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if procs, err := os.ReadFile(dir + "/cgroup.procs"); err != nil || strings.TrimSpace(string(procs)) != itoa(proc.PID) {
		t.Errorf("in its cgroup are %q (%v), not %d", procs, err, proc.PID)
	}
	return proc, p[1]
}

func statusOf(t *testing.T, pid int, field string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + field + `:\s*(.*)$`).FindSubmatch(b)
	if m == nil {
		t.Fatalf("no %s in\n%s", field, b)
	}
	return string(m[1])
}

// The keeper holds the two sockets, and through them what is in flight, and has
// nothing else: no descriptor, no capability, no heap, no share in the manager's
// session.
func TestKeeperHoldsAndIsNothingElse(t *testing.T) {
	proc, w := launchKeeper(t)
	if _, err := unix.Write(w, []byte("x")); err != nil {
		t.Errorf("a pipe that only the keeper has: %v", err)
	}
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", proc.PID))
	if err != nil {
		t.Fatal(err)
	}
	var open []string
	for _, e := range entries {
		open = append(open, e.Name())
	}
	slices.Sort(open)
	if want := []string{"0", "1", itoa(reaper.FDKeeperSend), itoa(reaper.FDKeeperKeep), "2"}; !slices.Equal(open, want) {
		t.Errorf("open are %v, not %v", open, want)
	}
	for field, want := range map[string]string{"Name": "^nsinit: keeper$", "CapPrm": "^0+$", "CapEff": "^0+$", "NoNewPrivs": "^1$",
		"Threads": "^1$", "RssAnon": `^\d{1,2} kB$`, "NSsid": "^" + itoa(proc.PID) + "$"} {
		if got := statusOf(t, proc.PID, field); !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("%s is %q, not %s", field, got, want)
		}
	}
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", proc.PID)); cwd != "/" {
		t.Errorf("its directory is %s (%v)", cwd, err)
	}
	fd, err := unix.PidfdGetfd(proc.PIDFD, reaper.FDKeeperKeep, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	b := make([]byte, 8)
	if n, _, err := unix.Recvfrom(fd, b, unix.MSG_PEEK|unix.MSG_DONTWAIT); err != nil || string(b[:n]) != "pipe" {
		t.Errorf("at the end where it is kept waits %q (%v)", b[:n], err)
	}
}

// Root without CAP_SYS_PTRACE, as in a service that shares the host's process
// numbers, takes nothing from it.
func TestKeeperIsOutOfReach(t *testing.T) {
	proc, _ := launchKeeper(t)
	for what, err := range withoutPtrace(t, func() map[string]error {
		_, getfd := unix.PidfdGetfd(proc.PIDFD, reaper.FDKeeperKeep, 0)
		_, exe := os.Readlink(fmt.Sprintf("/proc/%d/exe", proc.PID))
		_, mem := os.Open(fmt.Sprintf("/proc/%d/mem", proc.PID))
		return map[string]error{"pidfd_getfd": getfd, "exe": exe, "mem": mem}
	}) {
		if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// withoutPtrace runs f on a thread without the capability, which ends with it.
func withoutPtrace(t *testing.T, f func() map[string]error) map[string]error {
	t.Helper()
	result := make(chan map[string]error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		err := unix.Capget(&header, &data[0])
		data[0].Effective &^= sysPtrace
		if err == nil {
			err = unix.Capset(&header, &data[0])
		}
		if err != nil {
			result <- map[string]error{"capset": err}
			return
		}
		result <- f()
	}()
	return <-result
}

// Only SIGKILL ends it.
func TestKeeperTakesNoSignals(t *testing.T) {
	proc, w := launchKeeper(t)
	for sig := unix.Signal(1); sig < 32; sig++ {
		if sig == unix.SIGKILL || sig == unix.SIGSTOP {
			continue
		}
		if err := proc.Signal(sig); err != nil {
			t.Fatalf("%v: %v", sig, err)
		}
	}
	fds := []unix.PollFd{{Fd: int32(proc.PIDFD), Events: unix.POLLIN}}
	if n, _ := unix.Poll(fds, 0); n != 0 {
		t.Fatal("it has ended")
	}
	if _, err := unix.Write(w, []byte("x")); err != nil {
		t.Error(err)
	}
	awaitRest(t, proc.PID)
}

// A start that fails says so, and leaves no process.
func TestKeeperFails(t *testing.T) {
	l := needRoot(t)
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if proc, err := l.LaunchKeeper(0, 0, int(dir.Fd())); err == nil || !strings.Contains(err.Error(), "cannot start the keeper: clone3: ") {
		t.Errorf("in a directory that is no cgroup: %v, %v", proc, err)
	}
}
