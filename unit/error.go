package unit

import (
	"fmt"
	"strings"
)

// Error is one thing that is wrong, or odd, in a unit file. Line and Col count
// from 1, Col and Len in bytes; Line 0 means the file as a whole.
type Error struct {
	File      string
	Line, Col int
	Len       int    // bytes that the mark under the source line covers
	Key       string // "service.exec_start", or ""
	Msg       string // what is wrong and the rule
	Hint      string // what to write instead, or ""
	Source    string // the line of the file, or ""
	Warning   bool   // the unit was accepted all the same
}

// Error returns "file:line:col: message; hint" on one line.
func (e *Error) Error() string {
	msg := e.place() + ": " + e.Msg
	if e.Hint != "" {
		msg += "; " + e.Hint
	}
	return msg
}

func (e *Error) place() string {
	if e.Line == 0 {
		return e.File
	}
	return fmt.Sprintf("%s:%d:%d", e.File, e.Line, e.Col)
}

// List is every error or warning of a file, in the order of the file.
type List []*Error

// Error joins the errors by line breaks.
func (l List) Error() string {
	lines := make([]string, len(l))
	for i, e := range l {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}
