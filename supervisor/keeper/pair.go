package keeper

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// queue is what a Keeper does to its socketpair: one system call a method, so
// that a death of the manager falls between two of them.
type queue interface {
	push(b []byte, fds []int) error // to the tail
	head() ([]byte, error)          // without its descriptors
	headFDs() ([]int, error)        // copies, the caller's
	pop() error                     // discards the head, and with it the descriptors
}

// pair is a socketpair: what is sent to one end waits at the other.
type pair struct {
	send, keep int
}

const (
	// bufferSize is asked for as the send buffer, and the kernel gives twice as
	// much: room for some 3000 messages, each of which it charges with about
	// 1.3 KiB, in memory that is taken only as they come.
	bufferSize = 2 << 20
	// reserve is left free: a message can only be moved to the tail while its
	// copy has room there.
	reserve = 4 << 10
)

func newPair() (pair, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return pair{}, fmt.Errorf("cannot make the keeper's sockets: %w", os.NewSyscallError("socketpair", err))
	}
	p := pair{fds[0], fds[1]}
	p.enlarge()
	return p, nil
}

// enlarge makes room for more messages than net.core.wmem_default, where the
// manager may (CAP_NET_ADMIN); else for as many as any socket can have.
func (p pair) enlarge() {
	if unix.SetsockoptInt(p.send, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, bufferSize) != nil {
		_ = unix.SetsockoptInt(p.send, unix.SOL_SOCKET, unix.SO_SNDBUF, bufferSize)
	}
}

// full reports whether another message would leave no room to move one.
func (p pair) full() (bool, error) {
	size, err := unix.GetsockoptInt(p.send, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		return false, os.NewSyscallError("getsockopt", err)
	}
	used, err := unix.IoctlGetInt(p.send, unix.SIOCOUTQ)
	if err != nil {
		return false, os.NewSyscallError("ioctl", err)
	}
	return used+reserve >= size, nil
}

func (p pair) push(b []byte, fds []int) error {
	err := unix.Sendmsg(p.send, b, unix.UnixRights(fds...), nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	switch {
	case err == unix.EAGAIN:
		return fmt.Errorf("cannot keep any more descriptors: the keeper's queue is full (net.core.wmem_max, without CAP_NET_ADMIN): %w", err)
	case err == unix.ETOOMANYREFS:
		return fmt.Errorf("cannot keep any more descriptors: more than RLIMIT_NOFILE of this user are in flight, and CAP_SYS_ADMIN is missing: %w", err)
	case err != nil:
		return fmt.Errorf("cannot keep descriptors: %w", os.NewSyscallError("sendmsg", err))
	}
	return nil
}

func (p pair) head() ([]byte, error) {
	m, err := p.look(nil)
	return m.bytes, err
}

func (p pair) headFDs() ([]int, error) {
	m, err := p.look(make([]byte, unix.CmsgSpace(4*FDsMax)))
	return m.fds, err
}

// seen is a message that is still in the queue.
type seen struct {
	bytes []byte
	fds   []int
	cut   bool // it is longer
}

// look looks at a message, and copies its descriptors where there is room for
// control messages.
func (p pair) look(control []byte) (seen, error) {
	b := make([]byte, messageMax)
	n, controlled, flags, _, err := unix.Recvmsg(p.keep, b, control, unix.MSG_PEEK|unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return seen{}, os.NewSyscallError("recvmsg", err)
	}
	fds := rights(control[:controlled])
	if len(control) > 0 && flags&unix.MSG_CTRUNC != 0 {
		closeAll(fds)
		return seen{}, fmt.Errorf("cannot take all descriptors back: %w (see RLIMIT_NOFILE of the manager)", unix.EMFILE)
	}
	return seen{b[:n], fds, flags&unix.MSG_TRUNC != 0}, nil
}

// rights collects the descriptors of a control message.
func rights(control []byte) (fds []int) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		if got, err := unix.ParseUnixRights(&m); err == nil {
			fds = append(fds, got...)
		}
	}
	return fds
}

func (p pair) pop() error {
	var b [1]byte
	if _, _, err := unix.Recvfrom(p.keep, b[:], unix.MSG_DONTWAIT); err != nil {
		return os.NewSyscallError("recvfrom", err)
	}
	return nil
}

// each looks at every message in order, and leaves all of them (SO_PEEK_OFF,
// socket(7): every look goes on behind what the last one has shown, which of a
// message that is cut is its rest).
func (p pair) each(control []byte, see func(seen)) error {
	if err := unix.SetsockoptInt(p.keep, unix.SOL_SOCKET, unix.SO_PEEK_OFF, 0); err != nil {
		return fmt.Errorf("cannot look through what is kept: %w", os.NewSyscallError("setsockopt", err))
	}
	defer unix.SetsockoptInt(p.keep, unix.SOL_SOCKET, unix.SO_PEEK_OFF, -1)
	for rest := false; ; {
		m, err := p.look(control)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case err != nil:
			return fmt.Errorf("cannot look through what is kept: %w", err)
		case rest:
			closeAll(m.fds)
		default:
			see(m)
		}
		rest = m.cut
	}
}

func (p pair) close() { closeAll([]int{p.send, p.keep}) }

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
