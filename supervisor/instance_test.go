package supervisor

import (
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// A manager that died before it asked for the target was none: the next one
// asks. One that did is not followed by a second start of what was stopped.
func TestFirstManager(t *testing.T) {
	dir := t.TempDir()
	next := func() *Manager {
		return &Manager{cfg: Config{RuntimeDir: dir}, log: zerolog.Nop(), began: time.Now()}
	}
	if m := next(); !m.takeInstance() {
		t.Fatal("the first one is not the first")
	}
	m := next()
	if !m.takeInstance() {
		t.Error("after one that died while it prepared the machine, nothing would be started")
	}
	m.storeInstance() // as when the target was asked for
	m = next()
	if m.takeInstance() {
		t.Error("after one that has started the target, it would be started again")
	}
	if m = next(); m.takeInstance() || m.state.Restarts != 2 {
		t.Errorf("the third to follow counts %d restarts", m.state.Restarts)
	}
	m.state.Stopping = true
	m.storeInstance()
	if m = next(); !m.takeInstance() {
		t.Error("after an orderly end nothing would be started")
	}
}
