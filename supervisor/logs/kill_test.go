package logs

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary plays the manager and the service when it is told so.
const roleVar = "NSINIT_LOGS_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVar) {
	case "pump":
		os.Exit(pumpRole())
	case "writer":
		os.Exit(writerRole())
	case "tailer":
		os.Exit(tailerRole())
	case "appender":
		os.Exit(appenderRole())
	}
	os.Exit(m.Run())
}

// pumpRole is a manager that adopts: descriptors 3 and 4 are the pipes.
func pumpRole() int {
	pump, err := NewPump()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	cfg := Config{Unit: "web", Dir: os.Args[1], StagingDir: os.Args[2], Adopted: true, LevelMax: Debug}
	cfg.MaxSize, _ = strconv.ParseInt(os.Args[3], 10, 64)
	cfg.RateBurst, _ = strconv.Atoi(os.Args[4])
	cfg.RateInterval = 20 * time.Millisecond
	l := pump.Add(cfg)
	for i, s := range []Stream{Stdout, Stderr} {
		if err := l.Attach(s, 3+i); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	os.Stdout.WriteString("u")
	if err := pump.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// writerRole writes numbered lines in odd pieces to stdout and stderr. With a pause
// it is a service that logs once a millisecond.
func writerRole() int {
	total, _ := strconv.Atoi(os.Args[1])
	pause, _ := time.ParseDuration(os.Args[2])
	for i := range total {
		line := fmt.Sprintf("%d %s\n", i, strings.Repeat("x", i%97))
		cut := i % len(line) // no line comes in one write, now and then
		for _, w := range []*os.File{os.Stdout, os.Stderr} {
			if _, err := w.WriteString(line[:cut]); err != nil {
				return 1
			}
			if _, err := w.WriteString(line[cut:]); err != nil {
				return 1
			}
		}
		time.Sleep(pause)
	}
	return 0
}

func reexec(t *testing.T, role string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), roleVar+"="+role)
	cmd.Stderr = os.Stderr
	return cmd
}

// The promise: kill -9 of the manager at any instant loses no line and doubles
// none, whether the log is rotated meanwhile or not.
func TestKilledPumpLosesAndDoublesNothing(t *testing.T) {
	for _, tc := range []struct {
		name    string
		lines   int
		pause   string
		maxSize int64
		burst   int
	}{
		{"a line each millisecond", 2500, "1ms", 0, 0},
		{"flood", 200000, "0", 0, 0},
		{"flood and rotation", 100000, "0", 200_000, 0},
		{"flood and rate limit", 200000, "0", 0, 100},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := Config{Unit: "web", Dir: filepath.Join(t.TempDir(), "web"), StagingDir: filepath.Join(staging(t), "web"),
				MaxSize: tc.maxSize, RateBurst: tc.burst, LevelMax: Debug, Adopted: true}
			killMany(t, cfg, tc.lines, tc.pause)
			if tc.burst == 0 {
				checkNumbered(t, cfg.Dir, tc.lines)
			} else {
				checkCounted(t, cfg.Dir, tc.lines)
			}
		})
	}
}

func randomLife() time.Duration { return time.Duration(rand.Int64N(int64(10 * time.Millisecond))) }

func killMany(t *testing.T, cfg Config, total int, pause string) {
	writer := reexec(t, "writer", strconv.Itoa(total), pause)
	pipes := make([]*os.File, staged)
	for i := range pipes {
		r, w, err := Pipe()
		if err != nil {
			t.Fatal(err)
		}
		pipes[i] = os.NewFile(uintptr(r), "pipe")
		defer pipes[i].Close()
		end := os.NewFile(uintptr(w), "pipe")
		defer end.Close()
		if i == 0 {
			writer.Stdout = end
		} else {
			writer.Stderr = end
		}
	}
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- writer.Wait() }()
	kills := 0
	for running := true; running; kills++ {
		// The random delay is what is tested: the instant of the kill.
		running = runAndKill(t, randomLife(), ended, pipes, cfg)
	}
	finishLog(t, cfg, pipes)
	t.Logf("%d kills", kills)
	if kills < 3 {
		t.Errorf("only %d kills", kills)
	}
}

// runAndKill is liveAndDie of a manager that reads pipes.
func runAndKill(t *testing.T, life time.Duration, ended chan error, pipes []*os.File, cfg Config) bool {
	t.Helper()
	pump := reexec(t, "pump", cfg.Dir, cfg.StagingDir, strconv.FormatInt(cfg.MaxSize, 10), strconv.Itoa(cfg.RateBurst))
	pump.ExtraFiles = pipes
	return liveAndDie(t, pump, life, ended)
}

// liveAndDie lives a manager's life and reports whether the writer, whose end comes
// through ended, still runs.
func liveAndDie(t *testing.T, pump *exec.Cmd, life time.Duration, ended chan error) bool {
	t.Helper()
	ready, err := pump.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := pump.Start(); err != nil {
		t.Fatal(err)
	}
	defer pump.Wait()
	defer pump.Process.Kill()
	// Start the clock when it is at work, or most would die before they begin.
	var up [1]byte
	if _, err := ready.Read(up[:]); err != nil {
		t.Fatalf("the manager did not come up: %v", err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Fatalf("the writer failed: %v", err)
		}
		return false
	case <-time.After(life):
		return true
	}
}

// finishLog is the last manager, which reads the rest and ends in order.
func finishLog(t *testing.T, cfg Config, pipes []*os.File) {
	t.Helper()
	pump, err := NewPump()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- pump.Run() }()
	l := pump.Add(cfg)
	for i, p := range pipes {
		fd, err := unix.FcntlInt(p.Fd(), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			t.Fatal(err)
		}
		l.Attach(Stream(i), fd)
	}
	drained := make(chan struct{})
	l.Remove(func() { close(drained) })
	<-drained
	pump.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// checkNumbered wants each line exactly once, in order, on both streams, and the
// sequence numbers without a gap.
func checkNumbered(t *testing.T, dir string, total int) {
	t.Helper()
	var next [staged]int
	var seq uint64
	for r, err := range Read(context.Background(), dir, Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if seq++; r.Seq != seq {
			t.Fatalf("sequence number %d, want %d", r.Seq, seq)
		}
		if r.Stream == Manager {
			if !strings.Contains(string(r.Message), "being written when the manager ended") {
				t.Errorf("notice: %s", r.Message)
			}
			continue
		}
		i := next[r.Stream]
		if want := fmt.Sprintf("%d %s", i, strings.Repeat("x", i%97)); string(r.Message) != want {
			t.Fatalf("%s: record %q, want %q", r.Stream, r.Message, want)
		}
		next[r.Stream]++
	}
	if next != [staged]int{total, total} {
		t.Errorf("%v lines, want %d of each", next, total)
	}
}

// checkCounted wants each line either logged, in order, or counted as dropped.
func checkCounted(t *testing.T, dir string, total int) {
	t.Helper()
	last := [staged]int{-1, -1}
	logged, dropped := 0, 0
	for r, err := range Read(context.Background(), dir, Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		var n int
		if r.Stream == Manager {
			if _, err := fmt.Sscanf(string(r.Message), "log: rate limit dropped %d lines", &n); err == nil {
				dropped += n
			}
			continue
		}
		if _, err := fmt.Sscan(string(r.Message), &n); err != nil || n <= last[r.Stream] {
			t.Fatalf("%s: record %q after number %d", r.Stream, r.Message, last[r.Stream])
		}
		last[r.Stream] = n
		logged++
	}
	if logged+dropped != staged*total || dropped == 0 {
		t.Errorf("%d lines logged and %d dropped, want %d together", logged, dropped, staged*total)
	}
}

// For every length that a kill in write(2) or a power cut may leave `current` at:
// the next manager goes on, with each line once.
func TestTornEnd(t *testing.T) {
	f := newFixture(t, nil)
	w := f.attach(Stdout)
	f.write(w, "one\ntwo\nthree\n")
	f.pumped(w)
	f.stop()
	unix.Close(w)
	path := filepath.Join(f.cfg.Dir, currentName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if err := os.WriteFile(path, whole[:n], 0o640); err != nil {
			t.Fatal(err)
		}
		f.start()
		f.log.Notice(Notice, "next manager")
		f.stop()
		if n > 80 { // beyond the head, the position is known
			f.want("one", "two", "three")
		}
		if got := f.texts(true); len(got) == 0 || got[len(got)-1] != "next manager" {
			t.Fatalf("cut at %d: %q", n, got)
		}
		os.Remove(filepath.Join(f.cfg.Dir, damagedName))
	}
}

func TestGarbageInCurrent(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"zeros at the end": func(b []byte) []byte { return append(b, make([]byte, 5000)...) },
		"text at the end":  func(b []byte) []byte { return append(b, "garbage\n{\n\n"...) },
		"binary at the end": func(b []byte) []byte {
			return append(b, strings.Repeat("\xff\x00\n", 3000)...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			w := f.attach(Stdout)
			f.write(w, "one\n")
			f.drain()
			f.stop()
			path := filepath.Join(f.cfg.Dir, currentName)
			b, _ := os.ReadFile(path)
			os.WriteFile(path, damage(b), 0o640)
			f.start()
			w2 := f.attach(Stdout)
			f.write(w2, "two\n")
			f.drain()
			f.want("one", "two")
			f.wantNotice("cut")
			unix.Close(w)
			unix.Close(w2)
		})
	}
}

func TestAllGarbageIsSetAside(t *testing.T) {
	f := newFixture(t, nil)
	f.stop()
	os.WriteFile(filepath.Join(f.cfg.Dir, currentName), []byte(strings.Repeat("garbage\n", 100)), 0o640)
	f.start()
	w := f.attach(Stdout)
	defer unix.Close(w)
	f.write(w, "one\n")
	f.drain()
	f.want("one")
	f.wantNotice("set aside")
}
