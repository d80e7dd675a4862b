package logs

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
)

// Style is a way to write records down.
type Style uint8

const (
	Short Style = iota // Nov 23 16:02:11 web[stderr]: text
	JSON               // one object per line, see Formatter.Append
	Cat                // the text alone
)

// Formatter writes records as text.
type Formatter struct {
	Style Style
	Unit  string
	// Location is the zone of times in Short; nil is the machine's.
	Location *time.Location
	// Raw writes messages byte for byte in Short and Cat. Without it what could
	// steer a terminal is shown escaped (\x1b, \u202e).
	Raw bool
}

// Append adds r to dst, newline included (but not after a Continued record in Cat,
// whose line goes on in the next record). JSON is
//
//	{"time":"2026-11-23T16:02:11.123456789Z","unit":"web","seq":17,"stream":"stderr","priority":6,"message":"text"}
//
// and has pid, ident and continued where they apply, and message_base64 instead of
// message where that is not UTF-8.
func (f Formatter) Append(dst []byte, r *Record) []byte {
	switch f.Style {
	case JSON:
		return f.appendJSON(dst, r)
	case Cat:
		dst = f.appendText(dst, r.Message)
		if r.Continued {
			return dst
		}
		return append(dst, '\n')
	}
	return f.appendShort(dst, r)
}

func (f Formatter) appendShort(dst []byte, r *Record) []byte {
	zone := f.Location
	if zone == nil {
		zone = time.Local
	}
	dst = r.Time.In(zone).AppendFormat(dst, time.Stamp)
	dst = append(dst, ' ')
	if r.Stream == Syslog && r.Ident != "" {
		dst = AppendSafe(dst, []byte(r.Ident))
		if r.PID != 0 {
			dst = append(dst, '[')
			dst = strconv.AppendInt(dst, int64(r.PID), 10)
			dst = append(dst, ']')
		}
	} else {
		dst = append(dst, f.Unit...)
		dst = append(dst, '[')
		dst = append(dst, r.Stream.String()...)
		dst = append(dst, ']')
	}
	dst = append(dst, ':', ' ')
	dst = f.appendText(dst, r.Message)
	return append(dst, '\n')
}

func (f Formatter) appendText(dst, msg []byte) []byte {
	if f.Raw {
		return append(dst, msg...)
	}
	return AppendSafe(dst, msg)
}

func (f Formatter) appendJSON(dst []byte, r *Record) []byte {
	dst = append(dst, `{"time":"`...)
	dst = r.Time.UTC().AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, `","unit":`...)
	dst = appendString(dst, []byte(f.Unit))
	dst = append(dst, `,"seq":`...)
	dst = strconv.AppendUint(dst, r.Seq, 10)
	dst = append(dst, `,"stream":"`...)
	dst = append(dst, r.Stream.String()...)
	dst = append(dst, `","priority":`...)
	dst = strconv.AppendUint(dst, uint64(r.Priority), 10)
	if r.PID != 0 {
		dst = append(dst, `,"pid":`...)
		dst = strconv.AppendInt(dst, int64(r.PID), 10)
	}
	if r.Ident != "" {
		dst = append(dst, `,"ident":`...)
		dst = appendString(dst, []byte(r.Ident))
	}
	if r.Continued {
		dst = append(dst, `,"continued":true`...)
	}
	if utf8.Valid(r.Message) {
		dst = append(dst, `,"message":`...)
		dst = appendString(dst, r.Message)
	} else {
		dst = append(dst, `,"message_base64":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, r.Message)
		dst = append(dst, '"')
	}
	return append(dst, '}', '\n')
}

// AppendSafe adds msg as one line that cannot steer a terminal: control characters
// but tab, format characters (which reorder text) and bytes that are not UTF-8 are
// written as \x1b or \u202e.
func AppendSafe(dst, msg []byte) []byte {
	for len(msg) > 0 {
		r, size := utf8.DecodeRune(msg)
		switch {
		case r == utf8.RuneError && size == 1, r != '\t' && unicode.IsControl(r) && r < 0x100:
			for _, c := range msg[:size] {
				dst = append(dst, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
			}
		case unicode.Is(unicode.Cf, r), r == 0x2028, r == 0x2029:
			dst = fmt.Appendf(dst, `\u%04x`, r)
		default:
			dst = append(dst, msg[:size]...)
		}
		msg = msg[size:]
	}
	return dst
}
