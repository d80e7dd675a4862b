package keeper

import (
	"bufio"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/reaper"
)

// The test binary plays the manager when it is told so.
const roleVar = "NSINIT_KEEPER_TEST_SEED"

func TestMain(m *testing.M) {
	if seed := os.Getenv(roleVar); seed != "" {
		managerRole(seed)
	}
	os.Exit(m.Run())
}

// operation is one thing that a manager does; version 0 drops the names.
type operation struct {
	version int
	names   []string
}

func (o operation) run(k *Keeper) error {
	if o.version == 0 {
		return k.Drop(o.names...)
	}
	fd, err := makeThing(fmt.Sprint(o.names[0], o.version))
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return k.Keep(o.names[0], fd)
}

// after gives what is kept once the operation has been done.
func (o operation) after(before map[string]string) map[string]string {
	m := maps.Clone(before)
	for _, n := range o.names {
		if o.version == 0 {
			delete(m, n)
		} else {
			m[n] = fmt.Sprint(n, o.version)
		}
	}
	return m
}

// choose makes up an operation about a few names, so that they meet.
func choose(r *rand.Rand, version int) operation {
	name := func() string { return string(rune('a' + r.IntN(8))) }
	if r.IntN(3) == 0 {
		return operation{0, []string{name(), name()}}
	}
	return operation{version, []string{name()}}
}

// mortal dies (by a panic: a process's death closes its copies of the sockets,
// and nothing else) in place of a call.
type mortal struct {
	queue
	left int
}

type death struct{}

func (m *mortal) tick() {
	if m.left--; m.left < 0 {
		panic(death{})
	}
}

func (m *mortal) push(b []byte, fds []int) error { m.tick(); return m.queue.push(b, fds) }
func (m *mortal) head() ([]byte, error)          { m.tick(); return m.queue.head() }
func (m *mortal) headFDs() ([]int, error)        { m.tick(); return m.queue.headFDs() }
func (m *mortal) pop() error                     { m.tick(); return m.queue.pop() }

// naive moves a message as one would: received, then sent again.
type naive struct {
	*mortal
	taken []byte
	fds   []int
}

func (n *naive) headFDs() ([]int, error) {
	fds, err := n.mortal.headFDs()
	if err == nil {
		n.taken, _ = n.mortal.queue.head()
		n.fds, err = append([]int(nil), fds...), n.mortal.queue.pop()
	}
	return fds, err
}

func (n *naive) pop() error {
	if n.taken != nil {
		n.taken = nil
		return nil
	}
	return n.mortal.pop()
}

// deaths runs random operations and dies at every place of every one of them in
// turn. It gives the first state in which something was lost or came back.
func deaths(t *testing.T, wrap func(*mortal) queue) (wrong string, died int) {
	k := newKeeper(t)
	r := rand.New(rand.NewPCG(1, 2))
	state := map[string]string{}
	for version := 1; version <= 500; version++ {
		op := choose(r, version)
		want := op.after(state)
		for place := 0; ; place++ {
			m := &mortal{k.ends, place}
			k.queue = wrap(m)
			ended := survives(func() error { return op.run(k) })
			k = next(t, k)
			got, err := contents(k)
			if err != nil {
				t.Fatal(err)
			}
			if ended {
				if !maps.Equal(got, want) {
					return fmt.Sprintf("%v done: %v, want %v", op, got, want), died
				}
				break
			}
			died++
			if bad := between(got, state, want, op); bad != "" {
				return fmt.Sprintf("died at call %d of %v, before %v: %s in %v", place+1, op, state, bad, got), died
			}
			if k.queued != len(got) {
				return fmt.Sprintf("%d messages for %d names", k.queued, len(got)), died
			}
			state = got
		}
		state = want
	}
	return "", died
}

// between says what is neither as before nor as after an operation that was cut
// short: every name it is not about must be as it was.
func between(got, before, after map[string]string, op operation) string {
	for n := 'a'; n < 'a'+8; n++ {
		name := string(n)
		if got[name] != before[name] && got[name] != after[name] {
			return fmt.Sprintf("%s is %q", name, got[name])
		}
	}
	return ""
}

func survives(f func() error) (ended bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(death); !ok {
				panic(r)
			}
		}
	}()
	if err := f(); err != nil {
		panic(err)
	}
	return true
}

// A death between any two system calls of any operation loses nothing and
// brings nothing back.
func TestDeathAnywhere(t *testing.T) {
	wrong, died := deaths(t, func(m *mortal) queue { return m })
	if wrong != "" {
		t.Error(wrong)
	}
	if died < 1000 {
		t.Errorf("only %d deaths", died)
	}
	t.Logf("%d deaths", died)
}

// The same is seen to fail where a message is received before it is sent again.
func TestNaiveLoses(t *testing.T) {
	wrong, died := deaths(t, func(m *mortal) queue { return &naive{mortal: m} })
	if wrong == "" {
		t.Errorf("%d deaths of the naive way lost nothing", died)
	}
	t.Logf("after %d deaths: %s", died, wrong)
}

// managerRole works without end on what its parent holds, and says before and
// after each operation which it is; a pipe keeps that when it is killed.
func managerRole(seed string) {
	n, _ := strconv.ParseUint(seed, 10, 64)
	parent, err := unix.PidfdOpen(os.Getppid(), 0)
	if err != nil {
		fmt.Println("!", err)
		os.Exit(1)
	}
	k, err := Open(parent)
	if err != nil {
		fmt.Println("!", err)
		os.Exit(1)
	}
	r := rand.New(rand.NewPCG(n, n))
	for version := int(n)*1_000_000 + 1; ; version++ {
		op := choose(r, version)
		unix.Write(1, fmt.Appendf(nil, "begin %d %s\n", op.version, strings.Join(op.names, " ")))
		if err := op.run(k); err != nil {
			fmt.Println("!", err)
			os.Exit(1)
		}
		unix.Write(1, []byte("end\n"))
	}
}

// TestKilled kills the manager with SIGKILL at random moments; this process is
// the holder, and looks at what is kept after every death.
func TestKilled(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("pidfd_getfd needs root")
	}
	kills := 300
	if testing.Short() {
		kills = 30
	}
	restore := occupy(t)
	defer restore()
	k := newKeeper(t)
	for n, fd := range map[int]int{reaper.FDKeeperSend: k.ends.send, reaper.FDKeeperKeep: k.ends.keep} {
		if err := unix.Dup3(fd, n, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
	}
	state, operations := map[string]string{}, 0
	for i := range kills {
		done, open := runAndKill(t, i+1)
		operations += len(done)
		for _, op := range done {
			state = op.after(state)
		}
		want := state
		if open != nil {
			want = open.after(state)
		} else {
			open = &operation{}
		}
		n := next(t, k)
		got, err := contents(n)
		if err != nil {
			t.Fatal(err)
		}
		if bad := between(got, state, want, *open); bad != "" {
			t.Fatalf("kill %d, during %v: %s\nbefore: %v\nkept:   %v", i+1, *open, bad, state, got)
		}
		if n.Foreign() != 0 || n.queued != len(got) {
			t.Fatalf("kill %d: %d messages for %d names, %d foreign", i+1, n.queued, len(got), n.Foreign())
		}
		state = got
	}
	t.Logf("%d kills, %d operations", kills, operations)
	if operations < 10*kills {
		t.Errorf("only %d operations", operations)
	}
}

// runAndKill gives the operations that a manager has done, and the one that it
// was killed in.
func runAndKill(t *testing.T, seed int) (done []operation, open *operation) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", roleVar, seed))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines, kill := bufio.NewScanner(out), time.NewTimer(time.Hour)
	for lines.Scan() {
		if len(done) == 0 && open == nil { // it has begun: now it may die any moment
			kill = time.AfterFunc(time.Duration(rand.IntN(4000))*time.Microsecond, func() { cmd.Process.Kill() })
		}
		words := strings.Fields(lines.Text())
		switch words[0] {
		case "begin":
			version, _ := strconv.Atoi(words[1])
			open = &operation{version, words[2:]}
		case "end":
			done, open = append(done, *open), nil
		default:
			t.Errorf("the manager says: %s", lines.Text())
		}
	}
	kill.Stop()
	cmd.Process.Kill()
	cmd.Wait() // killed
	return done, open
}

func BenchmarkDropBehind100(b *testing.B) {
	k := newKeeper(b)
	fd := thing(b, "x")
	defer unix.Close(fd)
	for i := range 100 {
		if err := k.Keep(fmt.Sprint("n", i), fd); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if err := k.Keep("last", fd); err != nil {
			b.Fatal(err)
		}
		if err := k.Drop("last"); err != nil {
			b.Fatal(err)
		}
	}
}
