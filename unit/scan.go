package unit

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// Caps that hold before the TOML parser sees a byte: it recurses on every
// level of nesting, and Go cannot recover from the overflow of its stack.
const (
	maxFileSize = 256 << 10
	maxDepth    = 16
)

type nodeKind uint8

const (
	leafNode nodeKind = iota
	arrayNode
	tableNode
)

// node is a key or an array element with its place in the file. The tree of
// nodes has the shape of the map that the TOML parser returns.
type node struct {
	kind     nodeKind
	key      string
	keyOff   int
	keyLen   int
	off, end int // of the value; of the header for a table
	index    map[string]*node
	fields   []*node // of a table, in the order of the file
	elems    []*node // of an array
}

func (n *node) field(key string) *node {
	if n == nil {
		return nil
	}
	return n.index[key]
}

func (n *node) elem(i int) *node {
	if n == nil || i >= len(n.elems) {
		return nil
	}
	return n.elems[i]
}

func (n *node) add(child *node) *node {
	if old := n.index[child.key]; old != nil {
		return old // the parser refuses the second one
	}
	if n.index == nil {
		n.index = map[string]*node{}
	}
	n.index[child.key] = child
	n.fields = append(n.fields, child)
	return child
}

// flaw is something wrong at a place of the file.
type flaw struct {
	off, len  int
	msg, hint string
}

func (f *flaw) Error() string { return f.msg }

// scanner finds where keys and values stand, and nothing else. It accepts a
// superset of TOML 1.1: on every valid prefix it sees the same tokens as the
// parser, so that what it let pass cannot nest deeper than it saw.
type scanner struct {
	src   string
	pos   int
	flaws []*flaw // bare words and octal numbers, reported together
}

// scan returns the tree of src, the flaws after which it could go on, and the
// one after which it could not, or nil.
func scan(src string) (root *node, flaws []*flaw, stop *flaw) {
	s := &scanner{src: src}
	s.accept("\xef\xbb\xbf")
	root = &node{kind: tableNode}
	defer func() {
		switch r := recover().(type) {
		case nil:
		case *flaw:
			stop, flaws = r, s.flaws
		default:
			panic(r)
		}
	}()
	s.document(root)
	return root, s.flaws, nil
}

func (s *scanner) document(root *node) {
	table, depth := root, 0
	for {
		s.skipBlank(true)
		if s.pos == len(s.src) {
			return
		}
		if s.src[s.pos] == '[' {
			table, depth = s.header(root)
		} else {
			s.keyValue(table, depth)
		}
		s.endOfLine()
	}
}

func (s *scanner) stop(off, n int, format string, args ...any) {
	panic(&flaw{off: off, len: n, msg: fmt.Sprintf(format, args...)})
}

func (s *scanner) accept(token string) bool {
	if strings.HasPrefix(s.src[s.pos:], token) {
		s.pos += len(token)
		return true
	}
	return false
}

func (s *scanner) peek() byte {
	if s.pos < len(s.src) {
		return s.src[s.pos]
	}
	return 0
}

func (s *scanner) expect(token, where string) {
	if !s.accept(token) {
		s.stop(s.pos, 1, "expected %q %s", token, where)
	}
}

// skipBlank passes over white space and, with lines, over line breaks and
// comments.
func (s *scanner) skipBlank(lines bool) {
	for s.pos < len(s.src) {
		switch c := s.src[s.pos]; {
		case c == ' ' || c == '\t' || c == '\r':
		case lines && c == '\n':
		case lines && c == '#':
			s.skipLine()
			continue
		default:
			return
		}
		s.pos++
	}
}

func (s *scanner) skipLine() {
	if i := strings.IndexByte(s.src[s.pos:], '\n'); i >= 0 {
		s.pos += i
	} else {
		s.pos = len(s.src)
	}
}

func (s *scanner) endOfLine() {
	s.skipBlank(false)
	switch c := s.peek(); {
	case s.pos == len(s.src) || c == '\n':
	case c == '#' || s.flawOnLine():
		s.skipLine()
	default:
		s.stop(s.pos, 1, "expected the end of the line after a value or header")
	}
}

// flawOnLine says whether this line already has a flaw: what follows it is
// the rest of the same mistake, as in description = a, b.
func (s *scanner) flawOnLine() bool {
	if len(s.flaws) == 0 {
		return false
	}
	last := s.flaws[len(s.flaws)-1].off
	return !strings.Contains(s.src[last:s.pos], "\n")
}

// header reads [a.b] or [[a.b]] and returns the table that it opens and how
// deep that is.
func (s *scanner) header(root *node) (*node, int) {
	start := s.pos
	s.pos++
	list := s.accept("[")
	parts := s.keyParts(0)
	s.expect("]", "at the end of a table header")
	if list {
		s.expect("]", "at the end of a table header")
	}
	t := root
	for i, part := range parts {
		part.off, part.end = start, s.pos
		part.kind = tableNode
		if list && i == len(parts)-1 {
			part.kind = arrayNode
		}
		t = t.add(part)
		if t.kind == arrayNode && !(list && i == len(parts)-1) {
			t = s.lastElem(t)
		}
	}
	if list {
		e := &node{kind: tableNode, off: start, end: s.pos, keyOff: start, keyLen: s.pos - start}
		t.elems = append(t.elems, e)
		t = e
	}
	return t, len(parts)
}

// lastElem is the element of an array of tables that a header leads into. A
// header into an array that has no table is refused by the parser.
func (s *scanner) lastElem(t *node) *node {
	if len(t.elems) == 0 {
		t.elems = append(t.elems, &node{kind: tableNode})
	}
	return t.elems[len(t.elems)-1]
}

// keyValue reads one "a.b = value" into table, which is depth levels down.
func (s *scanner) keyValue(table *node, depth int) {
	parts := s.keyParts(depth)
	s.skipBlank(false)
	s.expect("=", "after the key")
	s.skipBlank(false)
	last := parts[len(parts)-1]
	s.value(last, depth+len(parts))
	for _, part := range parts[:len(parts)-1] {
		part.kind, part.off, part.end = tableNode, part.keyOff, part.keyOff+part.keyLen
		table = table.add(part)
	}
	table.add(last)
}

// keyParts reads a dotted key: bare and quoted parts.
func (s *scanner) keyParts(depth int) []*node {
	var parts []*node
	for {
		s.skipBlank(false)
		start := s.pos
		n := &node{keyOff: start}
		switch s.peek() {
		case '"', '\'':
			n.key = unquoteKey(s.quoted())
		default:
			n.key = s.bareKey()
		}
		n.keyLen = s.pos - start
		parts = append(parts, n)
		if depth+len(parts) > maxDepth {
			s.stop(start, n.keyLen, "nested deeper than %d levels", maxDepth)
		}
		s.skipBlank(false)
		if !s.accept(".") {
			return parts
		}
	}
}

func (s *scanner) bareKey() string {
	start := s.pos
	for s.pos < len(s.src) && isBareKeyByte(s.src[s.pos]) {
		s.pos++
	}
	if s.pos == start {
		s.stop(start, 1, "expected a key, found %q", firstRune(s.src[start:]))
	}
	return s.src[start:s.pos]
}

func isBareKeyByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

func firstRune(s string) string {
	for _, r := range s {
		return string(r)
	}
	return "the end of the file"
}

// unquoteKey undoes the quotes of a key. Escapes that only TOML knows stay:
// no key of a unit has them, and they only cost the position.
func unquoteKey(quoted string) string {
	if quoted[0] == '\'' {
		return strings.Trim(quoted, "'")
	}
	if plain, err := strconv.Unquote(quoted); err == nil {
		return plain
	}
	return quoted
}

// value reads one value into n. depth counts tables and arrays around it.
func (s *scanner) value(n *node, depth int) {
	n.off = s.pos
	switch s.peek() {
	case '"', '\'':
		s.quoted()
	case '[':
		s.array(n, depth+1)
	case '{':
		s.inlineTable(n, depth+1)
	default:
		s.scalar()
	}
	n.end = s.pos
	for n.end > n.off && strings.IndexByte(" \t\r", s.src[n.end-1]) >= 0 {
		n.end--
	}
}

// quoted reads a string of any of the four forms and returns it as written.
func (s *scanner) quoted() string {
	start, quote := s.pos, s.src[s.pos:s.pos+1]
	if s.accept(strings.Repeat(quote, 3)) {
		s.multiline(start, quote)
		return s.src[start:s.pos]
	}
	for s.pos++; s.pos < len(s.src); s.pos++ {
		switch c := s.src[s.pos]; {
		case c == '\n':
			s.stop(start, s.pos-start, "the string is not closed on its line")
		case c == '\\' && quote == `"`:
			s.pos++
		case c == quote[0]:
			s.pos++
			return s.src[start:s.pos]
		}
	}
	s.stop(start, 1, "the string is not closed")
	return ""
}

// multiline reads up to three quotes; up to two more belong to the content.
func (s *scanner) multiline(start int, quote string) {
	for s.pos < len(s.src) {
		if s.accept(strings.Repeat(quote, 3)) {
			_ = s.accept(quote) && s.accept(quote)
			return
		}
		if s.src[s.pos] == '\\' && quote == `"` {
			s.pos++
		}
		s.pos++
	}
	s.pos = len(s.src)
	s.stop(start, 3, "the string is not closed")
}

func (s *scanner) array(n *node, depth int) {
	start := s.pos
	n.kind = arrayNode
	s.deeper(start, depth)
	for s.pos++; ; {
		s.skipBlank(true)
		if s.accept("]") {
			return
		}
		s.notEnd(start, "array")
		e := &node{keyOff: s.pos}
		s.value(e, depth)
		n.elems = append(n.elems, e)
		s.skipBlank(true)
		if s.peek() != ']' {
			s.notEnd(start, "array")
			s.expect(",", "between the elements of an array")
		}
	}
}

func (s *scanner) inlineTable(n *node, depth int) {
	start := s.pos
	n.kind = tableNode
	s.deeper(start, depth)
	for s.pos++; ; {
		s.skipBlank(true)
		if s.accept("}") {
			return
		}
		s.notEnd(start, "inline table")
		s.keyValue(n, depth)
		s.skipBlank(true)
		if s.peek() != '}' {
			s.notEnd(start, "inline table")
			s.expect(",", "between the entries of an inline table")
		}
	}
}

func (s *scanner) deeper(off, depth int) {
	if depth > maxDepth {
		s.stop(off, 1, "nested deeper than %d levels", maxDepth)
	}
}

func (s *scanner) notEnd(start int, what string) {
	if s.pos >= len(s.src) {
		s.stop(start, 1, "the %s is not closed", what)
	}
}

// Compiled when a first file has such a value: every start would pay for it,
// process 1's too.
var (
	plainScalar = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^([+-]?(inf|nan)|[+-]?[0-9][0-9A-Za-z_.:+ -]*)$`)
	})
	octalScalar = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[+-]?0[0-9_]+$`) })
)

// scalar reads a number, date or boolean, and notes what is none of them.
func (s *scanner) scalar() {
	start := s.pos
	for s.pos < len(s.src) && strings.IndexByte(",]}#\n", s.src[s.pos]) < 0 {
		s.pos++
	}
	word := strings.TrimRight(s.src[start:s.pos], " \t\r")
	switch {
	case word == "":
		s.stop(start, 1, "expected a value")
	case word == "true", word == "false":
	case octalScalar().MatchString(word):
		s.note(start, word, fmt.Sprintf("a number cannot begin with 0: write it as a string, \"%s\"", word))
	case plainScalar().MatchString(word):
	case strings.Contains("yes on Yes On YES ON True TRUE", word):
		s.note(start, word, "true and false are the only truth values: write true")
	case strings.Contains("no off No Off NO OFF False FALSE", word):
		s.note(start, word, "true and false are the only truth values: write false")
	default:
		s.note(start, word, fmt.Sprintf("a bare word is no value: write it in quotes, %q", word))
	}
}

func (s *scanner) note(off int, word, msg string) {
	s.flaws = append(s.flaws, &flaw{off: off, len: len(word), msg: msg})
}
