package control

import (
	"errors"
	"net"
	"sync"
)

const (
	// connsPerUID bounds what one user without admin's role may hold open.
	connsPerUID = 32
	// connsOthers bounds all of them together: a user namespace has many uids.
	connsOthers = 512
)

// gate is a listener whose connections know their peer. It turns away who has
// too many open already.
type gate struct {
	*net.UnixListener
	role RoleFunc

	mu    sync.Mutex
	total int
	byUID map[uint32]int
}

// peerConn is an accepted connection.
type peerConn struct {
	*net.UnixConn
	peer    Peer
	release func()
}

// Close gives the place back; net/http may call it more than once.
func (c *peerConn) Close() error {
	c.release()
	return c.UnixConn.Close()
}

func newGate(l *net.UnixListener, role RoleFunc) *gate {
	return &gate{UnixListener: l, role: role, byUID: map[uint32]int{}}
}

// Accept gives the next connection that is let in. Errors of one connection
// are not the listener's.
func (g *gate) Accept() (net.Conn, error) {
	for {
		c, err := g.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if conn := g.admit(c); conn != nil {
			return conn, nil
		}
		c.Close()
	}
}

func (g *gate) admit(c *net.UnixConn) net.Conn {
	peer, err := identify(c, g.role)
	if err != nil {
		return nil
	}
	if peer.Role == RoleAdmin { // root must always get in
		return &peerConn{UnixConn: c, peer: peer, release: func() {}}
	}
	if err := g.enter(peer.UID); err != nil {
		refuse(c, err)
		return nil
	}
	var once sync.Once
	return &peerConn{UnixConn: c, peer: peer, release: func() { once.Do(func() { g.leave(peer.UID) }) }}
}

func (g *gate) enter(uid uint32) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.byUID[uid] >= connsPerUID {
		return errors.New("cannot serve: this user has 32 connections open already")
	}
	if g.total >= connsOthers {
		return errors.New("cannot serve: too many connections of all users")
	}
	g.byUID[uid]++
	g.total++
	return nil
}

func (g *gate) leave(uid uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if g.byUID[uid]--; g.byUID[uid] == 0 {
		delete(g.byUID, uid)
	}
}

// refuse answers without reading: a fresh socket's buffer takes a short text
// without blocking.
func refuse(c *net.UnixConn, err error) {
	c.Write(refusal(&Error{Code: CodeTooMany, Message: err.Error(), Hint: "close some, or try again later"}))
}
