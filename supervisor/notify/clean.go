package notify

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// clean makes text fit to be shown on a terminal and stored on one line: bytes
// that are not UTF-8 become U+FFFD, escape sequences and characters that change
// the direction of the text vanish, other control characters become blanks. The
// result has at most limit bytes; a cut is marked by "...".
func clean(text string, limit int) string {
	var b strings.Builder
	for i := 0; i < len(text) && b.Len() <= limit; {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == 0x1b || r == 0x9b || r == 0x9d:
			size = escapeLen(text[i:], size)
		case unicode.Is(unicode.Cf, r) || r == 0x2028 || r == 0x2029:
		case unicode.IsControl(r):
			b.WriteByte(' ')
		default:
			b.WriteRune(r) // RuneError, which is U+FFFD, for a bad byte
		}
		i += size
	}
	return cut(b.String(), limit)
}

// cut shortens text to limit bytes without splitting a character.
func cut(text string, limit int) string {
	const mark = "..."
	if len(text) <= limit {
		return text
	}
	end := limit - len(mark)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + mark
}

// escapeLen is the length of the terminal sequence at the start of text, whose
// introducer is first bytes long: CSI up to its final byte, OSC and the other
// strings up to BEL or ST, else one more byte (ECMA-48). An unfinished sequence
// takes the rest.
func escapeLen(text string, first int) int {
	if text[0] != 0x1b { // C1 forms in UTF-8: U+009B is CSI, U+009D is OSC
		if text[1] == 0x9b {
			return first + csiLen(text[first:])
		}
		return first + stringLen(text[first:])
	}
	if len(text) == 1 {
		return 1
	}
	switch text[1] {
	case '[':
		return 2 + csiLen(text[2:])
	case ']', 'P', 'X', '^', '_':
		return 2 + stringLen(text[2:])
	}
	_, size := utf8.DecodeRuneInString(text[1:])
	return 1 + size
}

func csiLen(text string) int {
	for i := range len(text) {
		if c := text[i]; c >= 0x40 {
			_, size := utf8.DecodeRuneInString(text[i:])
			return i + size
		}
	}
	return len(text)
}

func stringLen(text string) int {
	for i := range len(text) {
		switch {
		case text[i] == 0x07:
			return i + 1
		case text[i] == 0x1b && i+1 < len(text) && text[i+1] == '\\':
			return i + 2
		}
	}
	return len(text)
}
