package main

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// thread is a thread with namespaces of its own. What is executed on it is born
// into them.
type thread struct{ calls chan func() }

// newThread makes the namespaces that the flags name (unshare(2)) and has
// prepare furnish them, on the thread.
func newThread(flags int, prepare func() error) (*thread, error) {
	t := &thread{calls: make(chan func())}
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		err := unix.Unshare(unix.CLONE_FS | flags)
		if err == nil {
			err = prepare()
		}
		failed <- err
		for f := range t.calls {
			f()
		}
	}()
	if err := <-failed; err != nil {
		t.end()
		return nil, err
	}
	return t, nil
}

// do runs f on the thread and waits for it.
func (t *thread) do(f func()) {
	done := make(chan struct{})
	t.calls <- func() { f(); close(done) }
	<-done
}

func (t *thread) end() { close(t.calls) }
