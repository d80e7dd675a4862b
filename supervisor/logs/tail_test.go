package logs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tailFixture is a unit that follows files below a root of its own.
type tailFixture struct {
	*fixture
	root string
}

func newTail(t *testing.T, change func(*Config), files ...string) *tailFixture {
	t.Helper()
	root := t.TempDir()
	f := &tailFixture{root: root, fixture: newFixture(t, func(cfg *Config) {
		cfg.Files = files
		if change != nil {
			change(cfg)
		}
	})}
	return f
}

func (f *tailFixture) follow() {
	f.t.Helper()
	fd, err := unix.Open(f.root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.log.Follow(fd); err != nil {
		f.t.Fatal(err)
	}
	f.barrier()
}

func (f *tailFixture) path(name string) string { return filepath.Join(f.root, name) }

func (f *tailFixture) add(name, text string) {
	f.t.Helper()
	file, err := os.OpenFile(f.path(name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		f.t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString(text); err != nil {
		f.t.Fatal(err)
	}
}

// come waits until the log says text, of which nobody but the kernel tells.
func (f *tailFixture) come(text string) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for r, err := range Read(ctx, f.cfg.Dir, Query{Follow: true}) {
		if err != nil {
			f.t.Fatal(err)
		}
		if string(r.Message) == text || r.Stream == Manager && strings.Contains(string(r.Message), text) {
			return
		}
	}
	f.t.Fatalf("%q has not come; the log has %q", text, f.texts(true))
}

func TestFollowNewLines(t *testing.T) {
	f := newTail(t, nil, "/app.log")
	f.follow()
	f.add("app.log", "one\ntwo\nthr")
	f.come("two")
	f.add("app.log", "ee\n")
	f.come("three")
	f.want("one", "two", "three")
	for _, r := range f.read(Query{Streams: []Stream{File}}) {
		if r.File != "/app.log" {
			t.Errorf("record of file %q", r.File)
		}
	}
}

// What a file held before the service started is not its own.
func TestFollowPassesWhatWasThere(t *testing.T) {
	f := newTail(t, nil, "/app.log", "/logs/*.log")
	os.Mkdir(f.path("logs"), 0o755)
	f.add("app.log", "old\n")
	f.add("logs/a.log", "old too\n")
	f.log.Expect(Survey(f.root, f.cfg.Files))
	f.add("app.log", "new\n") // before anybody looked
	f.follow()
	f.add("logs/a.log", "new too\n")
	f.come("new")
	f.come("new too")
	f.want("new", "new too")
	f.stop()
	f.start() // a manager that knows of no survey
	f.follow()
	f.drain()
	f.want("new", "new too")
}

// The same where the manager is killed before it has looked, and where the log
// cannot be written when the service starts.
func TestFollowPassesWhatWasThereInTrouble(t *testing.T) {
	f := newTail(t, nil, "/app.log")
	f.add("app.log", "old\n")
	f.log.Expect(Survey(f.root, f.cfg.Files))
	f.barrier()
	f.stop()
	f.start()
	f.add("app.log", "new\n")
	f.follow()
	f.drain()
	f.want("new")

	base := filepath.Join(t.TempDir(), "file")
	os.WriteFile(base, nil, 0o644)
	g := newTail(t, func(c *Config) { c.Dir = filepath.Join(base, "web") }, "/app.log")
	g.add("app.log", "old\n")
	g.log.Expect(Survey(g.root, g.cfg.Files))
	g.follow()
	g.add("app.log", "new\n")
	g.barrier()
	if st := g.log.Status(); st.Degraded == "" {
		t.Errorf("%+v", st)
	}
	os.Remove(base)
	g.waitFor(func() bool { return g.log.Status().Degraded == "" && g.log.Status().Records > 0 })
	g.want("new")
}

// While an old file is being packed no name is given away.
func TestFollowDoesNotRotateWhilePacking(t *testing.T) {
	f := newTail(t, func(c *Config) { c.MaxSize, c.Reopen = 100, func() {} }, "/app.log")
	f.follow()
	f.pump.post(func() { f.log.tail.packing = true })
	f.barrier()
	f.add("app.log", strings.Repeat("x", 500)+"\n")
	f.come(strings.Repeat("x", 500))
	f.barrier()
	if _, err := os.Stat(f.path("app.log.1")); err == nil {
		t.Error("renamed")
	}
	f.pump.post(func() { f.log.tail.packing = false; f.log.flush() })
	f.barrier()
	if _, err := os.Stat(f.path("app.log.1")); err != nil {
		t.Error(err)
	}
}

func TestFollowRenamed(t *testing.T) {
	f := newTail(t, nil, "/app.log")
	f.follow()
	old, err := os.Create(f.path("app.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	old.WriteString("one\n")
	f.come("one")
	os.Rename(f.path("app.log"), f.path("app.log.1"))
	f.add("app.log", "two\n")
	f.come("two")
	old.WriteString("three\n") // it has not been told to reopen yet
	f.come("three")
	old.WriteString("fo")
	old.WriteString("ur") // an unfinished line is all that comes
	old.Close()
	f.come("four")
	f.barrier()
	held := make(chan int, 1)
	f.pump.post(func() { held <- len(f.log.tail.open) })
	if n := <-held; n != 1 {
		t.Errorf("%d files are held", n)
	}
	f.want("one", "two", "three", "four")
}

func TestFollowTruncated(t *testing.T) {
	f := newTail(t, nil, "/app.log", "/hole.log")
	f.follow()
	hole, err := os.Create(f.path("hole.log")) // without O_APPEND: a hole comes where the old end was
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	hole.WriteString(strings.Repeat("x", 9000) + "\n")
	f.come(strings.Repeat("x", 9000))
	os.Truncate(f.path("hole.log"), 0)
	f.barrier()
	hole.WriteString("after the hole\n")
	f.come("after the hole")

	f.add("app.log", "one\ntwo\n")
	f.come("two")
	os.WriteFile(f.path("app.log"), []byte("1\n"), 0o644)
	f.come("1")
	// Cut, and longer than before when somebody looks: nobody sees it short.
	again, err := os.OpenFile(f.path("app.log"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	again.WriteString("other\ntext\nhere\n")
	f.come("here")
	f.want(strings.Repeat("x", 9000), "after the hole", "one", "two", "1", "other", "text", "here")
}

func TestFollowDeletedAndLater(t *testing.T) {
	f := newTail(t, nil, "/var/log/app/app.log")
	f.follow()
	os.MkdirAll(f.path("var/log/app"), 0o755)
	f.add("var/log/app/app.log", "one\n")
	f.come("one")
	os.RemoveAll(f.path("var/log"))
	os.MkdirAll(f.path("var/log/app"), 0o755)
	f.add("var/log/app/app.log", "two\n")
	f.come("two")
	f.want("one", "two")
}

func TestFollowLeavesAlone(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	os.WriteFile(outside, []byte("secret\n"), 0o644)
	f := newTail(t, nil, "/link", "/up", "/fifo", "/dir", "/null", "/app.log", "/inside")
	os.Symlink(outside, f.path("link"))
	os.Symlink("../../../../../../../../../.."+outside, f.path("up"))
	os.Symlink("/app.log", f.path("inside")) // the service's own
	unix.Mkfifo(f.path("fifo"), 0o644)
	os.Mkdir(f.path("dir"), 0o755)
	f.follow()
	f.add("app.log", "one\n")
	f.come("one")
	f.wantNotice("cannot follow /fifo: it is no regular file")
	f.wantNotice("cannot follow /dir: it is no regular file")
	f.drain()
	f.want("one") // and once, by both its names
}

func TestFollowManyLines(t *testing.T) {
	f := newTail(t, func(c *Config) { c.MaxSize = 100_000 }, "/app.log")
	f.follow()
	var text strings.Builder
	var want []string
	for i := range 50_000 {
		fmt.Fprintf(&text, "line %d\n", i)
		want = append(want, fmt.Sprint("line ", i))
	}
	f.add("app.log", text.String())
	f.come("line 49999")
	f.want(want...)
}

func TestFollowRateLimit(t *testing.T) {
	f := newTail(t, func(c *Config) { c.RateInterval, c.RateBurst = time.Hour, 10 }, "/app.log")
	f.follow()
	f.add("app.log", strings.Repeat("line\n", 1000))
	f.drain()
	f.wantNotice("rate limit dropped 990 lines")
	if n := len(f.texts(false)); n != 10 {
		t.Errorf("%d lines", n)
	}
}

// A directory that nothing tells of is looked at once a second.
func TestFollowWithoutInotify(t *testing.T) {
	f := newTail(t, nil, "/app.log")
	f.pump.post(func() { f.pump.watch.fd = f.pump.devNull }) // inotify_add_watch says EINVAL, as it says ENOSPC elsewhere
	defer f.pump.post(func() { f.pump.watch.fd = -1 })
	f.follow()
	f.come("looking once a second")
	f.add("app.log", "one\n")
	f.come("one")
	f.add("app.log", "two\n")
	f.come("two")
	f.barrier()
	f.pump.post(func() { f.pump.watch.fd = -1 })
	f.barrier()
}

func TestFollowRotates(t *testing.T) {
	reopened := make(chan struct{}, 100)
	f := newTail(t, func(c *Config) {
		c.MaxSize, c.MaxFiles, c.Compress = 1000, 3, true
		c.Reopen = func() { reopened <- struct{}{} }
	}, "/app.log")
	f.follow()
	file, err := os.OpenFile(f.path("app.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	file.Chown(12, 34)
	file.Chmod(0o604)
	var want []string
	for round := range 4 {
		for i := range 40 {
			line := fmt.Sprintf("round %d line %d of a file that is rotated", round, i)
			file.WriteString(line + "\n")
			want = append(want, line)
		}
		<-reopened
		line := fmt.Sprint("late in round ", round)
		file.WriteString(line + "\n")
		want = append(want, line)
		f.come(line)
		file.Close()
		file, err = os.OpenFile(f.path("app.log"), os.O_WRONLY|os.O_APPEND, 0) // it is there
		if err != nil {
			t.Fatal(err)
		}
		f.waitFor(func() bool { _, err := os.Stat(f.path("app.log.1.gz")); return err == nil })
		f.waitFor(func() bool { return !f.packing() })
	}
	file.Close()
	got := f.texts(false) // the unit's own log is of the same size, and has lost the first
	if len(got) < 5 || strings.Join(got, "\n") != strings.Join(want[len(want)-len(got):], "\n") {
		t.Errorf("the log ends with %q", got)
	}
	for name, there := range map[string]bool{"app.log.1.gz": true, "app.log.2.gz": true, "app.log.3.gz": false, "app.log.1": false} {
		if _, err := os.Stat(f.path(name)); (err == nil) != there {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"app.log", "app.log.1.gz"} {
		var st unix.Stat_t
		unix.Stat(f.path(name), &st)
		if st.Uid != 12 || st.Gid != 34 || st.Mode&0o777 != 0o604 {
			t.Errorf("%s: owner %d:%d, mode %o", name, st.Uid, st.Gid, st.Mode)
		}
	}
}

func (f *tailFixture) packing() bool {
	is := make(chan bool, 1)
	f.pump.post(func() { is <- f.log.tail.packing })
	return <-is
}

// waitFor asks again after each round of the Pump.
func (f *tailFixture) waitFor(ok func() bool) {
	f.t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); f.barrier() {
		if time.Now().After(end) {
			f.t.Fatal("it does not come")
		}
		unix.Poll(nil, 1)
	}
}

// Without a signal the file is not ours to rename.
func TestFollowDoesNotRotateUnasked(t *testing.T) {
	f := newTail(t, func(c *Config) { c.MaxSize = 100 }, "/app.log")
	f.follow()
	f.add("app.log", strings.Repeat("x", 500)+"\n")
	f.come(strings.Repeat("x", 500))
	f.barrier()
	if _, err := os.Stat(f.path("app.log.1")); err == nil {
		t.Error("renamed")
	}
}

// Files that are quiet cause no wake-up.
func TestFollowIsQuiet(t *testing.T) {
	f := newTail(t, nil, "/*.log")
	for i := range maxFiles {
		f.add(fmt.Sprint(i, ".log"), "x\n")
	}
	f.follow()
	f.drain()
	tid := make(chan int)
	f.pump.post(func() { tid <- unix.Gettid() })
	status := fmt.Sprintf("/proc/self/task/%d/status", <-tid)
	was := wakeups(t, status)
	time.Sleep(300 * time.Millisecond) // the span that is measured
	if n := wakeups(t, status) - was; n > 3 {
		t.Errorf("%d wake-ups in 300 idle milliseconds", n)
	}
}

// tailerRole is a manager that follows: root, log, staging, signal file.
func tailerRole() int {
	pump, err := NewPump()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	cfg := tailedConfig(os.Args[2], os.Args[3], os.Args[1])
	l := pump.Add(cfg)
	fd, err := unix.Open(os.Args[1], unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = l.Follow(fd)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	os.Stdout.WriteString("u")
	if err := pump.Run(); err != nil {
		return 1
	}
	return 0
}

func tailedConfig(dir, stage, root string) Config {
	return Config{Unit: "web", Dir: dir, StagingDir: stage, Adopted: true, LevelMax: Debug, MaxSize: 20_000, Files: []string{"/app.log"},
		Reopen: func() { os.WriteFile(filepath.Join(root, "reopen"), nil, 0o644) }}
}

// appenderRole writes a numbered line each millisecond into its own file, in two
// pieces now and then, and opens it anew when it is told so.
func appenderRole() int {
	total, _ := strconv.Atoi(os.Args[2])
	name, told := filepath.Join(os.Args[1], "app.log"), filepath.Join(os.Args[1], "reopen")
	open := func() *os.File {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return f
	}
	f := open()
	for i := range total {
		line := fmt.Sprintf("%d %s\n", i, strings.Repeat("x", i%97))
		cut := i % len(line)
		f.WriteString(line[:cut])
		f.WriteString(line[cut:])
		if os.Remove(told) == nil {
			f.Close()
			f = open()
		}
		time.Sleep(time.Millisecond)
	}
	return 0
}

// The promise for files: kill -9 of the manager at any instant loses no line and
// doubles none, while the files are rotated by it.
func TestKilledTailLosesAndDoublesNothing(t *testing.T) {
	const total = 5000
	root, dir, stage := t.TempDir(), filepath.Join(t.TempDir(), "web"), filepath.Join(staging(t), "web")
	writer := reexec(t, "appender", root, strconv.Itoa(total))
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- writer.Wait() }()
	kills := 0
	for running := true; running; kills++ {
		running = liveAndDie(t, reexec(t, "tailer", root, dir, stage), randomLife(), ended)
	}
	cfg := tailedConfig(dir, stage, root)
	f := &tailFixture{root: root, fixture: &fixture{t: t, cfg: cfg}}
	f.start()
	f.follow()
	f.drain()
	f.stop()
	checkFile(t, dir, total)
	rotated, _ := filepath.Glob(filepath.Join(root, "app.log.*"))
	t.Logf("%d kills, %d rotated files", kills, len(rotated))
	if kills < 20 || len(rotated) < 3 {
		t.Errorf("only %d kills and %d rotated files", kills, len(rotated))
	}
}

func checkFile(t *testing.T, dir string, total int) {
	t.Helper()
	next := 0
	for r, err := range Read(context.Background(), dir, Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Stream != File {
			continue
		}
		if want := fmt.Sprintf("%d %s", next, strings.Repeat("x", next%97)); string(r.Message) != want {
			t.Fatalf("record %q, want %q", r.Message, want)
		}
		next++
	}
	if next != total {
		t.Errorf("%d lines, want %d", next, total)
	}
}

// logrotate of Debian, both ways: with and without copying.
func TestFollowLogrotate(t *testing.T) {
	tool, err := exec.LookPath("logrotate")
	if err != nil {
		t.Skip("logrotate is not installed")
	}
	f := newTail(t, nil, "/app.log")
	f.follow()
	conf, state := filepath.Join(t.TempDir(), "conf"), filepath.Join(t.TempDir(), "state")
	var want []string
	for i, how := range []string{"create", "copytruncate", "create", "nocreate"} {
		line := fmt.Sprint("before ", i)
		f.add("app.log", line+"\n")
		f.come(line)
		os.WriteFile(conf, fmt.Appendf(nil, "%s {\n rotate 2\n %s\n}\n", f.path("app.log"), how), 0o644)
		if out, err := exec.Command(tool, "-f", "-s", state, conf).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		after := fmt.Sprint("after ", i)
		f.add("app.log", after+"\n")
		f.come(after)
		want = append(want, line, after)
	}
	f.want(want...)
}

// For every length that a kill in write(2) may leave `current` at, each line of
// each file is there once.
func TestTornEndOfTail(t *testing.T) {
	f := newTail(t, nil, "/a.log", "/b.log")
	f.follow()
	f.add("a.log", "a1\na2\n")
	f.add("b.log", "b1\n")
	f.drain()
	f.add("a.log", "a3\n")
	f.add("b.log", "b2\nb3\n")
	f.drain()
	f.stop()
	current := filepath.Join(f.cfg.Dir, currentName)
	whole, err := os.ReadFile(current)
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(whole); n += 7 {
		if err := os.WriteFile(current, whole[:n], 0o640); err != nil {
			t.Fatal(err)
		}
		f.start()
		f.follow()
		f.drain()
		f.stop()
		got := f.texts(false)
		slices.Sort(got)
		if strings.Join(got, " ") != "a1 a2 a3 b1 b2 b3" {
			t.Fatalf("cut at %d of %d: %q\n%s", n, len(whole), got, whole[:n])
		}
		os.Remove(filepath.Join(f.cfg.Dir, damagedName))
	}
}
