package unit

import (
	"reflect"
	"slices"
	"sort"
	"strings"
	"sync"
)

// Key is one key of the unit format: the entry of the one table from which
// decoding, error hints, explanations and manual pages are derived.
type Key struct {
	Table      string // "service"; "socket.NAME" for a named table
	Name       string // "exec_start"
	Systemd    string // "ExecStart"; "" of a key that systemd does not have
	Type       string // "time span", in the words of the manual
	Default    string // as TOML, or in words; "" is none
	Doc        string // one line
	Example    string // the whole line: exec_start = "/usr/sbin/nginx"
	Repeatable bool   // may be an array
	Supported  bool   // in force; others are refused with "not supported yet"

	kind    *kind
	preset  string // Default is TOML that the loader applies
	field   string // of the table's struct; the CamelCase of Name unless it is another
	index   []int  // of the field in Unit (reflect.Value.FieldByIndex); nil: it has none of its own
	id      string
	section string // of systemd, when not the table's
	link    string // NAME of a key of [network.link.NAME] that was written
	general *Key   // the key of the table that it was made of; nil for those of the table
}

// linkTable holds the keys of every further link of a service.
const linkTable = "network.link.NAME"

// ofLink is the key of one link: [network.link.eth1].
func (k *Key) ofLink(name string) *Key {
	own := *k
	own.Table = strings.TrimSuffix(linkTable, "NAME") + name
	own.id, own.link, own.general = own.Table+"."+k.Name, name, k
	return &own
}

// canonical is the key of the table, of which there is one in the program.
func (k *Key) canonical() *Key {
	if k.general != nil {
		return k.general
	}
	return k
}

// expands says whether "%" has a meaning in the key's strings. Hostname needs
// "%H", and a unit's network may be named after the instance.
func (k *Key) expands() bool {
	table, _, _ := strings.Cut(k.Table, ".")
	return slices.Contains([]string{"unit", "service", "isolation", "filesystem", "network", "log", "install"}, table)
}

// ID returns "service.exec_start".
func (k *Key) ID() string {
	if k.id != "" {
		return k.id
	}
	return k.Table + "." + k.Name
}

// Keys returns every key of the format, by table and then by name within the
// order of the manual. The result is the caller's.
func Keys() []Key {
	all := keyTable().all
	out := make([]Key, len(all))
	for i, k := range all {
		out[i] = *k
	}
	return out
}

// LookupKey finds keys by name ("exec_start"), by table and name
// ("service.exec_start"), or by systemd's name ("ExecStart"). A name may
// stand in several tables.
func LookupKey(name string) []Key {
	var out []Key
	for _, k := range keyTable().all {
		if k.Name == name || k.ID() == name || k.Systemd != "" && k.Systemd == strings.TrimSuffix(name, "=") {
			out = append(out, *k)
		}
	}
	return out
}

// table is the index over all keys.
type table struct {
	all    []*Key
	single []*Key // without those of tables with a NAME
	byID   map[string]*Key
	byName map[string][]*Key // snake_case and systemd's names
	tables []string
}

// keyTable returns the one table; it is built once and never changed.
var keyTable = sync.OnceValue(func() *table {
	t := &table{byID: map[string]*Key{}, byName: map[string][]*Key{}}
	for _, group := range []struct {
		name string
		keys []*Key
	}{
		{"unit", unitKeys()}, {"service", serviceKeys()}, {"isolation", isolationKeys()},
		{"filesystem", filesystemKeys()}, {"network", networkKeys()}, {linkTable, linkKeys()},
		{"resources", resourcesKeys()}, {"security", securityKeys()}, {"log", logKeys()},
		{"health.NAME", healthKeys()}, {"socket.NAME", socketKeys()}, {"timer", timerKeys()},
		{"path", pathKeys()}, {"install", installKeys()},
	} {
		t.tables = append(t.tables, group.name)
		for i := range group.keys {
			t.add(group.name, group.keys[i])
		}
	}
	return t
})

func (t *table) add(name string, k *Key) {
	k.Table, k.id = name, name+"."+k.Name
	if k.field == "" {
		k.field = camelCase(k.Name)
	}
	k.index = k.place()
	k.Type, k.Repeatable = k.kind.label, k.kind.many
	k.Example = k.Name + " = " + k.Example
	t.all = append(t.all, k)
	if !strings.HasSuffix(name, ".NAME") {
		t.single = append(t.single, k)
	}
	t.byID[k.ID()] = k
	t.byName[k.Name] = append(t.byName[k.Name], k)
	if k.Systemd != "" {
		t.byName[k.Systemd] = append(t.byName[k.Systemd], k)
	}
}

// place finds the field of Unit that the key sets: nil for timeout_sec, which
// sets two, and for tables that Unit has no field for.
func (k *Key) place() []int {
	of, path := reflect.TypeFor[Unit](), []int(nil)
	if k.field == "-" {
		return nil
	}
	if k.Table == linkTable {
		field, _ := reflect.TypeFor[Link]().FieldByName(k.field)
		return field.Index
	}
	if k.Table != "unit" {
		table, ok := of.FieldByName(camelCase(k.Table))
		if !ok || table.Type.Kind() != reflect.Struct { // Unit.Path is no table
			return nil
		}
		if k.id == "network.mode" { // the mode has a unit or a path with it
			return table.Index
		}
		of, path = table.Type, table.Index
	}
	field, ok := of.FieldByName(k.field)
	if !ok {
		return nil
	}
	return slices.Concat(path, field.Index)
}

// with gives the keys of a unit with these links, in the order of the table.
func (t *table) with(links []Link) []*Key {
	if len(links) == 0 {
		return t.single
	}
	var keys []*Key
	for _, k := range t.single {
		if k.Table == "resources" && len(links) > 0 { // which comes after the links
			for _, l := range links {
				keys = append(keys, t.ofLink(l.Name)...)
			}
			links = nil
		}
		keys = append(keys, k)
	}
	return keys
}

func (t *table) ofLink(name string) (keys []*Key) {
	for _, k := range t.all {
		if k.Table == linkTable {
			keys = append(keys, k.ofLink(name))
		}
	}
	return keys
}

// names returns the names of a table's keys in force, sorted.
func (t *table) names(name string) []string {
	var names []string
	for _, k := range t.all {
		if k.Table == name {
			names = append(names, k.Name)
		}
	}
	sort.Strings(names)
	return names
}

// key makes an entry that is in force. preset is TOML that the loader applies
// when the key is not written, or "".
func key(name string, kind *kind, preset, example, doc string) *Key {
	return &Key{
		Name: name, Systemd: systemdName(name), kind: kind, Supported: true,
		Default: preset, preset: preset, Example: example, Doc: doc,
	}
}

// later makes an entry that is not in force yet.
func later(name string, kind *kind, def, example, doc string) *Key {
	k := key(name, kind, "", example, doc)
	k.Default, k.Supported = def, false
	return k
}

// ours marks a key that systemd does not have.
func (k *Key) ours() *Key { k.Systemd = ""; return k }

// note gives the default in words, for one that the loader computes.
func (k *Key) note(def string) *Key { k.Default, k.preset = def, ""; return k }

// into names the field that takes the value.
func (k *Key) into(field string) *Key { k.field = field; return k }

// fieldName is the Go field of the key: the mechanical CamelCase of its name,
// unless it is another one.
func (k *Key) fieldName() string { return k.field }

func camelCase(name string) string {
	var b strings.Builder
	for _, part := range strings.Split(name, "_") {
		if part != "" {
			b.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
	}
	return b.String()
}

// systemdName is how systemd spells a key: CamelCase, but for some words.
func systemdName(name string) string {
	if odd, ok := irregularNames[name]; ok {
		return odd
	}
	if limit, ok := strings.CutPrefix(name, "limit_"); ok {
		return "Limit" + strings.ToUpper(limit)
	}
	for _, prefix := range []string{"condition_", "assert_"} {
		if rest, ok := strings.CutPrefix(name, prefix); ok && irregularNames[rest] != "" {
			return camelCase(prefix) + irregularNames[rest]
		}
	}
	return camelCase(name)
}

// irregularNames are systemd's names that are not the CamelCase of ours. It
// is never written to.
var irregularNames = map[string]string{
	"pid_file":                "PIDFile",
	"guess_main_pid":          "GuessMainPID",
	"oom_policy":              "OOMPolicy",
	"oom_score_adjust":        "OOMScoreAdjust",
	"umask":                   "UMask",
	"send_sigkill":            "SendSIGKILL",
	"send_sighup":             "SendSIGHUP",
	"ignore_sigpipe":          "IgnoreSIGPIPE",
	"timer_slack_nsec":        "TimerSlackNSec",
	"pam_name":                "PAMName",
	"tty_path":                "TTYPath",
	"tty_reset":               "TTYReset",
	"tty_vhangup":             "TTYVHangup",
	"tty_vt_disallocate":      "TTYVTDisallocate",
	"tty_rows":                "TTYRows",
	"tty_columns":             "TTYColumns",
	"cpu_affinity":            "CPUAffinity",
	"cpu_scheduling_policy":   "CPUSchedulingPolicy",
	"cpu_scheduling_priority": "CPUSchedulingPriority",
	"io_scheduling_class":     "IOSchedulingClass",
	"io_scheduling_priority":  "IOSchedulingPriority",
	"cpu_weight":              "CPUWeight",
	"cpu_quota":               "CPUQuota",
	"allowed_cpus":            "AllowedCPUs",
	"io_weight":               "IOWeight",
	"io_read_bandwidth_max":   "IOReadBandwidthMax",
	"io_write_bandwidth_max":  "IOWriteBandwidthMax",
	"io_read_iops_max":        "IOReadIOPSMax",
	"io_write_iops_max":       "IOWriteIOPSMax",
	"restrict_suid_sgid":      "RestrictSUIDSGID",
	"remove_ipc":              "RemoveIPC",
	"bind_ipv6_only":          "BindIPv6Only",
	"listen_fifo":             "ListenFIFO",
	"ac_power":                "ACPower",
	"cpus":                    "CPUs",
}
