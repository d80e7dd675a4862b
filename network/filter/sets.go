package filter

import (
	"slices"
	"time"

	"github.com/google/nftables"
)

// The sets of the table. A name that ends in 4 or 6 is of that family of
// addresses; the comment gives the key, and of a map the value.
const (
	setLinks   = "links"    // iif: the host's ends of services' links
	setPins    = "pins"     // iif . ether . saddr: from where each may send
	setSame    = "same"     // saddr . daddr, ranges: pools of one bridge
	setInner   = "inner"    // saddr, ranges: pools whose services get no way outside
	setMasq    = "masq"     // saddr, ranges: pools whose services have the host's address outside
	setGuarded = "guarded"  // daddr: services with allow_from
	setFrom    = "from"     // daddr . saddr . proto . dport: who may connect to them
	setInside  = "inside"   // daddr . proto . dport: what of them is open to the outside
	setLimited = "limited"  // saddr: services with allow_to
	setTo      = "to"       // saddr . daddr . proto . dport: where they may connect to
	setOutside = "outside"  // saddr . proto . dport: where they may outside
	setHost    = "host"     // saddr . proto . dport: where services may on the host
	setDNS     = "dns"      // saddr . daddr . proto . dport: their name servers, wherever
	setSelf    = "self"     // saddr . daddr: a service twice
	setPorts   = "ports"    // daddr . proto . dport -> addr . port: published on one address
	setAny     = "anyports" // proto . dport -> addr . port: published on all
	setRefused = "refused"  // daddr . saddr, made by packets, counted
	setSpoofed = "spoofed"  // iif: as links, counted
)

// Those that say who may connect are three sets each. The kernel copies a whole set of
// concatenated ranges for each change (nft_pipapo_commit), so only what is a range is
// in one: units, and ports one by one or all, are looked up as they are. An address of
// zeros is everybody.
const (
	ofPort = "_port" // one protocol and port
	ofAll  = "_all"  // all of them: the key has neither
)

// kind is what sets of one name have in common.
type kind struct {
	name    string
	key     types // addrType stands for the family's
	value   types
	ranges  bool
	counted bool
	dynamic bool // packets make the elements
	plain   bool // one for both families
}

type types = []nftables.SetDatatype

var (
	addrType  = nftables.SetDatatype{Name: "addr"}
	ifaceType = nftables.TypeIFIndex
	protoType = nftables.TypeInetProto
	portType  = nftables.TypeInetService
	etherType = nftables.TypeEtherAddr
)

func kinds() []kind {
	return slices.Concat(
		three(setFrom, addrType, addrType), three(setInside, addrType), three(setTo, addrType, addrType),
		three(setOutside, addrType), three(setHost, addrType), others())
}

// three are the sets of one name, whose keys begin so.
func three(name string, who ...nftables.SetDatatype) []kind {
	full := slices.Concat(who, types{protoType, portType})
	return []kind{{name: name, key: full, ranges: true}, {name: name + ofPort, key: full}, {name: name + ofAll, key: who}}
}

func others() []kind {
	return []kind{
		{name: setLinks, key: types{ifaceType}, plain: true},
		{name: setPins, key: types{ifaceType, etherType, addrType}},
		{name: setSame, key: types{addrType, addrType}, ranges: true},
		{name: setInner, key: types{addrType}, ranges: true},
		{name: setMasq, key: types{addrType}, ranges: true},
		{name: setGuarded, key: types{addrType}},
		{name: setLimited, key: types{addrType}},
		{name: setDNS, key: types{addrType, addrType, protoType, portType}},
		{name: setSelf, key: types{addrType, addrType}},
		{name: setPorts, key: types{addrType, protoType, portType}, value: types{addrType, portType}},
		{name: setAny, key: types{protoType, portType}, value: types{addrType, portType}},
		{name: setRefused, key: types{addrType, addrType}, counted: true, dynamic: true},
		{name: setSpoofed, key: types{ifaceType}, counted: true, plain: true},
	}
}

// dynamicSize bounds the sets that packets fill, dynamicTime how long after the
// last packet its count is kept.
const (
	dynamicSize = 4096
	dynamicTime = 24 * time.Hour
)

// family is one of the two of addresses.
type family struct {
	suffix string
	addr   nftables.SetDatatype
	width  uint32 // of an address, in registers of four bytes
	proto  byte   // NFPROTO_IPV4 or NFPROTO_IPV6
	source uint32 // offset of the source address in the network header
	target uint32
}

var (
	four     = family{"4", nftables.TypeIPAddr, 1, 2, 12, 16}
	six      = family{"6", nftables.TypeIP6Addr, 4, 10, 8, 24}
	families = []family{four, six}
)

// makeSets describes all sets of the table, by name.
func makeSets(table *nftables.Table) map[string]*nftables.Set {
	sets := map[string]*nftables.Set{}
	for _, k := range kinds() {
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
	s.Counter = k.counted
	if k.dynamic {
		s.Dynamic, s.Size, s.HasTimeout, s.Timeout = true, dynamicSize, true, dynamicTime
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
