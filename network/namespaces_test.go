package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// open opens Namespaces in a directory of the test's own, which is clean
// afterwards.
func open(t testing.TB) (*Namespaces, string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("making network namespaces needs root")
	}
	dir := t.TempDir()
	n, err := OpenNamespaces(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(true); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(filepath.Join(dir, "netns")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the directory is left: %v", err)
		}
	})
	return n, dir
}

// inode identifies the namespace behind fd, and closes fd.
func inode(t testing.TB, fd int, err error) uint64 {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	if flags, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); flags&unix.FD_CLOEXEC == 0 {
		t.Error("the descriptor is not close-on-exec")
	}
	return st.Ino
}

func private(t testing.TB, n *Namespaces, unit string) uint64 {
	t.Helper()
	fd, err := pinned(n, unit)
	return inode(t, fd, err)
}

// pinned is what a start does.
func pinned(n *Namespaces, unit string) (int, error) {
	fd, fresh, err := n.Private(unit)
	if fresh && err == nil {
		err = n.Pin(unit, fd)
	}
	return fd, err
}

func own(t *testing.T) uint64 {
	fd, err := openNamespace("/proc/self/ns/net")
	return inode(t, fd, err)
}

func TestPrivateIsPinned(t *testing.T) {
	n, dir := open(t)
	web, mail := private(t, n, "web"), private(t, n, "mail@a/b")
	if web == own(t) || web == mail {
		t.Fatalf("namespaces %d and %d are not apart from each other and from this one, %d", web, mail, own(t))
	}
	if again := private(t, n, "web"); again != web {
		t.Errorf("the second start is in namespace %d, the first was in %d", again, web)
	}
	other, err := OpenNamespaces(dir) // as a new manager does
	if err != nil {
		t.Fatal(err)
	}
	fd, err := other.Of("web")
	if got := inode(t, fd, err); got != web {
		t.Errorf("a new manager finds namespace %d, not %d", got, web)
	}
	if err := other.Drop("web"); err != nil {
		t.Fatal(err)
	}
	if err := other.Drop("web"); err != nil {
		t.Errorf("dropping it again: %v", err)
	}
	if _, err := n.Of("web"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Drop: %v", err)
	}
	if fresh := private(t, n, "web"); fresh == 0 {
		t.Error("none after Drop")
	}
}

// A manager that was killed between a start and its pin leaves a namespace that
// only the service holds.
func TestRepin(t *testing.T) {
	n, _ := open(t)
	fd, fresh, err := n.Private("web")
	if err != nil || !fresh {
		t.Fatal(fresh, err)
	}
	defer unix.Close(fd)
	if err := n.Repin("web", os.Getpid()); err != nil { // as of a start that failed early
		t.Fatal(err)
	}
	if _, err := n.Of("web"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("this process's own namespace was given to the unit: %v", err)
	}
	inNamespace(t, fd, func(tid int) { err = n.Repin("web", tid) })
	if err != nil {
		t.Fatal(err)
	}
	want := inode(t, must(unix.Dup(fd)), nil)
	if got := private(t, n, "web"); got != want {
		t.Fatalf("the unit's namespace is %d, its process is in %d", got, want)
	}
	if err := n.Repin("web", os.Getpid()); err != nil { // pinned already: nothing happens
		t.Fatal(err)
	}
	if got := private(t, n, "web"); got != want {
		t.Errorf("a second pin has changed the namespace to %d, from %d", got, want)
	}
}

func must(fd int, err error) int {
	if err != nil {
		panic(err)
	}
	unix.CloseOnExec(fd)
	return fd
}

// The thread that made the namespace must not serve the manager again.
func TestPrivateLeavesTheCaller(t *testing.T) {
	n, _ := open(t)
	before := own(t)
	for i := range 50 {
		private(t, n, fmt.Sprint("unit", i))
		done := make(chan uint64)
		go func() { done <- threadNamespace() }()
		if got := <-done; got != before {
			t.Fatalf("a goroutine runs in namespace %d, not %d", got, before)
		}
		if got := own(t); got != before {
			t.Fatalf("the main thread is in namespace %d, not %d", got, before)
		}
	}
}

func threadNamespace() uint64 {
	var st unix.Stat_t
	unix.Stat("/proc/thread-self/ns/net", &st)
	return st.Ino
}

func TestPrivateConcurrent(t *testing.T) {
	n, _ := open(t)
	const units, callers = 4, 4
	got := make([]uint64, units*callers)
	var wg sync.WaitGroup
	for i := range units {
		wg.Go(func() { private(t, n, fmt.Sprint("u", i)) })
	}
	wg.Wait()
	for i := range got {
		wg.Go(func() {
			fd, err := n.Of(fmt.Sprint("u", i%units))
			got[i] = inode(t, fd, err)
		})
	}
	wg.Wait()
	for i := range got {
		if got[i] != got[i%units] {
			t.Errorf("unit %d has namespaces %d and %d", i%units, got[i], got[i%units])
		}
	}
	slices.Sort(got)
	if distinct := len(slices.Compact(got)); distinct != units {
		t.Errorf("%d units have %d namespaces", units, distinct)
	}
}

// A manager that was killed while it pinned leaves a plain file.
func TestPrivateOverPlainFile(t *testing.T) {
	n, _ := open(t)
	if err := os.WriteFile(n.pin("web"), nil, 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Of("web"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Of takes a plain file: %v", err)
	}
	if ns := private(t, n, "web"); ns == own(t) {
		t.Error("not a namespace of its own")
	}
}

func TestPath(t *testing.T) {
	n, _ := open(t)
	web := private(t, n, "web")
	fd, err := n.Path(n.pin("web"))
	if got := inode(t, fd, err); got != web {
		t.Errorf("namespace %d, want %d", got, web)
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"/proc/self/ns/mnt", "/etc/passwd", fifo, "/dev/null", "/proc"} {
		if fd, err := n.Path(p); !errors.Is(err, errNotNamespace) {
			t.Errorf("%s: descriptor %d, %v", p, fd, err)
		}
	}
	if _, err := n.Path("/nowhere/ns"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a path that does not exist: %v", err)
	}
}

func TestPrune(t *testing.T) {
	n, _ := open(t)
	for _, u := range []string{"a", "b/c", "d%2F"} {
		private(t, n, u)
	}
	var asked []string
	err := n.Prune(func(unit string) bool {
		asked = append(asked, unit)
		return unit == "b/c"
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(asked)
	if !slices.Equal(asked, []string{"a", "b/c", "d%2F"}) {
		t.Errorf("asked about %q", asked)
	}
	entries, err := os.ReadDir(n.dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "b%2Fc" {
		t.Errorf("left: %v, %v", entries, err)
	}
}

// A pin in another mount namespace would keep a dropped namespace alive.
func TestPinsDoNotPropagate(t *testing.T) {
	_, dir := open(t)
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 6 && f[4] == filepath.Join(dir, "netns") && f[6] != "-" {
			t.Errorf("the mount has peers or masters: %s", line)
		}
	}
}

func TestPinNameRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		unit := rapid.StringN(1, 40, -1).Draw(t, "unit")
		name := pinName(unit)
		if name == "." || name == ".." || filepath.Base(name) != name {
			t.Fatalf("%q names the file %q", unit, name)
		}
		if back, ok := fromPinName(name); !ok || back != unit {
			t.Fatalf("%q became %q and that %q, %v", unit, name, back, ok)
		}
	})
}

// BenchmarkPrivate is how long a start waits for a namespace: made, pinned, with
// loopback up.
func BenchmarkPrivate(b *testing.B) {
	n, _ := open(b)
	for i := 0; b.Loop(); i++ {
		fd, err := pinned(n, fmt.Sprint("unit", i))
		if err != nil {
			b.Fatal(err)
		}
		unix.Close(fd)
	}
}
