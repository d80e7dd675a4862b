package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// line is one line of a file of settings.
type line struct {
	file   string
	number int
	text   string
}

// errorf is an error of this line.
func (l line) errorf(format string, args ...any) error {
	return fmt.Errorf("%s:%d: %w", l.file, l.number, fmt.Errorf(format, args...))
}

// searchPath has the directories of settings, the operator's first.
var searchPath = []string{"etc", "run", "usr/local/lib", "usr/lib"}

// readAll reads the files *.conf of KIND.d in all places, ordered by name; of
// several with one name the first place has it, and an empty one or a link to
// /dev/null thereby takes a file away. Blank lines and comments are left out.
func readAll(root, kind string) (lines []line, problems []error) {
	files := map[string]string{}
	for _, dir := range searchPath {
		found, _ := filepath.Glob(filepath.Join(root, dir, kind+".d", "*.conf"))
		for _, f := range found {
			if _, taken := files[filepath.Base(f)]; !taken {
				files[filepath.Base(f)] = f
			}
		}
	}
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		b, err := os.ReadFile(files[name])
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			problems = append(problems, fmt.Errorf("cannot read %s: %w", files[name], err))
		}
		lines = append(lines, splitLines(files[name], string(b))...)
	}
	return lines, problems
}

func splitLines(file, text string) (lines []line) {
	n := 0
	for t := range strings.Lines(text) {
		n++
		if t = strings.TrimSpace(t); t != "" && t[0] != '#' && t[0] != ';' {
			lines = append(lines, line{file, n, t})
		}
	}
	return lines
}

// fields takes up to n words off a text, which may be quoted, with \-escapes in
// double quotes and outside. rest is what follows, as it stands.
func fields(text string, n int) (words []string, rest string, err error) {
	for len(words) < n {
		text = strings.TrimLeft(text, " \t")
		if text == "" {
			return words, "", nil
		}
		var word string
		if word, text, err = cutWord(text); err != nil {
			return nil, "", err
		}
		words = append(words, word)
	}
	return words, strings.TrimSpace(text), nil
}

func cutWord(text string) (word, rest string, err error) {
	var b strings.Builder
	quote := byte(0)
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == quote && quote != 0:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0 && (c == ' ' || c == '\t'):
			return b.String(), text[i:], nil
		case c == '\\' && quote != '\'' && i+1 < len(text):
			plain, n := unescape(text[i:])
			b.WriteString(plain)
			i += n - 1
		default:
			b.WriteByte(c)
		}
	}
	if quote != 0 {
		return "", "", errors.New("a quote is not closed")
	}
	return b.String(), "", nil
}

// unescape reads the escape that text begins with, and how long it is. What is
// none stands for itself.
func unescape(text string) (string, int) {
	if i := strings.IndexByte(`abfnrtv\"'s`, text[1]); i >= 0 {
		return "\a\b\f\n\r\t\v\\\"' "[i : i+1], 2
	}
	var n int
	if text[1] == 'x' && len(text) >= 4 {
		if _, err := fmt.Sscanf(text[2:4], "%02x", &n); err == nil {
			return string([]byte{byte(n)}), 4
		}
	}
	if len(text) >= 4 && strings.Trim(text[1:4], "01234567") == "" && text[1] < '4' {
		fmt.Sscanf(text[1:4], "%03o", &n)
		return string([]byte{byte(n)}), 4
	}
	return text[:2], 2
}

// unescapeAll undoes the escapes of a whole text.
func unescapeAll(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		if text[i] == '\\' && i+1 < len(text) {
			plain, n := unescape(text[i:])
			b.WriteString(plain)
			i += n
			continue
		}
		b.WriteByte(text[i])
		i++
	}
	return b.String()
}
