package unit

import (
	"fmt"
	"sort"
	"strings"
	"sync"
)

// renamedKeys are systemd's keys whose meaning has another form here: what to
// write, and where.
var renamedKeys = map[string]struct{ table, write string }{
	"private_network":        {"network", `mode = "private" (the default)`},
	"network_namespace_path": {"network", `mode = "path:PATH"`},
	"joins_namespace_of":     {"network", `mode = "unit:NAME"`},
	"private_pids":           {"isolation", `namespaces = ["+pid"] (the default)`},
	"private_ipc":            {"isolation", `namespaces = ["+ipc"] (the default)`},
	"private_users":          {"isolation", `namespaces = ["+user"] (not supported yet)`},
	"private_mounts":         {"isolation", `namespaces = ["+mount"] (the default)`},
	"protect_hostname":       {"isolation", `namespaces = ["+uts"] (the default) and hostname = "NAME"`},
	"sockets":                {"socket.NAME", `listen_stream = "ADDRESS"`},
	"file_descriptor_name":   {"socket.NAME", "the name in the table's header"},
	"memory_limit":           {"resources", `memory_max = "SIZE"`},
	"cpu_shares":             {"resources", "cpu_weight = NUMBER"},
	"block_io_weight":        {"resources", "io_weight = NUMBER"},
	"tasks_accounting":       {"resources", "nothing: accounting is always on"},
	"memory_accounting":      {"resources", "nothing: accounting is always on"},
	"cpu_accounting":         {"resources", "nothing: accounting is always on"},
	"io_accounting":          {"resources", "nothing: accounting is always on"},
}

// typesMeanwhile says what to write for a type that is not supported yet.
var typesMeanwhile = map[string]string{
	"dbus": `write type = "exec"; it counts as started without its bus name`,
}

// unknownKey says what a key that its table does not have may mean: another
// table, systemd's spelling, a renamed key, or a slip of the finger.
func (d *document) unknownKey(table string, f *node) *Error {
	e := d.atKey(f)
	e.Key = table + "." + f.key
	t := keyTable()
	if r, ok := renamedKeys[snakeCase(f.key)]; ok {
		e.Msg = fmt.Sprintf("%s belongs to [%s]; write %s", f.key, r.table, r.write)
		return e
	}
	if k := bestOf(t.byName[f.key], table); k != nil && k.Name == f.key {
		e.Msg = fmt.Sprintf("%s belongs to [%s], not to [%s]", f.key, k.Table, table)
		return e
	}
	if k := t.otherSpelling(f.key, table); k != nil {
		e.Msg = fmt.Sprintf("unknown key %s in [%s]", f.key, table)
		e.Hint = "write " + k.Name
		if k.Table != table {
			e.Hint += " in [" + k.Table + "]"
		}
		return e
	}
	e.Msg = fmt.Sprintf("unknown key %s in [%s]", printable(f.key), table)
	if d.unknown++; d.unknown > maxNearest {
		return e
	}
	if near := nearest(f.key, t.names(table)); near != "" {
		e.Hint = "did you mean " + near + "?"
	}
	return e
}

// bestOf prefers the key of the table that the writer is in.
func bestOf(keys []*Key, table string) *Key {
	for _, k := range keys {
		if k.Table == table {
			return k
		}
	}
	if len(keys) > 0 {
		return keys[0]
	}
	return nil
}

// otherSpelling finds the key that CamelCase or another case means.
func (t *table) otherSpelling(name, table string) *Key {
	if k := bestOf(t.byName[name], table); k != nil {
		return k
	}
	return bestOf(keysByFlat()[flat(name)], table)
}

// keysByFlat has the keys by flat name. Only errors need it.
var keysByFlat = sync.OnceValue(func() map[string][]*Key {
	keys := map[string][]*Key{}
	for _, k := range keyTable().all {
		keys[flat(k.Name)] = append(keys[flat(k.Name)], k)
	}
	return keys
})

// flat is a name without what its spellings differ in.
func flat(name string) string {
	return strings.ToLower(strings.ReplaceAll(strings.ReplaceAll(name, "_", ""), "-", ""))
}

func (d *document) unknownTable(t *node) *Error {
	e := d.atKey(t)
	e.Key = t.key
	if t.kind != tableNode {
		e.Msg = fmt.Sprintf("the key %s stands before any table", printable(t.key))
		if k := bestOf(keyTable().byName[t.key], ""); k != nil {
			e.Hint = "it belongs to [" + k.Table + "]"
		}
		return e
	}
	e.Msg = fmt.Sprintf("unknown table [%s]", printable(t.key))
	if near := nearest(strings.ToLower(t.key), keyTable().tables); near != "" {
		e.Hint = "did you mean [" + near + "]?"
	}
	return e
}

// printable makes a key of a file safe to show on a terminal.
func printable(s string) string {
	if len(s) > 64 {
		s = s[:64] + "..."
	}
	if quoted := fmt.Sprintf("%+q", s); quoted != `"`+s+`"` {
		return quoted
	}
	return s
}

// snakeCase turns CamelCase into snake_case: PrivateNetwork, private_network.
func snakeCase(name string) string {
	var b strings.Builder
	for i, r := range name {
		if r >= 'A' && r <= 'Z' {
			if i > 0 && (name[i-1] < 'A' || name[i-1] > 'Z') {
				b.WriteByte('_')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// nearest returns the candidate with the least edit distance to name, or ""
// when none is near enough to be a slip of the finger.
func nearest(name string, candidates []string) string {
	best, least := "", 1+min(3, (len(name)+1)/3)
	sorted := append([]string(nil), candidates...)
	sort.Strings(sorted)
	for _, c := range sorted {
		if abs(len(c)-len(name)) >= least {
			continue
		}
		if n := distance(name, c); n < least {
			best, least = c, n
		}
	}
	return best
}

func abs(n int) int { return max(n, -n) }

// distance is the number of insertions, deletions, replacements and swaps of
// neighbours that turn a into b (optimal string alignment).
func distance(a, b string) int {
	two, one := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range one {
		one[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(one[j]+1, row[j-1]+1, one[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], two[j-2]+1)
			}
		}
		two, one = one, row
	}
	return one[len(b)]
}
