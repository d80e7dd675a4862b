package unit

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// finishNetwork computes the mode and what depends on it, and checks which keys
// go with which mode.
func (b *builder) finishNetwork() {
	n := &b.unit.Network
	if n.Mode == "" && !b.says.written("network.mode") {
		n.Mode = b.defaultMode()
	}
	if b.linkMode(n.Mode) {
		n.Link.Name, n.Link.Mode = MainLink, n.Mode
	}
	for _, id := range []string{"network.allow_from", "network.allow_to"} {
		list := b.field(keyTable().byID[id]).Addr().Interface().(*[]Peer)
		if b.says.written(id) && *list == nil {
			*list = []Peer{} // nobody, which is not the same as no word about it
		}
	}
	if b.failed("network.mode") {
		return
	}
	b.checkNetworkKeys()
	if n.Link.Mode != "" {
		b.finishLink(&n.Link, "network")
	}
	for i := range n.Links {
		b.checkLink(&n.Links[i])
		b.finishLink(&n.Links[i], linkID(n.Links[i].Name))
	}
	b.checkPublished()
	b.checkPeers()
}

func (b *builder) defaultMode() string {
	switch b.unit.Profile {
	case ProfileStrict:
		return NetworkPrivate
	case ProfileHost:
		return NetworkHost
	}
	return b.network
}

// linkMode reports whether a mode has a link of its own.
func (b *builder) linkMode(mode string) bool {
	return mode == NetworkVeth || mode == NetworkMacvlan || mode == NetworkVlan
}

// modeIs says which mode is in force, and why where the unit has not said so.
func (b *builder) modeIs() string {
	mode := b.unit.Network.Text()
	switch {
	case b.says.written("network.mode"):
		return fmt.Sprintf("mode is %q", mode)
	case b.unit.Profile == ProfileDaemon:
		return fmt.Sprintf("mode is %q, the instance's default_network", mode)
	}
	return fmt.Sprintf("mode is %q, which profile %s has", mode, b.unit.Profile)
}

// checkNetworkKeys refuses keys that the mode has no use for.
func (b *builder) checkNetworkKeys() {
	n := &b.unit.Network
	_, bridged := n.Veth()
	for _, id := range []string{"publish", "allow_from", "allow_to"} {
		if b.says.written("network."+id) && !bridged {
			b.failKey("network."+id, `%s needs a link on a bridge; %s: write mode = "veth"`, id, b.modeIs())
		}
	}
	for _, id := range []string{"dns", "search"} {
		if b.says.written("network."+id) && (n.Mode == NetworkHost || n.Mode == NetworkPrivate && len(n.Links) == 0) {
			b.failKey("network."+id, `%s needs a network that leads somewhere and is not the machine's; %s: write mode = "veth"`, id, b.modeIs())
		}
	}
	if n.Link.Mode == "" {
		for _, k := range sharedLinkKeys() {
			if id := "network." + k.Name; b.says.written(id) {
				b.failKey(id, "%s needs a link of the service's own; %s: write mode = %s", k.Name, b.modeIs(), wordsOr(modesOf(k.Name)))
			}
		}
	}
	if len(n.Links) > 0 && n.Mode != NetworkPrivate && n.Link.Mode == "" {
		b.failKey(linkID(n.Links[0].Name), `[%s] needs a network namespace of the service's own; %s: write mode = "private" or "veth"`, linkID(n.Links[0].Name), b.modeIs())
	}
}

// modesOf lists the modes of links that have a key.
func modesOf(key string) []string {
	switch key {
	case "bridge":
		return []string{NetworkVeth}
	case "parent":
		return []string{NetworkMacvlan, NetworkVlan}
	case "macvlan_mode":
		return []string{NetworkMacvlan}
	case "vlan_id":
		return []string{NetworkVlan}
	}
	return []string{NetworkVeth, NetworkMacvlan, NetworkVlan}
}

func wordsOr(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	if len(quoted) == 1 {
		return quoted[0]
	}
	return strings.Join(quoted[:len(quoted)-1], ", ") + " or " + quoted[len(quoted)-1]
}

// checkLink refuses names that the service has already.
func (b *builder) checkLink(l *Link) {
	switch {
	case l.Name == "lo" || l.Name == "all" || l.Name == "default":
		b.failKey(linkID(l.Name), "[%s]: the kernel has this name for something else", linkID(l.Name))
	case l.Name == MainLink && b.unit.Network.Link.Mode != "":
		b.failKey(linkID(l.Name), "[%s]: this is the link of mode = %q; its keys stand in [network]", linkID(l.Name), b.unit.Network.Mode)
	}
}

// finishLink computes the defaults of a link whose keys stand in the table, and
// refuses what its kind has no use for.
func (b *builder) finishLink(l *Link, table string) {
	id := func(key string) string { return table + "." + key }
	for _, k := range sharedLinkKeys() {
		if modes := modesOf(k.Name); b.says.written(id(k.Name)) && !slices.Contains(modes, l.Mode) {
			b.failKey(id(k.Name), "%s: only mode = %s has one, and this link is %q", k.Name, wordsOr(modes), l.Mode)
		}
	}
	for _, need := range []struct {
		key  string
		with []string
		none bool
	}{{"parent", modesOf("parent"), l.Parent == ""}, {"vlan_id", modesOf("vlan_id"), l.VlanId == 0}} {
		if need.none && slices.Contains(need.with, l.Mode) && !b.says.written(id(need.key)) {
			b.failKey(b.placeOfLink(table), "a %s needs %s", l.Mode, need.key)
		}
	}
	switch l.Mode {
	case NetworkMacvlan:
		l.MacvlanMode = pick(l.MacvlanMode == "", "bridge", l.MacvlanMode)
	case NetworkVeth:
		l.Bridge = pick(l.Bridge == "", DefaultBridge, l.Bridge)
		if len(l.Address) == 0 && !b.says.written(id("address")) {
			l.Address = []LinkAddress{{Auto: true}}
		}
		b.checkBridge(l, id)
	}
	b.checkAddresses(l, id)
}

// placeOfLink is where what is missing of a link is said: at its mode, if that is
// written, else at its table.
func (b *builder) placeOfLink(table string) string {
	if id := table + ".mode"; b.says.written(id) || table == "network" {
		return id
	}
	return table
}

// checkBridge refuses a bridge that nsinit.toml has not, and addresses that are
// not the bridge's.
func (b *builder) checkBridge(l *Link, id func(string) string) {
	if b.bridges == nil {
		return
	}
	i := slices.IndexFunc(b.bridges, func(br Bridge) bool { return br.Name == l.Bridge })
	if i < 0 {
		b.failKey(id("bridge"), "bridge = %q: %s", l.Bridge, b.noBridge(l.Bridge))
		return
	}
	for _, a := range l.Address {
		if pools := b.bridges[i].Pools; !a.Auto && len(pools) > 0 && !slices.ContainsFunc(pools, func(p netip.Prefix) bool { return p.Contains(a.Prefix.Addr()) && p.Bits() == a.Prefix.Bits() }) {
			b.failElement(id("address"), a.String(), "address = %q is not of the pool of bridge %s, %s", a, l.Bridge, joinPrefixes(pools))
		} else if !a.Auto && slices.ContainsFunc(pools, func(p netip.Prefix) bool { return p.Addr().Next() == a.Prefix.Addr() }) {
			b.failElement(id("address"), a.String(), "address = %q is the gateway's, the first of the pool", a)
		}
	}
}

// noBridge says that there is no bridge of the name, and which there are.
func (b *builder) noBridge(name string) string {
	var names []string
	for _, br := range b.bridges {
		names = append(names, br.Name)
	}
	if near := nearest(name, names); near != "" {
		return "nsinit.toml has no [bridge." + name + "] (nearest: " + near + ")"
	}
	return "nsinit.toml has no [bridge." + name + "]; there is " + strings.Join(names, ", ")
}

func joinPrefixes(list []netip.Prefix) string {
	var words []string
	for _, p := range list {
		words = append(words, p.String())
	}
	return strings.Join(words, " and ")
}

func (b *builder) checkAddresses(l *Link, id func(string) string) {
	for i, a := range l.Address {
		switch {
		case slices.Contains(l.Address[:i], a):
			b.failElement(id("address"), a.String(), "address = %q stands there twice", a)
		case a.Auto && l.Mode != NetworkVeth:
			b.failElement(id("address"), a.String(), "address = \"auto\": only a bridge has a pool to take it from, and this link is %q", l.Mode)
		}
	}
	if g := l.Gateway; g.IsValid() && !slices.ContainsFunc(l.Address, func(a LinkAddress) bool { return a.Auto || a.Prefix.Masked().Contains(g) }) {
		b.failKey(id("gateway"), "gateway = %q is on none of the link's networks", g)
	}
}

// checkPublished refuses a port that is published twice.
func (b *builder) checkPublished() {
	list := b.unit.Network.Publish
	for i, p := range list {
		for _, q := range list[:i] {
			if p.overlaps(q) {
				b.failItem("network.publish", i, "publish = %q: %q leads here already", p, q)
				break
			}
		}
	}
	if b.shutsOutside() {
		b.warnKey("network.publish", `allow_from names nobody outside, so nobody there reaches what publish opens; add "outside" or an address to allow_from`)
	}
}

// shutsOutside reports whether allow_from lets no address of outside reach any
// published port.
func (b *builder) shutsOutside() bool {
	n := &b.unit.Network
	if n.AllowFrom == nil || len(n.Publish) == 0 || b.failed("network.allow_from") {
		return false
	}
	for _, p := range n.AllowFrom {
		if p.Kind != PeerOutside && p.Kind != PeerAny && p.Kind != PeerNet {
			continue
		}
		if slices.ContainsFunc(n.Publish, func(port PublishedPort) bool {
			return (p.Protocol == "" || p.Protocol == port.Protocol) && (p.First == 0 || p.First <= port.To+(port.Last-port.First) && port.To <= p.Last)
		}) {
			return false
		}
	}
	return true
}

// failItem reports an error at an element of a list.
func (b *builder) failItem(id string, i int, format string, args ...any) {
	set := b.says[id]
	if set == nil || i >= len(set.items) || set.items[i].doc == nil {
		b.failKey(id, format, args...)
		return
	}
	e := set.items[i].doc.atValue(set.items[i].n)
	e.Key, e.Msg = id, fmt.Sprintf(format, args...)
	b.errs = append(b.errs, e)
}

// checkPeers refuses bridges that nsinit.toml has not, and what has no meaning.
func (b *builder) checkPeers() {
	for _, list := range b.unit.Network.peerLists() {
		for i, p := range list.peers {
			known := b.bridges == nil || slices.ContainsFunc(b.bridges, func(br Bridge) bool { return br.Name == p.Name })
			if p.Kind == PeerBridge && !known && !b.failed("network."+list.key) {
				b.failItem("network."+list.key, i, "%s = %q: %s", list.key, p, b.noBridge(p.Name))
			}
		}
	}
}

// linkPeers settles which units allow_from and allow_to mean. One that is not
// there matches nobody.
func (s *Set) linkPeers(b *builder) {
	for _, list := range b.unit.Network.peerLists() {
		id := "network." + list.key
		for i, p := range list.peers {
			if p.Kind != PeerUnit {
				continue
			}
			name := s.Canonical(p.Name)
			if !s.exists(name) {
				b.warnItem(id, i, "%s = %q: %s; it is nobody", list.key, p, s.unknownReason(b, name))
			}
			list.peers[i].Name = name
		}
	}
}

func (b *builder) warnItem(id string, i int, format string, args ...any) {
	set := b.says[id]
	if set == nil || i >= len(set.items) {
		b.warnKey(id, format, args...)
		return
	}
	b.warn(set.key, set.items[i], format, args...)
}
