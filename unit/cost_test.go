package unit

import (
	"syscall"
	"testing"
	"time"
)

// cpuTime is what this process has used of the processor so far: a bound on it
// holds however busy the machine is (getrusage(2)).
func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// checkGrowth fails where work costs more than in proportion to its size: eight
// times as much may cost 24 times, where its square would cost 64 times.
func checkGrowth(t *testing.T, name string, size int, work func(size int) func()) {
	t.Helper()
	cost := func(size int) time.Duration {
		run := work(size)
		before := cpuTime(t)
		run()
		return cpuTime(t) - before
	}
	small := min(cost(size), cost(size), cost(size))
	if large := cost(8 * size); large > 24*max(small, time.Millisecond) {
		t.Errorf("%s: %d take %v, %d take %v", name, size, small, 8*size, large)
	}
}
