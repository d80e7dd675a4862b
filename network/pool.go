package network

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// poolSize is how many namespaces wait to be used. Making one is the longest
// part of a start (most of half a millisecond in the kernel); entering one that
// is there costs nothing to speak of.
const poolSize = 4

// poolQuiet is how long nobody has taken one when the pool is filled: those that
// are made are for the next start, and must not get in the way of those that are
// under way. A crowd of starts makes its own.
const poolQuiet = 20 * time.Millisecond

// pool has namespaces ready that nobody has used yet. They belong to no unit
// and have no pin: a manager that dies takes them along.
type pool struct {
	refill chan struct{} // one was taken
	done   sync.WaitGroup

	mu     sync.Mutex
	fds    []int
	closed bool
}

func newPool() *pool {
	p := &pool{refill: make(chan struct{}, 1)}
	p.done.Add(1)
	go p.fill()
	return p
}

// fill makes up for those that were taken: it begins when the first one is,
// so that an instance without private networks makes none.
func (p *pool) fill() {
	defer p.done.Done()
	quiet := time.NewTimer(0)
	defer quiet.Stop()
	taken := false
	for {
		select {
		case _, ok := <-p.refill:
			if !ok {
				return
			}
			taken = true
			quiet.Reset(poolQuiet)
		case <-quiet.C:
			if taken {
				p.replenish()
			}
			taken = false
		}
	}
}

func (p *pool) replenish() {
	for p.wants() {
		fd, err := create()
		if err != nil || !p.put(fd) {
			return // take will meet the same error and report it
		}
	}
}

func (p *pool) wants() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.closed && len(p.fds) < poolSize
}

func (p *pool) put(fd int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		unix.Close(fd)
		return false
	}
	p.fds = append(p.fds, fd)
	return true
}

// take gives a namespace that nobody has used, the caller's to close.
func (p *pool) take() (int, error) {
	p.mu.Lock()
	fd := 0
	if n := len(p.fds); n > 0 {
		fd, p.fds = p.fds[n-1], p.fds[:n-1]
	}
	if !p.closed {
		select {
		case p.refill <- struct{}{}:
		default: // it was told already
		}
	}
	p.mu.Unlock()
	if fd != 0 {
		return fd, nil
	}
	return create()
}

// close ends the filling and lets go of what is ready.
func (p *pool) close() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed = true
	close(p.refill)
	for _, fd := range p.fds {
		unix.Close(fd)
	}
	p.fds = nil
	p.mu.Unlock()
	p.done.Wait()
}
