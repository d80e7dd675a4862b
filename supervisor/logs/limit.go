package logs

import "time"

// limiter counts lines in windows of a fixed length. It is a value, so that a
// batch that could not be written takes its counting back with it.
type limiter struct {
	start   time.Duration // of the window, on the Pump's monotonic clock
	used    int
	dropped uint64 // lines not yet told of
	open    bool   // a window has begun
}

// allow decides on one line at now.
func (l *limiter) allow(now time.Duration, interval time.Duration, burst int) bool {
	if interval <= 0 || burst <= 0 {
		return true
	}
	if !l.open || now-l.start >= interval {
		l.start, l.used, l.open = now, 0, true
	}
	if l.used < burst {
		l.used++
		return true
	}
	l.dropped++
	return false
}

// ended reports whether the window is over.
func (l *limiter) ended(now, interval time.Duration) bool {
	return !l.open || now-l.start >= interval
}
