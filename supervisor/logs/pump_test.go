package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fixture is one unit's log with a Pump that runs.
type fixture struct {
	t    *testing.T
	pump *Pump
	log  *Log
	cfg  Config
	done chan error
}

// staging is a directory on a tmpfs.
func staging(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "nsinit-logs-test-")
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func newFixture(t *testing.T, change func(*Config)) *fixture {
	t.Helper()
	cfg := Config{Unit: "web", Dir: filepath.Join(t.TempDir(), "web"), StagingDir: filepath.Join(staging(t), "web"), LevelMax: Debug}
	if change != nil {
		change(&cfg)
	}
	f := &fixture{t: t, cfg: cfg}
	f.start()
	t.Cleanup(f.stop)
	return f
}

func (f *fixture) start() {
	f.t.Helper()
	pump, err := NewPump()
	if err != nil {
		f.t.Fatal(err)
	}
	f.pump, f.done = pump, make(chan error, 1)
	go func() { f.done <- pump.Run() }()
	f.log = pump.Add(f.cfg)
	f.barrier()
}

func (f *fixture) stop() {
	if f.pump == nil {
		return
	}
	f.pump.Close()
	if err := <-f.done; err != nil {
		f.t.Errorf("Run: %v", err)
	}
	f.pump = nil
}

// barrier waits until the Pump has done all that was asked so far.
func (f *fixture) barrier() {
	f.t.Helper()
	passed := make(chan struct{})
	if f.pump.post(func() { close(passed) }) {
		<-passed
	}
}

func (f *fixture) drain() {
	f.t.Helper()
	drained := make(chan struct{})
	f.log.Drain(func() { close(drained) })
	<-drained
}

// attach makes a pipe for stream and returns its write end.
func (f *fixture) attach(stream Stream) int {
	f.t.Helper()
	r, w, err := Pipe()
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.log.Attach(stream, r); err != nil {
		f.t.Fatal(err)
	}
	return w
}

func (f *fixture) write(fd int, text string) {
	f.t.Helper()
	if _, err := unix.Write(fd, []byte(text)); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) read(q Query) []Record {
	f.t.Helper()
	var all []Record
	for r, err := range Read(context.Background(), f.cfg.Dir, q) {
		if err != nil {
			f.t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// texts are the messages of the service, or of the manager.
func (f *fixture) texts(manager bool) (lines []string) {
	f.t.Helper()
	for _, r := range f.read(Query{}) {
		if manager == (r.Stream == Manager) {
			lines = append(lines, string(r.Message))
		}
	}
	return lines
}

func (f *fixture) want(lines ...string) {
	f.t.Helper()
	if got := f.texts(false); strings.Join(got, "\n") != strings.Join(lines, "\n") {
		f.t.Errorf("log is\n  %q, want\n  %q", clip(got), clip(lines))
	}
}

func clip(lines []string) (out []string) {
	for _, l := range lines {
		out = append(out, l[:min(len(l), 60)])
	}
	return out[:min(len(out), 20)]
}

func (f *fixture) wantNotice(part string) {
	f.t.Helper()
	for _, n := range f.texts(true) {
		if strings.Contains(n, part) {
			return
		}
	}
	f.t.Errorf("no notice with %q among %q", part, f.texts(true))
}

func TestLines(t *testing.T) {
	f := newFixture(t, nil)
	out, errs := f.attach(Stdout), f.attach(Stderr)
	f.write(out, "one\ntwo\n\n<3>bad\n<8>not a prefix\nNUL \x00 ESC \x1b[31m bad \xff\n")
	f.drain()
	f.write(errs, "<7>debugging\n")
	f.drain()
	f.log.Notice(Notice, "start %d: ready", 4)
	f.barrier()
	type row struct {
		stream   Stream
		priority Priority
		text     string
	}
	want := []row{{Stdout, Info, "one"}, {Stdout, Info, "two"}, {Stdout, Info, ""}, {Stdout, Err, "bad"}, {Stdout, Info, "<8>not a prefix"},
		{Stdout, Info, "NUL \x00 ESC \x1b[31m bad \xff"}, {Stderr, Debug, "debugging"}, {Manager, Notice, "start 4: ready"}}
	got := f.read(Query{})
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d: %q", len(got), len(want), f.texts(false))
	}
	for i, r := range got {
		if (row{r.Stream, r.Priority, string(r.Message)}) != want[i] || r.Seq != uint64(i+1) || time.Since(r.Time) > time.Minute {
			t.Errorf("record %d: %+v, want %+v", i, r, want[i])
		}
	}
}

func TestPartialLineWaitsForItsEnd(t *testing.T) {
	f := newFixture(t, nil)
	w := f.attach(Stdout)
	for _, piece := range []string{"a", "b", "c"} {
		f.write(w, piece)
		f.pumped(w)
	}
	if got := f.texts(false); len(got) != 0 {
		t.Errorf("an unfinished line was logged: %q", got)
	}
	f.write(w, "\nrest")
	f.pumped(w)
	f.want("abc")
	unix.Close(w) // EOF
	f.drain()
	f.want("abc", "rest")
}

// pumped waits until the pipe whose write end is w has been read empty.
func (f *fixture) pumped(w int) {
	f.t.Helper()
	for range 10000 {
		n, err := unix.IoctlGetInt(w, unix.TIOCINQ)
		if err != nil {
			f.t.Fatal(err)
		}
		if n == 0 {
			f.barrier()
			return
		}
		time.Sleep(100 * time.Microsecond)
	}
	f.t.Fatal("pipe is not read")
}

func TestLongLinesAreSplitAndMarked(t *testing.T) {
	f := newFixture(t, nil)
	w := f.attach(Stdout)
	long := strings.Repeat("\u20ac", 100000/3) // three bytes each: no split inside one
	go func() {
		b := []byte("<4>" + long + "\nnext\n" + strings.Repeat("x", MaxLine) + "\nend\n")
		for len(b) > 0 {
			n, err := unix.Write(w, b)
			if err != nil {
				return
			}
			b = b[n:]
		}
		unix.Close(w)
	}()
	var joined []byte
	var parts int
	for r, err := range Read(deadline(t), f.cfg.Dir, Query{Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if string(r.Message) == "next" {
			break
		}
		parts++
		joined = append(joined, r.Message...)
		if r.Priority != Warning || len(r.Message) > MaxLine || !bytes.HasSuffix(r.Message, []byte("\u20ac")) {
			t.Errorf("part %d: priority %d, %d bytes", parts, r.Priority, len(r.Message))
		}
		if last := len(joined) == len(long); r.Continued == last {
			t.Errorf("part %d: continued %v", parts, r.Continued)
		}
	}
	if string(joined) != long || parts != 3 {
		t.Errorf("%d parts with %d bytes, want 3 with %d", parts, len(joined), len(long))
	}
	f.drain()
	if got := f.texts(false); got[len(got)-1] != "end" || len(got[len(got)-2]) != MaxLine {
		t.Errorf("a line of exactly MaxLine bytes was split: %q", clip(got))
	}
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestSeveralPipesAndNextGeneration(t *testing.T) {
	f := newFixture(t, nil)
	old := f.attach(Stdout)
	f.write(old, "from start 1\n")
	f.drain()
	fresh := f.attach(Stdout)
	f.write(fresh, "from start 2\n")
	f.pumped(fresh)
	f.write(old, "left over\n")
	f.pumped(old)
	unix.Close(old)
	f.drain()
	f.write(fresh, "still there")
	f.drain() // a Drain ends the line
	f.log.Detach()
	f.barrier()
	f.want("from start 1", "from start 2", "left over", "still there")
	if err := unix.SetNonblock(fresh, true); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(fresh, []byte("x")); err != unix.EPIPE {
		t.Errorf("after Detach a write gives %v, want EPIPE", err)
	}
	unix.Close(fresh)
}

func TestRateLimit(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.RateInterval, c.RateBurst = 300*time.Millisecond, 10 })
	w := f.attach(Stdout)
	defer unix.Close(w)
	f.write(w, strings.Repeat("x\n", 1000))
	for r, err := range Read(deadline(t), f.cfg.Dir, Query{Follow: true, Streams: []Stream{Manager}}) {
		if err != nil {
			t.Fatal(err)
		}
		if want := "rate limit dropped 990 lines"; !strings.Contains(string(r.Message), want) {
			t.Errorf("notice %q, want %q", r.Message, want)
		}
		break
	}
	f.write(w, "again\n")
	f.drain()
	if got := f.texts(false); len(got) != 11 || got[10] != "again" {
		t.Errorf("%d lines: %q", len(got), clip(got))
	}
	if st := f.log.Status(); st.DroppedLines != 990 {
		t.Errorf("status says %d dropped", st.DroppedLines)
	}
}

func TestRateLimitCountSurvivesRestart(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.RateInterval, c.RateBurst = time.Hour, 1 })
	w := f.attach(Stdout)
	defer unix.Close(w)
	f.write(w, "first\nsecond\nthird\n")
	f.pumped(w)
	f.stop() // the count was never told; the lines still lie in staging
	f.start()
	f.log.Notice(Notice, "adopted")
	f.barrier()
	f.want("first", "second")
	f.wantNotice("dropped 1 lines")
}

// What was dropped is told at the latest when the generation is released.
func TestDrainTellsWhatTheRateLimitDropped(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.RateInterval, c.RateBurst = time.Hour, 1 })
	w := f.attach(Stdout)
	defer unix.Close(w)
	f.write(w, "first\nsecond\nthird\n")
	f.drain()
	f.want("first")
	f.wantNotice("dropped 2 lines")
}

func TestLevelMax(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.LevelMax = Warning })
	w := f.attach(Stdout)
	defer unix.Close(w)
	f.write(w, "info\n<4>warning\n<5>notice\n<0>emergency\n")
	f.drain()
	f.want("warning", "emergency")
}

// What is filtered out leaves the staging file all the same.
func TestFilteredOutputIsFreed(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.LevelMax = Err; c.StagingMax = 1 << 20 })
	w := f.attach(Stdout)
	defer unix.Close(w)
	for range 200 {
		f.write(w, strings.Repeat("0123456789abcde\n", 4096))
	}
	f.pumped(w)
	if st := f.log.Status(); st.DroppedBytes != 0 {
		t.Errorf("%d bytes dropped", st.DroppedBytes)
	}
	if n := f.stagingBytes(Stdout); n > 512<<10 {
		t.Errorf("staging holds %d bytes", n)
	}
}

// stagingBytes is what the staging file occupies.
func (f *fixture) stagingBytes(s Stream) int64 {
	f.t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(f.cfg.StagingDir, s.String()), &st); err != nil {
		f.t.Fatal(err)
	}
	return st.Blocks * 512
}

func TestStagingIsPunched(t *testing.T) {
	f := newFixture(t, nil)
	w := f.attach(Stdout)
	defer unix.Close(w)
	for range 100 {
		f.write(w, strings.Repeat("0123456789abcde\n", 256))
	}
	f.drain()
	if n := f.stagingBytes(Stdout); n > 2*punchStep {
		t.Errorf("staging holds %d bytes of 409600", n)
	}
	if got := len(f.texts(false)); got != 25600 {
		t.Errorf("%d lines, want 25600", got)
	}
}

func TestRotation(t *testing.T) {
	for _, packed := range []bool{false, true} {
		t.Run(fmt.Sprintf("compress=%v", packed), func(t *testing.T) {
			f := newFixture(t, func(c *Config) { c.MaxSize, c.MaxFiles, c.Compress = 4096, 4, packed })
			w := f.attach(Stdout)
			defer unix.Close(w)
			for i := range 1000 {
				f.write(w, fmt.Sprintf("line %d\n", i))
				if i%10 == 0 {
					f.drain()
				}
			}
			f.drain()
			f.idlePacking()
			files, err := listRotated(f.cfg.Dir)
			if err != nil || len(files) != 3 {
				t.Fatalf("%d finished files, want 3 (%v)", len(files), err)
			}
			for _, r := range files {
				if st, err := os.Stat(r.path); err != nil || st.Size() > 4096 || r.gz != packed {
					t.Errorf("%s: %v, %v", r.path, st.Size(), err)
				}
			}
			f.gapless(999)
			for _, n := range []int{1, 40, 100} {
				if got := f.read(Query{Lines: n}); len(got) != n || string(got[n-1].Message) != "line 999" || string(got[0].Message) != fmt.Sprint("line ", 1000-n) {
					t.Errorf("last %d: %d records, first %s", n, len(got), got[0].Message)
				}
			}
		})
	}
}

// gapless checks that the log ends in line last and has no gap before it.
func (f *fixture) gapless(last int) {
	f.t.Helper()
	all := f.read(Query{})
	for i, r := range all {
		if want := fmt.Sprint("line ", last-len(all)+1+i); string(r.Message) != want {
			f.t.Fatalf("record %d is %q, want %q", i, r.Message, want)
		}
	}
	if len(all) < 50 {
		f.t.Errorf("only %d records are kept", len(all))
	}
}

// idlePacking waits until no directory is being compressed.
func (f *fixture) idlePacking() {
	f.t.Helper()
	for range 1000 {
		n := make(chan int)
		f.pump.post(func() { n <- len(f.pump.packing) })
		if <-n == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	f.t.Fatal("compression does not end")
}

func TestRemoveDrainsAndForgets(t *testing.T) {
	f := newFixture(t, nil)
	before := len(f.fds())
	w := f.attach(Stdout)
	f.write(w, "last words")
	removed := make(chan struct{})
	f.log.Remove(func() { close(removed) })
	<-removed
	unix.Close(w)
	f.want("last words")
	if n := len(f.fds()); n != before-3 { // current and two staging files
		t.Errorf("%d descriptors, %d before Add's", n, before-3)
	}
	if r, w, err := Pipe(); err == nil { // attaching to what is gone takes the descriptor all the same
		f.log.Attach(Stdout, r)
		f.barrier()
		unix.Close(w)
	}
}

func (f *fixture) fds() []os.DirEntry {
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		f.t.Fatal(err)
	}
	return d
}

func TestReopenGoesOn(t *testing.T) {
	f := newFixture(t, nil)
	w := f.attach(Stdout)
	f.write(w, "one\ntw")
	f.pumped(w)
	f.stop() // closes the read end in this process; the next pipe stands for it
	unix.Close(w)
	f.cfg.Adopted = true
	f.start()
	w = f.attach(Stdout)
	f.write(w, "o\nthree\n")
	f.drain()
	unix.Close(w)
	f.want("one", "two", "three")
	if n := f.texts(true); len(n) != 0 {
		t.Errorf("notices without a reason: %q", n)
	}
}

func TestSyslog(t *testing.T) {
	f := newFixture(t, nil)
	path := filepath.Join(t.TempDir(), "log")
	fd, err := ListenSyslog(path, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.log.AttachSyslog(fd); err != nil {
		t.Fatal(err)
	}
	c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(c)
	for _, m := range []string{"<30>Nov 23 16:02:11 app[12]: hello", "<27>app: worse", ""} {
		if err := unix.Sendto(c, []byte(m), 0, &unix.SockaddrUnix{Name: path}); err != nil {
			t.Fatal(err)
		}
	}
	f.drain()
	got := f.read(Query{})
	if len(got) != 3 || string(got[0].Message) != "hello" || got[0].PID != os.Getpid() || got[0].Ident != "app" ||
		got[0].Priority != Info || got[1].Priority != Err || len(got[2].Message) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestAttachRefusesOtherStreams(t *testing.T) {
	f := newFixture(t, nil)
	if err := f.log.Attach(Syslog, 0); err == nil {
		t.Error("a pipe was attached to syslog")
	}
	if err := f.log.AttachSyslog(0); err == nil {
		t.Error("stdin was attached as a socket")
	}
}

func TestReadOfNothing(t *testing.T) {
	for _, err := range Read(context.Background(), filepath.Join(t.TempDir(), "none"), Query{}) {
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("error %v", err)
		}
		return
	}
	t.Error("no error")
}
