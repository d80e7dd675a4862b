package systemd

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/nsinit/nsinit/unit"
)

// specials are directives whose meaning has another form here.
var specials map[string]func(c *converter, g *group)

func init() {
	specials = map[string]func(c *converter, g *group){
		"PrivateNetwork": truth("network", "mode", `"private"`), "PrivateIPC": namespace("ipc"), "PrivatePIDs": namespace("pid"),
		"PrivateMounts": namespace("mount"), "PrivateUsers": namespace("user"),
		"ProtectHostname": namespace("uts"), "JoinsNamespaceOf": joins, "NetworkNamespacePath": netPath,
		"ProtectSystem": protectSystem, "CapabilityBoundingSet": capabilities, "AmbientCapabilities": capabilities,
		"StandardOutput": output, "StandardError": output, "StandardInput": input, "Slice": slice, "Delegate": delegate,
	}
	for _, name := range []string{"RuntimeDirectory", "StateDirectory", "CacheDirectory", "LogsDirectory", "ConfigurationDirectory"} {
		specials[name] = directories
	}
	for _, name := range []string{"Requires", "Requisite", "Wants", "BindsTo", "PartOf", "Upholds", "Conflicts", "Before", "After",
		"OnFailure", "OnSuccess", "PropagatesReloadTo", "ReloadPropagatedFrom", "PropagatesStopTo", "StopPropagatedFrom",
		"WantedBy", "RequiredBy", "Also", "Alias", "UpheldBy"} {
		specials[name] = dependencies
	}
}

func (g *group) last() Assignment { return g.all[len(g.all)-1] }

// mapped notes every assignment of the group as carried over.
func (c *converter) mapped(g *group) []int {
	var from []int
	for _, a := range g.all {
		from = append(from, c.note(a, Mapped, "", false))
	}
	return from
}

// truth sets a key when the directive is true; false is what was meant without it.
func truth(table, key, value string) func(*converter, *group) {
	return func(c *converter, g *group) {
		on, ok := boolean(g.last().Value)
		switch {
		case !ok:
			c.drop(g.last(), Unsupported, "no truth value", true)
		case on:
			c.set(table, key, value, c.mapped(g)...)
		default:
			c.mapped(g)
		}
	}
}

// namespace adds a namespace to the profile's.
func namespace(name string) func(*converter, *group) {
	return func(c *converter, g *group) {
		word, _, _ := strings.Cut(g.last().Value, ":")
		on, ok := boolean(word)
		on = on || !ok && word != "" // PrivateUsers=self, ProtectHostname=private
		if !on {
			c.mapped(g)
			return
		}
		if name == "user" || c.profile == unit.ProfileHost {
			c.namespaces("+"+name, c.mapped(g)...)
			return
		}
		c.mapped(g) // the profile has it
	}
}

// namespaces adds an entry of the list.
func (c *converter) namespaces(word string, from ...int) {
	value := unit.QuoteTOML(word)
	if e := c.get("isolation", "namespaces"); e != nil {
		if strings.Contains(e.value, value) {
			e.notes = append(e.notes, from...)
			return
		}
		value = strings.TrimSuffix(e.value, "]") + ", " + value + "]"
	} else {
		value = "[" + value + "]"
	}
	c.set("isolation", "namespaces", value, from...)
}

func joins(c *converter, g *group) {
	c.set("network", "mode", unit.QuoteTOML("unit:"+unit.BareName(strings.Fields(g.last().Value)[0])), c.mapped(g)...)
}

func netPath(c *converter, g *group) {
	c.set("network", "mode", unit.QuoteTOML("path:"+g.last().Value), c.mapped(g)...)
}

// protectSystem: what the profile gives is never less than what is asked for.
func protectSystem(c *converter, g *group) {
	from := c.mapped(g)
	value := g.last().Value
	on, isBool := boolean(value)
	switch {
	case c.profile != unit.ProfileHost && (!isBool || on):
		return // strict, the profile's
	case isBool:
		c.set("filesystem", "protect_system", strconv.FormatBool(on), from...)
	default:
		c.set("filesystem", "protect_system", unit.QuoteTOML(value), from...)
	}
}

func pickText(yes bool, a, b string) string {
	if yes {
		return a
	}
	return b
}

// capabilities writes the set as it is in systemd in the end: "all but" is
// listed, because ~ changes the profile's here.
func capabilities(c *converter, g *group) {
	set, first := uint64(0), true
	for _, a := range g.all {
		value, invert := strings.CutPrefix(a.Value, "~")
		var mask uint64
		for _, word := range strings.Fields(value) {
			n, err := unit.ParseCapability(strings.ToUpper(word))
			if err != nil {
				c.drop(a, Unsupported, err.Error(), true)
				return
			}
			mask |= 1 << n
		}
		switch {
		case a.Value == "":
			set = 0
		case invert && first:
			set = unit.AllCapabilities &^ mask
		case invert:
			set &^= mask
		default:
			set |= mask
		}
		first = false
	}
	var words []string
	for n := range 64 {
		if set&(1<<n) != 0 {
			words = append(words, unit.CapabilityName(n))
		}
	}
	key := pickText(g.name == "AmbientCapabilities", "ambient_capabilities", "capability_bounding_set")
	if key == "ambient_capabilities" && len(words) == 0 {
		c.mapped(g)
		return
	}
	c.set("security", key, list(words), c.mapped(g)...)
}

// output: the journal and syslog are our log; a console beside it is not kept.
func output(c *converter, g *group) {
	key := pickText(g.name == "StandardOutput", "standard_output", "standard_error")
	switch value := g.last().Value; value {
	case "journal", "syslog", "journal+console", "syslog+console", "kmsg", "kmsg+console":
		i := c.mapped(g)
		if strings.Contains(value, "console") || strings.Contains(value, "kmsg") {
			c.notes[i[len(i)-1]].Reason = "it goes to the unit's log alone"
		}
		if key == "standard_error" {
			c.set("log", key, `"log"`, i...)
		}
	case "socket":
		c.drop(g.last(), Unsupported, "a connection as standard output is not supported yet", false)
	default:
		c.set("log", key, unit.QuoteTOML(names(value)), c.mapped(g)...)
	}
}

func input(c *converter, g *group) {
	if v := g.last().Value; v == "socket" || v == "data" || strings.HasPrefix(v, "fd:") {
		c.drop(g.last(), Unsupported, "standard input from there is not supported yet", false)
		return
	}
	c.set("service", "standard_input", unit.QuoteTOML(g.last().Value), c.mapped(g)...)
}

func slice(c *converter, g *group) {
	name := strings.TrimSuffix(g.last().Value, ".slice")
	if name == "system" || name == "-" {
		c.mapped(g)
		return
	}
	c.set("resources", "slice", unit.QuoteTOML(name), c.mapped(g)...)
}

func delegate(c *converter, g *group) {
	value := g.last().Value
	if on, ok := boolean(value); ok {
		c.set("resources", "delegate", strconv.FormatBool(on), c.mapped(g)...)
		return
	}
	c.set("resources", "delegate", list(strings.Fields(value)), c.mapped(g)...)
}

// directories of the service; NAME:LINK is a directory and a link to it.
func directories(c *converter, g *group) {
	var words []string
	for _, a := range g.all {
		for _, w := range strings.Fields(a.Value) {
			name, link, has := strings.Cut(w, ":")
			if has && link != "" {
				c.drop(a, Unsupported, "the link "+link+" is not made", false)
			}
			words = append(words, names(name))
		}
	}
	key := map[string]string{"RuntimeDirectory": "runtime_directory", "StateDirectory": "state_directory", "CacheDirectory": "cache_directory",
		"LogsDirectory": "logs_directory", "ConfigurationDirectory": "configuration_directory"}[g.name]
	c.set("filesystem", key, list(words), c.mapped(g)...)
}

// ownUnits are the kinds of units that can be imported, of which triggers stand in
// the unit that they start, here; foreignUnits are those that nsinit has not.
var (
	ownUnits     = append([]string{".service", ".target"}, triggers...)
	triggers     = []string{".socket", ".timer", ".path"}
	foreignUnits = []string{".mount", ".automount", ".swap", ".slice", ".scope", ".device"}
)

// dependencies keeps what can be a unit here. A hard dependency on a unit that
// is not there would make this one bad: it becomes a wish, and is said.
func dependencies(c *converter, g *group) {
	k := keyOf(g.section, g.name)
	if k == nil {
		c.drop(g.last(), Skipped, "write "+c.name+" into the other unit's wants", false)
		return
	}
	var keep, soft []string
	var from []int
	for _, a := range g.all {
		i := c.note(a, Mapped, "", false)
		from = append(from, i)
		for _, word := range strings.Fields(names(a.Value)) {
			name, why := c.dependency(k.Name, word)
			switch {
			case why != "":
				c.notes[i].Reason = strings.TrimPrefix(c.notes[i].Reason+"; "+word+": "+why, "; ")
			case hard(k.Name) && !c.host.known(name) && name != c.name:
				soft = append(soft, name)
				c.notes[i].Reason = strings.TrimPrefix(c.notes[i].Reason+"; "+name+": no such unit yet, so it is only wanted", "; ")
			default:
				keep = append(keep, name)
			}
		}
		if c.notes[i].Reason != "" && len(keep)+len(soft) == 0 {
			c.notes[i].Status = Skipped
		}
	}
	c.add(k.Table, k.Name, keep, from)
	c.add("unit", "wants", soft, from)
}

// add lengthens the list of names that a key has.
func (c *converter) add(table, key string, words []string, from []int) {
	if len(words) == 0 {
		return
	}
	id := table + "." + key
	c.lists[id] = unique(append(c.lists[id], words...))
	c.set(table, key, list(c.lists[id]), from...)
}

func hard(key string) bool { return key == "requires" || key == "requisite" || key == "binds_to" }

// dependency gives our name of a unit, or why it has none.
func (c *converter) dependency(key, word string) (name, why string) {
	switch kind := filepath.Ext(word); {
	case slices.Contains(foreignUnits, kind):
		return "", "there are no units of this kind"
	case slices.Contains(triggers, kind):
		return "", "triggers stand in the unit that they start"
	}
	name = unit.BareName(word)
	if key == "alias" && name == c.name {
		return "", "it is the unit's own name"
	}
	if strings.HasPrefix(name, "systemd-") && !c.host.known(name) {
		return "", "it is a part of systemd"
	}
	if strings.HasSuffix(name, "@") && key != "also" {
		return "", "a template without an instance"
	}
	if strings.HasSuffix(word, ".target") && (name == "multi-user" || name == "graphical") {
		name = "default"
	}
	return name, ""
}

func unique(words []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, w := range words {
		if !seen[w] {
			out = append(out, w)
		}
		seen[w] = true
	}
	return out
}
