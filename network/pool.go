package network

import (
	"sync"
	"time"
)

// poolSize is how many namespaces wait to be used. Making one is the longest
// part of a start (most of half a millisecond in the kernel); entering one that
// is there costs nothing to speak of.
const poolSize = 4

// poolQuiet is how long nobody has taken one when the pool is filled: those that
// are made are for the next start, and must not get in the way of those that are
// under way. A crowd of starts makes its own.
const poolQuiet = 20 * time.Millisecond

// pool has things ready that nobody has used yet: namespaces, or namespaces with a
// link. They belong to no unit and have no pin: a manager that dies takes them along.
type pool[T any] struct {
	make func() (T, error)
	drop func(T)

	refill chan struct{} // one was taken
	done   sync.WaitGroup

	mu     sync.Mutex
	spare  []T
	closed bool
}

func newPool[T any](make_ func() (T, error), drop func(T)) *pool[T] {
	p := &pool[T]{make: make_, drop: drop, refill: make(chan struct{}, 1)}
	p.done.Add(1)
	go p.fill()
	return p
}

// fill makes up for those that were taken: it begins when the first one is,
// so that an instance without private networks makes none.
func (p *pool[T]) fill() {
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

func (p *pool[T]) replenish() {
	for p.wants() {
		one, err := p.make()
		if err != nil || !p.put(one) {
			return // who makes one for himself will meet the same error and report it
		}
	}
}

func (p *pool[T]) wants() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.closed && len(p.spare) < poolSize
}

func (p *pool[T]) put(one T) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		p.drop(one)
		return false
	}
	p.spare = append(p.spare, one)
	return true
}

// take gives one that nobody has used, the caller's to drop, if one is ready. The
// pool fills up again when nobody has taken any for a while.
func (p *pool[T]) take() (one T, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.spare); n > 0 {
		one, p.spare, ok = p.spare[n-1], p.spare[:n-1], true
	}
	if !p.closed {
		select {
		case p.refill <- struct{}{}:
		default: // it was told already
		}
	}
	return one, ok
}

// close ends the filling and lets go of what is ready.
func (p *pool[T]) close() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed = true
	close(p.refill)
	for _, one := range p.spare {
		p.drop(one)
	}
	p.spare = nil
	p.mu.Unlock()
	p.done.Wait()
}
