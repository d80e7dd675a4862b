package keeper

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/reaper"
)

// thing makes a descriptor that can be told from any other, whoever has a copy.
func thing(t testing.TB, text string) int {
	t.Helper()
	fd, err := makeThing(text)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func makeThing(text string) (int, error) {
	fd, err := unix.MemfdCreate("thing", unix.MFD_CLOEXEC)
	if err == nil {
		_, err = unix.Write(fd, []byte(text))
	}
	return fd, err
}

func readThing(fd int) string {
	b := make([]byte, 512)
	n, err := unix.Pread(fd, b, 0)
	if err != nil {
		return err.Error()
	}
	return string(b[:n])
}

// contents takes everything and gives what it is: "text+text" by name.
func contents(k *Keeper) (map[string]string, error) {
	taken, err := k.Take()
	if err != nil {
		return nil, err
	}
	got := map[string]string{}
	for name, fds := range taken {
		var texts []string
		for _, fd := range fds {
			texts = append(texts, readThing(fd))
		}
		got[name] = strings.Join(texts, "+")
		closeAll(fds)
	}
	return got, nil
}

func newKeeper(t testing.TB) *Keeper {
	t.Helper()
	k, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}

// keep keeps new things and closes this process's own descriptors of them.
func keep(t testing.TB, k *Keeper, name string, texts ...string) {
	t.Helper()
	var fds []int
	for _, text := range texts {
		fds = append(fds, thing(t, text))
	}
	defer closeAll(fds)
	if err := k.Keep(name, fds...); err != nil {
		t.Fatal(err)
	}
}

func expect(t testing.TB, k *Keeper, want map[string]string) {
	t.Helper()
	got, err := contents(k)
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("kept: %v (%v)\nwant: %v", got, err, want)
	}
}

// next is what the next manager makes of the queue: only the sockets are the same.
func next(t testing.TB, k *Keeper) *Keeper {
	t.Helper()
	n := over(k.ends)
	if err := n.read(); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestKeepTakeDrop(t *testing.T) {
	k := newKeeper(t)
	keep(t, k, "a", "1")
	keep(t, k, "b", "2", "3")
	keep(t, k, "c", "4")
	keep(t, k, "b", "5")
	want := map[string]string{"a": "1", "b": "5", "c": "4"}
	expect(t, k, want)
	expect(t, k, want) // taking takes nothing away
	if err := k.Drop("c", "nobody"); err != nil {
		t.Fatal(err)
	}
	delete(want, "c")
	expect(t, k, want)
	expect(t, next(t, k), want)
	if err := k.Drop("a", "b"); err != nil {
		t.Fatal(err)
	}
	expect(t, k, nil)
	if k.queued != 0 || k.stale != 0 {
		t.Errorf("%d messages, %d stale, are left of nothing", k.queued, k.stale)
	}
}

// What is dropped is closed there and then: a pipe's writer hears of it.
func TestDropCloses(t *testing.T) {
	k := newKeeper(t)
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[1])
	keep(t, k, "before", "1")
	if err := k.Keep("pipe", p[0]); err != nil {
		t.Fatal(err)
	}
	keep(t, k, "after", "2")
	unix.Close(p[0])
	if _, err := unix.Write(p[1], []byte("x")); err != nil {
		t.Fatalf("a pipe whose read end is kept: %v", err)
	}
	if err := k.Drop("pipe"); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(p[1], []byte("x")); err != unix.EPIPE {
		t.Errorf("a pipe whose read end was dropped: %v", err)
	}
	expect(t, k, map[string]string{"before": "1", "after": "2"})
}

func TestLimits(t *testing.T) {
	k := newKeeper(t)
	fd := thing(t, "x")
	defer unix.Close(fd)
	for _, name := range []string{"", strings.Repeat("n", NameMax+1), "line\nbreak", "nul\x00"} {
		if err := k.Keep(name, fd); err == nil || !strings.Contains(err.Error(), "1 to 255 bytes") {
			t.Errorf("name %q: %v", name, err)
		}
	}
	if err := k.Keep("none"); err == nil {
		t.Error("no descriptor is kept")
	}
	if err := k.Keep("many", slices.Repeat([]int{fd}, FDsMax+1)...); err == nil {
		t.Error("254 descriptors are kept")
	}
	if err := k.Keep("bad", 1<<20); !errors.Is(err, unix.EBADF) {
		t.Errorf("a descriptor that is none: %v", err)
	}
	long := strings.Repeat("n", NameMax)
	if err := k.Keep(long, slices.Repeat([]int{fd}, FDsMax)...); err != nil {
		t.Fatal(err)
	}
	expect(t, next(t, k), map[string]string{long: strings.Repeat("x+", FDsMax-1) + "x"})
}

// A full queue refuses more, loses nothing, and can still be emptied.
func TestFull(t *testing.T) {
	k := newKeeper(t)
	if err := unix.SetsockoptInt(k.ends.send, unix.SOL_SOCKET, unix.SO_SNDBUF, 16<<10); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	var err error
	for i := 0; err == nil; i++ {
		text := fmt.Sprint(i)
		fd := thing(t, text)
		if err = k.Keep("n"+text, fd); err == nil {
			want["n"+text] = text
		}
		unix.Close(fd)
	}
	if !errors.Is(err, unix.ENOBUFS) || len(want) < 5 {
		t.Fatalf("after %d: %v", len(want), err)
	}
	expect(t, k, want)
	for i := len(want) - 1; i >= 0; i-- { // the last each time: all others are moved
		name := fmt.Sprint("n", i)
		if err := k.Drop(name); err != nil {
			t.Fatal(err)
		}
		delete(want, name)
		expect(t, k, want)
	}
}

// TestRoom says how many names fit, and that so many can be handled.
func TestRoom(t *testing.T) {
	k := newKeeper(t)
	fd := thing(t, "x")
	defer unix.Close(fd)
	n := 0
	for ; n < 10000; n++ {
		if err := k.Keep(fmt.Sprintf("%0200d", n), fd); err != nil {
			break
		}
	}
	t.Logf("%d names of 200 bytes fit", n)
	if n < 64 {
		t.Errorf("only %d names fit", n)
	}
	if err := k.Drop(fmt.Sprintf("%0200d", n-1)); err != nil {
		t.Error(err)
	}
}

// What no keeper has sent harms nobody and is thrown away.
func TestForeign(t *testing.T) {
	k := newKeeper(t)
	keep(t, k, "a", "1")
	whole := message{serial: 7, count: 1, name: "torn"}.encode()
	fd := thing(t, "foreign")
	defer unix.Close(fd)
	junk := [][]byte{[]byte("x"), make([]byte, 5000), whole[:len(whole)-1], whole[:10], message{serial: 0, count: 1, name: "zero"}.encode(),
		message{serial: 8, count: 0, name: "empty"}.encode(), message{serial: 9, count: 1, name: "a\n"}.encode()}
	for _, b := range junk {
		if err := k.ends.push(b, []int{fd}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := unix.Write(k.ends.send, nil); err != nil {
		t.Fatal(err)
	}
	keep(t, k, "b", "2")
	n := next(t, k)
	if want := len(junk) + 1; n.Foreign() != want {
		t.Errorf("%d of %d were found to be foreign", n.Foreign(), want)
	}
	expect(t, n, map[string]string{"a": "1", "b": "2"})
	if n.queued != 2 {
		t.Errorf("%d messages are left", n.queued)
	}
}

// Newer managers may add to a message.
func TestLongerMessage(t *testing.T) {
	k := newKeeper(t)
	fd := thing(t, "1")
	defer unix.Close(fd)
	if err := k.ends.push(append(message{serial: 1, count: 1, name: "a"}.encode(), "more"...), []int{fd}); err != nil {
		t.Fatal(err)
	}
	n := next(t, k)
	keep(t, n, "b", "2")
	if err := n.Drop("b"); err != nil { // moves the other
		t.Fatal(err)
	}
	expect(t, n, map[string]string{"a": "1"})
	if b, err := n.ends.head(); err != nil || !strings.HasSuffix(string(b), "amore") {
		t.Errorf("it has become %q (%v)", b, err)
	}
}

// Where the manager may not open enough, taking fails and loses nothing.
func TestTakeNeedsDescriptors(t *testing.T) {
	k := newKeeper(t)
	keep(t, k, "a", "1")
	keep(t, k, "b", "2", "3")
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	fd := thing(t, "")
	unix.Close(fd)
	tight := before
	tight.Cur = uint64(fd) + 2
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &tight); err != nil {
		t.Fatal(err)
	}
	_, err := k.Take()
	unix.Setrlimit(unix.RLIMIT_NOFILE, &before)
	if !errors.Is(err, unix.EMFILE) {
		t.Errorf("with room for two of three: %v", err)
	}
	expect(t, k, map[string]string{"a": "1", "b": "2+3"})
}

// Open takes the ends from a process by their numbers, and nothing else for them.
func TestOpen(t *testing.T) {
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(self)
	restore := occupy(t)
	defer restore()
	if k, err := Open(self); err == nil {
		k.Close()
		t.Error("two pipes are taken for a keeper's sockets")
	}
	k := newKeeper(t)
	keep(t, k, "a", "1")
	for n, fd := range map[int]int{reaper.FDKeeperSend: k.ends.send, reaper.FDKeeperKeep: k.ends.keep} {
		if err := unix.Dup3(fd, n, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
	}
	n, err := Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	expect(t, n, map[string]string{"a": "1"})
}

// occupy puts pipes at the holder's numbers, and back what was there.
func occupy(t *testing.T) (restore func()) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	saved := map[int]int{}
	for i, n := range []int{reaper.FDKeeperSend, reaper.FDKeeperKeep} {
		if fd, err := unix.FcntlInt(uintptr(n), unix.F_DUPFD_CLOEXEC, 100); err == nil {
			saved[n] = fd
		}
		if p[i] != n {
			if err := unix.Dup3(p[i], n, unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
		}
	}
	return func() {
		for _, n := range []int{reaper.FDKeeperSend, reaper.FDKeeperKeep} {
			if fd, ok := saved[n]; ok {
				unix.Dup3(fd, n, unix.O_CLOEXEC)
				unix.Close(fd)
			} else {
				unix.Close(n)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(message{serial: 1, count: 1, name: "a"}.encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decode(b)
		if err != nil {
			return
		}
		if again, err := decode(m.encode()); err != nil || again != m {
			t.Errorf("%+v reads as %+v (%v)", m, again, err)
		}
	})
}
