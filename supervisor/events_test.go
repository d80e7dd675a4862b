package supervisor

import (
	"context"
	"runtime"
	"testing"

	"github.com/nsinit/nsinit/supervisor/control"
)

func TestEventsInOrder(t *testing.T) {
	b := newBroadcaster()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var got []uint64
	woken, stop := b.watch()
	defer stop()
	first := true
	for e, err := range seqWithStart(b, ctx, func() {
		for range 3 {
			b.publish(control.Event{Unit: "web"})
		}
	}) {
		if err != nil {
			t.Fatal(err)
		}
		if first && e.TimeUsec == 0 {
			t.Error("an event without a time")
		}
		first = false
		if got = append(got, e.Seq); len(got) == 3 {
			break
		}
	}
	if len(got) != 3 || got[0] != 1 || got[2] != 3 {
		t.Errorf("sequence %v", got)
	}
	select {
	case <-woken:
	default:
		t.Error("the watcher was not woken")
	}
	select {
	case <-woken:
		t.Error("three events woke the watcher twice without a look")
	default:
	}
	if len(b.readers) != 0 {
		t.Error("the subscription outlives its iteration")
	}
}

// seqWithStart calls start once the subscription stands.
func seqWithStart(b *broadcaster, ctx context.Context, start func()) func(yield func(control.Event, error) bool) {
	return func(yield func(control.Event, error) bool) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			for !b.hasReader() {
				runtime.Gosched()
			}
			start()
		}()
		b.subscribe(ctx)(yield)
		<-done
	}
}

func (b *broadcaster) hasReader() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.readers) > 0
}

// A subscriber that is too slow gets what was kept for it and then an error;
// who publishes never waits.
func TestEventsSlowSubscriber(t *testing.T) {
	b := newBroadcaster()
	var n int
	var last error
	published := make(chan struct{})
	for _, err := range seqWithStart(b, context.Background(), func() {
		defer close(published)
		for range 2*eventBuffer + 2 {
			b.publish(control.Event{})
		}
	}) {
		<-published
		if last = err; err == nil {
			n++
		}
	}
	if last == nil || n < eventBuffer || n > eventBuffer+1 {
		t.Errorf("%d events, then %v", n, last)
	}
}

func TestEventsEnd(t *testing.T) {
	b := newBroadcaster()
	for e, err := range seqWithStart(b, context.Background(), b.close) {
		t.Errorf("got %v, %v after close", e, err)
	}
	b.close()
	b.publish(control.Event{})
	for e, err := range b.subscribe(context.Background()) {
		t.Errorf("got %v, %v from a closed one", e, err)
	}
	woken, stop := b.watch()
	stop()
	if _, open := <-woken; open {
		t.Error("a watch of a closed broadcaster is open")
	}
	ctx, cancel := context.WithCancel(context.Background())
	for e, err := range seqWithStart(newBroadcaster(), ctx, cancel) {
		t.Errorf("got %v, %v after cancel", e, err)
	}
}
