package unit

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Bridge is a [bridge.NAME] of nsinit.toml.
type Bridge struct {
	Name     string
	Link     string         // on the machine; "": derived from the names of the instance and the bridge
	Pools    []netip.Prefix // at most one of IPv4 and one of IPv6; nil: derived, IPv4
	Nat      bool           // what goes outside has the machine's address
	Internal bool           // no way outside
	Mtu      int            // 0: the kernel's
}

// bridgeKeys are those of [bridge.NAME], in the order of the manual.
func bridgeKeys() []*Key {
	return []*Key{
		key("link", interfaceName, "", `"tena0"`, "Name of the link on the machine."),
		key("pool", pools, "", `["10.90.0.0/24", "fd90::/64"]`, "Networks that the addresses of services are of; the first address is the gateway's."),
		key("nat", boolean, "", "false", "Whether what goes outside has the machine's address."),
		key("internal", boolean, "", "true", "Whether there is no way outside."),
		key("mtu", integer(68, 65535), "", "1400", "MTU of the bridge and its links."),
	}
}

// readBridges reads the tables below [bridge].
func (c *InstanceConfig) readBridges(doc *document, n *node) (errs List) {
	tables, _ := doc.values[n.key].(map[string]any)
	if n.kind != tableNode {
		return doc.failures(n, "bridge is a table: write [bridge.default] or [bridge.NAME]")
	}
	for _, t := range n.fields {
		values, _ := tables[t.key].(map[string]any)
		if t.kind != tableNode {
			errs = append(errs, doc.failures(t, "%s stands in no bridge: write [bridge.default] or [bridge.NAME]", printable(t.key))...)
			continue
		}
		if _, err := parseBridgeName(t.key); err != nil {
			errs = append(errs, doc.failures(t, "[bridge.%s]: %v", printable(t.key), err)...)
			continue
		}
		errs = append(errs, c.readBridge(doc, t, values)...)
	}
	return errs
}

func (d *document) failures(n *node, format string, args ...any) List {
	e := d.atKey(n)
	e.Key, e.Msg = n.key, fmt.Sprintf(format, args...)
	return List{e}
}

// readBridge reads one bridge. That of the instance is there without a table too.
func (c *InstanceConfig) readBridge(doc *document, t *node, values map[string]any) (errs List) {
	br := Bridge{Name: t.key, Nat: true}
	natAt, poolAt := (*node)(nil), t
	keys := bridgeKeys()
	for _, f := range t.fields {
		i := slices.IndexFunc(keys, func(k *Key) bool { return k.Name == f.key })
		if i < 0 {
			errs = append(errs, doc.unknownBridgeKey(t, f))
			continue
		}
		switch f.key {
		case "nat":
			natAt = f
		case "pool":
			poolAt = f
		}
		errs = append(errs, br.set(doc, keys[i], f, values[f.key])...)
	}
	switch {
	case br.Internal && br.Nat && natAt != nil:
		errs = append(errs, doc.failures(natAt, "nat = true: an internal bridge has no way outside")...)
	case br.Internal:
		br.Nat = false
	}
	errs = append(errs, c.checkPools(doc, poolAt, &br)...)
	if i := slices.IndexFunc(c.Bridges, func(other Bridge) bool { return other.Name == br.Name }); i >= 0 {
		c.Bridges[i] = br
	} else {
		c.Bridges = append(c.Bridges, br)
	}
	return errs
}

func (d *document) unknownBridgeKey(t, f *node) *Error {
	e := d.atKey(f)
	e.Key, e.Msg = "bridge."+f.key, fmt.Sprintf("unknown key %s in [bridge.%s]", printable(f.key), t.key)
	var names []string
	for _, k := range bridgeKeys() {
		names = append(names, k.Name)
	}
	if near := nearest(f.key, names); near != "" {
		e.Hint = "did you mean " + near + "?"
	}
	return e
}

// set reads the value of a key, be it one or an array.
func (br *Bridge) set(doc *document, k *Key, n *node, v any) (errs List) {
	set, e := doc.gather(k.described(), v, n)
	if e != nil {
		return List{e}
	}
	for _, it := range set.items {
		v, err := k.kind.one(&valueContext{key: k}, it.v)
		if err != nil {
			e := doc.atValue(it.n)
			e.Key, e.Msg = "bridge."+k.Name, valueMessage(k, it.v, err)
			errs = append(errs, e)
			continue
		}
		switch v := v.(type) {
		case string:
			br.Link = v
		case netip.Prefix:
			br.Pools = append(br.Pools, v)
		case int64:
			br.Mtu = int(v)
		case bool:
			if k.Name == "nat" {
				br.Nat = v
			} else {
				br.Internal = v
			}
		}
	}
	return errs
}

// described fills in what follows from the kind of a key that is in no table of units.
func (k *Key) described() *Key {
	k.Repeatable, k.id = k.kind.many, "bridge."+k.Name
	return k
}

// checkPools refuses pools that share an address, and links of one name.
func (c *InstanceConfig) checkPools(doc *document, at *node, br *Bridge) List {
	for i, p := range br.Pools {
		for _, q := range br.Pools[:i] {
			if p.Addr().Is4() == q.Addr().Is4() {
				return doc.failures(at, "pool: %s and %s: a bridge has one of IPv4 and one of IPv6", q, p)
			}
		}
		for _, other := range c.Bridges {
			if j := slices.IndexFunc(other.Pools, p.Overlaps); j >= 0 && other.Name != br.Name {
				return doc.failures(at, "pool = %q shares addresses with that of [bridge.%s], %s", p, other.Name, other.Pools[j])
			}
		}
	}
	for _, other := range c.Bridges {
		if br.Link != "" && other.Link == br.Link && other.Name != br.Name {
			return doc.failures(at, "link = %q is that of [bridge.%s] too", br.Link, other.Name)
		}
	}
	return nil
}

// configKeys are what nsinit.toml has before and beside tables, for hints.
var configKeys = strings.Fields("default_network syslog_socket journal_socket watchdog_sec defaults bridge")
