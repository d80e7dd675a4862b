package control

import (
	"errors"
	"fmt"
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
)

// identify reads who is at the other end of c, and has role decide. It fails
// only if the kernel does not say.
func identify(c *net.UnixConn, role RoleFunc) (Peer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return Peer{}, fmt.Errorf("cannot identify peer: %w", err)
	}
	var peer Peer
	var inner error
	err = raw.Control(func(fd uintptr) { peer, inner = identifyFD(int(fd), role) })
	if err == nil {
		err = inner
	}
	if err != nil {
		return Peer{}, fmt.Errorf("cannot identify peer: %w", err)
	}
	return peer, nil
}

func identifyFD(fd int, role RoleFunc) (Peer, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return Peer{}, fmt.Errorf("SO_PEERCRED: %w", err)
	}
	peer := Peer{PID: int(cred.Pid), UID: cred.Uid, GID: cred.Gid}
	if peer.Groups, err = peerGroups(fd); err != nil {
		return Peer{}, fmt.Errorf("SO_PEERGROUPS: %w", err)
	}
	// The pidfd is taken before the role is decided and looked at after: if
	// the process lived all the while, the pid meant it.
	pidfd, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	if errors.Is(err, unix.ENOPROTOOPT) {
		peer.Role = role(peer)
		return peer, nil
	}
	if err != nil { // EINVAL, ESRCH: it is gone already
		return peer, nil
	}
	defer unix.Close(pidfd)
	r := role(peer)
	if alive(pidfd) {
		peer.Role = r
	}
	return peer, nil
}

// alive tells whether the process of a pidfd has not ended (pidfd_open(2): it
// polls readable once it has).
func alive(pidfd int) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if err != unix.EINTR {
			return err == nil && n == 0
		}
	}
}

// peerGroups reads SO_PEERGROUPS (Linux 4.13), growing the buffer as the kernel
// asks with ERANGE.
func peerGroups(fd int) ([]uint32, error) {
	groups := make([]uint32, 32)
	for {
		size := uint32(len(groups) * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		if errno == unix.ERANGE && int(size) > len(groups)*4 {
			groups = make([]uint32, size/4)
			continue
		}
		if errno != 0 {
			return nil, errno
		}
		return groups[:size/4], nil
	}
}
