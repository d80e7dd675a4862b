package supervisor

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/nsinit/nsinit/supervisor/control"
)

// eventBuffer is how many events a subscriber may lag behind: those of a boot
// with some hundred units.
const eventBuffer = 4096

// broadcaster hands events to whoever listens. Publishing never waits: it is
// the loop that publishes. All methods may be called from any goroutine.
type broadcaster struct {
	mu       sync.Mutex
	seq      uint64
	closed   bool
	readers  map[chan control.Event]struct{}
	watchers map[chan struct{}]struct{}
}

func newBroadcaster() *broadcaster {
	return &broadcaster{readers: map[chan control.Event]struct{}{}, watchers: map[chan struct{}]struct{}{}}
}

// publish numbers and dates an event and hands it out. A subscriber whose
// buffer is full is dropped: its channel is closed, and it learns that events
// are missing rather than miss them without knowing.
func (b *broadcaster) publish(e control.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.seq++
	e.Seq, e.TimeUsec = b.seq, time.Now().UnixMicro()
	for ch := range b.readers {
		select {
		case ch <- e:
		default:
			delete(b.readers, ch)
			close(ch)
		}
	}
	for ch := range b.watchers {
		select {
		case ch <- struct{}{}:
		default: // it has been told already, and not looked yet
		}
	}
}

// subscribe gives the events from the moment on in which the iteration begins.
// It ends when ctx does or the broadcaster is closed.
func (b *broadcaster) subscribe(ctx context.Context) iter.Seq2[control.Event, error] {
	return func(yield func(control.Event, error) bool) {
		ch := b.enter()
		if ch == nil {
			return
		}
		defer b.leave(ch)
		for {
			select {
			case <-ctx.Done():
				return
			case e, ok := <-ch:
				if !ok {
					if b.isClosed() {
						return
					}
					yield(control.Event{}, &control.Error{Code: control.CodeTooMany, Message: "cannot go on: events came faster than they were read, and some are lost",
						Hint: "ask for the present state and begin again"})
					return
				}
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

func (b *broadcaster) enter() chan control.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	ch := make(chan control.Event, eventBuffer)
	b.readers[ch] = struct{}{}
	return ch
}

func (b *broadcaster) leave(ch chan control.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.readers, ch)
}

func (b *broadcaster) isClosed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

// watch gives a channel that becomes readable when something was published
// since it was last read: for those who look at the state themselves, and so
// cannot be too slow. It is closed with the broadcaster. stop ends it.
func (b *broadcaster) watch() (woken <-chan struct{}, stop func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ch := make(chan struct{}, 1)
	if b.closed {
		close(ch)
		return ch, func() {}
	}
	b.watchers[ch] = struct{}{}
	return ch, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.watchers, ch)
	}
}

// close ends every subscription; what is published later is lost.
func (b *broadcaster) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.closed = true
	for ch := range b.readers {
		close(ch)
	}
	for ch := range b.watchers {
		close(ch)
	}
	clear(b.readers)
	clear(b.watchers)
}
