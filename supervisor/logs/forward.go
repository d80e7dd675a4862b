package logs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Forward is a set of the machine's logs that records are sent on to.
type Forward uint8

// The machine's logs, and the sockets where they listen.
const (
	ToSyslog  Forward = 1 << iota // RFC 3164, as syslog(3) sends it
	ToJournal                     // systemd's "Native Journal Protocol"

	SyslogSocket  = "/dev/log"
	JournalSocket = "/run/systemd/journal/socket"
)

// targets is how many logs there are.
const targets = 2

var targetNames = [targets]string{"syslog", "journal"}

const (
	// forwardMax is how many bytes wait for one of the machine's logs while it
	// does not take them; beyond that records are left out and counted.
	forwardMax = 1 << 20
	// tellAfter is the time between two notices of what was left out while a log
	// stays out of reach.
	tellAfter = time.Minute
	// facility is that of what comes from no program's own syslog(3): daemon.
	facility = 3
)

// target is one of the machine's logs. It belongs to the Pump's goroutine, and
// never makes that wait: what the log does not take now waits in the queue.
type target struct {
	pump     *Pump
	path     string
	fd       int
	queue    []message
	size     int  // bytes in queue
	watching bool // for the socket to take more
	retryAt  time.Duration
	trouble  string // why it is out of reach; "" while it is not
}

type message struct {
	from *Log
	to   int // index of the target
	data []byte
}

// ForwardTo names the sockets of the machine's logs; "" is the usual one.
func (p *Pump) ForwardTo(syslog, journal string) {
	p.post(func() {
		p.targets[0].move(orElse(syslog, SyslogSocket))
		p.targets[1].move(orElse(journal, JournalSocket))
	})
}

func orElse(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// Main tells the process ID of the service's main process, which is sent along.
func (l *Log) Main(pid int) { l.pump.post(func() { l.main = pid }) }

// forward puts r, as it goes to the machine's logs, into the batch.
func (l *Log) forward(b *batch, r *Record) {
	for i := range targetNames {
		if l.cfg.Forward>>i&1 == 0 || b.alone {
			continue
		}
		encode := appendSyslog
		if Forward(1<<i) == ToJournal {
			encode = appendJournal
		}
		b.sends = append(b.sends, message{from: l, to: i, data: encode(nil, l, r)})
	}
}

// send hands over what a batch that is in the log now has for the machine's logs.
func (p *Pump) send(list []message) {
	for _, m := range list {
		t := &p.targets[m.to]
		if t.size+len(m.data) > forwardMax {
			m.from.unsent[m.to]++
			continue
		}
		t.queue = append(t.queue, m)
		t.size += len(m.data)
	}
	for i := range p.targets {
		p.targets[i].flush()
	}
}

// flush sends what the log takes.
func (t *target) flush() {
	for len(t.queue) > 0 && !t.watching {
		if t.fd < 0 && !t.connect() {
			return
		}
		_, err := unix.SendmsgN(t.fd, t.queue[0].data, nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		switch {
		case err == nil:
			t.pop()
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			t.watch()
		case errors.Is(err, unix.EMSGSIZE):
			t.queue[0].from.unsent[t.queue[0].to]++
			t.pop()
		default: // it has gone, and may be back
			t.fail(err)
			return
		}
	}
	if len(t.queue) == 0 {
		t.queue, t.trouble = nil, ""
	}
}

func (t *target) pop() {
	t.size -= len(t.queue[0].data)
	t.queue[0] = message{}
	t.queue = t.queue[1:]
}

// connect reports whether the log can be reached. It is tried once a second.
func (t *target) connect() bool {
	if t.pump.now() < t.retryAt {
		return false
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		if err = unix.Connect(fd, &unix.SockaddrUnix{Name: t.path}); err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		t.fail(err)
		return false
	}
	t.fd = fd
	return true
}

// watch waits for the log to take more (unix(7): a connected datagram socket is
// writable again once its peer has read).
func (t *target) watch() {
	err := t.pump.poller.Add(t.fd, unix.EPOLLOUT, func(uint32) {
		t.pump.poller.Remove(t.fd)
		t.watching = false
		t.resume()
	})
	if t.watching = err == nil; err != nil {
		t.fail(err)
	}
}

func (t *target) fail(err error) {
	t.close()
	t.trouble = fmt.Sprintf("%s: %v", t.path, err)
	t.retryAt = t.pump.now() + retryAfter
	t.pump.arm(t.retryAt)
}

// resume goes on with what has waited, and has the logs tell of what could not.
func (t *target) resume() {
	t.flush()
	if len(t.queue) > 0 {
		return
	}
	for l := range t.pump.logs {
		if l.unsent != l.cur.unsentTold {
			l.flush()
		}
	}
}

func (t *target) close() {
	if t.fd >= 0 {
		t.pump.poller.Remove(t.fd)
		unix.Close(t.fd)
	}
	t.fd, t.watching = -1, false
}

// move makes path the place where the log listens.
func (t *target) move(path string) {
	if t.path != path {
		t.close()
		t.path, t.retryAt = path, 0
	}
}

// retry is for the timer: it tries a log again that was out of reach.
func (t *target) retry(now time.Duration) {
	switch {
	case t.fd >= 0 || len(t.queue) == 0:
	case t.retryAt <= now:
		t.resume()
	default:
		t.pump.arm(t.retryAt)
	}
}

// tellUnsent says in the unit's own log what did not go to the machine's: once
// that has taken all that waited, and from time to time while it does not. These
// notices stay here: each that could not go on would lead to another.
func (l *Log) tellUnsent(b *batch) {
	for i, n := range l.unsent {
		t := &l.pump.targets[i]
		if n == b.next.unsentTold[i] || len(t.queue) > 0 && b.now < b.next.unsentAt[i] {
			continue
		}
		why := t.trouble
		if why == "" {
			why = "it did not take them in time"
		}
		b.alone = true
		b.notice(Warning, "log: %d records were not forwarded to %s (%s)", n-b.next.unsentTold[i], targetNames[i], why)
		b.alone = false
		b.next.unsentTold[i], b.next.unsentAt[i] = n, b.now+tellAfter
	}
}

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
