package control

import "context"

// Role is what a peer may do. Each includes those below it.
type Role int

// The roles, weakest first.
const (
	// RoleNone may do nothing: a process inside an isolated service, even
	// root there.
	RoleNone Role = iota
	// RoleReader sees what is harmless: states, no arguments, no logs.
	RoleReader
	// RoleOperator is group nsinit: starts, stops, reads logs, and runs
	// commands as a service's own user.
	RoleOperator
	// RoleAdmin is root on the host.
	RoleAdmin
)

// String gives "none", "reader", "operator" or "admin".
func (r Role) String() string {
	switch r {
	case RoleReader:
		return "reader"
	case RoleOperator:
		return "operator"
	case RoleAdmin:
		return "admin"
	}
	return "none"
}

// Peer is who connected, from SO_PEERCRED at accept (unix(7)): pid, uid and gid
// as the manager's namespaces see them, at the time of connect(2).
type Peer struct {
	PID int
	UID uint32
	GID uint32
	// Groups are the supplementary groups (SO_PEERGROUPS).
	Groups []uint32
	Role   Role
}

// RoleFunc decides the role of a new connection from its credentials (Role is
// not set yet). It is called once per connection, at accept and in the accept
// loop, so it may read /proc/PID/cgroup but must not wait for anything. A peer
// whose cgroup cannot be read must get RoleNone; the server itself makes sure
// that the pid has not been reused meanwhile, where the kernel has
// SO_PEERPIDFD (6.5).
type RoleFunc func(Peer) Role

type peerKey struct{}

// PeerFrom gives the peer of a request's context; the zero Peer has no role.
func PeerFrom(ctx context.Context) Peer {
	p, _ := ctx.Value(peerKey{}).(Peer)
	return p
}

func withPeer(ctx context.Context, p Peer) context.Context {
	return context.WithValue(ctx, peerKey{}, p)
}
