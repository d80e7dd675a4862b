package unit

import (
	"fmt"
	"net"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Resolved writes the unit as it is in force, with every default, as TOML
// that loads to the same unit; a comment after each key says where it was
// written. What nsctl cat --resolved prints.
func (u *Unit) Resolved() string {
	var out strings.Builder
	fmt.Fprintf(&out, "# %s\n", u.Name)
	table := ""
	b := &builder{unit: u}
	for _, k := range keyTable().with(u.Network.Links) {
		if !k.Supported || k.fieldName() == "-" || u.target && k.Table != "unit" && k.Table != "install" {
			continue
		}
		value := b.render(k)
		if value == "" {
			continue
		}
		if k.Table != table {
			table = k.Table
			fmt.Fprintf(&out, "\n[%s]\n", k.heading())
		}
		fmt.Fprintf(&out, "%s = %s%s\n", k.Name, value, u.originComment(k))
	}
	return out.String()
}

// heading is the key's table as TOML has it: a link's name may have a dot.
func (k *Key) heading() string {
	if k.link == "" {
		return k.Table
	}
	return strings.TrimSuffix(linkTable, "NAME") + quote(k.link)
}

func (u *Unit) originComment(k *Key) string {
	at := u.Origins(k.ID())
	if len(at) == 0 {
		return ""
	}
	last := at[len(at)-1]
	return fmt.Sprintf(" # %s:%d", last.File, last.Line)
}

// render is the value of a key as TOML, "" when it has none.
func (b *builder) render(k *Key) string {
	v := b.field(k)
	switch {
	case k.ID() == "network.mode":
		return quote(v.Interface().(Network).Text())
	case k.field == "Conditions" || k.field == "Asserts":
		return renderConditions(k, v.Interface().([]Condition))
	case v.Kind() == reflect.Pointer && v.IsNil():
		return ""
	case v.Kind() == reflect.Pointer:
		v = v.Elem()
	case k.kind.label == capabilities.label:
		return renderList(namesOfCapabilities(v.Uint()), quote)
	case v.IsZero() && rendersNothing(k, v):
		return ""
	}
	return renderValue(k, v)
}

// rendersNothing says whether the zero value of a key means that it is not
// set, rather than 0, false or an empty list.
func rendersNothing(k *Key, v reflect.Value) bool {
	switch v.Interface().(type) {
	case bool, time.Duration, Namespaces:
		return false
	case int:
		return k.kind.label != logLevel.label && k.preset == ""
	case uint32:
		return k.kind.label != mode.label
	}
	return true
}

func renderValue(k *Key, v reflect.Value) string {
	switch v := v.Interface().(type) {
	case bool:
		return strconv.FormatBool(v)
	case string:
		if k.ID() == "filesystem.protect_system" || k.ID() == "filesystem.protect_home" {
			return pick(v == "true" || v == "false", v, quote(v))
		}
		return escaped(k, v)
	case []string:
		return renderList(v, func(s string) string { return escaped(k, s) })
	case []int:
		return renderList(v, strconv.Itoa)
	case time.Duration:
		return quote(span(v))
	case syscall.Signal:
		return quote(signalName(v))
	case int:
		return renderInt(k, v)
	case uint32:
		return renderBits(k, v)
	case uint64:
		return renderNumber(k, v)
	case []Command:
		return renderList(v, func(c Command) string {
			if c.Exact {
				return renderList(c.words(), func(w string) string { return escaped(k, w) })
			}
			return escaped(k, c.text())
		})
	case []EnvAssignment:
		return "{ " + strings.Trim(renderList(v, func(a EnvAssignment) string { return a.Name + " = " + escaped(k, a.Value) }), "[]") + " }"
	case net.HardwareAddr:
		return quote(v.String())
	case []Directory:
		return renderList(v, func(d Directory) string { return d.text(k) })
	}
	return renderStruct(k, v)
}

func renderStruct(k *Key, v reflect.Value) string {
	if v.Kind() != reflect.Slice {
		switch v := v.Interface().(type) {
		case ExitStatusSet:
			return v.text()
		case Namespaces:
			return renderList(v.names(), quote)
		case Delegation:
			return pick(v.Controllers == nil, strconv.FormatBool(v.Enabled), renderList(v.Controllers, quote))
		}
		return escaped(k, structText(v.Interface()))
	}
	items := make([]any, v.Len())
	for i := range items {
		items[i] = v.Index(i).Interface()
	}
	return renderList(items, func(item any) string { return escaped(k, structText(item)) })
}

// structText is a value in the syntax of its key.
func structText(v any) string {
	switch v := v.(type) {
	case Rlimit:
		return limitText(v.Soft) + ":" + limitText(v.Hard)
	case Amount:
		if v.Share != 0 {
			return percent(uint64(v.Share))
		}
		return limitText(v.Value)
	case PathEntry:
		return pick(v.Optional, "-", "") + pick(v.InRoot, "+", "") + v.Path
	case WorkingDirectory:
		return pick(v.Optional, "-", "") + pick(v.Home, "~", v.Path)
	case Bind:
		colons := strings.NewReplacer(`\`, `\\`, ":", `\:`)
		return pick(v.Optional, "-", "") + colons.Replace(v.Source) + ":" + colons.Replace(v.Destination) + ":" + pick(v.Recursive, "rbind", "norbind")
	case Tmpfs:
		return v.Path + pick(v.Options == "", "", ":"+v.Options)
	case DeviceRule:
		return v.Path + " " + pick(v.Read, "r", "") + pick(v.Write, "w", "") + pick(v.Mknod, "m", "")
	case IoLimit:
		return v.Device + " " + limitText(v.Value)
	case Stream:
		return v.Kind + pick(v.Path == "", "", ":"+v.Path)
	case OpenFile:
		return v.text()
	case fmt.Stringer: // of the network: addresses, ports, peers, routes
		return v.String()
	}
	return fmt.Sprint(v)
}

func (f OpenFile) text() string {
	var options []string
	for _, o := range []struct {
		on   bool
		name string
	}{{f.ReadOnly, "read-only"}, {f.Append, "append"}, {f.Truncate, "truncate"}, {f.Graceful, "graceful"}} {
		if o.on {
			options = append(options, o.name)
		}
	}
	return strings.TrimSuffix(f.Path+":"+f.Name+":"+strings.Join(options, ","), ":")
}

func (n Namespaces) names() []string {
	var names []string
	for _, ns := range []struct {
		has  bool
		name string
	}{{n.Mount, "mount"}, {n.Pid, "pid"}, {n.Ipc, "ipc"}, {n.Uts, "uts"}, {n.Cgroup, "cgroup"}} {
		if ns.has {
			names = append(names, ns.name)
		}
	}
	return names
}

func (s ExitStatusSet) text() string {
	var words []string
	for _, code := range s.Codes {
		words = append(words, strconv.Itoa(code))
	}
	for _, sig := range s.Signals {
		words = append(words, quote(signalName(sig)))
	}
	return "[" + strings.Join(words, ", ") + "]"
}

func (d Directory) text(k *Key) string {
	text := fmt.Sprintf("{ path = %s, mode = \"%04o\"", escaped(k, d.Path), d.Mode)
	if d.User != "" || d.Group != "" {
		text += ", owner = " + quote(strings.TrimSuffix(d.User+":"+d.Group, ":"))
	}
	if d.Preserve != "" {
		text += ", preserve = " + quote(d.Preserve)
	}
	return text + " }"
}

// words are the command's words with its prefixes and path.
func (c Command) words() []string {
	words := append([]string(nil), c.Argv...)
	if c.Argv0 {
		words = append([]string{c.Path}, words...)
	}
	if len(words) > 0 {
		words[0] = c.prefixes() + c.Path
	}
	return words
}

// text writes a command in its string form, which splits into the same argv.
func (c Command) text() string {
	words := c.words()
	for i, w := range words {
		if w == "" || w == ";" || strings.ContainsAny(w, " \t\n\r\"'\\") {
			words[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`, "\r", `\r`).Replace(w) + `"`
		}
	}
	return strings.Join(words, " ")
}

func (c Command) prefixes() string {
	return pick(c.IgnoreFailure, "-", "") + pick(c.Argv0, "@", "") + pick(c.NoExpand, ":", "") +
		pick(c.FullPrivileges, "+", "") + pick(c.NoUser, "!", "") + pick(c.NoUserIfAmbient, "!!", "")
}

func renderConditions(k *Key, all []Condition) string {
	_, kind, _ := strings.Cut(k.Name, "_")
	var values []string
	for _, c := range all {
		if c.Kind == kind {
			values = append(values, pick(c.Trigger, "|", "")+pick(c.Negate, "!", "")+c.Value)
		}
	}
	if values == nil {
		return ""
	}
	return renderList(values, func(s string) string { return escaped(k, s) })
}

func renderInt(k *Key, n int) string {
	switch {
	case k.kind.label == logLevel.label:
		return quote([]string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}[n&7])
	case n == CpuWeightIdle && k.kind.label == cpuWeight.label:
		return `"idle"`
	}
	return strconv.Itoa(n)
}

func renderBits(k *Key, n uint32) string {
	names := map[string]uint32{}
	switch k.kind.label {
	case mode.label:
		return fmt.Sprintf("\"%04o\"", n)
	case secureBits.label:
		names = secureBitNames()
	case coredumpFilter.label:
		names = coredumpNames()
	}
	var words []string
	for _, name := range sortedKeys(names) {
		if bit := names[name]; bit&n != 0 && bit&(bit-1) == 0 {
			words = append(words, name)
		}
	}
	return renderList(words, quote)
}

func renderNumber(k *Key, n uint64) string {
	if k.kind.label == cpuQuota.label {
		return quote(percent(n))
	}
	return quote(limitText(n))
}

// signalName is the name that ParseSignal reads back.
func signalName(sig syscall.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return name
	}
	if sig >= minRealtime {
		return fmt.Sprintf("SIGRTMIN+%d", sig-minRealtime)
	}
	return strconv.Itoa(int(sig))
}

func limitText(n uint64) string {
	if n == Unlimited {
		return "infinity"
	}
	return strconv.FormatUint(n, 10)
}

// percent writes hundredths of a percent.
func percent(n uint64) string {
	text := strings.TrimRight(fmt.Sprintf("%d.%02d", n/100, n%100), "0")
	return strings.TrimSuffix(text, ".") + "%"
}

// span writes a duration in the units of systemd.time(7): "1min 30s".
func span(d time.Duration) string {
	if d == Infinity {
		return "infinity"
	}
	var words []string
	for _, u := range []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "us"}, {1, "ns"}} {
		if n := d / u.size; n > 0 {
			words = append(words, fmt.Sprintf("%d%s", n, u.name))
			d %= u.size
		}
	}
	if words == nil {
		return "0"
	}
	return strings.Join(words, " ")
}

func renderList[T any](items []T, one func(T) string) string {
	words := make([]string, len(items))
	for i, item := range items {
		words[i] = one(item)
	}
	return "[" + strings.Join(words, ", ") + "]"
}

// escaped quotes a string in which "%" has a meaning where its key says so.
func escaped(k *Key, s string) string {
	if k.expands() {
		s = strings.ReplaceAll(s, "%", "%%")
	}
	return quote(s)
}

// quote writes a TOML basic string.
func quote(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\\' || r == '"':
			b.WriteString(`\` + string(r))
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return `"` + b.String() + `"`
}
