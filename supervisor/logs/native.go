package logs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// maxSealed is how much is read of what a sender puts into a memfd because it is
// too long for a datagram; a record keeps less.
const maxSealed = 1 << 20

// isNative tells a datagram of the journal's protocol from one of syslog, which
// begins with its priority: the two sockets are one.
func isNative(b []byte) bool {
	name, _, _, ok := nativeField(b)
	return ok && isFieldName(strings.TrimLeft(name, "_"))
}

// ParseNative reads a datagram of systemd's Native Journal Protocol: for each field
// a line NAME=VALUE, or the name, a line feed, the length in 8 bytes (little
// endian), the value and a line feed. An empty line begins another record. Of the
// fields MESSAGE, PRIORITY and SYSLOG_IDENTIFIER have places of their own. Those that
// begin with _ are journald's alone to write, and left out. What cannot be read
// ends the record, which is marked by Continued.
func ParseNative(b []byte) (list []Record) {
	r := Record{Stream: Journal, Priority: Info}
	fields := 0
	for len(b) > 0 {
		if b[0] == '\n' {
			if b = b[1:]; fields > 0 {
				list = append(list, r)
			}
			r, fields = Record{Stream: Journal, Priority: Info}, 0
			continue
		}
		name, value, rest, ok := nativeField(b)
		if !ok {
			r.Continued = true
			break
		}
		b, fields = rest, fields+1
		r.setField(name, value)
	}
	if fields > 0 || r.Continued {
		list = append(list, r)
	}
	return list
}

func nativeField(b []byte) (name string, value, rest []byte, ok bool) {
	line, rest, whole := bytes.Cut(b, []byte("\n"))
	if key, value, found := bytes.Cut(line, []byte("=")); found {
		return string(key), value, rest, true
	}
	if !whole || len(rest) < 8 {
		return "", nil, nil, false
	}
	size := binary.LittleEndian.Uint64(rest)
	if rest = rest[8:]; size >= uint64(len(rest)) || rest[size] != '\n' {
		return "", nil, nil, false
	}
	return string(line), rest[:size], rest[size+1:], true
}

func (r *Record) setField(name string, value []byte) {
	switch {
	case name == "MESSAGE":
		room := MaxLine - maxFieldBytes
		r.Message, r.Continued = bytes.Clone(value[:min(len(value), room)]), r.Continued || len(value) > room
	case name == "PRIORITY" && len(value) == 1 && value[0] >= '0' && value[0] <= '7':
		r.Priority = Priority(value[0] - '0')
	case name == "SYSLOG_IDENTIFIER":
		r.Ident = string(bytes.ToValidUTF8(value[:min(len(value), maxIdent)], []byte("\ufffd")))
	case isFieldName(name):
		r.addField(name, value)
	}
}

func isFieldName(name string) bool {
	for i, c := range []byte(name) {
		if (c < 'A' || c > 'Z') && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return len(name) > 0 && len(name) <= 64
}

// readSealed reads a memfd that nobody can change any more (memfd_create(2)). What
// is anything else is not read: that could block.
func readSealed(fd int) ([]byte, error) {
	const want = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil || seals&want != want {
		return nil, errors.New("it is no sealed memfd")
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	b := make([]byte, min(st.Size, maxSealed))
	n, err := fdReader(fd).ReadAt(b, 0)
	if n < len(b) {
		return nil, err
	}
	return b, nil
}
