package filter

import (
	"encoding/binary"

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

func differs(reg uint32, data ...byte) exprs {
	return exprs{&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: data}}
}

func in(set string) exprs { return exprs{&expr.Lookup{SourceRegister: reg0, SetName: set}} }

func notIn(set string) exprs {
	return exprs{&expr.Lookup{SourceRegister: reg0, SetName: set, Invert: true}}
}

// is4or6 lets packets of the family pass.
func (f family) only() exprs { return join(meta(expr.MetaKeyNFPROTO, reg0), equal(reg0, f.proto)) }

func ether(kind uint16) exprs {
	return join(meta(expr.MetaKeyPROTOCOL, reg0), equal(reg0, byte(kind>>8), byte(kind)))
}

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

// count enters the key in the registers into a set that counts.
func count(set string) exprs {
	return exprs{&expr.Dynset{SrcRegKey: reg0, SetName: set, Operation: unix.NFT_DYNSET_OP_UPDATE, Exprs: exprs{&expr.Counter{}}}}
}

// chains is what the rules are added to.
type chains struct {
	conn         *nftables.Conn
	inet, bridge *nftables.Table
}

func (c chains) chain(t *nftables.Table, name string, rules ...exprs) {
	c.fill(&nftables.Chain{Name: name, Table: t}, rules)
}

func (c chains) base(t *nftables.Table, name string, kind nftables.ChainType, hook *nftables.ChainHook, priority int32, rules ...exprs) {
	policy := nftables.ChainPolicyAccept
	c.fill(&nftables.Chain{Name: name, Table: t, Type: kind, Hooknum: hook, Priority: nftables.ChainPriorityRef(nftables.ChainPriority(priority)), Policy: &policy}, rules)
}

func (c chains) fill(chain *nftables.Chain, rules []exprs) {
	c.conn.AddChain(chain)
	for _, r := range rules {
		c.conn.AddRule(&nftables.Rule{Table: chain.Table, Chain: chain, Exprs: r})
	}
}

// both gives a rule for each family.
func both(rule func(family) exprs) (out []exprs) {
	for _, f := range families {
		out = append(out, join(f.only(), rule(f)))
	}
	return out
}

// make adds every chain, those that are jumped to first.
func (c chains) make() {
	c.reach()
	c.translate()
	c.pin()
}

// reach is who may connect to whom. What belongs to a connection that was let
// through passes, whichever way.
func (c chains) reach() {
	triple := func(f family, addr func(uint32) exprs) exprs {
		return join(addr(reg0), proto(reg0+f.width), dport(reg0+f.width+1))
	}
	quad := func(f family, own, other func(uint32) exprs) exprs {
		return join(own(reg0), other(reg0+f.width), proto(reg0+2*f.width), dport(reg0+2*f.width+1))
	}
	refuse := func(f family) exprs {
		return join(f.daddr(reg0), f.saddr(reg0+f.width), count(setRefused+f.suffix), drop)
	}
	// A service with allow_to. Outside is what is on none of the bridges.
	c.chain(c.inet, "limited", concat(
		both(func(f family) exprs { return join(quad(f, f.saddr, f.daddr), in(setTo+f.suffix), back) }),
		both(func(f family) exprs { return join(quad(f, f.saddr, f.daddr), in(setDNS+f.suffix), back) }),
		both(func(f family) exprs {
			return join(oif(reg0), notIn(setBridges), triple(f, f.saddr), in(setOutside+f.suffix), back)
		}),
		both(refuse))...)
	c.chain(c.inet, "leaving", concat(
		[]exprs{join(iif(reg0), in(setInternal), oif(reg0), notIn(setBridges), drop)},
		both(func(f family) exprs { return join(f.saddr(reg0), in(setLimited+f.suffix), jump("limited")) }))...)
	// A service with allow_from.
	c.chain(c.inet, "guarded", concat(
		both(func(f family) exprs { return join(quad(f, f.daddr, f.saddr), in(setFrom+f.suffix), accept) }),
		both(func(f family) exprs {
			return join(iif(reg0), notIn(setBridges), triple(f, f.daddr), in(setInside+f.suffix), accept)
		}),
		both(refuse))...)
	c.chain(c.inet, "entering", concat(
		both(func(f family) exprs { return join(f.daddr(reg0), in(setGuarded+f.suffix), jump("guarded")) }),
		[]exprs{join(iif(reg0), oif(reg0+1), in(setSame), accept),
			join(iif(reg0), notIn(setBridges), translated(), accept)},
		both(refuse))...)
	c.base(c.inet, "forward", nftables.ChainTypeFilter, nftables.ChainHookForward, 0,
		join(known(), accept),
		join(iif(reg0), in(setBridges), jump("leaving")),
		join(oif(reg0), in(setBridges), jump("entering")))
	// The host itself. ICMP is what finds the gateway, and a ping of it.
	c.chain(c.inet, "to_host", concat(
		[]exprs{join(known(), accept),
			join(proto(reg0), equal(reg0, unix.IPPROTO_ICMP), accept),
			join(proto(reg0), equal(reg0, unix.IPPROTO_ICMPV6), accept)},
		both(func(f family) exprs { return join(triple(f, f.saddr), in(setHost+f.suffix), accept) }),
		both(func(f family) exprs { return join(quad(f, f.saddr, f.daddr), in(setDNS+f.suffix), accept) }),
		both(refuse))...)
	c.base(c.inet, "input", nftables.ChainTypeFilter, nftables.ChainHookInput, 0,
		join(iif(reg0), in(setBridges), jump("to_host")))
}

func concat(lists ...[]exprs) (all []exprs) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// translate leads published ports to their services, and gives what leaves the
// host's address.
func (c chains) translate() {
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
	c.chain(c.inet, "published", rules...)
	c.base(c.inet, "prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, -100, join(local(), jump("published")))
	c.base(c.inet, "output", nftables.ChainTypeNAT, nftables.ChainHookOutput, -100, join(local(), jump("published")))
	masquerade := exprs{&expr.Masq{}}
	c.base(c.inet, "postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, 100, concat(
		both(func(f family) exprs {
			return join(oif(reg0), notIn(setBridges), f.saddr(reg0), in(setMasq+f.suffix), masquerade)
		}),
		// What a host's process sends to a published port on 127.0.0.1.
		[]exprs{join(four.only(), oif(reg0), in(setBridges), payload(expr.PayloadBaseNetworkHeader, four.source, 1, reg0), equal(reg0, 127), masquerade)},
		// A service that comes to itself by its published port.
		both(func(f family) exprs {
			return join(f.saddr(reg0), f.daddr(reg0+f.width), in(setSelf+f.suffix), masquerade)
		}))...)
}

// pin drops what a service sends under another's address, and what only a router
// or a server of addresses sends. Ports of a bridge that are not ours pass.
func (c chains) pin() {
	from := func(f family) exprs {
		return join(iif(reg0), payload(expr.PayloadBaseLLHeader, 6, 6, reg0+1), f.saddr(reg0+3))
	}
	refuse := join(iif(reg0), count(setSpoofed), drop)
	c.chain(c.bridge, "sent",
		join(ether(six.ether), proto(reg0), equal(reg0, unix.IPPROTO_ICMPV6), payload(expr.PayloadBaseTransportHeader, 0, 1, reg0), equal(reg0, 134), iif(reg0), count(setSpoofed), drop),
		join(ether(four.ether), proto(reg0), equal(reg0, unix.IPPROTO_UDP), payload(expr.PayloadBaseTransportHeader, 0, 2, reg0), equal(reg0, 0, 67), iif(reg0), count(setSpoofed), drop),
		join(ether(four.ether), from(four), in(setPins+"4"), accept),
		join(ether(six.ether), from(six), in(setPins+"6"), accept),
		// ARP: the frame's sender and the message's are the same, and it is ours.
		join(ether(unix.ETH_P_ARP), iif(reg0), payload(expr.PayloadBaseNetworkHeader, 8, 6, reg0+1), payload(expr.PayloadBaseNetworkHeader, 14, 4, reg0+3), in(setPins+"4"),
			payload(expr.PayloadBaseLLHeader, 6, 6, reg0+1), in(setPins+"4"), accept),
		refuse)
	c.base(c.bridge, "prerouting", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, -300,
		join(iif(reg0), in(setLinks), jump("sent")))
}
