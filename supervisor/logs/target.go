package logs

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// forwardMax is how many bytes wait for a log while it does not take them; beyond
	// that records are left out and counted.
	forwardMax = 1 << 20
	// resolveTime bounds the search for a server's address, and lostAfter the time
	// for which what was sent by TCP may stay unacknowledged.
	resolveTime = 10 * time.Second
	lostAfter   = 30 * time.Second
)

// target is a log of somebody else's. It belongs to the Pump's goroutine, and never
// makes that wait: what the log does not take now waits in the queue.
type target struct {
	pump  *Pump
	name  string // as in Config.Forward
	users int
	path  string // of a Unix socket
	net   string // "udp", "tcp"; "" for a Unix socket
	host  string
	port  uint16

	fd        int
	connected bool
	resolving bool
	queue     []message
	size      int  // bytes in queue and flight
	sent      int  // bytes of the first message that a stream has taken
	full      bool // it takes nothing now; it is waited for
	retryAt   time.Duration
	trouble   string // why it is out of reach; "" while it is not

	// flight is what was sent and may not have arrived: of TCP what was not
	// acknowledged, of UDP the last, to which an error would belong.
	flight []message
}

type message struct {
	to   *outlet
	data []byte
}

// target finds or makes the target of a name in Config.Forward.
func (p *Pump) target(name string) *target {
	if t := p.targets[name]; t != nil {
		return t
	}
	t := &target{pump: p, name: name, fd: -1, path: p.sockets[name]}
	if kind, at, ok := strings.Cut(name, ":"); ok {
		host, port, err := net.SplitHostPort(at)
		n, _ := strconv.ParseUint(port, 10, 16)
		t.net, t.host, t.port = kind, host, uint16(n)
		if err != nil {
			t.trouble = err.Error()
		}
	}
	p.targets[name] = t
	return t
}

// leave lets go of a target. What nobody uses any more is closed once it has what
// waits for it.
func (p *Pump) leave(t *target) {
	t.users--
	t.closeUnused()
}

func (t *target) closeUnused() {
	if t.users == 0 && len(t.queue) == 0 {
		t.close()
		delete(t.pump.targets, t.name)
	}
}

func (t *target) encode(l *Log, r *Record) []byte {
	switch {
	case t.net == "tcp":
		return framed(append5424(nil, l, r))
	case t.net == "udp":
		return append5424(nil, l, r)
	case t.name == ToJournal:
		return appendJournal(nil, l, r)
	}
	return appendSyslog(nil, l, r)
}

// send hands over what a batch that is in the log now has for others.
func (p *Pump) send(list []message) {
	for _, m := range list {
		t := m.to.target
		t.landed()
		if t.size+len(m.data) > forwardMax {
			m.to.unsent++
			continue
		}
		t.queue = append(t.queue, m)
		t.size += len(m.data)
	}
	for _, t := range p.targets {
		t.flush()
	}
}

// flush sends what the log takes.
func (t *target) flush() {
	for len(t.queue) > 0 && !t.full {
		if !t.connected && !t.connect() {
			return
		}
		m := t.queue[0]
		n, err := unix.SendmsgN(t.fd, m.data[t.sent:], nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		switch {
		case err == nil && t.sent+n < len(m.data): // only of a stream
			t.sent += n
		case err == nil:
			t.taken()
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			t.await()
		case errors.Is(err, unix.EMSGSIZE):
			m.to.unsent++
			t.pop()
		default: // it has gone, and may be back
			t.fail(err)
			return
		}
	}
	if len(t.queue) == 0 {
		t.queue = nil
		t.say("")
		t.closeUnused()
	}
}

func (t *target) pop() {
	t.size -= len(t.queue[0].data)
	t.queue[0], t.sent = message{}, 0
	t.queue = t.queue[1:]
}

// taken moves the first message from the queue into flight.
func (t *target) taken() {
	m := t.queue[0]
	t.pop()
	if t.net == "" {
		return
	}
	if t.net == "udp" && len(t.flight) > 0 {
		t.arrived()
	}
	t.flight = append(t.flight, m)
	t.size += len(m.data)
}

func (t *target) arrived() {
	t.size -= len(t.flight[0].data)
	t.flight[0] = message{}
	t.flight = t.flight[1:]
}

// landed forgets what the other end of a stream has acknowledged (SIOCOUTQ of
// tcp(7): bytes that were not).
func (t *target) landed() {
	if t.net != "tcp" || !t.connected || len(t.flight) == 0 {
		return
	}
	left, err := unix.IoctlGetInt(t.fd, unix.SIOCOUTQ)
	if err != nil {
		return
	}
	waiting := t.sent
	for _, m := range t.flight {
		waiting += len(m.data)
	}
	for len(t.flight) > 0 && waiting-len(t.flight[0].data) >= left {
		waiting -= len(t.flight[0].data)
		t.arrived()
	}
}

// await waits for the log to take more (unix(7): a connected datagram socket is
// writable again once its peer has read).
func (t *target) await() {
	var err error
	if t.full = true; t.net == "" {
		err = t.pump.poller.Add(t.fd, unix.EPOLLOUT, t.event)
	} else {
		err = t.pump.poller.Modify(t.fd, unix.EPOLLOUT|unix.EPOLLIN|unix.EPOLLRDHUP)
	}
	if err != nil {
		t.fail(err)
	}
}

// event is of a socket that has become writable, or has ended. A syslog server sends
// nothing: what can be read is its end.
func (t *target) event(events uint32) {
	code, err := unix.GetsockoptInt(t.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	if err == nil && events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP) != 0 && t.net == "tcp" {
		err = t.readEnd()
	}
	if err != nil {
		t.fail(err)
		return
	}
	t.connected, t.full = true, false
	switch t.net {
	case "":
		t.pump.poller.Remove(t.fd)
	case "tcp":
		_ = t.pump.poller.Modify(t.fd, unix.EPOLLIN|unix.EPOLLRDHUP)
	default:
		_ = t.pump.poller.Modify(t.fd, 0)
	}
	t.resume()
}

func (t *target) readEnd() error {
	var b [512]byte
	n, err := unix.Read(t.fd, b[:])
	switch {
	case err == nil && n == 0:
		t.landed()
		return errors.New("the server closed the connection")
	case err == unix.EAGAIN:
		return nil
	}
	return err
}

// fail closes the socket. What may not have arrived is sent again: rather twice
// than never. (After a reset the kernel does not know any more what did.)
func (t *target) fail(err error) {
	t.close()
	t.queue, t.flight, t.sent = append(t.flight, t.queue...), nil, 0
	if len(t.queue) == 0 { // the next record tries it again
		t.say("")
		return
	}
	at := t.path
	if t.net != "" {
		at = net.JoinHostPort(t.host, strconv.Itoa(int(t.port)))
	}
	t.say(fmt.Sprintf("%s: %v", at, err))
	t.retryAt = t.pump.now() + retryAfter
	t.pump.arm(t.retryAt)
}

// say has the logs show a change.
func (t *target) say(trouble string) {
	if t.trouble == trouble {
		return
	}
	t.trouble = trouble
	t.ofLogs((*Log).publish)
}

func (t *target) ofLogs(fn func(*Log)) {
	for l := range t.pump.logs {
		for _, o := range l.outs {
			if o.target == t {
				fn(l)
			}
		}
	}
}

// resume goes on with what has waited, and has the logs tell of what could not.
func (t *target) resume() {
	t.flush()
	if len(t.queue) > 0 {
		return
	}
	t.ofLogs(func(l *Log) {
		for _, o := range l.outs {
			if o.unsent != o.told {
				l.flush()
			}
		}
	})
}

func (t *target) close() {
	if t.fd >= 0 {
		t.pump.poller.Remove(t.fd)
		unix.Close(t.fd)
	}
	t.fd, t.connected, t.full = -1, false, false
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
