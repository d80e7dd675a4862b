package main

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// signalNumber takes SIGTERM, TERM, term, 15, SIGRTMIN+3.
func signalNumber(s string) (int, error) {
	if n, err := strconv.Atoi(s); err == nil && n >= 1 && n <= 64 {
		return n, nil
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if n := unix.SignalNum(name); n != 0 {
		return int(n), nil
	}
	if rest, ok := strings.CutPrefix(name, "SIGRTMIN"); ok { // 34 with glibc, which everybody means
		if n, err := strconv.Atoi("0" + strings.TrimPrefix(rest, "+")); err == nil && 34+n <= 64 {
			return 34 + n, nil
		}
	}
	return 0, fmt.Errorf("cannot take %q as a signal: a name as SIGHUP, or 1 to 64", s)
}

// forwarded are the signals that exec passes on. On a terminal the keyboard's
// arrive inside by themselves.
func forwarded(terminal bool) []syscall.Signal {
	list := []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2}
	if !terminal {
		list = append(list, syscall.SIGINT, syscall.SIGQUIT)
	}
	return list
}

// parseTime takes journalctl's forms of an instant and gives Unix microseconds,
// 0 for an empty one.
func parseTime(s string, v view) (int64, error) {
	now := v.Now.In(v.Local)
	y, m, d := now.Date()
	midnight := time.Date(y, m, d, 0, 0, 0, 0, v.Local)
	switch s = strings.TrimSpace(s); s {
	case "":
		return 0, nil
	case "now":
		return now.UnixMicro(), nil
	case "today":
		return midnight.UnixMicro(), nil
	case "yesterday":
		return midnight.AddDate(0, 0, -1).UnixMicro(), nil
	}
	if t, ok := relativeTime(s, now); ok {
		return t.UnixMicro(), nil
	}
	if sec, ok := strings.CutPrefix(s, "@"); ok {
		if f, err := strconv.ParseFloat(sec, 64); err == nil {
			return int64(f * 1e6), nil
		}
	}
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02", "2006-01-02T15:04:05", time.RFC3339, "Mon 2006-01-02 15:04:05 MST"} {
		if t, err := time.ParseInLocation(layout, s, v.Local); err == nil {
			return t.UnixMicro(), nil
		}
	}
	for _, layout := range []string{"15:04:05", "15:04"} {
		if t, err := time.ParseInLocation(layout, s, v.Local); err == nil {
			return time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), 0, v.Local).UnixMicro(), nil
		}
	}
	return 0, fmt.Errorf("cannot take %q as a time: 2026-11-23 16:02, 16:02, yesterday, -1h, \"5 min ago\" or @1700000000", s)
}

// relativeTime takes "-1h 5min", "+5s" and "1h ago".
func relativeTime(s string, now time.Time) (time.Time, bool) {
	sign := time.Duration(-1)
	rest, ok := strings.CutSuffix(s, " ago")
	if !ok {
		switch {
		case strings.HasPrefix(s, "-"):
		case strings.HasPrefix(s, "+"):
			sign = 1
		default:
			return now, false
		}
		rest = s[1:]
	}
	d, err := parseSpan(rest)
	return now.Add(sign * d), err == nil
}

// parseSpan takes systemd's time spans: "1h 5min", "90", "2 weeks".
func parseSpan(s string) (time.Duration, error) {
	units := map[string]time.Duration{"": time.Second, "us": time.Microsecond, "ms": time.Millisecond,
		"s": time.Second, "sec": time.Second, "second": time.Second, "m": time.Minute, "min": time.Minute, "minute": time.Minute,
		"h": time.Hour, "hr": time.Hour, "hour": time.Hour, "d": day, "day": day, "w": 7 * day, "week": 7 * day,
		"month": 30 * day, "year": 365 * day}
	var total time.Duration
	rest := strings.TrimSpace(s)
	if rest == "" {
		return 0, fmt.Errorf("cannot take an empty time span")
	}
	for rest != "" {
		n := strings.IndexFunc(rest, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
		if n < 0 {
			n = len(rest)
		}
		f, err := strconv.ParseFloat(rest[:n], 64)
		if err != nil {
			return 0, fmt.Errorf("cannot take %q as a time span", s)
		}
		rest = strings.TrimSpace(rest[n:])
		w := strings.IndexFunc(rest, func(r rune) bool { return r == ' ' || r >= '0' && r <= '9' })
		if w < 0 {
			w = len(rest)
		}
		unit, ok := units[rest[:w]]
		if !ok {
			unit, ok = units[strings.TrimSuffix(rest[:w], "s")]
		}
		if !ok {
			return 0, fmt.Errorf("cannot take %q as a time span", s)
		}
		total += time.Duration(f * float64(unit))
		rest = strings.TrimSpace(rest[w:])
	}
	return total, nil
}
