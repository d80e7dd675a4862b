package logs

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// facility is that of what comes from no program's own syslog(3): daemon.
const facility = 3

// tag is what names the sender: the program's own name where it gave one.
func (l *Log) tag(r *Record) (name string, pid int) {
	name, pid = orElse(l.cfg.Identifier, l.cfg.Unit), l.main
	if r.PID != 0 || r.Stream == Syslog || r.Stream == Journal {
		name, pid = orElse(r.Ident, name), r.PID
	}
	return name, pid
}

// appendSyslog encodes r as syslog(3) sends it: "<30>Nov 23 16:02:11 web[8127]: text".
func appendSyslog(dst []byte, l *Log, r *Record) []byte {
	name, pid := l.tag(r)
	dst = fmt.Appendf(dst, "<%d>%s %s", facility<<3|int(r.Priority), r.Time.Format(time.Stamp), name)
	if pid != 0 {
		dst = fmt.Appendf(dst, "[%d]", pid)
	}
	return append(append(dst, ": "...), r.Message...)
}

// appendJournal encodes r for systemd-journald: a line a field, or for what is
// not one line of text the length and the bytes.
func appendJournal(dst []byte, l *Log, r *Record) []byte {
	name, pid := l.tag(r)
	field := func(key, value string) {
		if value != "" {
			dst = append(append(append(append(dst, key...), '='), value...), '\n')
		}
	}
	number := func(n int) string {
		if n == 0 {
			return ""
		}
		return strconv.Itoa(n)
	}
	field("PRIORITY", strconv.Itoa(int(r.Priority)))
	field("SYSLOG_FACILITY", strconv.Itoa(facility))
	field("SYSLOG_PID", number(pid))
	field("OBJECT_PID", number(pid)) // journald adds what it knows of that process
	field("NSINIT_UNIT", l.cfg.Unit)
	field("NSINIT_STREAM", r.Stream.String())
	field("NSINIT_SEQ", strconv.FormatUint(r.Seq, 10))
	dst = appendBinary(dst, "SYSLOG_IDENTIFIER", []byte(name))
	return appendBinary(dst, "MESSAGE", r.Message)
}

func appendBinary(dst []byte, key string, value []byte) []byte {
	dst = append(append(dst, key...), '\n')
	dst = binary.LittleEndian.AppendUint64(dst, uint64(len(value)))
	return append(append(dst, value...), '\n')
}

// append5424 encodes r for a syslog server (RFC 5424): "<30>1
// 2026-11-23T16:02:11.123456Z host web 8127 - - text".
func append5424(dst []byte, l *Log, r *Record) []byte {
	name, pid := l.tag(r)
	host, _ := os.Hostname()
	id := ""
	for _, f := range r.Fields {
		if f.Name == "MSGID" {
			id = f.Value
		}
	}
	number := ""
	if pid != 0 {
		number = strconv.Itoa(pid)
	}
	dst = fmt.Appendf(dst, "<%d>1 %s %s %s %s %s - ", facility<<3|int(r.Priority), r.Time.UTC().Format("2006-01-02T15:04:05.000000Z07:00"),
		header(host, 255), header(name, 48), header(number, 128), header(id, 32))
	return append(dst, r.Message...)
}

// header makes s a header field: printable ASCII without spaces, "-" for none.
func header(s string, most int) string {
	s = strings.Map(func(c rune) rune {
		if c <= ' ' || c > '~' {
			return '_'
		}
		return c
	}, s)
	if s == "" {
		return "-"
	}
	return s[:min(len(s), most)]
}

// framed puts the length before a message: TCP keeps no bounds (RFC 6587, 3.4.1).
func framed(msg []byte) []byte {
	return append(strconv.AppendInt(make([]byte, 0, len(msg)+8), int64(len(msg)), 10), append([]byte{' '}, msg...)...)
}
