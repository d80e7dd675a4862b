package supervisor

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/reaper"
)

// makeTree makes what a service has left behind in its directory.
func makeTree(t *testing.T, dir string, entries ...string) {
	t.Helper()
	for _, e := range entries {
		name, target, link := strings.Cut(e, " -> ")
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		switch {
		case err != nil:
		case link:
			err = os.Symlink(target, path)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		default:
			err = os.WriteFile(path, []byte("precious"), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// What a service may write has no say in where root makes a directory.
func TestPlacesFollowNoLinkOfAService(t *testing.T) {
	for _, c := range []struct {
		name, path string
		there      []string
		err        string // "": made, or there
	}{
		{"nothing there", "app/data", nil, ""},
		{"all there", "app/data", []string{"app/data/"}, ""},
		{"the operator's link", "app/data", []string{"app -> OUTSIDE"}, ""},
		{"a link above", "app/d/data", []string{"app/d -> OUTSIDE"}, "a service may have made it"},
		{"a link to what is there", "app/d/x", []string{"app/d -> OUTSIDE"}, "a service may have made it"},
		{"a link itself", "app/data", []string{"app/data -> OUTSIDE"}, "a service may have made it"},
		{"a link that dangles", "app/data", []string{"app/data -> OUTSIDE/new"}, "a service may have made it"},
		{"a file above", "app/data", []string{"app"}, "not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			base, outside := t.TempDir(), t.TempDir()
			makeTree(t, outside, "x/")
			for i, e := range c.there {
				c.there[i] = strings.ReplaceAll(e, "OUTSIDE", outside)
			}
			makeTree(t, base, c.there...)
			err := makeDirectory(isolate.Directory{Base: base, Path: base + "/" + c.path, Mode: 0o750,
				UID: uint32(os.Getuid()), GID: uint32(os.Getgid())})
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("error: %v", err)
			}
			if c.err == "" {
				if info, err := os.Stat(base + "/" + c.path); err != nil || !info.IsDir() {
					t.Error("not made:", err)
				}
				return
			}
			if list, _ := os.ReadDir(outside); len(list) != 1 {
				t.Errorf("made outside: %v", list)
			}
		})
	}
}

// Nor in what root removes.
func TestRemovalStaysInside(t *testing.T) {
	for _, c := range []struct {
		name, path string
		there      []string
		gone       string // what must be gone afterwards; "" where it is an error
	}{
		{"missing", "app/data", nil, "app"},
		{"with a link in it", "app", []string{"app/l -> OUTSIDE", "app/d/l -> OUTSIDE/x", "app/file"}, "app"},
		{"with empty parents", "app/a/b", []string{"app/a/b/file"}, "app"},
		{"a link", "app", []string{"app -> OUTSIDE"}, "app"},
		{"behind a link", "app/d/x", []string{"app/d -> OUTSIDE"}, ""},
		{"behind a link, deeper", "app/d/x/y", []string{"app/d -> OUTSIDE"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			base, outside := t.TempDir(), t.TempDir()
			makeTree(t, outside, "x/y/", "x/file")
			for i, e := range c.there {
				c.there[i] = strings.ReplaceAll(e, "OUTSIDE", outside)
			}
			makeTree(t, base, c.there...)
			if err := removePlace(base, c.path); (err == nil) != (c.gone != "") {
				t.Error("error:", err)
			}
			if _, err := os.Lstat(filepath.Join(base, c.gone)); c.gone != "" && !os.IsNotExist(err) {
				t.Errorf("%s is there: %v", c.gone, err)
			}
			for _, kept := range []string{"x/y", "x/file"} {
				if _, err := os.Stat(filepath.Join(outside, kept)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// A tree that is deeper than the manager has descriptors costs it three.
func TestRemovalOfDeepTree(t *testing.T) {
	base := t.TempDir()
	fd, err := unix.Open(base, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	for i := 0; i < 3000 && err == nil; i++ {
		if err = unix.Mkdirat(fd, "d", 0o755); err == nil {
			var next int
			next, err = unix.Openat(fd, "d", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			unix.Close(fd)
			fd = next
		}
	}
	unix.Close(fd)
	if err != nil {
		t.Fatal(err)
	}
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	few := before
	few.Cur = 200
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before)
	if err := removePlace(base, "d"); err != nil {
		t.Error(err)
	}
	if list, _ := os.ReadDir(base); len(list) != 0 {
		t.Errorf("left: %v", list)
	}
}

// Many entries, and some that are made while others are removed.
func TestRemovalOfMany(t *testing.T) {
	base := t.TempDir()
	for i := range 3000 {
		makeTree(t, base, fmt.Sprintf("app/%d", i), fmt.Sprintf("app/dir/%d", i), fmt.Sprintf("app/.removed-%d/x/y", i%7+1))
	}
	if err := removePlace(base, "app"); err != nil {
		t.Error(err)
	}
	if list, _ := os.ReadDir(base); len(list) != 0 {
		t.Errorf("left: %v", list)
	}
	makeTree(t, base, "late/x")
	if err := removeIn(unix.AT_FDCWD, filepath.Join(base, "late"), time.Now().Add(-time.Second)); err == nil {
		t.Error("the deadline has no effect")
	}
}

// What somebody has mounted in the tree is not removed with it.
func TestRemovalSparesMounts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	base, outside := t.TempDir(), t.TempDir()
	makeTree(t, outside, "file")
	makeTree(t, base, "app/a/mnt/", "app/file")
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its mounts
		err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = unix.Mount(outside, base+"/app/a/mnt", "", unix.MS_BIND, "")
		}
		if err == nil {
			if removed := removePlace(base, "app"); removed == nil {
				err = fmt.Errorf("a tree with a mount was removed")
			}
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(outside + "/file"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(base + "/app/file"); err == nil {
		t.Error("what could be removed is there")
	}
}

// A record that stays half-written holds nobody up.
func TestTornRecordIsGivenUp(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "record")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	torn := reaper.Record{Magic: reaper.Magic, Version: reaper.Version, Size: uint32(reaper.Size), Seq: 2, SeqEnd: 1}
	if err := binary.Write(f, binary.NativeEndian, &torn); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := readRecord(int(f.Fd()))
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil {
			t.Error("it was taken")
		}
	case <-time.After(20 * time.Second):
		t.Error("it is read for ever")
	}
}

// Units that start at once and share the way to their directories make it once,
// and none meets one that is half made.
func TestDirectoriesMadeAtOnce(t *testing.T) {
	var m Manager
	for round := range 50 {
		base := filepath.Join(t.TempDir(), strconv.Itoa(round))
		errs := make(chan error)
		for i := range 8 {
			go func() {
				errs <- m.makeDirectories([]isolate.Directory{
					{Base: base, Path: base + "/app", UID: 65534, GID: 65534, Mode: 0o755},
					{Base: base, Path: fmt.Sprintf("%s/app/d/%d", base, i), UID: 65534, GID: 65534, Mode: 0o755},
				})
			}()
		}
		for range 8 {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
	}
}
