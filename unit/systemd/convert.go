package systemd

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nsinit/nsinit/unit"
)

// A Status says what became of a directive.
type Status string

// What can become of a directive.
const (
	Mapped      Status = "mapped"      // it stands in the output, or is the default there
	Skipped     Status = "skipped"     // knowingly left out
	Unsupported Status = "unsupported" // it has a meaning here that is not in force, or a value that cannot be
)

// Note is what import has to say about one directive, or about a line that it
// added.
type Note struct {
	File      string `json:"file,omitempty"`
	Line      int    `json:"line,omitempty"`
	Directive string `json:"directive"` // "ProtectClock=yes"
	Status    Status `json:"status"`
	Reason    string `json:"reason,omitempty"`
	Security  bool   `json:"security,omitempty"` // protection was lost
}

// Result is one unit, converted.
type Result struct {
	Name  string `json:"unit"`
	TOML  string `json:"-"`
	Notes []Note `json:"notes"`
}

// Count gives how many directives have a status.
func (r *Result) Count(s Status) int {
	n := 0
	for _, note := range r.Notes {
		if note.Status == s {
			n++
		}
	}
	return n
}

// SecurityLoss says whether a protection of the unit did not carry over.
func (r *Result) SecurityLoss() bool {
	return slices.ContainsFunc(r.Notes, func(n Note) bool { return n.Security && n.Status != Mapped })
}

// entry is a key of the output.
type entry struct {
	table, key string
	value      string // TOML
	comment    string // at the end of the line
	notes      []int  // of converter.notes
	security   bool
	added      bool // by import; no directive asked for it
}

// converter makes one unit.
type converter struct {
	name    string
	host    Host
	profile string
	why     string // the profile was chosen
	service bool
	fatal   error // without this there is no unit
	entries []*entry
	notes   []Note
	lists   map[string][]string // unit names, by key
	notices []string            // what the administrator must know, for the head of the output
}

func directive(a Assignment) string { return a.Name + "=" + a.Value }

func (c *converter) note(a Assignment, s Status, reason string, security bool) int {
	c.notes = append(c.notes, Note{a.File, a.Line, directive(a), s, reason, security})
	return len(c.notes) - 1
}

// drop leaves a directive out and says so in the output.
func (c *converter) drop(a Assignment, s Status, reason string, security bool) {
	value, isBool := boolean(a.Value)
	c.note(a, s, reason, security && (!isBool || value)) // ProtectX=no protects nothing
}

// set puts a value into the output.
func (c *converter) set(table, key, value string, from ...int) *entry {
	for _, e := range c.entries {
		if e.table == table && e.key == key {
			e.value = value
			e.notes = append(e.notes, from...)
			return e
		}
	}
	e := &entry{table: table, key: key, value: value, notes: from}
	for _, n := range from {
		e.security = e.security || protects(strings.SplitN(c.notes[n].Directive, "=", 2)[0])
	}
	c.entries = append(c.entries, e)
	return e
}

func (c *converter) get(table, key string) *entry {
	for _, e := range c.entries {
		if e.table == table && e.key == key {
			return e
		}
	}
	return nil
}

// group gathers the assignments of one directive; an empty one resets a list.
type group struct {
	section, name string
	all           []Assignment
	reset         bool
}

func gather(all []Assignment) []*group {
	var out []*group
	byKey := map[string]*group{}
	for _, a := range all {
		if real := obsoleteNames[a.Name]; real != "" {
			a.Name = real
		}
		g := byKey[a.Section+"."+a.Name]
		if g == nil {
			g = &group{section: a.Section, name: a.Name}
			byKey[a.Section+"."+a.Name] = g
			out = append(out, g)
		}
		if a.Value == "" {
			g.all, g.reset = nil, true
			if a.Name == "CapabilityBoundingSet" || a.Name == "AmbientCapabilities" {
				g.all = append(g.all, a)
			}
			continue
		}
		g.all = append(g.all, a)
	}
	return out
}

// keyOf finds the key of a directive in the one table, for its section.
func keyOf(section, name string) *unit.Key {
	for _, k := range unit.LookupKey(name) {
		if k.Systemd != name {
			continue
		}
		table := k.Table
		switch section {
		case "Unit", "Install", "Timer", "Path":
			if table == strings.ToLower(section) {
				return &k
			}
		case "Socket":
			if table == "socket.NAME" {
				return &k
			}
		case "Service":
			if table == "service" || table == "isolation" || table == "filesystem" || table == "network" ||
				table == "resources" || table == "security" || table == "log" ||
				table == "unit" && strings.HasPrefix(name, "StartLimit") || table == "unit" && name == "FailureAction" {
				return &k
			}
		}
	}
	return nil
}

// directives converts what files say, in their order.
func (c *converter) directives(all []Assignment, socket string) {
	for _, g := range gather(all) {
		for _, a := range g.all {
			if strings.HasPrefix(a.Section, "X-") || strings.HasPrefix(a.Name, "X-") {
				c.drop(a, Skipped, "an extension that systemd ignores too", false)
			}
		}
		if len(g.all) == 0 || strings.HasPrefix(g.section, "X-") || strings.HasPrefix(g.name, "X-") {
			continue
		}
		c.directive(g, socket)
	}
}

func (c *converter) directive(g *group, socket string) {
	last := g.last()
	if special := specials[g.name]; special != nil && (g.section == "Service" || g.section == "Unit" || g.section == "Install") {
		special(c, g)
		return
	}
	k := keyOf(g.section, g.name)
	if k == nil {
		s, known := skipped[g.name]
		if !known {
			s = skip{fmt.Sprintf("no directive of [%s] that is known here", g.section), protects(g.name)}
		}
		for _, a := range g.all {
			c.drop(a, Skipped, s.reason, s.security)
		}
		return
	}
	values, err := valuesOf(k, g)
	if err != nil {
		if g.name == "ExecStart" {
			c.fatal = &SyntaxError{last.File, last.Line, err.Error()}
		}
		c.drop(last, Unsupported, err.Error(), protects(g.name))
		return
	}
	table := k.Table
	if table == "socket.NAME" {
		table = "socket." + socket
	}
	if on, ok := boolean(last.Value); !k.Supported && k.Type == "true or false" && ok && !on && k.Default != "true" {
		c.mapped(g) // it asks for nothing
		return
	}
	if !k.Supported {
		for _, a := range g.all {
			c.drop(a, Unsupported, fmt.Sprintf("%s in [%s] is not supported yet", k.Name, table), protects(g.name))
		}
		return
	}
	c.set(table, k.Name, values, c.mapped(g)...)
}

// wholeValues are keys whose strings are not split at blanks, though they may
// repeat.
func wholeValue(k *unit.Key) bool {
	name := k.Name
	return strings.HasPrefix(name, "condition_") || strings.HasPrefix(name, "assert_") || k.Table == "timer" || k.Table == "path" ||
		strings.HasPrefix(name, "listen_") || strings.Contains(" device_allow environment_file open_file load_credential set_credential io_read_bandwidth_max io_write_bandwidth_max io_read_iops_max io_write_iops_max default_instance ", " "+name+" ")
}

// valuesOf writes the values of a directive as TOML.
func valuesOf(k *unit.Key, g *group) (string, error) {
	last := names(g.last().Value)
	switch {
	case k.Type == "commands":
		return commandsOf(g)
	case k.Type == "true or false":
		b, ok := boolean(last)
		if !ok {
			return "", fmt.Errorf("%q is no truth value", last)
		}
		return strconv.FormatBool(b), nil
	case strings.Contains(k.Type, "NAME=VALUE"):
		return environment(g)
	case !k.Repeatable:
		return scalar(k, last), nil
	}
	var words []string
	for _, a := range g.all {
		value := names(a.Value)
		if wholeValue(k) {
			words = append(words, value)
			continue
		}
		split, err := unit.SplitWords(value)
		if err != nil {
			return "", err
		}
		words = append(words, split...)
	}
	return list(words), nil
}

// names turns %n, which has its suffix in systemd, into ours and the suffix.
func names(value string) string {
	if !strings.Contains(value, "%n") {
		return value
	}
	return strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(value, "%%", "%\x00"), "%n", "%n.service"), "%\x00", "%%")
}

func scalar(k *unit.Key, value string) string {
	if k.Type == "number" || strings.Contains(k.Type, "time span") || strings.Contains(k.Type, "limit") {
		if value == "0" && (strings.HasPrefix(k.Name, "timeout_") || strings.HasPrefix(k.Name, "job_timeout") || k.Name == "runtime_max_sec") {
			return `"infinity"` // what systemd means by it
		}
		if n, err := strconv.ParseInt(value, 10, 32); err == nil && strconv.FormatInt(n, 10) == value {
			return value
		}
	}
	if b, ok := boolean(value); ok && strings.Contains(k.Type, "true, false") && value != "1" && value != "0" {
		return strconv.FormatBool(b)
	}
	return unit.QuoteTOML(value)
}

// boolean reads parse_boolean of systemd.
func boolean(s string) (value, ok bool) {
	switch strings.ToLower(s) {
	case "1", "yes", "y", "true", "t", "on":
		return true, true
	case "0", "no", "n", "false", "f", "off":
		return false, true
	}
	return false, false
}

// list writes strings as a TOML array, one alone as a scalar.
func list(words []string) string {
	if len(words) == 1 {
		return unit.QuoteTOML(words[0])
	}
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = unit.QuoteTOML(w)
	}
	return array(quoted)
}

// array writes items on one line while they fit there.
func array(items []string) string {
	line := "[" + strings.Join(items, ", ") + "]"
	if len(line) <= 100 || len(items) < 2 {
		return line
	}
	var out strings.Builder
	out.WriteString("[")
	column := 100
	for _, item := range items {
		if column+len(item) > 96 {
			out.WriteString("\n   ")
			column = 4
		}
		out.WriteString(" " + item + ",")
		column += len(item) + 2
	}
	return out.String() + "\n]"
}

func environment(g *group) (string, error) {
	var names []string
	values := map[string]string{}
	for _, a := range g.all {
		assignments, err := unit.ParseEnvironment(a.Value)
		if err != nil {
			return "", err
		}
		for _, e := range assignments {
			if _, there := values[e.Name]; !there {
				names = append(names, e.Name)
			}
			values[e.Name] = e.Value
		}
	}
	var pairs []string
	for _, n := range names {
		pairs = append(pairs, n+" = "+unit.QuoteTOML(values[n]))
	}
	return "{ " + strings.Join(pairs, ", ") + " }", nil
}
