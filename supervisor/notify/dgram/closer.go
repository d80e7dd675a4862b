package dgram

import (
	"sync"

	"golang.org/x/sys/unix"
)

// maxClosing is how many received descriptors may wait to be closed.
const maxClosing = 1024

// Closer closes descriptors that somebody else made, for which close(2) may block
// (a dead FUSE mount, a lingering socket). It uses a goroutine while there is
// something to close, and never more than one. The zero value is ready for use.
type Closer struct {
	mu      sync.Mutex
	waiting []int
	busy    bool // the goroutine exists
}

// Close takes the descriptors over and returns at once.
func (c *Closer) Close(fds ...int) {
	if len(fds) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, fds...)
	if !c.busy {
		c.busy = true
		go c.run()
	}
}

// Stuck reports that more than 1024 descriptors are waiting: some close does not
// return, and no more datagrams should be received from whoever sent them.
func (c *Closer) Stuck() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting) > maxClosing
}

// Idle reports that nothing is left to close.
func (c *Closer) Idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.busy
}

func (c *Closer) run() {
	for {
		c.mu.Lock()
		if len(c.waiting) == 0 {
			c.busy, c.waiting = false, nil
			c.mu.Unlock()
			return
		}
		fd := c.waiting[0]
		c.waiting = c.waiting[1:]
		c.mu.Unlock()
		unix.Close(fd)
	}
}
