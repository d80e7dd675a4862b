package boot

import (
	"encoding/base64"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// entry is a line of tmpfiles.d(5).
type entry struct {
	line
	kind     byte // the letter
	plus     bool // + : for w append, for f, L and p replace
	optional bool // - : failures are not worth a word
	fix      bool // = : what is of another type is removed first
	path     string
	mode     int64 // -1: the type's
	masked   bool  // ~ : mode as far as the present one allows it
	keepMode bool  // : only for what is made
	user     string
	group    string
	keepUser bool
	keepGrp  bool
	argument string
}

// kinds that are known: what makes files and directories, removes, adjusts, and
// what is only about the clean-up of old files, which nobody does here.
const kinds = "fwdDeqQvpLcbrRzZxX"

// creating are the kinds of which a path can have one.
const creating = "fdDeqQvpLcb"

// parseEntries reads the lines. specifier gives what %X stands for. Of several
// lines that create one path the first holds.
func parseEntries(lines []line, specifier func(byte) (string, bool)) (entries []entry, problems []error) {
	made, said := map[string]bool{}, map[string]bool{}
	for _, l := range lines {
		e, err := parseEntry(l, specifier)
		if err != nil {
			cause := l.file + errors.Unwrap(err).Error()
			if !said[cause] { // of several lines alike in a file the first is told
				problems = append(problems, err)
			}
			said[cause] = true
			continue
		}
		if e.path == "/run/nologin" {
			continue // systemd keeps people out with it until a service of its own removes it
		}
		if strings.IndexByte(creating, e.kind) >= 0 {
			if made[e.path] {
				problems = append(problems, l.errorf("cannot use a second line for %s: the first holds", e.path))
				continue
			}
			made[e.path] = true
		}
		entries = append(entries, e)
	}
	return entries, problems
}

func parseEntry(l line, specifier func(byte) (string, bool)) (e entry, err error) {
	words, rest, err := fields(l.text, 6)
	if err != nil || len(words) < 2 {
		return e, l.errorf("cannot read the line: a type and a path are needed (%v)", err)
	}
	words = append(words, make([]string, 6-len(words))...)
	for i := 2; i < 6; i++ {
		if words[i] == "-" {
			words[i] = ""
		}
	}
	if rest == "-" {
		rest = ""
	}
	e = entry{line: l, mode: -1}
	base64ed := false
	if e.kind, base64ed, err = e.setType(words[0]); err != nil {
		return e, l.errorf("%w", err)
	}
	if e.path, err = expand(words[1], specifier); err == nil {
		e.argument, err = e.readArgument(rest, base64ed, specifier)
	}
	if err != nil {
		return e, l.errorf("%w", err)
	}
	if !path.IsAbs(e.path) {
		return e, l.errorf("cannot use the path %q: it must be absolute", e.path)
	}
	e.path = path.Clean(e.path)
	if err := e.setMode(words[2]); err != nil {
		return e, l.errorf("%w", err)
	}
	e.user, e.keepUser = strings.CutPrefix(words[3], ":")
	e.group, e.keepGrp = strings.CutPrefix(words[4], ":")
	return e, nil
}

// setType reads the letter and what stands behind it. "!" is for boots, and this
// is one.
func (e *entry) setType(word string) (kind byte, base64ed bool, err error) {
	if word == "" || strings.IndexByte(kinds, word[0]) < 0 {
		return 0, false, fmt.Errorf("cannot use a line of type %q: %s are known", word, kinds)
	}
	for _, c := range word[1:] {
		switch c {
		case '+':
			e.plus = true
		case '-':
			e.optional = true
		case '=':
			e.fix = true
		case '!', '$':
		case '~':
			base64ed = true
		default:
			return 0, false, fmt.Errorf("cannot use the modifier %q of type %q", c, word)
		}
	}
	return word[0], base64ed, nil
}

func (e *entry) setMode(word string) error {
	for word != "" && strings.IndexByte("~:", word[0]) >= 0 {
		if word[0] == '~' {
			e.masked = true
		} else {
			e.keepMode = true
		}
		word = word[1:]
	}
	if word == "" {
		return nil
	}
	mode, err := strconv.ParseUint(word, 8, 12)
	if err != nil {
		return fmt.Errorf("cannot use %q as a mode: octal digits are needed", word)
	}
	e.mode = int64(mode)
	return nil
}

// readArgument expands the last field and, where it is content, its escapes.
func (e *entry) readArgument(text string, base64ed bool, specifier func(byte) (string, bool)) (string, error) {
	if base64ed {
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return "", fmt.Errorf("cannot read the argument as base64: %w", err)
		}
		return string(b), nil
	}
	if e.kind == 'f' || e.kind == 'w' {
		text = unescapeAll(text)
	}
	if strings.IndexByte("fwL", e.kind) < 0 {
		return text, nil
	}
	return expand(text, specifier)
}

// expand replaces specifiers.
func expand(text string, specifier func(byte) (string, bool)) (string, error) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			b.WriteByte(text[i])
			continue
		}
		if i++; i == len(text) {
			return "", fmt.Errorf("cannot expand %q: it ends in %%", text)
		}
		value, ok := specifier(text[i])
		if !ok {
			return "", fmt.Errorf("cannot expand %%%c in %q: it is not known here", text[i], text)
		}
		b.WriteString(value)
	}
	return b.String(), nil
}

// inOrder has what is above a path before it, and of one path what makes it
// before what adjusts it.
func inOrder(entries []entry) {
	slices.SortStableFunc(entries, func(a, b entry) int {
		if c := strings.Compare(a.path+"/", b.path+"/"); c != 0 {
			return c
		}
		adjusts := func(e entry) int {
			if strings.IndexByte(creating, e.kind) >= 0 {
				return 0
			}
			return 1
		}
		return adjusts(a) - adjusts(b)
	})
}
