package notify

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/supervisor/notify/dgram"
)

// Sender is who sent a datagram, as far as the kernel tells. It is advisory: see
// the package comment.
type Sender = dgram.Sender

// ErrAgain is returned by Receive when no datagram is there.
var ErrAgain error = unix.EAGAIN

// ErrStuck is returned by Receive when descriptors that the service sent earlier
// cannot be closed (a close may block for ever, on a dead FUSE mount say).
// Nothing more is read, so that only this service waits: stop watching the socket
// and report it.
var ErrStuck = errors.New("descriptors sent by the service cannot be closed")

// Dropped is the error of Receive for a datagram that was dropped whole. The
// next call goes on with the next datagram.
type Dropped struct {
	Sender Sender
	Cause  error
}

func (d *Dropped) Error() string {
	return fmt.Sprintf("cannot use notify datagram from pid %d: %v", d.Sender.PID, d.Cause)
}

func (d *Dropped) Unwrap() error { return d.Cause }

// Received is one datagram that was understood. Call Done once it, and what came
// before it, has been acted on.
type Received struct {
	Message Message
	Sender  Sender

	socket  *Socket
	barrier int // descriptor to close in Done, or -1
}

// Done ends a barrier: the client's sd_notify_barrier(3) returns. It does
// nothing for other messages and may be called twice.
func (r *Received) Done() {
	if r.socket != nil && r.barrier >= 0 {
		r.socket.closer.Close(r.barrier)
		r.barrier = -1
	}
}

// Socket is the notify socket of one service. Receive is for one goroutine; the
// rest may be called from any.
type Socket struct {
	fd       int
	received atomic.Uint64
	dropped  atomic.Uint64
	closer   dgram.Closer
}

// Listen makes the socket at path, for example
// /run/nsinit/units/web/notify, with the given mode. Whatever socket is there is
// replaced; anything else there is an error.
func Listen(path string, mode os.FileMode) (*Socket, error) {
	fd, err := dgram.Listen(path, mode)
	if err != nil {
		return nil, err
	}
	return &Socket{fd: fd}, nil
}

// FromFD takes over a bound notify socket, such as one that an earlier manager
// made. The descriptor belongs to the Socket if there is no error.
func FromFD(fd int) (*Socket, error) {
	if err := dgram.Adopt(fd); err != nil {
		return nil, err
	}
	return &Socket{fd: fd}, nil
}

// FD is the descriptor to watch for EPOLLIN. It stays the Socket's.
func (s *Socket) FD() int { return s.fd }

// Counters is how many datagrams were understood, and how many dropped.
func (s *Socket) Counters() (received, dropped uint64) {
	return s.received.Load(), s.dropped.Load()
}

// Close closes the socket. Clients get ECONNREFUSED from then on.
func (s *Socket) Close() error {
	if s.fd < 0 {
		return nil
	}
	err := unix.Close(s.fd)
	s.fd = -1
	return err
}

// Receive takes one datagram without blocking: a Received; or ErrAgain; or a
// *Dropped error, after which to call again; or ErrStuck; any other error means
// that the socket is broken. Every descriptor in the datagram is closed, that of
// a barrier in Done. To be fair to others call it a bounded number of times per
// wake-up: the socket stays readable.
func (s *Socket) Receive() (Received, error) {
	if s.closer.Stuck() {
		return Received{}, ErrStuck
	}
	var buf [MaxDatagram + 1]byte
	d, err := dgram.Receive(s.fd, buf[:])
	if err != nil {
		return Received{}, err
	}
	r, err := interpret(d)
	r.socket = s
	if r.barrier >= 0 {
		d.FDs = nil
	}
	s.closer.Close(d.FDs...)
	if err != nil {
		s.dropped.Add(1)
		return Received{}, &Dropped{d.Sender, err}
	}
	s.received.Add(1)
	return r, nil
}

// interpret decides what becomes of a datagram; it closes nothing.
func interpret(d dgram.Datagram) (Received, error) {
	r := Received{Sender: d.Sender, barrier: -1}
	switch {
	case d.Truncated && len(d.Data) > MaxDatagram:
		return r, ErrTooLong
	case d.Truncated:
		return r, errors.New("its control data was cut off: too many open files?")
	case !d.HasSender:
		return r, errors.New("it carries no credentials")
	}
	var err error
	if r.Message, err = Parse(d.Data); err != nil {
		return r, err
	}
	if !r.Message.Barrier {
		return r, nil
	}
	if len(d.FDs) != 1 {
		return r, fmt.Errorf("BARRIER=1 came with %d descriptors instead of one", len(d.FDs))
	}
	r.barrier = d.FDs[0]
	return r, nil
}
