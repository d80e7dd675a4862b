package poll

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// start runs a Poller until the end of the test.
func start(t *testing.T) *Poller {
	t.Helper()
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Run() }()
	t.Cleanup(func() {
		p.Close()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return p
}

func pipe(t *testing.T) (r, w int) {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	return fds[0], fds[1]
}

func eventfd(t *testing.T) int {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func await[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came in 10 s")
		panic("unreachable")
	}
}

func TestKindsOfDescriptors(t *testing.T) {
	one := []byte{1, 0, 0, 0, 0, 0, 0, 0}
	for _, tc := range []struct {
		name   string
		events uint32
		want   uint32
		make   func(t *testing.T) (fd int, act func())
	}{
		{"pipe", unix.EPOLLIN, unix.EPOLLIN, func(t *testing.T) (int, func()) {
			r, w := pipe(t)
			return r, func() { unix.Write(w, []byte("x")) }
		}},
		{"eventfd", unix.EPOLLIN, unix.EPOLLIN, func(t *testing.T) (int, func()) {
			fd := eventfd(t)
			return fd, func() { unix.Write(fd, one) }
		}},
		{"unix socket", unix.EPOLLIN, unix.EPOLLIN, func(t *testing.T) (int, func()) {
			fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
			return fds[0], func() { unix.Write(fds[1], nil) }
		}},
		{"pidfd", unix.EPOLLIN, unix.EPOLLIN, pidfd},
		{"cgroup.events", unix.EPOLLPRI, unix.EPOLLPRI, cgroupEvents},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fd, act := tc.make(t)
			p := start(t)
			got := make(chan uint32, 1)
			err := p.Add(fd, tc.events, func(ev uint32) {
				p.Remove(fd)
				got <- ev
			})
			if err != nil {
				t.Fatal(err)
			}
			act()
			if ev := await(t, got); ev&tc.want == 0 {
				t.Errorf("events %#x, want %#x among them", ev, tc.want)
			}
		})
	}
}

func pidfd(t *testing.T) (int, func()) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd); cmd.Process.Kill(); cmd.Wait() })
	return fd, func() { cmd.Process.Kill() }
}

// cgroupEvents makes an empty cgroup; freezing it changes its cgroup.events.
func cgroupEvents(t *testing.T) (int, func()) {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(info)) {
		f := strings.Fields(line)
		if !strings.Contains(line, " - cgroup2 ") {
			continue
		}
		dir, err := os.MkdirTemp(f[4], "poll-test-")
		if err != nil {
			t.Skipf("SKIP: cannot make a cgroup: %v", err)
		}
		fd, err := unix.Open(filepath.Join(dir, "cgroup.events"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd); os.Remove(dir) })
		var buf [256]byte
		unix.Read(fd, buf[:]) // arms the notification
		return fd, func() {
			if err := os.WriteFile(filepath.Join(dir, "cgroup.freeze"), []byte("1"), 0); err != nil {
				t.Error(err)
			}
		}
	}
	t.Skip("SKIP: no cgroup v2 mount")
	return -1, nil
}

// Two descriptors become ready in one batch; the handler of either removes the
// other, whose event must then be dropped.
func TestRemoveDropsEventOfSameBatch(t *testing.T) {
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	a, b := eventfd(t), eventfd(t)
	calls := 0
	handler := func(other int) func(uint32) {
		return func(uint32) {
			calls++
			p.Remove(other)
			p.Close()
		}
	}
	p.Add(a, unix.EPOLLIN, handler(b))
	p.Add(b, unix.EPOLLIN, handler(a))
	for _, fd := range []int{a, b} {
		unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	if calls != 1 {
		t.Errorf("%d handlers ran, want 1", calls)
	}
}

// The number of a removed descriptor is used again within the batch: the old event
// must not reach the new handler.
func TestStaleEventDoesNotReachNewRegistration(t *testing.T) {
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	a, b := eventfd(t), eventfd(t)
	fresh := eventfd(t)
	stale := 0
	handler := func(other int) func(uint32) {
		return func(uint32) {
			p.Remove(other)
			unix.Dup3(fresh, other, unix.O_CLOEXEC) // same number, nothing to read
			p.Add(other, unix.EPOLLIN, func(uint32) { stale++ })
			p.Close()
		}
	}
	p.Add(a, unix.EPOLLIN, handler(b))
	p.Add(b, unix.EPOLLIN, handler(a))
	for _, fd := range []int{a, b} {
		unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	if stale != 0 {
		t.Error("an event of the old descriptor reached the new handler")
	}
}

func TestModify(t *testing.T) {
	p := start(t)
	r, w := pipe(t)
	got := make(chan uint32, 16)
	if err := p.Add(r, 0, func(ev uint32) { p.Remove(r); got <- ev }); err != nil {
		t.Fatal(err)
	}
	unix.Write(w, []byte("x"))
	// A round trip through the loop: had the pipe been watched, it would have come.
	passed := make(chan bool)
	p.Post(func() { passed <- len(got) == 0 })
	if !await(t, passed) {
		t.Fatal("event although none was asked for")
	}
	if err := p.Modify(r, unix.EPOLLIN); err != nil {
		t.Fatal(err)
	}
	await(t, got)
}

func TestErrors(t *testing.T) {
	p := start(t)
	r, _ := pipe(t)
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	ok := func(uint32) {}
	if err := p.Add(r, unix.EPOLLIN, ok); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"twice":         p.Add(r, unix.EPOLLIN, ok),
		"bad number":    p.Add(-1, unix.EPOLLIN, ok),
		"modify absent": p.Modify(-1, unix.EPOLLIN),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	p.Remove(12345)
}

func TestPostRunsInOrderAndNotAfterClose(t *testing.T) {
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	var order []int
	for i := range 100 {
		p.Post(func() { order = append(order, i) })
	}
	p.Post(p.Close)
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	if p.Post(func() {}) {
		t.Error("Post after Close says that it will run")
	}
	for i, got := range order {
		if got != i {
			t.Fatalf("order %v", order)
		}
	}
	if err := p.Add(0, unix.EPOLLIN, func(uint32) {}); err != ErrClosed {
		t.Errorf("Add after Close: %v", err)
	}
	p.Remove(0)
	p.Close()
}

// An idle Poller does not return from epoll_wait.
func TestIdleDoesNotWake(t *testing.T) {
	p := start(t)
	r, _ := pipe(t)
	var calls atomic.Int32
	p.Add(r, unix.EPOLLIN, func(uint32) { calls.Add(1) })
	task := make(chan int)
	p.Post(func() { task <- unix.Gettid() })
	tid := await(t, task)
	before := switches(t, tid)
	time.Sleep(300 * time.Millisecond) // the span that is measured
	if n := switches(t, tid) - before; n > 3 {
		t.Errorf("%d context switches in 300 ms without an event", n)
	}
	if calls.Load() != 0 {
		t.Error("handler ran without an event")
	}
}

func switches(t *testing.T, tid int) (n int) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/task/" + strconv.Itoa(tid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "voluntary_ctxt_switches:"); ok {
			for _, c := range strings.TrimSpace(v) {
				n = n*10 + int(c-'0')
			}
		}
	}
	return n
}
