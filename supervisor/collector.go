package supervisor

import (
	"runtime/debug"
	"sync"
)

// startHeap is how many bytes Go may have from the kernel before memory is
// collected while a manager starts.
const startHeap = 24 << 20

// holdCollector puts off the collection of memory: at the boot of a small machine
// it would take both processors just before the first launch. release, which may
// be called more than once, has it as it was before.
func holdCollector() (release func()) {
	percent := debug.SetGCPercent(-1)
	limit := debug.SetMemoryLimit(min(startHeap, debug.SetMemoryLimit(-1)))
	return sync.OnceFunc(func() {
		debug.SetMemoryLimit(limit)
		debug.SetGCPercent(percent)
	})
}
