package unit

import (
	"errors"
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// document is one file that the TOML parser accepted.
type document struct {
	file   string
	src    string
	lines  []int // offset of each line
	root   *node
	values map[string]any

	unknown int // keys that are in no table
}

// readDocument parses src. With errors it still returns the document, whose
// tree then is what could be read and whose values are nil.
func readDocument(file, src string) (*document, List) {
	d := &document{file: file, src: src, lines: lineStarts(src)}
	if f := unreadable(src); f != nil {
		return d, List{d.flaw(f)}
	}
	root, flaws, stop := scan(src)
	d.root = root
	if stop != nil {
		flaws = append(flaws, d.explainStop(stop))
	}
	if len(flaws) > 0 {
		return d, d.flawList(flaws)
	}
	if _, err := toml.Decode(src, &d.values); err != nil {
		d.values = nil
		return d, List{d.flaw(parserFlaw(err))}
	}
	return d, nil
}

// unreadable finds what no TOML parser should be given.
func unreadable(src string) *flaw {
	if len(src) > maxFileSize {
		return &flaw{msg: fmt.Sprintf("larger than %d KiB", maxFileSize>>10)}
	}
	for i, r := range src {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(src[i:], "\uFFFD"):
			return &flaw{off: i, len: 1, msg: "not UTF-8"}
		case r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7f:
			return &flaw{off: i, len: 1, msg: fmt.Sprintf("control character U+%04X", r)}
		}
	}
	return nil
}

// explainStop asks the parser, which words syntax errors better, what it
// thinks of the place where the scanner gave up. It is given no byte beyond
// that line, nor more than a few beyond the place, so the depth stays capped.
func (d *document) explainStop(stop *flaw) *flaw {
	if strings.HasPrefix(stop.msg, "nested") {
		return stop
	}
	end := min(stop.off+stop.len, len(d.src))
	var values map[string]any
	_, err := toml.Decode(d.src[:end], &values)
	if err == nil {
		return stop
	}
	f := parserFlaw(err)
	if f.off >= end || f.off < stop.off {
		return stop
	}
	return f
}

func parserFlaw(err error) *flaw {
	var pe toml.ParseError
	if !errors.As(err, &pe) {
		return &flaw{msg: err.Error()}
	}
	end := strings.NewReplacer("\x00", "the end of the file") // the parser shows it as a NUL
	return &flaw{off: pe.Position.Start, len: pe.Position.Len, msg: end.Replace(pe.Message)}
}

func (d *document) flawList(flaws []*flaw) List {
	var l List
	for _, f := range flaws {
		l = append(l, d.flaw(f))
	}
	return l
}

func (d *document) flaw(f *flaw) *Error {
	e := d.at(f.off, f.len)
	e.Msg, e.Hint = f.msg, f.hint
	if f.len == 0 && f.off == 0 {
		e.Line, e.Col, e.Source = 0, 0, ""
	}
	return e
}

func lineStarts(src string) []int {
	starts := []int{0}
	for i := 0; i < len(src) && len(src) <= maxFileSize; i++ {
		if src[i] == '\n' {
			starts = append(starts, i+1)
		}
	}
	return starts
}

// at returns an Error of this place without a message.
func (d *document) at(off, n int) *Error {
	off = max(0, min(off, len(d.src)))
	line := sort.SearchInts(d.lines, off+1) - 1
	text := d.src[d.lines[line]:]
	if i := strings.IndexByte(text, '\n'); i >= 0 {
		text = text[:i]
	}
	text = strings.TrimRight(text, "\r")
	col := off - d.lines[line]
	return &Error{
		File: d.file, Line: line + 1, Col: col + 1,
		Len:    max(1, min(n, len(text)-col)),
		Source: text,
	}
}

// atKey and atValue return an Error at the key or the value of n. Without n
// they name the file as a whole.
func (d *document) atKey(n *node) *Error {
	if n == nil {
		return &Error{File: d.file}
	}
	return d.at(n.keyOff, n.keyLen)
}

func (d *document) atValue(n *node) *Error {
	if n == nil {
		return &Error{File: d.file}
	}
	return d.at(n.off, n.end-n.off)
}
