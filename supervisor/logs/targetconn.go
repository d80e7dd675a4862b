package logs

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// connect reports whether the log can be sent to. It is tried once a second.
func (t *target) connect() bool {
	if t.fd >= 0 || t.resolving || t.pump.now() < t.retryAt {
		return false
	}
	if t.net == "" {
		return t.open(&unix.SockaddrUnix{Name: t.path})
	}
	if ip, err := netip.ParseAddr(t.host); err == nil {
		return t.open(sockaddr(ip, t.port))
	}
	t.resolve()
	return false
}

func sockaddr(ip netip.Addr, port uint16) unix.Sockaddr {
	if ip.Is4() || ip.Is4In6() {
		return &unix.SockaddrInet4{Port: int(port), Addr: ip.As4()}
	}
	zone, _ := strconv.ParseUint(ip.Zone(), 10, 32)
	if dev, err := net.InterfaceByName(ip.Zone()); err == nil {
		zone = uint64(dev.Index)
	}
	return &unix.SockaddrInet6{Port: int(port), Addr: ip.As16(), ZoneId: uint32(zone)}
}

// resolve looks the server's name up, elsewhere: that may take its time.
func (t *target) resolve() {
	t.resolving = true
	p, host := t.pump, t.host
	p.resolving.Go(func() {
		ctx, cancel := context.WithTimeout(p.ctx, resolveTime)
		defer cancel()
		found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		p.post(func() { t.resolved(found, err) })
	})
}

func (t *target) resolved(found []netip.Addr, err error) {
	t.resolving = false
	switch {
	case t.pump.targets[t.name] != t || t.fd >= 0:
	case err != nil || len(found) == 0:
		t.fail(fmt.Errorf("cannot find %s: %w", t.host, err))
	case t.open(sockaddr(found[0], t.port)):
		t.resume()
	}
}

// open makes the socket, and reports whether it is connected already.
func (t *target) open(to unix.Sockaddr) bool {
	domain, kind := unix.AF_UNIX, unix.SOCK_DGRAM
	switch to.(type) {
	case *unix.SockaddrInet4:
		domain = unix.AF_INET
	case *unix.SockaddrInet6:
		domain = unix.AF_INET6
	}
	if t.net == "tcp" {
		kind = unix.SOCK_STREAM
	}
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.fail(err)
		return false
	}
	t.fd = fd
	var events uint32 // EPOLLERR comes anyway: the news that nobody listens
	if t.net == "tcp" {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(lostAfter.Milliseconds()))
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
		events = unix.EPOLLOUT
	}
	err = unix.Connect(fd, to)
	t.connected = err == nil
	if err != nil && err != unix.EINPROGRESS {
		t.fail(err)
		return false
	}
	if t.connected && t.net == "tcp" {
		events = unix.EPOLLIN | unix.EPOLLRDHUP
	}
	if t.net != "" {
		if err := t.pump.poller.Add(fd, events, t.event); err != nil {
			t.fail(err)
			return false
		}
	}
	return t.connected
}
