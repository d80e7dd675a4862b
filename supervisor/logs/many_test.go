package logs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// 500 units that have logged and are quiet cost little memory and no wake-up.
func TestManyIdleUnits(t *testing.T) {
	const units = 500
	base, stage := t.TempDir(), staging(t)
	pump, err := NewPump()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- pump.Run() }()
	defer func() { pump.Close(); <-done }()

	before := heap()
	logs := make([]*Log, 0, units)
	for i := range units {
		name := fmt.Sprint("unit", i)
		l := pump.Add(Config{Unit: name, Dir: filepath.Join(base, name), StagingDir: filepath.Join(stage, name), LevelMax: Debug})
		r, w, err := Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(w)
		l.Attach(Stdout, r)
		unix.Write(w, []byte("hello\n"))
		logs = append(logs, l)
	}
	for _, l := range logs {
		drained := make(chan struct{})
		l.Drain(func() { close(drained) })
		<-drained
		if st := l.Status(); st.Records != 1 || st.Degraded != "" {
			t.Fatalf("status %+v", st)
		}
	}
	if per := (heap() - before) / units; per > 4096 {
		t.Errorf("%d bytes of heap per idle unit", per)
	}
	tid := make(chan int)
	pump.post(func() { tid <- unix.Gettid() })
	status := fmt.Sprintf("/proc/self/task/%d/status", <-tid)
	was := wakeups(t, status)
	time.Sleep(300 * time.Millisecond) // the span that is measured
	if n := wakeups(t, status) - was; n > 3 {
		t.Errorf("%d wake-ups in 300 idle milliseconds", n)
	}
}

func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

func wakeups(t *testing.T, status string) (n int) {
	t.Helper()
	b, err := os.ReadFile(status)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "\nvoluntary_ctxt_switches:")
	if _, err := fmt.Sscan(rest, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// One unit that floods delays the lines of another by less than a second.
func TestFloodIsFair(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.MaxSize, c.MaxFiles = 10<<20, 2 })
	quiet := f.pump.Add(Config{Unit: "quiet", Dir: filepath.Join(t.TempDir(), "quiet"), StagingDir: filepath.Join(staging(t), "quiet"), LevelMax: Debug})
	qr, qw, err := Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(qw)
	quiet.Attach(Stdout, qr)
	var floods []*exec.Cmd
	for range 3 {
		w := f.attach(Stdout)
		yes := exec.Command("yes")
		yes.Stdout = os.NewFile(uintptr(w), "pipe")
		if err := yes.Start(); err != nil {
			t.Fatal(err)
		}
		floods = append(floods, yes)
	}
	defer func() {
		for _, yes := range floods {
			yes.Process.Kill()
			yes.Wait()
		}
	}()
	next := 0
	unix.Write(qw, fmt.Appendf(nil, "%d\n", next))
	for f.log.Status().Records < 100 { // the flood has begun
		time.Sleep(time.Millisecond)
	}
	for r, err := range Read(deadline(t), quiet.cfg.Dir, Query{Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		var i, sent int64
		fmt.Sscan(string(r.Message), &i, &sent)
		if d := r.Time.Sub(time.Unix(0, sent)); next > 0 && d > time.Second {
			t.Errorf("line %d took %v", i, d)
		}
		if next++; next == 50 {
			break
		}
		unix.Write(qw, fmt.Appendf(nil, "%d %d\n", next, time.Now().UnixNano()))
	}
	if next != 50 {
		t.Errorf("%d lines came through", next)
	}
}

// logger(1) is a real sender.
func TestSyslogFromLogger(t *testing.T) {
	tool, err := exec.LookPath("logger")
	if err != nil {
		t.Skip("SKIP: logger(1) is not installed")
	}
	f := newFixture(t, nil)
	path := filepath.Join(t.TempDir(), "log")
	fd, err := ListenSyslog(path, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	f.log.AttachSyslog(fd)
	out, err := exec.Command(tool, "-u", path, "-t", "myapp", "-i", "-p", "daemon.err", "disk is on fire").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	f.drain()
	got := f.read(Query{})
	if len(got) != 1 || got[0].Ident != "myapp" || got[0].Priority != Err || string(got[0].Message) != "disk is on fire" {
		t.Errorf("got %+v", got)
	}
}

// Descriptors in a datagram to /dev/log neither leak nor arrive.
func TestSyslogWithDescriptors(t *testing.T) {
	f := newFixture(t, nil)
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	if err := f.log.AttachSyslog(fds[0]); err != nil {
		t.Fatal(err)
	}
	f.barrier()
	before := len(f.fds())
	for range 5 { // EPERM where the kernel refuses them
		_ = unix.Sendmsg(fds[1], []byte("<30>x: y"), unix.UnixRights(0, 0, 0), nil, 0)
	}
	f.drain()
	for !f.log.closer.Idle() {
		time.Sleep(time.Millisecond)
	}
	if n := len(f.fds()); n != before {
		t.Errorf("%d descriptors, %d before", n, before)
	}
}

// What a line costs from the service's pipe to the log.
func BenchmarkPump(b *testing.B) {
	dir, stage := b.TempDir(), b.TempDir()
	if shm, err := os.MkdirTemp("/dev/shm", "nsinit-logs-bench-"); err == nil {
		stage = shm
		defer os.RemoveAll(shm)
	}
	pump, err := NewPump()
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- pump.Run() }()
	l := pump.Add(Config{Unit: "web", Dir: dir, StagingDir: stage, LevelMax: Debug, MaxSize: 10 << 20, MaxFiles: 3})
	r, w, err := Pipe()
	if err != nil {
		b.Fatal(err)
	}
	l.Attach(Stdout, r)
	line := []byte(strings.Repeat("x", 99) + "\n")
	block := []byte(strings.Repeat(string(line), 100))
	b.SetBytes(int64(len(line)))
	for n := b.N; n > 0; n -= 100 {
		if _, err := unix.Write(w, block[:min(n, 100)*len(line)]); err != nil {
			b.Fatal(err)
		}
	}
	finished := make(chan struct{})
	l.Remove(func() { close(finished) })
	<-finished
	unix.Close(w)
	pump.Close()
	<-done
}
