package network

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// spare is a namespace with a link that is up, has no address and leads to the
// host: what most services ask for, made before one does. While no rule knows the
// link, nothing that could be sent over it is let through.
type spare struct {
	netns int
	host  linkInfo // its other end
}

// spareLink is the name that the link has inside.
const spareLink = "eth0"

// fits reports whether a spare can become the network of s: its first link is a
// veth of that name, and as large as the kernel makes it.
func (n *Network) fits(s Spec) bool {
	if len(s.Links) == 0 {
		return false
	}
	l := s.Links[0]
	b := n.bridges[l.Bridge]
	return l.Kind == Veth && l.Name == spareLink && l.MTU == 0 && b != nil && b.MTU == 0
}

// spareTag is the alias of their ends at the host.
func (n *Network) spareTag() string { return n.tag() + "spare" }

// makeSpare is for the pool's goroutine, which has a socket of its own for it.
func (n *Network) makeSpare() (s spare, err error) {
	host, err := dial(0)
	if err != nil {
		return s, err
	}
	defer host.close()
	if s.netns, err = create(); err != nil {
		return s, err
	}
	if err = s.connect(host, n.spareTag(), n.unfinished()); err != nil {
		s.drop()
	}
	return s, err
}

func (s *spare) connect(host *kernel, tag string, group uint32) error {
	var b [4]byte
	rand.Read(b[:])                                                  // never fails (crypto/rand, Go 1.24)
	name := fmt.Sprintf("ns%08xs", binary.NativeEndian.Uint32(b[:])) // 11 bytes
	if err := host.do(addVeth(name, spareLink, s.netns, nil, 0, group)); err != nil {
		return err
	}
	if err := noAdvertisements(name); err != nil {
		return err
	}
	end, err := host.link(0, name)
	if err != nil {
		return err
	}
	inside, err := dial(s.netns)
	if err != nil {
		return err
	}
	defer inside.close()
	own, err := inside.link(0, spareLink)
	if err != nil {
		return err
	}
	if err := inside.do(setUp(own.index, spareLink, true)); err != nil {
		return err
	}
	if err := host.do(setAlias(end.index, name, tag), setUpSilent(end.index, name)); err != nil {
		return err
	}
	s.host = end
	return inside.settle(s.netns, spareLink)
}

// drop removes the link at once; the namespace would take it along only later.
func (s spare) drop() {
	if s.host.index != 0 {
		if host, err := dial(0); err == nil {
			host.do(deleteLink(s.host.index, s.host.name))
			host.close()
		}
	}
	unix.Close(s.netns)
}
