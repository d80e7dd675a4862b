package logs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// smallDisk is a tmpfs of 64 KiB for the log.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("nsinit-test", dir, "tmpfs", 0, "size=64k,mode=0755"); err != nil {
		t.Skipf("SKIP: cannot mount a small tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// recovered waits until the log is no longer degraded.
func (f *fixture) recovered() {
	f.t.Helper()
	for range 500 {
		if f.log.Status().Degraded == "" {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	f.t.Fatalf("still degraded: %s", f.log.Status().Degraded)
}

func TestFullDiskKeepsInStagingAndRecovers(t *testing.T) {
	disk := smallDisk(t)
	f := newFixture(t, func(c *Config) { c.Dir = filepath.Join(disk, "web") })
	w := f.attach(Stdout)
	defer unix.Close(w)
	f.write(w, "before\n")
	f.drain()
	filler := filepath.Join(disk, "filler")
	fill(t, filler)
	lines := []string{"before"}
	for i := range 2000 {
		lines = append(lines, fmt.Sprint("while full ", i))
		f.write(w, lines[i+1]+"\n")
	}
	f.drain()
	if st := f.log.Status(); !strings.Contains(st.Degraded, "no space left") || st.DroppedBytes != 0 {
		t.Errorf("status %+v", st)
	}
	os.Remove(filler)
	// 2000 lines need more than the disk has: give it room.
	if err := unix.Mount("", disk, "", unix.MS_REMOUNT, "size=1m"); err != nil {
		t.Fatal(err)
	}
	f.recovered()
	f.want(lines...)
}

func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, size := range []int{4096, 1} {
		for {
			if _, err := file.Write(make([]byte, size)); err != nil {
				break
			}
		}
	}
}

// A kill while the disk is full: the next manager finds everything in staging.
func TestFullDiskAndNextManager(t *testing.T) {
	disk := smallDisk(t)
	f := newFixture(t, func(c *Config) { c.Dir = filepath.Join(disk, "web") })
	w := f.attach(Stdout)
	f.write(w, "before\n")
	f.drain()
	fill(t, filepath.Join(disk, "filler"))
	text := strings.Repeat("x", 5000)
	f.write(w, text+"\n")
	f.pumped(w)
	f.stop()
	unix.Close(w)
	os.Remove(filepath.Join(disk, "filler"))
	f.start()
	f.want("before", text)
}

func TestReadOnlyDisk(t *testing.T) {
	disk := smallDisk(t)
	if err := unix.Mount("", disk, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, func(c *Config) { c.Dir = filepath.Join(disk, "web") })
	w := f.attach(Stdout)
	defer unix.Close(w)
	f.write(w, "while read-only\n")
	f.log.Notice(Notice, "start 1")
	f.drain()
	if st := f.log.Status(); !strings.Contains(st.Degraded, "read-only file system") {
		t.Errorf("status %+v", st)
	}
	if err := unix.Mount("", disk, "", unix.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	f.recovered()
	f.want("while read-only")
	f.wantNotice("start 1")
}

// A flood into a full disk: the writer never waits for long, memory stays bounded,
// and the log says what is missing, in its place.
func TestFloodIntoFullDiskIsDroppedAndCounted(t *testing.T) {
	disk := smallDisk(t)
	f := newFixture(t, func(c *Config) {
		c.Dir = filepath.Join(disk, "web")
		c.StagingMax = 256 << 10
	})
	w := f.attach(Stdout)
	defer unix.Close(w)
	f.write(w, "before\n")
	f.drain()
	fill(t, filepath.Join(disk, "filler"))
	const total = 16 << 20
	for n := 0; n < total; n += 64 << 10 {
		f.write(w, strings.Repeat("0123456789abcdef0123456789abcde\n", 2048))
	}
	f.pumped(w)
	st := f.log.Status()
	if st.DroppedBytes < total-2<<20 || st.Degraded == "" {
		t.Errorf("status %+v", st)
	}
	if n := f.stagingBytes(Stdout); n > 300<<10 {
		t.Errorf("staging holds %d bytes", n)
	}
	for i := range 1000 {
		f.log.Notice(Notice, "notice %d", i)
	}
	f.barrier()
	os.Remove(filepath.Join(disk, "filler"))
	if err := unix.Mount("", disk, "", unix.MS_REMOUNT, "size=16m"); err != nil {
		t.Fatal(err)
	}
	f.recovered()
	f.write(w, "after\n")
	f.drain()
	f.wantNotice("bytes of stdout: the log could not be written")
	f.wantNotice("notices or syslog messages")
	got := f.texts(false)
	if got[0] != "before" || got[len(got)-1] != "after" {
		t.Errorf("first %q, last %q", got[0], got[len(got)-1])
	}
	all := f.read(Query{})
	if last := all[len(all)-2]; last.Stream != Manager {
		t.Errorf("the gap is not told before what comes after it: %q", last.Message)
	}
}

func TestStagingFaults(t *testing.T) {
	for _, tc := range []struct {
		name   string
		damage func(t *testing.T, path string)
		notice string
	}{
		{"removed", func(t *testing.T, path string) { os.Remove(path) }, "staging of stdout was lost"},
		{"cut to nothing", func(t *testing.T, path string) { os.Truncate(path, 0) }, "staging of stdout was lost"},
		{"directory removed", func(t *testing.T, path string) { os.RemoveAll(filepath.Dir(path)) }, "staging of stdout was lost"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFixture(t, nil)
			w := f.attach(Stdout)
			f.write(w, "one\n")
			f.drain()
			f.stop()
			unix.Close(w)
			tc.damage(t, filepath.Join(f.cfg.StagingDir, "stdout"))
			f.cfg.Adopted = true
			f.start()
			w = f.attach(Stdout)
			defer unix.Close(w)
			f.write(w, "two\n")
			f.drain()
			f.want("one", "two")
			f.wantNotice(tc.notice)
		})
	}
}

// After a boot /run is empty and that is no loss.
func TestFreshStagingAfterBoot(t *testing.T) {
	f := newFixture(t, nil)
	w := f.attach(Stdout)
	f.write(w, "one\n")
	f.drain()
	f.stop()
	unix.Close(w)
	os.RemoveAll(f.cfg.StagingDir)
	f.start()
	w = f.attach(Stdout)
	defer unix.Close(w)
	f.write(w, "two\n")
	f.drain()
	f.want("one", "two")
	if n := f.texts(true); len(n) != 0 {
		t.Errorf("notices: %q", n)
	}
}

func TestStagingCutWhileRunning(t *testing.T) {
	f := newFixture(t, nil)
	w := f.attach(Stdout)
	defer unix.Close(w)
	f.write(w, "one\npartial")
	f.pumped(w)
	if err := os.Truncate(filepath.Join(f.cfg.StagingDir, "stdout"), 0); err != nil {
		t.Fatal(err)
	}
	f.write(w, "two\nthree\n")
	f.drain()
	f.want("one", "two", "three")
	f.wantNotice("was cut")
}

// Without a staging directory a file in memory stands in: the log goes on, and the
// status says what that costs.
func TestStagingCannotBeMade(t *testing.T) {
	blocker := filepath.Join(t.TempDir(), "file")
	os.WriteFile(blocker, nil, 0o600)
	f := newFixture(t, func(c *Config) { c.StagingDir = filepath.Join(blocker, "web") })
	w := f.attach(Stdout)
	defer unix.Close(w)
	f.write(w, "one\n")
	f.drain()
	f.want("one")
	if st := f.log.Status(); !strings.Contains(st.Degraded, "not safe against a crash") {
		t.Errorf("status %+v", st)
	}
	f.wantNotice("not a directory")
	// The next manager has a directory again, far below the offsets used.
	f.stop()
	os.Remove(blocker)
	f.start()
	w2 := f.attach(Stdout)
	defer unix.Close(w2)
	f.write(w2, "two\n")
	f.drain()
	f.want("one", "two")
}

func TestCurrentFaultsWhileRunning(t *testing.T) {
	for _, tc := range []struct {
		name   string
		damage func(path string)
		want   []string
	}{
		{"removed", func(p string) { os.Remove(p) }, []string{"two", "three"}},
		{"cut to nothing", func(p string) { os.Truncate(p, 0) }, []string{"two", "three"}},
		{"cut in a record", func(p string) { st, _ := os.Stat(p); os.Truncate(p, st.Size()-3) }, []string{"two", "three"}},
		{"moved away", func(p string) { os.Rename(p, p+".old") }, []string{"two", "three"}},
		{"directory removed", func(p string) { os.RemoveAll(filepath.Dir(p)) }, []string{"two", "three"}},
		{"replaced", func(p string) { os.Remove(p); os.WriteFile(p, []byte("text\n"), 0o644) }, []string{"two", "three"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFixture(t, nil)
			w := f.attach(Stdout)
			defer unix.Close(w)
			f.write(w, "one\n")
			f.drain()
			tc.damage(filepath.Join(f.cfg.Dir, currentName))
			f.write(w, "two\n")
			f.drain()
			f.write(w, "three\n")
			f.drain()
			f.want(tc.want...)
			f.wantNotice("current was removed, replaced or cut")
			if st := f.log.Status(); st.Degraded != "" || st.Seq < 4 {
				t.Errorf("status %+v", st)
			}
		})
	}
}

// The log of an earlier life is gone but staging is not: what was consumed is not
// logged again, what was not is.
func TestCurrentLostBetweenManagers(t *testing.T) {
	f := newFixture(t, nil)
	w := f.attach(Stdout)
	for range 10 {
		f.write(w, strings.Repeat("0123456789abcdef0123456789abcde\n", 1000))
		f.drain()
	}
	f.write(w, "unfinished")
	f.pumped(w)
	f.stop()
	unix.Close(w)
	os.RemoveAll(f.cfg.Dir)
	f.cfg.Adopted = true
	f.start()
	w = f.attach(Stdout)
	defer unix.Close(w)
	f.write(w, " business\n")
	f.drain()
	got := f.texts(false)
	if n := len(got); n == 0 || got[n-1] != "unfinished business" || n > punchStep/32+2 {
		t.Errorf("%d lines, last %q", n, got[max(0, n-1)])
	}
	f.wantNotice("earlier log is gone")
}

// A kill between the two names of a rotation leaves one file under both.
func TestKillInRotation(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.MaxSize = 4096 })
	w := f.attach(Stdout)
	for i := range 20 {
		f.write(w, fmt.Sprintf("line %d\n", i))
	}
	f.drain()
	f.stop()
	unix.Close(w)
	if err := os.Link(filepath.Join(f.cfg.Dir, currentName), rotatedPath(f.cfg.Dir, 1)); err != nil {
		t.Fatal(err)
	}
	os.WriteFile(filepath.Join(f.cfg.Dir, newName), []byte(`{"v":1,"un`), 0o640)
	if got := f.read(Query{}); len(got) != 20 {
		t.Errorf("%d records read, want 20", len(got))
	}
	if got := f.read(Query{Lines: 100}); len(got) != 20 {
		t.Errorf("%d records in the tail, want 20", len(got))
	}
	f.start()
	w = f.attach(Stdout)
	defer unix.Close(w)
	for i := range 80 {
		f.write(w, fmt.Sprintf("line %d\n", 20+i))
	}
	f.drain()
	f.gapless(99)
}

func TestTmpfsOfStagingFull(t *testing.T) {
	disk := smallDisk(t)
	f := newFixture(t, func(c *Config) { c.StagingDir = filepath.Join(disk, "web") })
	w := f.attach(Stdout)
	defer unix.Close(w)
	f.write(w, "before\n")
	f.drain()
	fill(t, filepath.Join(disk, "filler"))
	f.write(w, strings.Repeat("0123456789abcdef0123456789abcde\n", 2000))
	f.pumped(w)
	os.Remove(filepath.Join(disk, "filler"))
	f.write(w, "after\n")
	f.drain()
	got := f.texts(false)
	if got[0] != "before" || got[len(got)-1] != "after" {
		t.Errorf("first %q, last %q", got[0], got[len(got)-1])
	}
	f.wantNotice("bytes of stdout")
}
