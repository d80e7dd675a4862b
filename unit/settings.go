package unit

import (
	"fmt"
	"strings"
)

// item is one value of a key with its place. Its v is a scalar, a pair, an
// argv array or a table.
type item struct {
	v   any
	doc *document // nil for a default
	n   *node
}

// setting is what files say about one key.
type setting struct {
	key    *Key
	items  []item
	resets bool // replaces what earlier files say instead of adding to it
	at     []item
	names  map[string]item // where unit names stand; made when first asked for
}

// settings is what a unit's files say, by key ID.
type settings map[string]*setting

// written says whether a file gives the key a value, be it an empty list.
func (s settings) written(id string) bool { return s[id] != nil }

// merge lays a later file over s: scalars replace, arrays append, an array
// that begins with "" replaces, and an empty one empties.
func (s settings) merge(later settings) {
	for id, l := range later {
		old := s[id]
		if old == nil {
			s[id] = l
			continue
		}
		merged := &setting{key: l.key, resets: old.resets || l.resets, at: append(old.at[:len(old.at):len(old.at)], l.at...)}
		if !l.resets {
			merged.items = append(merged.items, old.items...)
		}
		merged.items = append(merged.items, l.items...)
		s[id] = merged
	}
}

// dropCleared forgets keys that an empty string gave back their default. An
// empty array stays: it is a value.
func (s settings) dropCleared() {
	for id, set := range s {
		last := set.at[len(set.at)-1]
		if len(set.items) == 0 && last.v == any("") {
			delete(s, id)
		}
	}
}

// settings reads the document by the key table and finds every key that is
// wrong, whether or not the values could be parsed.
func (d *document) settings() (settings, List) {
	out := settings{}
	var errs List
	if d.root == nil {
		return out, nil
	}
	for _, t := range d.root.fields {
		values, _ := d.values[t.key].(map[string]any)
		errs = append(errs, d.readTable(out, t, values)...)
	}
	return out, errs
}

func (d *document) readTable(out settings, t *node, values map[string]any) List {
	if e := d.checkTable(t); e != nil {
		return List{e}
	}
	var errs List
	for _, f := range t.fields {
		k := keyTable().find(t.key, f.key)
		switch {
		case t.key == "network" && f.key == "link":
			links, _ := values[f.key].(map[string]any)
			errs = append(errs, d.readLinks(out, f, links)...)
		case k == nil:
			errs = append(errs, d.unknownKey(t.key, f))
		case !k.Supported:
			errs = append(errs, d.notYet(f, f.key))
		case d.values != nil:
			set, e := d.gather(k, values[f.key], f)
			if e != nil {
				errs = append(errs, e)
			}
			out[k.ID()] = set
		}
	}
	return errs
}

// linkID is the ID of the table of a link; those of its keys follow after a dot.
func linkID(name string) string { return strings.TrimSuffix(linkTable, "NAME") + name }

// maxLinks is how many links one file may give a service.
const maxLinks = 16

// readLinks reads the tables below [network.link]. Each has a setting of its own:
// a link without a key is one too.
func (d *document) readLinks(out settings, links *node, values map[string]any) List {
	fail := func(n *node, format string, args ...any) List {
		e := d.atKey(n)
		e.Key, e.Msg = "network.link", fmt.Sprintf(format, args...)
		return List{e}
	}
	if links.kind != tableNode {
		return fail(links, "link is a table: write [network.link.NAME]")
	}
	if len(links.fields) > maxLinks {
		return fail(links.fields[maxLinks], "more than %d links", maxLinks)
	}
	var errs List
	for _, l := range links.fields {
		if _, err := parseInterfaceName(l.key); err != nil {
			errs = append(errs, fail(l, "[network.link.%s]: %v", printable(l.key), err)...)
			continue
		}
		if l.kind != tableNode {
			errs = append(errs, fail(l, "%s is no key of a link; write it in [network.link.NAME], or in [network] for the link of its mode", l.key)...)
			continue
		}
		out[linkID(l.key)] = &setting{key: &Key{Table: linkID(l.key), link: l.key}, at: []item{{doc: d, n: l}}, resets: true}
		link, _ := values[l.key].(map[string]any)
		errs = append(errs, d.readLink(out, l, link)...)
	}
	return errs
}

func (d *document) readLink(out settings, l *node, values map[string]any) (errs List) {
	for _, f := range l.fields {
		k := keyTable().find(linkTable, f.key)
		if k == nil {
			errs = append(errs, d.unknownKey(linkTable, f))
		} else if d.values != nil {
			k = k.ofLink(l.key)
			set, e := d.gather(k, values[f.key], f)
			if e != nil {
				errs = append(errs, e)
			}
			out[k.ID()] = set
		}
	}
	return errs
}

// links are those that have a table, by name.
func (s settings) links() (links []Link) {
	for _, id := range sortedKeys(s) {
		if k := s[id].key; k.link != "" && k.Name == "" {
			links = append(links, Link{Name: k.link})
		}
	}
	return links
}

// find returns the key of a table. The start limit is accepted in [service]
// too, where systemd once had it.
func (t *table) find(table, name string) *Key {
	if table == "service" && strings.HasPrefix(name, "start_limit_") {
		table = "unit"
	}
	return t.byID[table+"."+name]
}

// checkTable refuses what is no table of a unit, or not one in force.
func (d *document) checkTable(t *node) *Error {
	switch t.key {
	case "unit", "service", "isolation", "filesystem", "network", "resources", "security", "log", "install":
		if t.kind == tableNode {
			return nil
		}
		e := d.atKey(t)
		e.Msg = fmt.Sprintf("%s is a table: write [%s]", t.key, t.key)
		return e
	case "socket", "health":
		return d.notYet(t, "["+t.key+".NAME]")
	case "timer", "path":
		return d.notYet(t, "["+t.key+"]")
	}
	return d.unknownTable(t)
}

func (d *document) notYet(n *node, what string) *Error {
	e := d.atKey(n)
	e.Key, e.Msg = n.key, what+" is not supported yet"
	return e
}

// gather turns the value of a key into items.
func (d *document) gather(k *Key, v any, n *node) (*setting, *Error) {
	set := &setting{key: k, at: []item{{v, d, n}}}
	if tables, ok := v.([]map[string]any); ok {
		v = anySlice(tables)
	}
	switch t := v.(type) {
	case []any:
		return set, d.gatherArray(set, t, n)
	case map[string]any:
		return set, d.gatherTable(set, t, n)
	}
	set.resets = true
	if v != any("") {
		set.items = []item{{v, d, n}}
	}
	return set, nil
}

func anySlice(tables []map[string]any) []any {
	out := make([]any, len(tables))
	for i, t := range tables {
		out[i] = t
	}
	return out
}

func (d *document) gatherArray(set *setting, vs []any, n *node) *Error {
	k := set.key
	if !k.Repeatable {
		return d.wrongShape(k, n, "takes one value, not an array")
	}
	set.resets = len(vs) == 0
	for i, v := range vs {
		if v == any("") { // undoes what stands before it, as an empty assignment does in systemd
			set.items, set.resets = nil, true
			continue
		}
		switch v.(type) {
		case []any:
			if k.kind.label != commands.label {
				return d.wrongShape(k, n.elem(i), "takes an array of strings, without an array in it")
			}
		case map[string]any:
			if k.kind.label != directories.label {
				return d.wrongShape(k, n.elem(i), "takes no table in its array")
			}
		}
		set.items = append(set.items, item{v, d, n.elem(i)})
	}
	return nil
}

func (d *document) gatherTable(set *setting, table map[string]any, n *node) *Error {
	k := set.key
	if k.kind.label == directories.label {
		set.items, set.resets = []item{{table, d, n}}, true
		return nil
	}
	if !k.kind.pairs {
		return d.wrongShape(k, n, "takes no table")
	}
	for _, f := range n.fields {
		v, ok := table[f.key]
		switch v.(type) {
		case []any, map[string]any, []map[string]any, bool:
			return d.wrongShape(k, f, fmt.Sprintf("takes strings: %s is %s", f.key, tomlType(v)))
		}
		if ok {
			set.items = append(set.items, item{pair{f.key, v}, d, f})
		}
	}
	return nil
}

func (d *document) wrongShape(k *Key, n *node, what string) *Error {
	e := d.atValue(n)
	e.Key, e.Msg = k.ID(), k.Name+" "+what
	return e
}
