// Package notify is the receiving end of sd_notify(3): one socket per service.
//
// A datagram is attributed to the service whose socket it came through. The
// credentials that the kernel attaches are advisory (root in the service may
// write any pid that it can see there); what depends on the sender's identity,
// such as notify_access, has to check cgroup membership besides.
package notify

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const (
	// MaxDatagram is the longest datagram taken, in bytes; longer ones are dropped.
	MaxDatagram = 4096
	// MaxLines is how many lines one datagram may have.
	MaxLines = 256
	// MaxStatus caps the cleaned STATUS text, in bytes.
	MaxStatus = 1024
	// Infinity stands for "no limit" in WATCHDOG_USEC and EXTEND_TIMEOUT_USEC
	// (UINT64_MAX, or what does not fit a time.Duration).
	Infinity = time.Duration(math.MaxInt64)

	maxProblems = 8
	maxPID      = 1 << 22 // PID_MAX_LIMIT, include/linux/threads.h
)

// Errors for which a whole datagram is dropped.
var (
	ErrTooLong      = fmt.Errorf("datagram is longer than %d bytes", MaxDatagram)
	ErrNUL          = errors.New("datagram has a NUL byte inside")
	ErrTooManyLines = fmt.Errorf("datagram has more than %d lines", MaxLines)
)

// Watchdog is what a WATCHDOG= line asked for.
type Watchdog uint8

const (
	WatchdogNone    Watchdog = iota
	WatchdogPing             // WATCHDOG=1: keep-alive
	WatchdogTrigger          // WATCHDOG=trigger: treat the watchdog as expired
)

// Message is what one datagram says. Of a key that comes twice the first valid
// line counts. A datagram without any known key is a Message too.
type Message struct {
	Ready     bool
	Reloading bool
	Stopping  bool
	Barrier   bool // BARRIER=1, alone in its datagram

	// MonotonicUsec is CLOCK_MONOTONIC in µs, which type notify-reload sends with
	// RELOADING=1; 0: not sent.
	MonotonicUsec uint64

	// Status is valid UTF-8 on one line, without control characters and terminal
	// sequences, at most MaxStatus bytes. HasStatus with an empty text clears it.
	Status    string
	HasStatus bool

	// MainPID is at least 2, or 0: not sent. It counts in the *sender's* PID
	// namespace; whether it is a process of the service is the caller's to check.
	MainPID int

	Watchdog      Watchdog
	WatchdogUsec  time.Duration // new watchdog interval, valid if HasWatchdogUsec; 0 turns it off
	ExtendTimeout time.Duration // EXTEND_TIMEOUT_USEC; 0: not sent. Hard caps are the caller's

	HasWatchdogUsec bool
	HasErrno        bool
	Errno           int // 0..4095
	HasExitStatus   bool
	ExitStatus      int // 0..255
	BusError        string

	// Unsupported names keys that are known and refused for now (FDSTORE ...).
	Unsupported []string
	// Problems says which lines were ignored and why, cleaned for display, at most 8.
	Problems []string
}

// Parse reads the text of one datagram. It fails only where the whole datagram
// has to be dropped (ErrTooLong, ErrNUL, ErrTooManyLines); a bad line is ignored
// and listed in Problems. One NUL at the end is allowed, as systemd does.
func Parse(datagram []byte) (Message, error) {
	if len(datagram) > MaxDatagram {
		return Message{}, ErrTooLong
	}
	datagram = bytes.TrimSuffix(datagram, []byte{0})
	if bytes.IndexByte(datagram, 0) >= 0 {
		return Message{}, ErrNUL
	}
	text := strings.TrimRight(string(datagram), "\n")
	if strings.Count(text, "\n") >= MaxLines {
		return Message{}, ErrTooManyLines
	}
	var m Message
	if text == "BARRIER=1" {
		m.Barrier = true
		return m, nil
	}
	for line := range strings.SplitSeq(text, "\n") {
		m.line(line)
	}
	return m, nil
}

// line takes one KEY=VALUE in.
func (m *Message) line(line string) {
	key, value, ok := strings.Cut(line, "=")
	switch {
	case line == "":
		return
	case !ok:
		m.problem("%q is not KEY=VALUE", line)
		return
	}
	switch key {
	case "READY":
		m.flag(&m.Ready, key, value)
	case "RELOADING":
		m.flag(&m.Reloading, key, value)
	case "STOPPING":
		m.flag(&m.Stopping, key, value)
	case "BARRIER":
		m.problem("BARRIER has to be alone in its datagram")
	case "STATUS":
		if !m.HasStatus {
			m.Status, m.HasStatus = clean(value, MaxStatus), true
		}
	case "MAINPID":
		m.mainPID(value)
	case "MONOTONIC_USEC":
		m.MonotonicUsec, _ = m.number(key, value, math.MaxUint64)
	case "WATCHDOG", "WATCHDOG_USEC", "EXTEND_TIMEOUT_USEC":
		m.timing(key, value)
	case "ERRNO", "EXIT_STATUS", "BUSERROR":
		m.failure(key, value)
	case "FDSTORE", "FDSTOREREMOVE", "FDNAME", "FDPOLL", "RESTART_RESET":
		m.unsupported(key)
	}
	// Anything else is for somebody else (X_..., MAINPIDFDID, MAINPIDFD ...): sd_notify(3).
}

func (m *Message) flag(to *bool, key, value string) {
	if value != "1" {
		m.problem("%s=%q: only 1 has a meaning", key, value)
		return
	}
	*to = true
}

func (m *Message) mainPID(value string) {
	n, ok := m.number("MAINPID", value, maxPID)
	switch {
	case !ok || m.MainPID != 0:
	case n < 2:
		m.problem("MAINPID=%d cannot be the main process of a service", n)
	default:
		m.MainPID = int(n)
	}
}

func (m *Message) timing(key, value string) {
	if key == "WATCHDOG" {
		m.watchdog(value)
		return
	}
	n, ok := m.number(key, value, math.MaxUint64)
	switch {
	case !ok:
	case key == "EXTEND_TIMEOUT_USEC":
		m.ExtendTimeout = microseconds(n)
	case !m.HasWatchdogUsec:
		m.WatchdogUsec, m.HasWatchdogUsec = microseconds(n), true
	}
}

func (m *Message) watchdog(value string) {
	switch value {
	case "1":
		m.Watchdog = max(m.Watchdog, WatchdogPing)
	case "trigger":
		m.Watchdog = WatchdogTrigger
	default:
		m.problem("WATCHDOG=%q: neither 1 nor trigger", value)
	}
}

func (m *Message) failure(key, value string) {
	switch key {
	case "ERRNO":
		if n, ok := m.number(key, value, 4095); ok && !m.HasErrno {
			m.Errno, m.HasErrno = int(n), true
		}
	case "EXIT_STATUS":
		if n, ok := m.number(key, value, 255); ok && !m.HasExitStatus {
			m.ExitStatus, m.HasExitStatus = int(n), true
		}
	case "BUSERROR":
		m.BusError = clean(value, 255)
	}
}

// number reads a decimal number from 0 to limit; signs, blanks and anything
// longer than 64 bits are refused.
func (m *Message) number(key, value string, limit uint64) (uint64, bool) {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil || n > limit || value[0] == '+' {
		m.problem("%s=%q: not a number from 0 to %d", key, value, limit)
		return 0, false
	}
	return n, true
}

func (m *Message) unsupported(key string) {
	if len(m.Unsupported) < maxProblems {
		m.Unsupported = append(m.Unsupported, key)
	}
}

func (m *Message) problem(format string, args ...any) {
	if len(m.Problems) < maxProblems {
		m.Problems = append(m.Problems, clean(fmt.Sprintf(format, args...), 200))
	}
}

// microseconds converts without overflow.
func microseconds(n uint64) time.Duration {
	if n > math.MaxInt64/1000 {
		return Infinity
	}
	return time.Duration(n) * time.Microsecond
}
