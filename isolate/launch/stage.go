package launch

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
)

// stage is a set of namespaces in which the steps that a program marks Ahead
// are done already. It belongs to no unit: the start that takes it is its only
// user, and a manager that dies takes it along.
type stage struct {
	made  isolate.Stage
	tpl   *template
	names unix.Utsname // of the host; a uts namespace begins with them (uts_namespaces(7))
	fds   []namespace  // those to enter, in order
}

type namespace struct {
	fd   int
	flag uintptr // of setns(2)
}

func (s *stage) close() {
	for _, n := range s.fds {
		unix.Close(n.fd)
	}
}

// stageMax is how many stages there are in all. One is most of what a child has
// to do before it may clone the service: half of the mounts, and the copy of the
// template's.
const stageMax = 3

// stageQuiet is how long no start has come when stages are made: they are for
// the next start, and must not get in the way of those that are under way. A
// crowd of starts, which would use more than there are, does without.
const stageQuiet = 20 * time.Millisecond

// stages has stages ready of the kind that was asked for last.
type stages struct {
	templates *templates

	mu     sync.Mutex
	ready  []*stage
	round  int                   // counts what was discarded: what was being made meanwhile may be of no use either
	refill chan *isolate.Program // nil until the first take
	closed bool
	done   sync.WaitGroup
}

// take gives a stage for p, which is the caller's to close, or nil if there is
// none: the child then does all of the program's steps itself.
func (s *stages) take(p *isolate.Program, tpl *template) (found *stage) {
	if p.Stage == (isolate.Stage{}) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	if s.refill == nil {
		s.refill = make(chan *isolate.Program, 1)
		s.done.Go(s.fill)
	}
	changed, names := tpl.changed(), hostNames()
	// They lack what reached the template since, or have the host's old name.
	s.drop(func(st *stage) bool { return st.tpl == tpl && changed || st.names != names })
	for i, st := range s.ready {
		if st.made == p.Stage && st.tpl == tpl {
			found, s.ready = st, slices.Delete(s.ready, i, i+1)
			break
		}
	}
	select {
	case s.refill <- p:
	default: // it is told already
	}
	return found
}

// fill makes stages once no start has come for a while.
func (s *stages) fill() {
	quiet := time.NewTimer(0)
	defer quiet.Stop()
	var last *isolate.Program
	for {
		select {
		case p, ok := <-s.refill:
			if !ok {
				return
			}
			last = p
			quiet.Reset(stageQuiet)
		case <-quiet.C:
			if last != nil {
				s.replenish(last)
			}
			last = nil // it is large
		}
	}
}

// replenish makes room of stages of other kinds, and then the missing ones of p's.
func (s *stages) replenish(p *isolate.Program) {
	tpl, release, err := s.templates.get(*p.Tree)
	if err != nil {
		return // the next start will meet the same, and say so
	}
	defer release()
	round := s.discard(func(st *stage) bool { return st.made != p.Stage || st.tpl != tpl })
	made, err := makeStages(p, tpl, stageMax-s.count())
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.round != round || s.templates.isStale(tpl) {
		closeStages(made)
		return
	}
	s.ready = append(s.ready, made...)
}

func closeStages(list []*stage) {
	for _, st := range list {
		st.close()
	}
}

func (s *stages) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ready)
}

// discard closes the stages that are of no use.
func (s *stages) discard(useless func(*stage) bool) (round int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(useless)
	s.round++
	return s.round
}

// drop is discard with mu held.
func (s *stages) drop(useless func(*stage) bool) {
	s.ready = slices.DeleteFunc(s.ready, func(st *stage) bool {
		if !useless(st) {
			return false
		}
		st.close()
		return true
	})
}

// close ends the filling and lets go of what is ready.
func (s *stages) close() {
	s.mu.Lock()
	if !s.closed && s.refill != nil {
		close(s.refill)
	}
	s.closed = true
	s.mu.Unlock()
	s.done.Wait()
	s.discard(func(*stage) bool { return true })
}

// makeStages makes n stages for programs like p, on a thread that ends with it.
func makeStages(p *isolate.Program, tpl *template, n int) (list []*stage, err error) {
	if n <= 0 {
		return nil, nil
	}
	done := make(chan struct{})
	onLostThread(func() {
		defer close(done)
		list, err = stagesHere(p, tpl, n)
	})
	<-done
	if err != nil {
		closeStages(list)
		return nil, err
	}
	return list, nil
}

// stagesHere makes them of the calling thread's own namespaces, one after the other.
func stagesHere(p *isolate.Program, tpl *template, n int) (list []*stage, err error) {
	proc, err := unix.Open("/proc", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("open /proc", err)
	}
	defer unix.Close(proc)
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return nil, os.NewSyscallError("unshare", err)
	}
	a, err := newArena()
	if err != nil {
		return nil, err
	}
	defer syscall.Munmap(a.mem)
	files := map[isolate.Desc]opened{isolate.DescTemplate: {fd: tpl.fd}}
	ahead := slices.DeleteFunc(slices.Clone(p.Setup), func(s isolate.Step) bool { return !s.Ahead })
	names := hostNames() // the thread leaves the host's namespace
	for range n {
		img := a.reset()
		raw, err := (&encoder{a: a, files: files}).steps(nil, ahead, nil)
		if err != nil {
			return list, err
		}
		if !run(img, &raw) {
			return list, fmt.Errorf("%s: %w", ahead[img.failed], syscall.Errno(img.errno))
		}
		st := &stage{made: p.Stage, tpl: tpl, names: names}
		list = append(list, st)
		if err := st.open(proc); err != nil {
			return list, err
		}
	}
	return list, nil
}

// hostNames gives what uname(2) says, which does not fail.
func hostNames() (n unix.Utsname) {
	unix.Uname(&n)
	return n
}

// open takes hold of the calling thread's namespaces. /proc of the tree is
// empty; the host's is still reachable by its descriptor.
func (s *stage) open(proc int) error {
	for _, n := range []struct {
		ns   isolate.Namespaces
		name string
		flag uintptr
	}{{isolate.Mount, "mnt", unix.CLONE_NEWNS}, {isolate.IPC, "ipc", unix.CLONE_NEWIPC}, {isolate.UTS, "uts", unix.CLONE_NEWUTS}} {
		if !s.made.Namespaces.Has(n.ns) {
			continue
		}
		fd, err := unix.Openat(proc, "thread-self/ns/"+n.name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return os.NewSyscallError("open thread-self/ns/"+n.name, err)
		}
		s.fds = append(s.fds, namespace{fd, n.flag})
	}
	return nil
}
