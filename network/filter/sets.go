package filter

import (
	"github.com/google/nftables"
)

// The sets of the tables. A name that ends in 4 or 6 is of that family of
// addresses; the comment gives the key, and of a map the value.
const (
	setBridges  = "bridges"  // iif: bridges of the instance
	setInternal = "internal" // iif: those that nothing leaves
	setSame     = "same"     // iif . oif: the same bridge twice
	setMasq     = "masq"     // saddr, ranges: pools whose services have the host's address outside
	setGuarded  = "guarded"  // daddr: services with allow_from
	setFrom     = "from"     // daddr . saddr . proto . dport, ranges: who may connect to them
	setInside   = "inside"   // daddr . proto . dport, ranges: what of them is open to the outside
	setLimited  = "limited"  // saddr: services with allow_to
	setTo       = "to"       // saddr . daddr . proto . dport, ranges: where they may connect to
	setOutside  = "outside"  // saddr . proto . dport, ranges: where they may outside
	setHost     = "host"     // saddr . proto . dport, ranges: where services may on the host
	setDNS      = "dns"      // saddr . daddr . proto . dport: their name servers, wherever
	setSelf     = "self"     // saddr . daddr: a service twice
	setPorts    = "ports"    // daddr . proto . dport -> addr . port: published on one address
	setAny      = "anyports" // proto . dport -> addr . port: published on all
	setRefused  = "refused"  // daddr . saddr, made by packets, counted

	setLinks   = "links"   // iif: the host's ends of links
	setPins    = "pins"    // iif . ether . addr: from where a link may send
	setSpoofed = "spoofed" // iif, made by packets, counted
)

// kind is what sets of one name have in common.
type kind struct {
	name    string
	key     []nftables.SetDatatype // addrType stands for the family's
	value   []nftables.SetDatatype
	ranges  bool
	counted bool
	bridge  bool // of the table of family bridge
	plain   bool // one for both families
}

var (
	addrType  = nftables.SetDatatype{Name: "addr"}
	ifaceType = nftables.TypeIFIndex
	protoType = nftables.TypeInetProto
	portType  = nftables.TypeInetService
	etherType = nftables.TypeEtherAddr
)

type types = []nftables.SetDatatype

func kinds() []kind {
	return []kind{
		{name: setBridges, key: types{ifaceType}, plain: true},
		{name: setInternal, key: types{ifaceType}, plain: true},
		{name: setSame, key: types{ifaceType, ifaceType}, plain: true},
		{name: setMasq, key: types{addrType}, ranges: true},
		{name: setGuarded, key: types{addrType}},
		{name: setFrom, key: types{addrType, addrType, protoType, portType}, ranges: true},
		{name: setInside, key: types{addrType, protoType, portType}, ranges: true},
		{name: setLimited, key: types{addrType}},
		{name: setTo, key: types{addrType, addrType, protoType, portType}, ranges: true},
		{name: setOutside, key: types{addrType, protoType, portType}, ranges: true},
		{name: setHost, key: types{addrType, protoType, portType}, ranges: true},
		{name: setDNS, key: types{addrType, addrType, protoType, portType}},
		{name: setSelf, key: types{addrType, addrType}},
		{name: setPorts, key: types{addrType, protoType, portType}, value: types{addrType, portType}},
		{name: setAny, key: types{protoType, portType}, value: types{addrType, portType}},
		{name: setRefused, key: types{addrType, addrType}, counted: true},
		{name: setLinks, key: types{ifaceType}, plain: true, bridge: true},
		{name: setPins, key: types{ifaceType, etherType, addrType}, bridge: true},
		{name: setSpoofed, key: types{ifaceType}, counted: true, plain: true, bridge: true},
	}
}

// countedSize bounds the sets that packets fill.
const countedSize = 4096

// family is one of the two of addresses.
type family struct {
	suffix string
	addr   nftables.SetDatatype
	width  uint32 // of an address, in registers of four bytes
	proto  byte   // NFPROTO_IPV4 or NFPROTO_IPV6
	ether  uint16 // EtherType
	source uint32 // offset of the source address in the network header
	target uint32
}

var (
	four     = family{"4", nftables.TypeIPAddr, 1, 2, 0x0800, 12, 16}
	six      = family{"6", nftables.TypeIP6Addr, 4, 10, 0x86dd, 8, 24}
	families = []family{four, six}
)

// makeSets describes all sets of both tables, by name.
func makeSets(inet, bridge *nftables.Table) map[string]*nftables.Set {
	sets := map[string]*nftables.Set{}
	for _, k := range kinds() {
		table := inet
		if k.bridge {
			table = bridge
		}
		if k.plain {
			sets[k.name] = k.set(table, k.name, four)
			continue
		}
		for _, f := range families {
			sets[k.name+f.suffix] = k.set(table, k.name+f.suffix, f)
		}
	}
	return sets
}

func (k kind) set(table *nftables.Table, name string, f family) *nftables.Set {
	s := &nftables.Set{Table: table, Name: name, KeyType: f.join(k.key), Concatenation: len(k.key) > 1, Interval: k.ranges}
	if k.value != nil {
		s.IsMap, s.DataType = true, f.join(k.value)
	}
	if k.counted {
		s.Dynamic, s.Counter, s.Size = true, true, countedSize
	}
	return s
}

func (f family) join(list types) nftables.SetDatatype {
	list = append(types(nil), list...)
	for i := range list {
		if list[i].Name == addrType.Name {
			list[i] = f.addr
		}
	}
	if len(list) == 1 {
		return list[0]
	}
	return nftables.MustConcatSetType(list...)
}
