package unit

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// A wordMode says what a backslash means while a string is split into words.
type wordMode uint8

const (
	// wordsUnquote takes the character after a backslash as it is. An open
	// quote at the end is closed: for values of variables, which nobody can
	// be asked to correct.
	wordsUnquote wordMode = iota
	// wordsCEscapes reads the escapes of C; an unknown one stays as written,
	// which is what systemd does for arguments of commands.
	wordsCEscapes
)

// splitWords splits s at blanks by the rules of systemd.service(5) "Command
// lines": single and double quotes are equal, may stand anywhere in a word and
// are removed. A backslash before a line break is a blank.
func splitWords(s string, mode wordMode) ([]string, error) {
	var words []string
	for {
		word, rest, ok, err := nextWord(s, mode)
		if err != nil {
			return nil, err
		}
		if !ok {
			return words, nil
		}
		words = append(words, word)
		s = rest
	}
}

// nextWord cuts the first word off s; ok is false when only blanks are left.
// A quoted empty string is a word.
func nextWord(s string, mode wordMode) (word, rest string, ok bool, err error) {
	s = skipBlanks(s)
	if s == "" {
		return "", "", false, nil
	}
	var b strings.Builder
	quote := byte(0)
	for s != "" {
		c := s[0]
		switch {
		case strings.HasPrefix(s, "\\\n"):
			if quote == 0 {
				return b.String(), s, true, nil
			}
			b.WriteByte(' ')
			s = s[2:]
		case c == '\\':
			text, n, err := unescapeWord(s, mode)
			if err != nil {
				return "", "", false, err
			}
			b.WriteString(text)
			s = s[n:]
		case c == quote:
			quote, s = 0, s[1:]
		case quote == 0 && (c == '"' || c == '\''):
			quote, s = c, s[1:]
		case quote == 0 && strings.IndexByte(blanks, c) >= 0:
			return b.String(), s, true, nil
		default:
			b.WriteByte(c)
			s = s[1:]
		}
	}
	if quote != 0 && mode != wordsUnquote {
		return "", "", false, fmt.Errorf("the quote %c is never closed", quote)
	}
	return b.String(), "", true, nil
}

func skipBlanks(s string) string {
	for {
		s = strings.TrimLeft(s, blanks)
		if !strings.HasPrefix(s, "\\\n") {
			return s
		}
		s = s[2:]
	}
}

// unescapeWord reads the escape that s begins with and returns what it stands
// for and its length.
func unescapeWord(s string, mode wordMode) (string, int, error) {
	if len(s) == 1 {
		if mode == wordsUnquote {
			return "", 1, nil
		}
		return "", 0, fmt.Errorf("it ends in a single backslash; write \\\\ for one")
	}
	if mode == wordsUnquote {
		_, size := utf8.DecodeRuneInString(s[1:])
		return s[1 : 1+size], 1 + size, nil
	}
	text, n, err := cEscape(s)
	if err != nil {
		return "", 0, err
	}
	if n == 0 {
		return s[:2], 2, nil
	}
	return text, n, nil
}

// cEscape reads an escape of C at the beginning of s: \n and its like, \xHH,
// \OOO, \uXXXX, \UXXXXXXXX, and systemd's \s for a space. The length is 0 if
// it is none. NUL is refused, because no argument can hold it.
func cEscape(s string) (string, int, error) {
	const letters, values = `abfnrtvs\"'`, "\a\b\f\n\r\t\v \\\"'"
	if i := strings.IndexByte(letters, s[1]); i >= 0 {
		return values[i : i+1], 2, nil
	}
	switch c := s[1]; {
	case c == 'x':
		return numericEscape(s, 2, 2, 16)
	case c == 'u':
		return numericEscape(s, 2, 4, 16)
	case c == 'U':
		return numericEscape(s, 2, 8, 16)
	case c >= '0' && c <= '7':
		return numericEscape(s, 1, 3, 8)
	}
	return "", 0, nil
}

// numericEscape reads exactly digits digits at s[start:]. \x and octal name a
// byte, \u and \U a code point.
func numericEscape(s string, start, digits, base int) (string, int, error) {
	end := start + digits
	if len(s) < end {
		return "", 0, nil
	}
	var n uint64
	for i := start; i < end; i++ {
		d := digitValue(s[i])
		if d >= base {
			return "", 0, nil
		}
		n = n*uint64(base) + uint64(d)
	}
	switch {
	case n == 0:
		return "", 0, fmt.Errorf("the escape %s is a NUL byte, which no argument can hold", s[:end])
	case digits <= 3 && n > 0xff:
		return "", 0, fmt.Errorf("the escape %s is more than one byte", s[:end])
	case digits <= 3:
		return string([]byte{byte(n)}), end, nil
	case n > utf8.MaxRune || !utf8.ValidRune(rune(n)):
		return "", 0, fmt.Errorf("the escape %s is no Unicode character", s[:end])
	}
	return string(rune(n)), end, nil
}

func digitValue(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return 16
}
