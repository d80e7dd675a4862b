package network

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
)

// leases are the addresses that units hold.
type leases map[netip.Addr]string

// take gives unit the address, which nobody else may hold.
func (l leases) take(a netip.Addr, unit string) error {
	if holder, taken := l[a]; taken && holder != unit {
		return fmt.Errorf("the address %s is held by %s", a, holder)
	}
	l[a] = unit
	return nil
}

// next gives the first address of the pool that nobody holds: not the network's
// own, not the first, which is the host's, and of IPv4 not the broadcast's.
func (l leases) next(pool netip.Prefix) (netip.Addr, error) {
	a := gatewayOf(pool).Next()
	for n := poolSizeOf(pool); n > 0 && pool.Contains(a); n-- {
		if _, taken := l[a]; !taken {
			return a, nil
		}
		a = a.Next()
	}
	return netip.Addr{}, fmt.Errorf("no address of the pool %s is free: %d units hold one; one that is removed frees its own, or give the bridge another pool", pool, poolSizeOf(pool))
}

// drop frees what unit holds.
func (l leases) drop(unit string) {
	for a, holder := range l {
		if holder == unit {
			delete(l, a)
		}
	}
}

// used counts the addresses of a pool that are held.
func (l leases) used(pool netip.Prefix) (n uint64) {
	for a := range l {
		if pool.Contains(a) {
			n++
		}
	}
	return n
}

// gatewayOf is the host's address in a pool, the first.
func gatewayOf(pool netip.Prefix) netip.Addr { return pool.Masked().Addr().Next() }

// gateways are the host's addresses on the bridge.
func (b Bridge) gateways() (list []netip.Prefix) {
	for _, p := range b.Pools {
		list = append(list, netip.PrefixFrom(gatewayOf(p), p.Bits()))
	}
	return list
}

// six reports whether the bridge has a pool of IPv6.
func (b Bridge) six() bool {
	return slices.ContainsFunc(b.Pools, func(p netip.Prefix) bool { return p.Addr().Is6() })
}

// poolSizeOf is how many services have room: without the network's own address,
// the host's, and of IPv4 the broadcast's.
func poolSizeOf(pool netip.Prefix) uint64 {
	bits := pool.Addr().BitLen() - pool.Bits()
	if bits > 62 {
		bits = 62
	}
	size := uint64(1) << bits
	reserved := uint64(2)
	if pool.Addr().Is4() {
		reserved = 3
	}
	if size < reserved {
		return 0
	}
	return size - reserved
}

// checkPools says which two pools meet, or which has room for nobody.
func checkPools(bridges []Bridge) error {
	type owned struct {
		pool   netip.Prefix
		bridge string
	}
	var seen []owned
	for _, b := range bridges {
		for _, p := range b.Pools {
			if poolSizeOf(p) == 0 {
				return fmt.Errorf("bridge %s: the pool %s has no room for a service", b.Name, p)
			}
			for _, o := range seen {
				if p.Overlaps(o.pool) {
					return fmt.Errorf("bridge %s: the pool %s overlaps %s of bridge %s", b.Name, p, o.pool, o.bridge)
				}
			}
			seen = append(seen, owned{p, b.Name})
		}
	}
	return nil
}

// complete fills in what a configuration leaves to be derived: the default
// bridge itself, links and pools.
func complete(instance string, bridges []Bridge) []Bridge {
	out := append([]Bridge(nil), bridges...)
	found := false
	for i := range out {
		found = found || out[i].Name == DefaultBridge
		if out[i].Link == "" {
			out[i].Link = bridgeLink(instance, out[i].Name)
		}
		if len(out[i].Pools) == 0 {
			out[i].Pools = []netip.Prefix{derivedPool(instance, out[i].Name)}
		}
		for j, p := range out[i].Pools {
			out[i].Pools[j] = p.Masked()
		}
	}
	if !found {
		return complete(instance, append([]Bridge{{Name: DefaultBridge, NAT: true}}, bridges...))
	}
	return out
}

// plainInstance is the one whose names need nothing that tells it from others.
const plainInstance = "nsinit"

func bridgeLink(instance, bridge string) string {
	if instance == plainInstance && bridge == DefaultBridge {
		return "nsbr0"
	}
	return fmt.Sprintf("nsbr-%08x", hash(instance, bridge))
}

// derivedPool is 10.80.0.0/24, and for others one of 10.81 to 10.180.
func derivedPool(instance, bridge string) netip.Prefix {
	if instance == plainInstance && bridge == DefaultBridge {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 80, 0, 0}), 24)
	}
	h := hash(instance, bridge)
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(81 + h%100), byte(h >> 8), 0}), 24)
}

// hash tells instances, bridges and units apart in names that are too short for them.
func hash(parts ...string) uint32 {
	h := fnv.New32a()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return h.Sum32()
}

// longHash is one of 64 bits, for what must not be taken for another.
func longHash(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	return h.Sum64()
}
