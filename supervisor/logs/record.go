// Package logs keeps the log of every unit: what its processes write to stdout
// and stderr, what they send to /dev/log, and the manager's own notices.
//
// No line is lost or doubled when the manager is killed at any instant. splice(2)
// moves bytes from the service's pipe to the end of a staging file in one step
// that a kill cannot divide; framing reads the staging file, and every record
// appended to the log carries the staging offset up to which the log is
// complete. The next manager reads that offset from the last record and goes on
// there. (What came through /dev/log has no staging: a kill may lose the datagrams
// of one wake-up, at most 32.)
//
// A file that the service writes itself needs no staging: it stays where it is, and
// every record says up to where it has been read, see filePos.
//
// A log directory holds `current` and rotated files named after the sequence
// number of their first record, `00000000000000001234.log` or `.log.gz`. They are
// JSON lines, see Record and the function appendLine.
package logs

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

// Stream is where a record came from.
type Stream uint8

const (
	Stdout  Stream = iota // the service's standard output
	Stderr                // the service's standard error
	Syslog                // its private /dev/log
	Manager               // the supervisor's own notices
	File                  // a file that the service writes itself, see Config.Files
	Journal               // its private socket of the journal's protocol
)

// staged is how many streams have a staging file: Stdout and Stderr.
const staged = 2

var streamNames = [...]string{"stdout", "stderr", "syslog", "manager", "file", "journal"}

func (s Stream) String() string {
	if int(s) < len(streamNames) {
		return streamNames[s]
	}
	return "stream" + strconv.Itoa(int(s))
}

// ParseStream is the inverse of Stream.String.
func ParseStream(name string) (Stream, error) {
	for i, n := range streamNames {
		if n == name {
			return Stream(i), nil
		}
	}
	return 0, fmt.Errorf("cannot find log stream %q: one of stdout, stderr, syslog, manager, file, journal", name)
}

// Priority is a syslog severity: 0 emerg to 7 debug (syslog(3)).
type Priority uint8

const (
	Emerg Priority = iota
	Alert
	Crit
	Err
	Warning
	Notice
	Info
	Debug
)

// Record is one line of a log.
type Record struct {
	Time     time.Time // wall clock when it was read, ns
	Seq      uint64    // counts from 1 per unit, without gaps
	Stream   Stream
	Priority Priority
	PID      int    // sender of a syslog datagram as the kernel saw it; else 0
	Ident    string // name that the sender gave itself, else syslog_identifier; "" is the unit's
	File     string // path of the file inside the service; else ""
	Fields   []Field
	// Message is exactly what was written, without the newline and a leading <N>:
	// any bytes, NUL and terminal sequences included. Show it by a Formatter.
	Message []byte
	// Continued means that the line was longer than MaxLine and goes on in the next
	// record of the same stream.
	Continued bool
}

// MaxLine is how many bytes of a line one record holds; longer lines are split.
const MaxLine = 48 << 10

// position is how far a log is complete: the staging offset up to which each
// staged stream has been framed. Where a line is only half framed (split at
// MaxLine), mid holds its priority plus one.
type position struct {
	off [staged]int64
	mid [staged]uint8
}

// line is one line of a log file, record or mark, as JSON. A mark has version
// and no stream; it says where the log stands: at the head of each file, and where
// much was skipped without a record. A message that is not UTF-8 is in base64.
type line struct {
	Version  int               `json:"v,omitempty"`
	Unit     string            `json:"unit,omitempty"`
	Time     int64             `json:"t"` // ns since 1970
	Seq      uint64            `json:"n"` // of a mark: of the record before it
	Stream   *uint8            `json:"s,omitempty"`
	Priority uint8             `json:"p,omitempty"`
	PID      int               `json:"pid,omitempty"`
	Ident    string            `json:"id,omitempty"`
	Cont     bool              `json:"c,omitempty"`
	Message  string            `json:"m,omitempty"`
	Bytes    []byte            `json:"b,omitempty"`
	Off      [staged]int64     `json:"o"`
	Mid      *[staged]uint8    `json:"mid,omitempty"`
	File     string            `json:"file,omitempty"`
	Fields   map[string]string `json:"x,omitempty"`
	Files    []filePos         `json:"f,omitempty"` // of a record: those that moved since the line before; of a mark: all
}

// formatVersion is the v of marks.
const formatVersion = 1

func (l *line) isMark() bool { return l.Stream == nil }

func (l *line) position() position {
	p := position{off: l.Off}
	if l.Mid != nil {
		p.mid = *l.Mid
	}
	return p
}

func (l *line) record() Record {
	r := Record{Time: time.Unix(0, l.Time), Seq: l.Seq, Stream: Stream(*l.Stream), Priority: Priority(l.Priority),
		PID: l.PID, Ident: l.Ident, File: l.File, Fields: fieldsOf(l.Fields), Continued: l.Cont, Message: l.Bytes}
	if r.Message == nil {
		r.Message = []byte(l.Message)
	}
	return r
}

// parseLine reads one line of a log file, without its newline.
func parseLine(b []byte) (line, error) {
	var l line
	if err := json.Unmarshal(b, &l); err != nil {
		return l, err
	}
	switch {
	case l.Stream == nil && l.Version == 0:
		return l, fmt.Errorf("cannot read log line: neither record nor mark")
	case l.Version > formatVersion:
		return l, fmt.Errorf("cannot read log line: version %d is newer than this program's %d", l.Version, formatVersion)
	case l.Stream != nil && *l.Stream > uint8(Journal), l.Priority > uint8(Debug), l.Off[0] < 0, l.Off[1] < 0:
		return l, fmt.Errorf("cannot read log line: value out of range")
	}
	return l, nil
}

// appendLine adds the file form of r to dst, newline included:
//
//	{"t":1700000000123456789,"n":17,"s":0,"p":6,"m":"text","o":[512,0]}
//
// pos is how far the log is complete once this record is in it; files whose positions
// have moved since the line before follow it.
func appendLine(dst []byte, r *Record, pos position, files []filePos) []byte {
	dst = appendHead(dst, `{"t":`, r.Time.UnixNano(), r.Seq)
	dst = append(dst, `,"s":`...)
	dst = strconv.AppendUint(dst, uint64(r.Stream), 10)
	if r.Priority != 0 {
		dst = append(dst, `,"p":`...)
		dst = strconv.AppendUint(dst, uint64(r.Priority), 10)
	}
	if r.PID != 0 {
		dst = append(dst, `,"pid":`...)
		dst = strconv.AppendInt(dst, int64(r.PID), 10)
	}
	if r.Ident != "" {
		dst = append(dst, `,"id":`...)
		dst = appendString(dst, []byte(r.Ident))
	}
	if r.File != "" {
		dst = append(dst, `,"file":`...)
		dst = appendString(dst, []byte(r.File))
	}
	dst = appendFields(dst, r.Fields)
	if r.Continued {
		dst = append(dst, `,"c":true`...)
	}
	dst = appendMessage(dst, r.Message)
	return appendPosition(dst, pos, files, false)
}

// appendMark adds a mark: the log of unit is complete up to pos and record seq.
func appendMark(dst []byte, unit string, now time.Time, seq uint64, pos position, files []filePos) []byte {
	dst = append(dst, `{"v":1,"unit":`...)
	dst = appendString(dst, []byte(unit))
	dst = appendHead(dst, `,"t":`, now.UnixNano(), seq)
	return appendPosition(dst, pos, files, true)
}

func appendHead(dst []byte, open string, nanos int64, seq uint64) []byte {
	dst = append(dst, open...)
	dst = strconv.AppendInt(dst, nanos, 10)
	dst = append(dst, `,"n":`...)
	return strconv.AppendUint(dst, seq, 10)
}

func appendPosition(dst []byte, pos position, files []filePos, all bool) []byte {
	dst = append(dst, `,"o":[`...)
	dst = strconv.AppendInt(dst, pos.off[0], 10)
	dst = append(dst, ',')
	dst = strconv.AppendInt(dst, pos.off[1], 10)
	dst = append(dst, ']')
	if pos.mid != [staged]uint8{} {
		dst = fmt.Appendf(dst, `,"mid":[%d,%d]`, pos.mid[0], pos.mid[1])
	}
	dst = appendFiles(dst, files, all)
	return append(dst, '}', '\n')
}

func appendMessage(dst, msg []byte) []byte {
	if utf8.Valid(msg) {
		dst = append(dst, `,"m":`...)
		return appendString(dst, msg)
	}
	dst = append(dst, `,"b":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, msg)
	return append(dst, '"')
}
