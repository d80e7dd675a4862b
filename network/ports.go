package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/network/filter"
)

// reservation keeps the host's ports that lead to a unit from everybody else: a
// socket is bound to each, and does not listen. What is translated never reaches
// it. The kernel gives them back when the manager dies; the next binds anew.
type reservation struct {
	ports []filter.Port
	fds   []int
}

// reserve binds the ports. One that is taken is an error that names its holder.
func reserve(ports []filter.Port) (r *reservation, err error) {
	r = &reservation{ports: ports}
	for _, p := range ports {
		for n := int(p.First); n <= int(p.Last); n++ {
			if err := r.bind(p, uint16(n)); err != nil {
				r.release()
				return nil, err
			}
		}
	}
	return r, nil
}

// bind reserves one port, for both families where every address is meant.
func (r *reservation) bind(p filter.Port, number uint16) error {
	hosts := []netip.Addr{p.Host}
	if !p.Host.IsValid() {
		hosts = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	}
	for _, host := range hosts {
		at := netip.AddrPortFrom(host, number)
		fd, err := bindSocket(p.Proto, at)
		if errors.Is(err, unix.EAFNOSUPPORT) || !p.Host.IsValid() && errors.Is(err, unix.EADDRNOTAVAIL) {
			continue // no IPv6 here
		}
		switch {
		case errors.Is(err, unix.EADDRINUSE):
			return fmt.Errorf("cannot publish port %d/%s: it is taken%s", number, p.Proto, holderText(p.Proto, number))
		case errors.Is(err, unix.EADDRNOTAVAIL):
			return fmt.Errorf("cannot publish port %d/%s on %s: the host has no such address", number, p.Proto, host)
		case err != nil:
			return fmt.Errorf("cannot publish port %d/%s: %w", number, p.Proto, err)
		}
		r.fds = append(r.fds, fd)
	}
	return nil
}

func (r *reservation) release() {
	if r == nil {
		return
	}
	for _, fd := range r.fds {
		unix.Close(fd)
	}
	r.fds = nil
}

func bindSocket(proto filter.Proto, at netip.AddrPort) (int, error) {
	domain, kind := unix.AF_INET, unix.SOCK_STREAM
	if at.Addr().Is6() {
		domain = unix.AF_INET6
	}
	if proto == filter.UDP {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	var to unix.Sockaddr
	if at.Addr().Is6() {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
		to = &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
	} else {
		to = &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	}
	if err == nil {
		err = unix.Bind(fd, to)
	}
	if err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("bind", err)
	}
	return fd, nil
}

// holderText is ", by nginx (pid 812)", or "" where nobody can be found.
func holderText(proto filter.Proto, port uint16) string {
	inodes := socketInodes(proto.String(), port)
	if len(inodes) == 0 {
		return ""
	}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || !inodes[target] {
			continue
		}
		pid := strings.Split(link, "/")[2]
		if pid == strconv.Itoa(os.Getpid()) {
			continue
		}
		comm, err := os.ReadFile("/proc/" + pid + "/comm")
		if err == nil {
			return fmt.Sprintf(", by %s (pid %s)", strings.TrimSpace(string(comm)), pid)
		}
	}
	return ""
}

// socketInodes are the sockets that are bound to the port, as links in /proc name
// them ("socket:[4711]").
func socketInodes(proto string, port uint16) map[string]bool {
	found := map[string]bool{}
	for _, file := range []string{proto, proto + "6"} {
		b, err := os.ReadFile("/proc/thread-self/net/" + file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			words := strings.Fields(line)
			if len(words) < 10 {
				continue
			}
			if local, err := parseAddress(words[1]); err == nil && local.Port() == port {
				found["socket:["+words[9]+"]"] = true
			}
		}
	}
	return found
}
