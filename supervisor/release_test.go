package supervisor

import (
	"testing"
	"time"
)

// Starts that wait for the removal of a directory keep nobody from starting.
func TestWaitingTakesNoSlot(t *testing.T) {
	const starts = 20
	m := &Manager{work: make(slots, 1)}
	gone, ran := make(chan struct{}), make(chan string, 2*starts)
	for range starts {
		m.onWorker(m.work, func() { ran <- "after the removal" }, gone)
		m.onWorker(m.work, func() { ran <- "at once" })
	}
	for n := range starts {
		select {
		case got := <-ran:
			if got != "at once" {
				t.Errorf("%q runs before it is gone", got)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%d of %d run at once", n, starts)
		}
	}
	close(gone)
	m.running.Wait()
	if len(ran) != starts {
		t.Errorf("%d of %d run after the removal", len(ran), starts)
	}
}

// What has been removed is not remembered for ever.
func TestRemovalsAreForgotten(t *testing.T) {
	m := &Manager{removals: map[string]chan struct{}{}}
	first := m.removing([]string{"session-1", "session-1/bus"})
	m.removing([]string{"session-2"})
	close(first)
	m.removing([]string{"session-3"})
	for path, want := range map[string]bool{"session-1": false, "session-1/bus": false, "session-2": true, "session-3": true} {
		if m.removals[path] != nil != want {
			t.Errorf("the removal of %s is remembered: %v", path, !want)
		}
	}
}
