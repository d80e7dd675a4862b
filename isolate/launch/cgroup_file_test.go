package launch

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// What is written is read, whatever its length, and nothing of what was there.
func TestFilesRoundTrip(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.OneOf(rapid.SampledFrom([]int{0, 1, 511, 512, 513, 1023, 1024, 1025}), rapid.IntRange(0, 9000)).Draw(t, "size")
		want := bytes.Repeat([]byte("0123456789\n"), size/11+1)[:size]
		if err := writeFile(dir, "f", string(want)); err != nil {
			t.Fatal(err)
		}
		if got, err := readFile(dir + "/f"); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("read %d bytes, %v, want %d", len(got), err, len(want))
		}
	})
}

func TestFileErrors(t *testing.T) {
	dir := t.TempDir()
	read := func(path string) error { _, err := readFile(path); return err }
	for name, tt := range map[string]struct {
		err  error
		want fs.PathError
	}{
		"reading none":        {read(dir + "/none"), fs.PathError{Op: "open", Path: dir + "/none", Err: unix.ENOENT}},
		"reading a directory": {read(dir), fs.PathError{Op: "read", Path: dir, Err: unix.EISDIR}},
		"no directory":        {writeFile(dir+"/none", "f", "1"), fs.PathError{Op: "open", Path: dir + "/none/f", Err: unix.ENOENT}},
		"no space":            {writeFile("/dev", "full", "1"), fs.PathError{Op: "write", Path: "/dev/full", Err: unix.ENOSPC}},
	} {
		var got *fs.PathError
		if !errors.As(tt.err, &got) || *got != tt.want {
			t.Errorf("%s: %v, want %v", name, tt.err, &tt.want)
		}
	}
}

func TestFilesAreClosed(t *testing.T) {
	dir := t.TempDir()
	free := func() int {
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
		return fd
	}
	before := free()
	for range 100 {
		writeFile(dir, "f", "1")
		writeFile("/dev", "full", "1")
		readFile(dir + "/f")
		readFile(dir)
	}
	if after := free(); after > before+20 { // other tests' goroutines may open some
		t.Errorf("the next descriptor was %d and is %d", before, after)
	}
}

// A signal that breaks a call off is no error of the file.
func TestUninterrupted(t *testing.T) {
	left := 3
	n, err := uninterrupted(func() (int, error) {
		if left--; left > 0 {
			return -1, unix.EINTR
		}
		return 7, unix.EIO
	})
	if n != 7 || err != unix.EIO || left != 0 {
		t.Errorf("%d, %v after %d calls", n, err, 3-left)
	}
}

// The kernel's own files: what it refuses, what it lacks, and what is gone.
func TestControlFiles(t *testing.T) {
	c := testCgroups(t)
	g := create(t, c, "web", "", 1)
	dir := g.leaf("main")
	if err := writeFile(dir, "cgroup.max.depth", "3"); err != nil {
		t.Error(err)
	}
	if got := readMax(dir + "/cgroup.max.depth"); got != 3 {
		t.Errorf("cgroup.max.depth is %d, want 3", got)
	}
	if err := writeFile(dir, "cgroup.freeze", "yes"); !errors.Is(err, unix.EINVAL) || !strings.Contains(err.Error(), dir+"/cgroup.freeze") {
		t.Errorf("a wrong value: %v", err)
	}
	lacks := setting{file: "memory.no_such_file", value: "1"}
	if err := apply(dir, lacks); err == nil || err.Error() != "this kernel has no "+dir+"/memory.no_such_file" {
		t.Errorf("a file that this kernel lacks: %v", err)
	}
	if err := g.Remove(); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(dir, "cgroup.freeze", "1"); !isGone(err) {
		t.Errorf("writing to one that is gone: %v", err)
	}
	if _, err := readFile(dir + "/cgroup.events"); !isGone(err) {
		t.Errorf("reading of one that is gone: %v", err)
	}
}

func TestSumIO(t *testing.T) {
	for stat, want := range map[string][2]uint64{
		"": {},
		"8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=400 dios=5\n":      {10, 20},
		"8:16 rbytes=1 wbytes=2\n8:0 rbytes=10 wbytes=20 cost.usage=7\n": {11, 22},
		"254:0 8:16 rbytes=1 wbytes=2\n":                                 {1, 2},
		"8:0 \n8:16 rbytes=1\n":                                          {1, 0},
		"8:0 rbytes= wbytes=x rbytes=-1 rbytes\n":                        {},
		"8:0 rbytes=18446744073709551615 wbytes=99999999999999999999\n":  {Unlimited, 0},
	} {
		if r, w := sumIO(stat); r != want[0] || w != want[1] {
			t.Errorf("%q: %d and %d, want %v", stat, r, w, want)
		}
	}
}

// A cgroup without controllers has cpu.stat, and threads to count.
func TestStatWithoutControllers(t *testing.T) {
	g := fakeTree(t, "")
	main := g.leaf("main")
	writeFile(main, "cpu.stat", "usage_usec 7\nuser_usec 4\nsystem_usec 3\n")
	writeFile(main, "cgroup.threads", "12\n13\n")
	if got, err := g.Stat(); err != nil || got != (Stat{Tasks: 2, CPUNsec: 7000}) {
		t.Errorf("%+v, %v", got, err)
	}
	writeFile(main, "cpu.stat", "usage_usec many\n")
	if _, err := g.Stat(); err == nil || !strings.HasPrefix(err.Error(), "web: cannot read what the cgroup uses: ") {
		t.Errorf("a cpu.stat without sense: %v", err)
	}
	if err := os.RemoveAll(filepath.Dir(main)); err != nil {
		t.Fatal(err)
	}
	if got, err := g.Stat(); err != nil || got != (Stat{}) {
		t.Errorf("one that is gone: %+v, %v", got, err)
	}
}
