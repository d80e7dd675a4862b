// Package poll waits for many file descriptors in one goroutine by epoll(7).
//
// Nothing wakes up while nothing happens: there is no timeout and no tick. A
// Poller takes everything that epoll takes: pipes, eventfds, timerfds, sockets,
// pidfds, inotify descriptors, and the cgroup v2 files cgroup.events and
// memory.events, which report a change as EPOLLPRI (together with EPOLLERR) and
// have to be read again from offset 0.
package poll

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrClosed is what the methods of a closed Poller return.
var ErrClosed = errors.New("poller is closed")

// batchSize bounds how many ready descriptors one epoll_wait hands out. The
// kernel rotates its ready list, so a small batch starves nobody.
const batchSize = 64

// Poller calls a function for each registered descriptor that becomes ready.
// Descriptors are watched level-triggered unless EPOLLET is asked for.
//
// All methods may be called from any goroutine, handlers included.
type Poller struct {
	epfd int
	wake int

	mu       sync.Mutex
	entries  map[int]entry
	serial   int32
	posted   []func()
	running  bool
	closed   bool
	released bool
}

// entry is one registration. The serial tells a descriptor from a later one
// that got the same number.
type entry struct {
	serial int32
	fn     func(events uint32)
}

// New makes an empty Poller. It holds two descriptors until Close.
func New() (*Poller, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot create epoll descriptor: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epfd)
		return nil, fmt.Errorf("cannot create eventfd to wake the poller: %w", err)
	}
	p := &Poller{epfd: epfd, wake: wake, entries: make(map[int]entry)}
	if err := p.Add(wake, unix.EPOLLIN, p.drainWake); err != nil {
		unix.Close(wake)
		unix.Close(epfd)
		return nil, err
	}
	return p, nil
}

// Add watches fd for events (EPOLLIN, EPOLLOUT, EPOLLPRI ...; EPOLLERR and
// EPOLLHUP always come too) and calls fn on Run's goroutine with what happened.
// The descriptor stays the caller's: Remove it before closing it. Adding a
// descriptor twice is an error.
func (p *Poller) Add(fd int, events uint32, fn func(events uint32)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	if _, ok := p.entries[fd]; ok {
		return fmt.Errorf("cannot watch descriptor %d: it is watched already", fd)
	}
	p.serial++
	if err := p.control(unix.EPOLL_CTL_ADD, fd, events, p.serial); err != nil {
		return fmt.Errorf("cannot watch descriptor %d: %w", fd, err)
	}
	p.entries[fd] = entry{p.serial, fn}
	return nil
}

// Modify replaces the events that fd is watched for. Events 0 leaves only
// EPOLLERR and EPOLLHUP.
func (p *Poller) Modify(fd int, events uint32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	e, ok := p.entries[fd]
	if !ok {
		return fmt.Errorf("cannot change events of descriptor %d: it is not watched", fd)
	}
	if err := p.control(unix.EPOLL_CTL_MOD, fd, events, e.serial); err != nil {
		return fmt.Errorf("cannot change events of descriptor %d: %w", fd, err)
	}
	return nil
}

// Remove stops watching fd. Once it has returned no call of the handler begins,
// not even for an event that epoll_wait had already handed out. (Called from
// another goroutine than Run's it does not wait for a call that has begun; use
// Post where the descriptor is to be closed at once.) Removing a descriptor that
// is not watched does nothing.
func (p *Poller) Remove(fd int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.entries[fd]; !ok {
		return
	}
	delete(p.entries, fd)
	if !p.released {
		// EBADF and ENOENT mean that the descriptor was closed before: gone either way.
		_ = unix.EpollCtl(p.epfd, unix.EPOLL_CTL_DEL, fd, nil)
	}
}

// Post runs fn on Run's goroutine, after the functions posted earlier. It
// never blocks. It reports false, and fn will not run, once the Poller is closed.
func (p *Poller) Post(fn func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.posted = append(p.posted, fn)
	if len(p.posted) == 1 {
		p.ring()
	}
	return true
}

// Run dispatches events until Close. What was posted before Close is run before
// Run returns (unless Close came before Run began); the registered descriptors stay
// open, they are the caller's. Only a failure of epoll itself is an error.
func (p *Poller) Run() error {
	if running, err := p.begin(); !running {
		return err
	}
	defer p.release()

	events := make([]unix.EpollEvent, batchSize)
	for {
		n, err := unix.EpollWait(p.epfd, events, -1)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("cannot wait for events: %w", err)
		}
		for i := range max(n, 0) {
			p.dispatch(&events[i])
		}
		if p.runPosted() {
			return nil
		}
	}
}

// begin lets one Run run. A Poller that was closed before has nothing to do.
func (p *Poller) begin() (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running {
		return false, errors.New("cannot run poller: it runs already")
	}
	p.running = !p.closed
	return p.running, nil
}

// Close makes Run return, and may be called twice. It does not wait for Run.
func (p *Poller) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	if p.running {
		p.ring()
		return
	}
	p.closeDescriptors()
}

func (p *Poller) control(op, fd int, events uint32, serial int32) error {
	return unix.EpollCtl(p.epfd, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd), Pad: serial})
}

// ring makes epoll_wait return. The counter cannot overflow: it is rung at most
// once per batch of posts, and once by Close.
func (p *Poller) ring() {
	_, _ = unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

func (p *Poller) drainWake(uint32) {
	var counter [8]byte
	_, _ = unix.Read(p.wake, counter[:])
}

// dispatch calls the handler, if the registration that the event belongs to is
// still there.
func (p *Poller) dispatch(ev *unix.EpollEvent) {
	p.mu.Lock()
	e, ok := p.entries[int(ev.Fd)]
	p.mu.Unlock()
	if ok && e.serial == ev.Pad {
		e.fn(ev.Events)
	}
}

// runPosted runs what was posted and reports whether the Poller was closed.
func (p *Poller) runPosted() bool {
	p.mu.Lock()
	posted, closed := p.posted, p.closed
	p.posted = nil
	p.mu.Unlock()
	for _, fn := range posted {
		fn()
	}
	return closed
}

func (p *Poller) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.closeDescriptors()
}

func (p *Poller) closeDescriptors() {
	if p.released {
		return
	}
	p.released = true
	unix.Close(p.epfd)
	unix.Close(p.wake)
}
