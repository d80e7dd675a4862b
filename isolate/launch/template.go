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
	fd    int
	users int
	stale bool
}

// get gives the descriptor of tree's namespace; release must be called once
// the child has been cloned.
func (t *templates) get(tree isolate.Tree) (fd int, release func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tpl := t.m[tree]
	if tpl == nil {
		fd, err := buildTemplate(tree)
		if err != nil {
			return 0, nil, fmt.Errorf("cannot assemble the file system tree: %w", err)
		}
		tpl = &template{fd: fd}
		if t.m == nil {
			t.m = map[isolate.Tree]*template{}
		}
		t.m[tree] = tpl
	}
	tpl.users++
	return tpl.fd, func() { t.release(tpl) }, nil
}

func (t *templates) release(tpl *template) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if tpl.users--; tpl.users == 0 && tpl.stale {
		unix.Close(tpl.fd)
	}
}

// drop forgets every template, so that the next start assembles its tree from
// the host's mounts as they are then.
func (t *templates) drop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, tpl := range t.m {
		if tpl.stale = true; tpl.users == 0 {
			unix.Close(tpl.fd)
		}
	}
	clear(t.m)
}

// DropTemplates makes coming starts see the host's mounts as they are then.
// Mounts of a host that propagates them (mount --make-shared, as systemd does)
// arrive without it.
func (l *Launcher) DropTemplates() { l.templates.drop() }

// buildTemplate assembles tree on a thread of its own, which dies with it: a
// thread that has unshared its mount namespace can serve nobody else.
func buildTemplate(tree isolate.Tree) (int, error) {
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return 0, fmt.Errorf("cannot read the host's mounts: %w", err)
	}
	points := make([]string, len(mounts))
	for i, m := range mounts {
		points[i] = m.Mountpoint
	}
	type result struct {
		fd  int
		err error
	}
	done := make(chan result)
	onLostThread(func() {
		fd, err := assemble(isolate.TemplateSteps(tree, points))
		done <- result{fd, err}
	})
	r := <-done
	return r.fd, r.err
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
func assemble(steps []isolate.Step) (int, error) {
	proc, err := unix.Open("/proc", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("open /proc", err)
	}
	defer unix.Close(proc)
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return 0, os.NewSyscallError("unshare", err)
	}
	a, err := newArena()
	if err != nil {
		return 0, err
	}
	defer syscall.Munmap(a.mem)
	img := a.reset()
	e := &encoder{a: a}
	raw, err := e.steps(nil, steps, nil)
	if err != nil {
		return 0, err
	}
	if !run(img, &raw) {
		return 0, fmt.Errorf("%s: %w", steps[img.failed], syscall.Errno(img.errno))
	}
	// /proc of the tree is empty; the host's is still reachable by its descriptor.
	fd, err := unix.Openat(proc, "thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	return fd, os.NewSyscallError("open thread-self/ns/mnt", err)
}
