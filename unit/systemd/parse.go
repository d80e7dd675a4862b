// Package systemd reads units of systemd, init scripts and supervisord
// programs into unit files of nsinit, with a list of what did not carry over,
// and writes units back.
package systemd

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Limits of systemd's own reader: LONG_LINE_MAX of a line, with its
// continuations (src/basic/def.h), and ours of a file, which is below.
const (
	maxLine = 1 << 20
	maxFile = 4 << 20
)

// Assignment is one "Name=Value" of a unit file.
type Assignment struct {
	Section, Name, Value string
	File                 string
	Line                 int // of the name, from 1
}

// SyntaxError is what is wrong at a line of a file.
type SyntaxError struct {
	File string
	Line int // 0: the file as a whole
	Msg  string
}

// Error returns "cannot read FILE:LINE: what is wrong".
func (e *SyntaxError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("cannot read %s: %s", e.File, e.Msg)
	}
	return fmt.Sprintf("cannot read %s:%d: %s", e.File, e.Line, e.Msg)
}

// Parse reads the text of a unit file or drop-in as systemd.syntax(7) has it.
// go-systemd's parser is not used: it stops at 2,048 bytes a line, where systemd
// reads a mebibyte, keeps comments within continued lines, and has no positions.
func Parse(file string, data []byte) ([]Assignment, error) {
	if err := readable(file, data); err != nil {
		return nil, err
	}
	p := parser{file: file}
	text := strings.TrimPrefix(string(data), "\xef\xbb\xbf")
	for i, line := range strings.Split(text, "\n") {
		if err := p.physical(strings.TrimSuffix(line, "\r"), i+1); err != nil {
			return nil, err
		}
	}
	return p.out, p.flush()
}

// readable refuses what is no text.
func readable(file string, data []byte) error {
	if len(data) > maxFile {
		return &SyntaxError{file, 0, fmt.Sprintf("larger than %d MiB", maxFile>>20)}
	}
	line := func(at int) int { return 1 + bytes.Count(data[:at], []byte("\n")) }
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return &SyntaxError{file, line(i), "a NUL byte; this is no unit file"}
	}
	if !utf8.Valid(data) {
		at := 0
		for at < len(data) {
			r, n := utf8.DecodeRune(data[at:])
			if r == utf8.RuneError && n == 1 {
				break
			}
			at += n
		}
		return &SyntaxError{file, line(at), "not UTF-8"}
	}
	return nil
}

// parser joins continued lines.
type parser struct {
	file, section string
	pending       strings.Builder
	start         int // line at which pending begins, 0: none
	out           []Assignment
}

// physical takes one line of the file. Comments between continued lines are
// passed over; the backslash at an end becomes a blank.
func (p *parser) physical(line string, n int) error {
	trimmed := strings.TrimLeft(line, " \t")
	if strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, ";") {
		return nil
	}
	if p.start == 0 {
		p.start = n
	}
	if p.pending.Len()+len(line) > maxLine {
		return &SyntaxError{p.file, p.start, fmt.Sprintf("a line of more than %d bytes", maxLine)}
	}
	if continues(line) {
		p.pending.WriteString(line[:len(line)-1] + " ")
		return nil
	}
	p.pending.WriteString(line)
	return p.flush()
}

// continues says whether the backslash at the end is not itself escaped.
func continues(line string) bool {
	n := len(line) - len(strings.TrimRight(line, `\`))
	return n%2 == 1
}

// flush takes the whole line that has come together.
func (p *parser) flush() error {
	line := strings.Trim(p.pending.String(), " \t")
	start := p.start
	p.pending.Reset()
	p.start = 0
	switch {
	case line == "":
		return nil
	case line[0] == '[':
		name, ok := strings.CutSuffix(line[1:], "]")
		if !ok || name == "" {
			return &SyntaxError{p.file, start, fmt.Sprintf("invalid section header %.80q", line)}
		}
		p.section = name
		return nil
	case p.section == "":
		return &SyntaxError{p.file, start, fmt.Sprintf("%.80q stands before any section", line)}
	}
	name, value, ok := strings.Cut(line, "=")
	if name = strings.TrimRight(name, " \t"); !ok || name == "" {
		return &SyntaxError{p.file, start, fmt.Sprintf("%.80q: a line is NAME=VALUE", line)}
	}
	p.out = append(p.out, Assignment{p.section, name, strings.TrimLeft(value, " \t"), p.file, start})
	return nil
}
