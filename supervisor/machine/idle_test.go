package machine

import (
	"testing"
	"time"
)

func idle(c *Config) { c.Type = "idle" }

// A unit of type idle starts when no job is under way, and no job is when those
// that are left wait for it.
func TestIdleWaitsForTheOthers(t *testing.T) {
	w := newWorld(service("a"), service("b", func(c *Config) { c.Deps = needs("a") }), service("console", idle), service("other", idle),
		Config{Name: "default", Target: true, OrderWanted: true, Deps: Deps{Wants: []string{"a", "b", "console", "other"}}})
	w.handle(Request{1, VerbStart, "default"})
	w.is(t, "a", Launching, Success)
	w.is(t, "console", Inactive, Success)
	w.until(t, "a", Running)
	w.is(t, "b", Launching, Success)
	w.is(t, "console", Inactive, Success)
	w.until(t, "b", Running)
	w.is(t, "console", Launching, Success) // both of them, at once
	w.is(t, "other", Launching, Success)
	w.until(t, "default", Reached)
	w.result(t, 1, JobDoneOK)
}

// Alone it starts at once; and a job that takes long is not waited for.
func TestIdleIsPatientForFiveSeconds(t *testing.T) {
	w := newWorld(service("slow"), service("console", idle), service("alone", idle))
	w.handle(Request{1, VerbStart, "alone"})
	w.is(t, "alone", Launching, Success)
	w.until(t, "alone", Running)
	w.handle(Request{2, VerbStart, "slow"})
	begun := w.now
	w.handle(Request{3, VerbStart, "console"})
	due, ok := w.e.Deadline()
	if want := begun.after(5 * time.Second); !ok || due != want {
		t.Fatalf("deadline %v (%v), want %v", due, ok, want)
	}
	w.now = due - 1
	w.handle(Tick{})
	w.is(t, "console", Inactive, Success)
	w.now = due
	w.handle(Tick{})
	w.is(t, "console", Launching, Success)
	w.is(t, "slow", Launching, Success)
	w.until(t, "slow", Running)
}

// A stop takes the place of a start that waits.
func TestIdleIsStoppedWhileItWaits(t *testing.T) {
	w := newWorld(service("slow"), service("console", idle))
	w.handle(Request{1, VerbStart, "slow"})
	w.handle(Request{2, VerbStart, "console"})
	w.handle(Request{3, VerbStop, "console"})
	w.result(t, 2, JobCanceled)
	w.result(t, 3, JobDoneOK)
	w.until(t, "slow", Running)
	w.is(t, "console", Inactive, Success)
}
