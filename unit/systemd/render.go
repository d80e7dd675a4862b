package systemd

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/nsinit/nsinit/unit"
)

// settle writes the unit, has it read, and takes out what the loader refuses,
// until it loads. So a key that comes into force is live by itself.
func (c *converter) settle(s *source) (string, error) {
	for range len(c.entries) + 2 {
		text, places := c.text(s)
		_, errs := c.draft(text)
		if len(errs) == 0 {
			c.leaveDefaultsOut(s)
			text, _ = c.text(s)
			return text, nil
		}
		if err := c.refuse(errs, places); err != nil {
			return "", fmt.Errorf("cannot import %s: %w", s.files[0], err)
		}
	}
	return "", fmt.Errorf("cannot import %s: what is left of it does not load", s.files[0])
}

func (c *converter) draft(text string) (*unit.Unit, unit.List) {
	machine := c.host.Machine
	if machine == nil {
		m := unit.ReadMachine()
		machine = &m
		c.host.Machine = machine
	}
	return unit.Draft(c.name, text, unit.Options{Machine: machine, Lax: true})
}

// refuse takes entries out that have errors, and says why.
func (c *converter) refuse(errs unit.List, places map[int]*entry) error {
	progress := false
	frame := slices.ContainsFunc(errs, func(e *unit.Error) bool { return places[e.Line] != nil && places[e.Line].key == "namespaces" })
	for _, e := range errs {
		bad := places[e.Line]
		if bad == nil || frame && bad.key != "namespaces" {
			continue // without the list, others are wrong that are not
		}
		if bad.key == "exec_start" {
			return fmt.Errorf("%s", e.Msg)
		}
		i := slices.Index(c.entries, bad)
		if i < 0 {
			continue
		}
		c.entries = slices.Delete(c.entries, i, i+1)
		progress = true
		for _, n := range bad.notes {
			c.notes[n].Status, c.notes[n].Security = Unsupported, bad.security
			c.notes[n].Reason = strings.Trim(c.notes[n].Reason+"; "+e.Msg, "; ")
		}
		c.meanwhile(bad)
	}
	if !progress {
		return errors.New(errs[0].Msg)
	}
	return nil
}

// meanwhile writes what comes nearest to a type that is not in force.
func (c *converter) meanwhile(bad *entry) {
	if bad.table != "service" || bad.key != "type" {
		return
	}
	switch strings.Trim(bad.value, `"`) {
	case "dbus":
		c.set("service", "type", `"exec"`).comment = "of type dbus in systemd: counts as started without its bus name"
	case "notify-reload":
		c.set("service", "type", `"notify"`).comment = "notify-reload in systemd"
		if c.get("service", "exec_reload") == nil {
			c.set("service", "exec_reload", `"/bin/kill -HUP $MAINPID"`).added = true
		}
	case "forking":
		c.notices = append(c.notices, "This service goes into the background by itself (Type=forking), which is not supported yet:",
			"it will not stay up until it is told to stay in the foreground.")
	}
}

// leaveDefaultsOut drops what the profile says anyway, as a person would.
func (c *converter) leaveDefaultsOut(s *source) {
	if !c.service {
		return
	}
	full, _ := c.text(s)
	before := c.resolved(full)
	all := slices.Clone(c.entries)
	frame := func(e *entry) bool {
		return e.key == "type" || e.key == "exec_start" || e.key == "profile" || e.key == "user" || e.key == "group" ||
			e.key == "ambient_capabilities" || e.key == "namespaces" || e.key == "mode"
	}
	c.entries = slices.DeleteFunc(slices.Clone(all), func(e *entry) bool { return !frame(e) })
	bare, _ := c.text(s)
	plain := c.resolved(bare)
	c.entries = slices.DeleteFunc(slices.Clone(all), func(e *entry) bool {
		id := e.table + "." + e.key
		return before != nil && plain != nil && !frame(e) && before[id] != "" && before[id] == plain[id]
	})
	less, _ := c.text(s)
	if after := c.resolved(less); !sameMap(before, after) {
		c.entries = all
	}
}

// resolved gives every key of a unit as it is in force, nil if it does not load.
func (c *converter) resolved(text string) map[string]string {
	u, errs := c.draft(text)
	if len(errs) > 0 {
		return nil
	}
	out := map[string]string{}
	table := ""
	for _, line := range strings.Split(u.Resolved(), "\n") {
		if strings.HasPrefix(line, "[") {
			table = strings.Trim(line, "[]")
		} else if key, value, ok := strings.Cut(line, " = "); ok {
			if i := strings.LastIndex(value, " # "+c.name+".toml:"); i >= 0 {
				value = value[:i]
			}
			out[table+"."+key] = value
		}
	}
	return out
}

func sameMap(a, b map[string]string) bool {
	if len(a) != len(b) || b == nil {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

// tables in the order of a finished unit.
var tables = []string{"unit", "service", "isolation", "filesystem", "network", "resources", "security", "log", "socket", "timer", "path", "install"}

// order is the place of an entry in the output.
func order(e *entry) (int, int) {
	name, _, _ := strings.Cut(e.table, ".")
	return slices.Index(tables, name), slices.IndexFunc(unit.Keys(), func(k unit.Key) bool {
		first, _, _ := strings.Cut(k.Table, ".")
		return first == name && k.Name == e.key
	})
}

// text writes the unit and says at which lines each entry stands.
func (c *converter) text(s *source) (string, map[int]*entry) {
	type placed struct {
		e    *entry
		a, b int
	}
	var sorted []placed
	for _, e := range c.entries {
		a, b := order(e)
		sorted = append(sorted, placed{e, a, b})
	}
	sort.SliceStable(sorted, func(i, j int) bool {
		if sorted[i].a != sorted[j].a {
			return sorted[i].a < sorted[j].a
		}
		return sorted[i].b < sorted[j].b
	})
	var out strings.Builder
	fmt.Fprintf(&out, "# %s.toml, from %s\n", c.name, comment(strings.Join(baseNames(s.files), ", ")))
	for _, n := range c.notices {
		fmt.Fprintf(&out, "# %s\n", comment(n))
	}
	places := map[int]*entry{}
	table := ""
	for _, p := range sorted {
		if p.e.table != table {
			table = p.e.table
			fmt.Fprintf(&out, "\n[%s]\n", table)
		}
		first := strings.Count(out.String(), "\n") + 1
		out.WriteString(p.e.key + " = " + p.e.value)
		if p.e.comment != "" {
			out.WriteString("  # " + comment(p.e.comment))
		}
		out.WriteString("\n")
		for line := first; line <= strings.Count(out.String(), "\n"); line++ {
			places[line] = p.e
		}
	}
	out.WriteString(c.leftOut())
	return out.String(), places
}

// leftOut lists, as comments, every directive that did not carry over.
func (c *converter) leftOut() string {
	var order []string
	byReason := map[string][]string{}
	for _, n := range c.notes {
		if n.Reason == "" {
			continue
		}
		reason := n.Reason
		if n.Security && n.Status != Mapped {
			reason += " (PROTECTION LOST)"
		}
		if byReason[reason] == nil {
			order = append(order, reason)
		}
		byReason[reason] = append(byReason[reason], n.Directive)
	}
	if len(order) == 0 {
		return ""
	}
	var out strings.Builder
	out.WriteString("\n# Not carried over, or not as it was:\n")
	for _, reason := range order {
		for _, d := range byReason[reason] {
			fmt.Fprintf(&out, "#   %s\n", comment(d))
		}
		fmt.Fprintf(&out, "#       %s\n", comment(reason))
	}
	return out.String()
}

func baseNames(files []string) []string {
	var out []string
	for _, f := range files {
		out = append(out, filepath.Base(f))
	}
	return out
}

// comment makes text fit to stand in one line of a comment.
func comment(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if len(s) > 200 {
		cut := 200
		for cut > 0 && s[cut]&0xc0 == 0x80 {
			cut--
		}
		s = s[:cut] + "..."
	}
	return s
}
