package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// size prints bytes with one decimal below 100: 6.4M, 212M.
func size(n uint64) string {
	if n < 1024 {
		return fmt.Sprintf("%dB", n)
	}
	f, unit := float64(n), -1
	for f >= 1024 && unit < 5 {
		f, unit = f/1024, unit+1
	}
	s := strconv.FormatFloat(f, 'f', 0, 64)
	if f < 99.95 {
		s = strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0")
	}
	return s + string("KMGTPE"[unit])
}

// orDash is size, and "-" for what is not known.
func orDash(n uint64, f func(uint64) string) string {
	if n == 0 {
		return "-"
	}
	return f(n)
}

func count(n uint64) string { return strconv.FormatUint(n, 10) }

const day = 24 * time.Hour

// span prints a duration in its two largest parts, as systemd does: "21min",
// "1h 5min", "3 days 4h".
func span(d time.Duration) string {
	parts := func(n int64, unit string, rest int64, restUnit string) string {
		s := strconv.FormatInt(n, 10) + unit
		if n == 1 {
			s = strings.TrimSuffix(s, "s")
		}
		if unit == "s" {
			s = strconv.FormatInt(n, 10) + unit
		}
		if rest > 0 {
			r := strconv.FormatInt(rest, 10) + restUnit
			if rest == 1 && strings.HasPrefix(restUnit, " ") {
				r = strings.TrimSuffix(r, "s")
			}
			s += " " + r
		}
		return s
	}
	n := func(unit time.Duration) int64 { return int64(d / unit) }
	switch {
	case d >= 365*day:
		return parts(n(365*day), " years", n(30*day)%12, " months")
	case d >= 60*day:
		return parts(n(30*day), " months", n(day)%30, " days")
	case d >= 14*day:
		return parts(n(7*day), " weeks", n(day)%7, " days")
	case d >= day:
		return parts(n(day), " days", n(time.Hour)%24, "h")
	case d >= time.Hour:
		return parts(n(time.Hour), "h", n(time.Minute)%60, "min")
	case d >= 5*time.Minute:
		return parts(n(time.Minute), "min", 0, "")
	case d >= time.Minute:
		return parts(n(time.Minute), "min", n(time.Second)%60, "s")
	case d >= time.Second:
		return parts(n(time.Second), "s", 0, "")
	case d > 0:
		return fmt.Sprintf("%dms", d.Milliseconds())
	}
	return "0s"
}

// coarse is span's largest part: "3 days", "12min".
func coarse(d time.Duration) string {
	s := span(d)
	head, rest, ok := strings.Cut(s, " ")
	if ok && !strings.ContainsAny(rest[:1], "0123456789") { // "3 days 4h"
		word, _, _ := strings.Cut(rest, " ")
		return head + " " + word
	}
	return head
}

// precise prints a short duration as it was measured: "412ms", "1.84s", "2min 3.1s".
func precise(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%dus", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return strings.TrimSuffix(strings.TrimRight(strconv.FormatFloat(d.Seconds(), 'f', 3, 64), "0"), ".") + "s"
	case d < time.Hour:
		m := d / time.Minute
		return fmt.Sprintf("%dmin %s", m, precise(max(d-m*time.Minute, time.Second)))
	}
	return span(d)
}

func cpu(nsec uint64) string { return precise(time.Duration(nsec)) }

// at is an instant of the wire.
func (v view) at(usec int64) time.Time { return time.UnixMicro(usec).In(v.Local) }

// since is how long ago, never negative: clocks get set back.
func (v view) since(usec int64) time.Duration { return max(0, v.Now.Sub(time.UnixMicro(usec))) }

// stamp is the long form: Mon 2026-11-23 16:02:11 UTC.
func (v view) stamp(usec int64) string { return v.at(usec).Format("Mon 2006-01-02 15:04:05 MST") }

// ago is span with "ago", and "-" for never.
func (v view) ago(usec int64) string {
	if usec == 0 {
		return "-"
	}
	return span(v.since(usec)) + " ago"
}
