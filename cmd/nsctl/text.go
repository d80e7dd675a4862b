package main

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// view is how text is laid out. Width 0 is unlimited (no terminal).
type view struct {
	Width    int
	Colour   bool
	Terminal bool
	Plain    bool // tables have no column of dots
	Now      time.Time
	Local    *time.Location
}

const (
	red    = "31;1"
	green  = "32;1"
	yellow = "33;1"
	grey   = "90"
	bold   = "1"
)

// paint colours s, which must be clean.
func (v view) paint(colour, s string) string {
	if !v.Colour || colour == "" || s == "" {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

// clean makes text that others wrote safe to print on one line: control
// characters, among them ESC and the C1 controls, and those that reorder text,
// become visible escapes; a tab becomes a space.
func clean(s string) string {
	return cleanWith(s, func(r rune) bool { return false })
}

// cleanLines is clean that leaves line breaks and tabs alone.
func cleanLines(s string) string {
	return cleanWith(s, func(r rune) bool { return r == '\n' || r == '\t' })
}

func cleanWith(s string, keep func(rune) bool) string {
	if !strings.ContainsFunc(s, dangerous) && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case keep(r) || !dangerous(r):
			b.WriteRune(r)
		case r == '\t':
			b.WriteByte(' ')
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		i += n
	}
	return b.String()
}

// dangerous tells whether a terminal might act on r.
func dangerous(r rune) bool {
	switch {
	case r < ' ', r >= 0x7f && r < 0xa0: // C0, DEL, C1
		return true
	case r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x200e, r == 0x200f, r == 0x61c: // bidi
		return true
	case r == 0x2028, r == 0x2029:
		return true
	}
	return false
}

// escapeJSON escapes what encoding/json leaves as it is, DEL, the C1 controls
// and the rest, and changes nothing of the meaning: in JSON they can stand in
// strings only.
func escapeJSON(s string) string {
	unsafe := func(r rune) bool { return r != '\n' && dangerous(r) }
	if !strings.ContainsFunc(s, unsafe) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unsafe(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// cut shortens s to n columns, with an ellipsis. n < 1 is unlimited.
func cut(s string, n int) string {
	if n < 1 || utf8.RuneCountInString(s) <= n {
		return s
	}
	runes := []rune(s)
	return string(runes[:n-1]) + "…"
}

func plural(n int, one, many string) string {
	if n == 1 {
		return fmt.Sprintf("%d %s", n, one)
	}
	return fmt.Sprintf("%d %s", n, many)
}

// pad fills s to n columns, on the left if right.
func pad(s string, n int, right bool) string {
	fill := strings.Repeat(" ", max(0, n-utf8.RuneCountInString(s)))
	if right {
		return fill + s
	}
	return s + fill
}
