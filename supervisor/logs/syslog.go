package logs

import (
	"bytes"
	"os"
	"time"

	"github.com/nsinit/nsinit/supervisor/notify/dgram"
)

const (
	// maxDatagram is the longest syslog datagram kept whole; longer ones are cut and
	// marked by Continued.
	maxDatagram = MaxLine
	// maxIdent caps the name that a datagram gives itself, in bytes.
	maxIdent = 128
)

// ListenSyslog makes the socket that a service sees as /dev/log, and as the journal's,
// for AttachSyslog. Whatever socket is at path is replaced.
func ListenSyslog(path string, mode os.FileMode) (int, error) { return dgram.Listen(path, mode) }

// ParseSyslog reads a datagram as syslog(3) of glibc and musl sends it (RFC 3164
// without host name, which may be there): `<PRI>Mmm dd hh:mm:ss ident[pid]: text`,
// or one of RFC 5424, whose structured data become fields. Every part is optional; what does not fit the form stays in Message. The facility is dropped.
// Time is left zero: the time of reading counts, the service's own clock text has
// neither year nor zone. The pid in the text is dropped too (PID is set by whoever
// knows the sender). Message points into datagram.
func ParseSyslog(datagram []byte) Record {
	r := Record{Stream: Syslog, Priority: Notice}
	rest := bytes.TrimRight(datagram, "\x00\n")
	if pri, n := parsePRI(rest); n > 0 {
		r.Priority = Priority(pri & 7)
		rest = rest[n:]
		if r.parse5424(rest) {
			return r
		}
		r.Fields, r.Continued = nil, false
	}
	n := timestampLen(rest)
	rest = rest[n:]
	r.Ident, r.Message = cutIdent(rest)
	if r.Ident == "" && n > 0 {
		if host, after, ok := bytes.Cut(rest, []byte(" ")); ok && isHost(host) {
			if ident, text := cutIdent(after); ident != "" {
				r.Ident, r.Message = ident, text
			}
		}
	}
	return r
}

// parsePRI reads `<0>` to `<191>` and returns its value and length, or 0, 0.
func parsePRI(b []byte) (value, length int) {
	if len(b) < 3 || b[0] != '<' {
		return 0, 0
	}
	for i := 1; i < len(b) && i <= 4; i++ {
		switch c := b[i]; {
		case c == '>' && i > 1 && value <= 191:
			return value, i + 1
		case c < '0' || c > '9':
			return 0, 0
		default:
			value = value*10 + int(c-'0')
		}
	}
	return 0, 0
}

// timestampLen is the length of `Mmm dd hh:mm:ss ` at the start of b, or 0.
func timestampLen(b []byte) int {
	const n = len(time.Stamp)
	if len(b) <= n || b[n] != ' ' {
		return 0
	}
	if _, err := time.Parse(time.Stamp, string(b[:n])); err != nil {
		return 0
	}
	return n + 1
}

// isHost: what stands between time and tag in RFC 3164.
func isHost(b []byte) bool {
	return len(b) > 0 && len(b) <= 255 && len(bytes.Trim(b, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")) == 0
}

// cutIdent splits `ident[pid]: ` or `ident: ` off b.
func cutIdent(b []byte) (ident string, rest []byte) {
	i := bytes.IndexAny(b[:min(len(b), maxIdent)], " [:")
	if i <= 0 || b[i] == ' ' || b[0] == '<' {
		return "", b
	}
	after := b[i:]
	if after[0] == '[' {
		end := bytes.IndexByte(after[:min(len(after), 16)], ']')
		if end < 0 || len(bytes.Trim(after[1:end], "0123456789")) > 0 {
			return "", b
		}
		after = after[end+1:]
	}
	if len(after) == 0 || after[0] != ':' {
		return "", b
	}
	return string(b[:i]), bytes.TrimPrefix(after[1:], []byte(" "))
}
