package launch

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
)

// templates are the mount namespaces that hold assembled trees, one for each
// distinct isolate.Tree, made when first needed. A namespace lives for as long
// as its descriptor or a service made from it.
type templates struct {
	mu sync.Mutex
	m  map[isolate.Tree]*template
}

type template struct {
	fd     int
	mounts int // its mount table, which tells by poll(2) that something has reached it since
	users  int
	stale  bool
}

func (t *template) close() {
	unix.Close(t.fd)
	unix.Close(t.mounts)
}

// changed reports whether mounts have reached or left the tree since the last
// time that it was asked (proc_pid_mountinfo(5)).
func (t *template) changed() bool {
	fds := []unix.PollFd{{Fd: int32(t.mounts), Events: unix.POLLPRI}}
	n, err := retry(func() (int, error) { return unix.Poll(fds, 0) })
	return n > 0 || err != nil
}

// get gives the template of tree; release must be called once the child has
// been cloned.
func (t *templates) get(tree isolate.Tree) (_ *template, release func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tpl := t.m[tree]
	if tpl == nil {
		if tpl, err = buildTemplate(tree); err != nil {
			return nil, nil, fmt.Errorf("cannot assemble the file system tree: %w", err)
		}
		if t.m == nil {
			t.m = map[isolate.Tree]*template{}
		}
		t.m[tree] = tpl
	}
	tpl.users++
	return tpl, func() { t.release(tpl) }, nil
}

func (t *templates) release(tpl *template) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if tpl.users--; tpl.users == 0 && tpl.stale {
		tpl.close()
	}
}

// isStale reports whether tpl was dropped.
func (t *templates) isStale(tpl *template) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return tpl.stale
}

// drop forgets every template, so that the next start assembles its tree from
// the host's mounts as they are then.
func (t *templates) drop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, tpl := range t.m {
		if tpl.stale = true; tpl.users == 0 {
			tpl.close()
		}
	}
	clear(t.m)
}

// DropTemplates makes coming starts see the host's mounts as they are then.
// Mounts of a host that propagates them (mount --make-shared, as systemd does)
// arrive without it.
func (l *Launcher) DropTemplates() {
	l.templates.drop()
	l.stages.discard(func(st *stage) bool { return l.templates.isStale(st.tpl) })
}

// buildTemplate assembles tree on a thread of its own, which dies with it: a
// thread that has unshared its mount namespace can serve nobody else.
func buildTemplate(tree isolate.Tree) (*template, error) {
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("cannot read the host's mounts: %w", err)
	}
	points := make([]string, len(mounts))
	for i, m := range mounts {
		points[i] = m.Mountpoint
	}
	type result struct {
		tpl *template
		err error
	}
	done := make(chan result)
	onLostThread(func() {
		tpl, err := assemble(isolate.TemplateSteps(tree, points))
		done <- result{tpl, err}
	})
	r := <-done
	return r.tpl, r.err
}

// onLostThread runs f on a thread that ends with it. Never on the main thread:
// that one cannot end, and /proc/self is what it sees.
func onLostThread(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f()
			return // still locked: the runtime ends the thread
		}
		started := make(chan struct{})
		go func() {
			onLostThread(func() { close(started); f() })
		}()
		<-started // this goroutine has kept the main thread from being chosen
		runtime.UnlockOSThread()
	}()
}

// assemble runs steps in a new mount namespace of the calling thread.
func assemble(steps []isolate.Step) (*template, error) {
	proc, err := unix.Open("/proc", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("open /proc", err)
	}
	defer unix.Close(proc)
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return nil, os.NewSyscallError("unshare", err)
	}
	a, err := newArena()
	if err != nil {
		return nil, err
	}
	defer syscall.Munmap(a.mem)
	img := a.reset()
	e := &encoder{a: a}
	raw, err := e.steps(nil, steps, nil)
	if err != nil {
		return nil, err
	}
	if !run(img, &raw) {
		return nil, fmt.Errorf("%s: %w", steps[img.failed], syscall.Errno(img.errno))
	}
	// /proc of the tree is empty; the host's is still reachable by its descriptor.
	tpl := &template{}
	if tpl.fd, err = unix.Openat(proc, "thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return nil, os.NewSyscallError("open thread-self/ns/mnt", err)
	}
	if tpl.mounts, err = unix.Openat(proc, "thread-self/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		unix.Close(tpl.fd)
		return nil, os.NewSyscallError("open thread-self/mountinfo", err)
	}
	return tpl, nil
}
