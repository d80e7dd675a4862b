package logs

import (
	"bytes"
	"unicode/utf8"
)

// nextLine takes the first line of buf: its text, how many bytes it takes
// (newline included), and whether it was cut at MaxLine. ok is false where the
// line is not complete; atEnd says that nothing follows buf, so that a line
// without newline is complete.
func nextLine(buf []byte, atEnd bool) (text []byte, size int, cut, ok bool) {
	if i := bytes.IndexByte(buf[:min(len(buf), MaxLine+1)], '\n'); i >= 0 {
		return buf[:i], i + 1, false, true
	}
	if len(buf) > MaxLine {
		n := splitPoint(buf)
		return buf[:n], n, true, true
	}
	if atEnd && len(buf) > 0 {
		return buf, len(buf), false, true
	}
	return nil, 0, false, false
}

// splitPoint is where to cut a line longer than MaxLine: there, or up to three
// bytes before, so that a UTF-8 character stays whole.
func splitPoint(buf []byte) int {
	for n := MaxLine; n > MaxLine-utf8.UTFMax; n-- {
		if utf8.RuneStart(buf[n]) {
			return n
		}
	}
	return MaxLine
}

// linePriority takes the `<N>` prefix of sd-daemon(3) off a line.
func linePriority(text []byte) (Priority, []byte) {
	if len(text) >= 3 && text[0] == '<' && text[1] >= '0' && text[1] <= '7' && text[2] == '>' {
		return Priority(text[1] - '0'), text[3:]
	}
	return Info, text
}
