// Package dgram receives from Unix datagram sockets of which every datagram
// carries the sender's credentials: the notify sockets and /dev/log of services.
package dgram

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Sender is who sent a datagram, as the kernel saw it (SCM_CREDENTIALS). It is
// advisory: root may write any pid of its own namespace there (unix(7)). PID is
// 0 when the sender is not visible from here.
type Sender struct {
	PID      int
	UID, GID uint32
}

// Datagram is one received message.
type Datagram struct {
	Data      []byte // part of the buffer given to Receive
	Truncated bool   // the datagram was longer than the buffer, or control data was cut
	HasSender bool
	Sender    Sender
	FDs       []int // close-on-exec; the caller closes them
}

// Listen makes a non-blocking datagram socket bound to path with the given mode
// and with SO_PASSCRED, replacing whatever socket is at that path. The path may
// be longer than the 107 bytes of sun_path.
func Listen(path string, mode os.FileMode) (int, error) {
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot open directory of socket %s: %w", path, err)
	}
	defer unix.Close(dir)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot create socket %s: %w", path, err)
	}
	if err := bind(fd, dir, path, mode); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// bind gives fd its name. Credentials are turned on first, so that no datagram
// can arrive without them.
func bind(fd, dir int, path string, mode os.FileMode) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		return fmt.Errorf("cannot ask for credentials on socket %s: %w", path, err)
	}
	short := fmt.Sprintf("/proc/self/fd/%d/%s", dir, filepath.Base(path))
	if err := removeSocket(dir, filepath.Base(path)); err != nil {
		return fmt.Errorf("cannot replace %s: %w", path, err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: short}); err != nil {
		return fmt.Errorf("cannot bind socket %s: %w", path, err)
	}
	if err := unix.Fchmodat(dir, filepath.Base(path), uint32(mode.Perm()), 0); err != nil {
		return fmt.Errorf("cannot set mode of socket %s: %w", path, err)
	}
	return nil
}

// removeSocket unlinks a stale socket, and nothing that is not a socket.
func removeSocket(dir int, name string) error {
	var st unix.Stat_t
	err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return errors.New("it exists and is not a socket")
	}
	return unix.Unlinkat(dir, name, 0)
}

// Adopt checks that fd is a Unix datagram socket and makes it non-blocking,
// close-on-exec and SO_PASSCRED.
func Adopt(fd int) error {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return fmt.Errorf("cannot adopt descriptor %d as a socket: %w", fd, err)
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || domain != unix.AF_UNIX || kind != unix.SOCK_DGRAM {
		return fmt.Errorf("cannot adopt descriptor %d: not a Unix datagram socket", fd)
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		return fmt.Errorf("cannot make socket %d non-blocking: %w", fd, err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		return fmt.Errorf("cannot ask for credentials on socket %d: %w", fd, err)
	}
	return nil
}

// Receive takes one datagram from fd into buf without blocking; unix.EAGAIN
// means that none is there. A zero-length datagram is a datagram.
func Receive(fd int, buf []byte) (Datagram, error) {
	var oob [2048]byte // credentials and 253 descriptors are 1,064 bytes
	for {
		n, oobn, flags, _, err := unix.Recvmsg(fd, buf, oob[:], unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return Datagram{}, err
		}
		d := Datagram{Data: buf[:n], Truncated: flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0}
		d.readControl(oob[:oobn])
		return d, nil
	}
}

// readControl takes sender and descriptors out of the control messages. Every
// descriptor that the kernel installed ends in FDs, or it would leak.
func (d *Datagram) readControl(oob []byte) {
	for len(oob) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return
		}
		oob = rest
		m := unix.SocketControlMessage{Header: h, Data: data}
		switch {
		case h.Level != unix.SOL_SOCKET:
		case h.Type == unix.SCM_RIGHTS:
			fds, _ := unix.ParseUnixRights(&m)
			d.FDs = append(d.FDs, fds...)
		case h.Type == unix.SCM_CREDENTIALS:
			if c, err := unix.ParseUnixCredentials(&m); err == nil {
				d.HasSender, d.Sender = true, Sender{int(c.Pid), c.Uid, c.Gid}
			}
		}
	}
}
