package inotify

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// Several events of one read, with and without names, in their order.
func TestEvents(t *testing.T) {
	dir := t.TempDir()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	watch, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_DELETE_SELF)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"a", "name-of-seventeen", "b"}
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	os.RemoveAll(dir)
	var buf [4096]byte
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		t.Fatal(err)
	}
	got := slices.Collect(Events(buf[:n]))
	var want []Event
	for _, name := range names {
		want = append(want, Event{watch, unix.IN_CREATE, name})
	}
	want = append(want, Event{watch, unix.IN_DELETE_SELF, ""}, Event{watch, unix.IN_IGNORED, ""})
	if !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
	for e := range Events(buf[:n]) { // one who has heard enough
		if e != want[0] {
			t.Errorf("the first is %v", e)
		}
		break
	}
}
