package filter

import (
	"encoding/binary"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The registers of a rule, four bytes each (NFT_REG32_00 and on).
const reg0 = unix.NFT_REG32_00

type exprs = []expr.Any

func join(parts ...exprs) (all exprs) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// Loads. Each puts one field into the register that is given.

func meta(key expr.MetaKey, reg uint32) exprs { return exprs{&expr.Meta{Key: key, Register: reg}} }

func iif(reg uint32) exprs   { return meta(expr.MetaKeyIIF, reg) }
func oif(reg uint32) exprs   { return meta(expr.MetaKeyOIF, reg) }
func proto(reg uint32) exprs { return meta(expr.MetaKeyL4PROTO, reg) }

func payload(base expr.PayloadBase, offset, length, reg uint32) exprs {
	return exprs{&expr.Payload{DestRegister: reg, Base: base, Offset: offset, Len: length}}
}

func (f family) saddr(reg uint32) exprs {
	return payload(expr.PayloadBaseNetworkHeader, f.source, 4*f.width, reg)
}

func (f family) daddr(reg uint32) exprs {
	return payload(expr.PayloadBaseNetworkHeader, f.target, 4*f.width, reg)
}

func dport(reg uint32) exprs { return payload(expr.PayloadBaseTransportHeader, 2, 2, reg) }

// Tests.

func equal(reg uint32, data ...byte) exprs {
	return exprs{&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: data}}
}

func in(set string) exprs { return exprs{&expr.Lookup{SourceRegister: reg0, SetName: set}} }

func notIn(set string) exprs {
	return exprs{&expr.Lookup{SourceRegister: reg0, SetName: set, Invert: true}}
}

// only lets packets of the family pass.
func (f family) only() exprs { return join(meta(expr.MetaKeyNFPROTO, reg0), equal(reg0, f.proto)) }

// bits lets pass what has one of the bits of a field of conntrack.
func bits(key expr.CtKey, mask uint32) exprs {
	return exprs{&expr.Ct{Key: key, Register: reg0},
		&expr.Bitwise{SourceRegister: reg0, DestRegister: reg0, Len: 4, Mask: binary.NativeEndian.AppendUint32(nil, mask), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg0, Data: make([]byte, 4)}}
}

func known() exprs { return bits(expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED) }

// translated lets pass what came to a published port (IPS_DST_NAT of
// nf_conntrack_common.h).
func translated() exprs { return bits(expr.CtKeySTATUS, 1<<5) }

// local lets pass what is for an address of the host.
func local() exprs {
	return exprs{&expr.Fib{Register: reg0, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg0, Data: binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)}}
}

// Ends.

func verdict(k expr.VerdictKind) exprs { return exprs{&expr.Verdict{Kind: k}} }

func jump(chain string) exprs { return exprs{&expr.Verdict{Kind: expr.VerdictJump, Chain: chain}} }

var (
	accept = verdict(expr.VerdictAccept)
	drop   = verdict(expr.VerdictDrop)
	back   = verdict(expr.VerdictReturn)
)

// count enters the key in the registers into a set that counts. Nothing may stand
// behind it in its rule: once the set is full the rule ends here (nft_dynset.c).
func count(set string) exprs {
	return exprs{&expr.Dynset{SrcRegKey: reg0, SetName: set, Operation: unix.NFT_DYNSET_OP_UPDATE, Exprs: exprs{&expr.Counter{}}}}
}

// filled is a chain with its rules.
type filled struct {
	chain *nftables.Chain
	rules []exprs
}

// chains collects them.
type chains struct {
	table *nftables.Table
	list  []filled
}

func (c *chains) chain(name string, rules ...exprs) {
	c.list = append(c.list, filled{&nftables.Chain{Name: name, Table: c.table}, rules})
}

func (c *chains) base(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority int32, rules ...exprs) {
	policy := nftables.ChainPolicyAccept
	c.list = append(c.list, filled{&nftables.Chain{Name: name, Table: c.table, Type: kind, Hooknum: hook,
		Priority: nftables.ChainPriorityRef(nftables.ChainPriority(priority)), Policy: &policy}, rules})
}

// both gives a rule for each family.
func both(rule func(family) exprs) (out []exprs) {
	for _, f := range families {
		out = append(out, join(f.only(), rule(f)))
	}
	return out
}

// makeChains gives every chain, those that are jumped to first.
func makeChains(table *nftables.Table) []filled {
	c := &chains{table: table}
	c.reach()
	c.translate()
	c.pin()
	return c.list
}

// reach is who may connect to whom. What belongs to a connection that was let
// through passes, whichever way.
func (c *chains) reach() {
	c.chain("refuse", append(both(func(f family) exprs {
		return join(f.daddr(reg0), f.saddr(reg0+f.width), count(setRefused+f.suffix))
	}), drop)...)
	refuse := []exprs{jump("refuse")}
	// A service with allow_to. Outside is what is on none of the bridges.
	c.chain("limited", concat(
		between(setTo, family.saddr, family.daddr, back),
		both(func(f family) exprs { return join(quad(f, family.saddr, family.daddr), in(setDNS+f.suffix), back) }),
		anyOf(setOutside, family.saddr, join(oif(reg0), notIn(setLinks)), back),
		refuse)...)
	c.chain("leaving", concat(
		both(func(f family) exprs {
			return join(oif(reg0), notIn(setLinks), f.saddr(reg0), in(setInner+f.suffix), drop)
		}),
		both(func(f family) exprs { return join(f.saddr(reg0), in(setLimited+f.suffix), jump("limited")) }))...)
	// A service with allow_from.
	c.chain("guarded", concat(
		between(setFrom, family.daddr, family.saddr, accept),
		anyOf(setInside, family.daddr, join(iif(reg0), notIn(setLinks)), accept),
		refuse)...)
	// From elsewhere than a link nobody comes by an address of a service or a pool:
	// allow_from would take him for that service.
	forged := func(set string) []exprs {
		return both(func(f family) exprs {
			return join(iif(reg0), notIn(setLinks), f.saddr(reg0), f.saddr(reg0+f.width), in(set+f.suffix), jump("refuse"))
		})
	}
	c.chain("entering", concat(
		forged(setSelf), forged(setSame),
		both(func(f family) exprs { return join(f.daddr(reg0), in(setGuarded+f.suffix), jump("guarded")) }),
		both(func(f family) exprs {
			return join(iif(reg0), in(setLinks), f.saddr(reg0), f.daddr(reg0+f.width), in(setSame+f.suffix), accept)
		}),
		[]exprs{join(iif(reg0), notIn(setLinks), translated(), accept)},
		refuse)...)
	c.base("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, 0,
		join(known(), accept),
		join(iif(reg0), in(setLinks), jump("leaving")),
		join(oif(reg0), in(setLinks), jump("entering")))
	// The host itself. ICMP is what finds the gateway, and a ping of it.
	c.chain("to_host", concat(
		[]exprs{join(known(), accept),
			join(proto(reg0), equal(reg0, unix.IPPROTO_ICMP), accept),
			join(proto(reg0), equal(reg0, unix.IPPROTO_ICMPV6), accept)},
		anyOf(setHost, family.saddr, nil, accept),
		both(func(f family) exprs { return join(quad(f, family.saddr, family.daddr), in(setDNS+f.suffix), accept) }),
		refuse)...)
	c.base("input", nftables.ChainTypeFilter, nftables.ChainHookInput, 0,
		join(iif(reg0), in(setLinks), jump("to_host")))
}

// load puts an address into the register.
type load = func(f family, reg uint32) exprs

func everybody(f family, reg uint32) exprs {
	return exprs{&expr.Immediate{Register: reg, Data: make([]byte, 4*f.width)}}
}

func quad(f family, own, other load) exprs {
	return join(own(f, reg0), other(f, reg0+f.width), proto(reg0+2*f.width), dport(reg0+2*f.width+1))
}

// between ends so for what the three sets of that name have of two addresses.
func between(set string, own, other load, end exprs) (all []exprs) {
	for _, who := range []load{other, everybody} {
		all = concat(all,
			both(func(f family) exprs { return join(own(f, reg0), who(f, reg0+f.width), in(set+ofAll+f.suffix), end) }),
			both(func(f family) exprs {
				return join(quad(f, own, who), in(set+ofPort+f.suffix), end)
			}))
	}
	return concat(all, both(func(f family) exprs {
		return join(quad(f, own, other), in(set+f.suffix), end)
	}))
}

// anyOf ends so for what passes the test and the three sets of that name have of one
// address.
func anyOf(set string, own load, test, end exprs) []exprs {
	triple := func(f family) exprs {
		return join(test, own(f, reg0), proto(reg0+f.width), dport(reg0+f.width+1))
	}
	return concat(
		both(func(f family) exprs { return join(test, own(f, reg0), in(set+ofAll+f.suffix), end) }),
		both(func(f family) exprs { return join(triple(f), in(set+ofPort+f.suffix), end) }),
		both(func(f family) exprs { return join(triple(f), in(set+f.suffix), end) }))
}

func concat(lists ...[]exprs) []exprs { return slices.Concat(lists...) }

// translate leads published ports to their services, and gives what leaves the
// host's address.
func (c *chains) translate() {
	lead := func(f family, key exprs, set string) exprs {
		// The map's value, an address and a port, takes the registers from the first on.
		return join(f.only(), key, exprs{&expr.Lookup{SourceRegister: reg0, DestRegister: reg0, IsDestRegSet: true, SetName: set + f.suffix},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(f.proto), RegAddrMin: reg0, RegProtoMin: reg0 + f.width, Specified: true}})
	}
	var rules []exprs
	for _, f := range families {
		rules = append(rules,
			lead(f, join(f.daddr(reg0), proto(reg0+f.width), dport(reg0+f.width+1)), setPorts),
			lead(f, join(proto(reg0), dport(reg0+1)), setAny))
	}
	c.chain("published", rules...)
	c.base("prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, -100, join(local(), jump("published")))
	c.base("output", nftables.ChainTypeNAT, nftables.ChainHookOutput, -100, join(local(), jump("published")))
	masquerade := exprs{&expr.Masq{}}
	c.base("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, 100, concat(
		both(func(f family) exprs {
			return join(oif(reg0), notIn(setLinks), f.saddr(reg0), in(setMasq+f.suffix), masquerade)
		}),
		// What a host's process sends to a published port on 127.0.0.1.
		[]exprs{join(four.only(), oif(reg0), in(setLinks), payload(expr.PayloadBaseNetworkHeader, four.source, 1, reg0), equal(reg0, 127), masquerade)},
		// A service that comes to itself by its published port.
		both(func(f family) exprs {
			return join(f.saddr(reg0), f.daddr(reg0+f.width), in(setSelf+f.suffix), masquerade)
		}))...)
}

// pin drops what a service sends under another's address, of IP or of Ethernet:
// what only a router sends (RFC 4861, RFC 2131) has none of its own.
func (c *chains) pin() {
	c.chain("sent", concat(
		// The host's loopback, which is open to a link while its service publishes ports.
		[]exprs{join(four.only(), payload(expr.PayloadBaseNetworkHeader, four.target, 1, reg0), equal(reg0, 127), drop)},
		both(func(f family) exprs {
			return join(iif(reg0), payload(expr.PayloadBaseLLHeader, 6, 6, reg0+1), f.saddr(reg0+3), in(setPins+f.suffix), back)
		}),
		// What every host says of itself when a link comes up, from no address.
		[]exprs{join(six.only(), six.saddr(reg0), equal(reg0, make([]byte, 16)...), drop),
			join(iif(reg0), in(setSpoofed)), drop})...)
	c.base("raw", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, -300, join(iif(reg0), in(setLinks), jump("sent")))
}
