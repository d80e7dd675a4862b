package unit

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The real-time signals that a program can use: the C library keeps 32 and 33
// for itself (signal(7)).
const (
	minRealtime = 34
	maxRealtime = 64
)

// ParseSignal reads a signal by name ("SIGTERM", "TERM", "SIGRTMIN+3",
// "RTMAX-1") or by number.
func ParseSignal(s string) (syscall.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 1 || n > maxRealtime {
			return 0, fmt.Errorf("signal %d: numbers go from 1 to %d", n, maxRealtime)
		}
		return syscall.Signal(n), nil
	}
	name := "SIG" + strings.TrimPrefix(s, "SIG")
	if n := unix.SignalNum(name); n != 0 {
		return n, nil
	}
	if n, ok := realtimeSignal(name); ok {
		return n, nil
	}
	if upper := strings.ToUpper(s); upper != s {
		if _, err := ParseSignal(upper); err == nil {
			return 0, fmt.Errorf("unknown signal %q; write %q", s, upper)
		}
	}
	return 0, fmt.Errorf("unknown signal %q; a name such as SIGTERM or SIGRTMIN+3, or a number", s)
}

// realtimeSignal reads SIGRTMIN, SIGRTMIN+N, SIGRTMAX and SIGRTMAX-N.
func realtimeSignal(name string) (syscall.Signal, bool) {
	base, sign, rest := minRealtime, 1, ""
	switch {
	case strings.HasPrefix(name, "SIGRTMIN"):
		rest = strings.TrimPrefix(name, "SIGRTMIN")
	case strings.HasPrefix(name, "SIGRTMAX"):
		base, sign, rest = maxRealtime, -1, strings.TrimPrefix(name, "SIGRTMAX")
	default:
		return 0, false
	}
	if rest == "" {
		return syscall.Signal(base), true
	}
	operator := map[int]byte{1: '+', -1: '-'}[sign]
	n, err := strconv.ParseUint(rest[1:], 10, 8)
	if rest[0] != operator || err != nil || n > maxRealtime-minRealtime {
		return 0, false
	}
	return syscall.Signal(base + sign*int(n)), true
}
