package unit

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// claimAliases gives every second name to its unit. A name that two units
// want goes to the first of them; the other unit is refused.
func (s *Set) claimAliases() {
	for _, t := range builtinTargets() {
		for _, alias := range t.aliases {
			if s.units[t.name] != nil && !s.files.known(alias) {
				s.aliases[alias] = t.name
			}
		}
	}
	for link, name := range s.files.aliases {
		s.aliases[link] = name
		if u := s.units[name]; u != nil {
			u.Aliases = append(u.Aliases, link)
			sort.Strings(u.Aliases)
		}
	}
	for _, u := range s.sortedUnits() {
		s.claim(u)
	}
	for _, name := range sortedKeys(s.templates) {
		s.claim(s.templates[name])
	}
}

func sortedKeys[T any](m map[string]T) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// claim registers the aliases of one unit, or refuses the unit.
func (s *Set) claim(u *Unit) {
	b := s.drafts[u.Name]
	for _, alias := range u.Install.Alias {
		owner, taken := s.aliases[alias]
		switch {
		case taken && owner != u.Name:
			b.failElement("install.alias", alias, "alias = %q: unit %s has this alias already", alias, owner)
		case s.files.whole[alias] != "" || s.units[alias] != nil:
			if alias != u.Name {
				b.failElement("install.alias", alias, "alias = %q: there is a unit of this name", alias)
			}
		case strings.HasSuffix(u.Name, "@") != strings.HasSuffix(alias, "@"):
			b.failElement("install.alias", alias, "alias = %q: a template and its alias both end in @", alias)
		case !taken:
			s.aliases[alias] = u.Name
			u.Aliases = append(u.Aliases, alias)
		}
	}
	s.drop(b)
}

// drop takes a unit out of the set if it has errors by now.
func (s *Set) drop(b *builder) {
	if len(b.errs) == 0 {
		return
	}
	sortErrors(b.errs)
	name := b.unit.Name
	s.problems[name] = b.errs
	delete(s.units, name)
	delete(s.templates, name)
	for alias, owner := range s.aliases {
		if owner == name {
			delete(s.aliases, alias)
		}
	}
}

func (b *builder) failElement(id, name, format string, args ...any) {
	at := b.says.element(id, name)
	e := &Error{File: b.unit.Path}
	if at.doc != nil {
		e = at.doc.atValue(at.n)
	}
	e.Key, e.Msg = id, fmt.Sprintf(format, args...)
	b.errs = append(b.errs, e)
}

// linkAll settles what the dependencies of fresh units mean: one name for each
// unit, unknown ones refused or left out, [install] turned round, and the
// default dependencies.
func (s *Set) linkAll(fresh []*Unit) {
	for _, u := range fresh {
		b := s.drafts[u.Name]
		if b.linked {
			continue
		}
		b.linked = true
		for _, list := range u.dependencyLists() {
			*list.names = s.linkList(b, list)
		}
		s.linkNetwork(b)
		s.linkSlice(b)
		s.linkPeers(b)
		sortErrors(b.errs)
		sortErrors(u.Warnings)
		s.drop(b)
	}
	for _, u := range fresh {
		if s.units[u.Name] == u {
			s.install(u)
		}
	}
	for _, u := range fresh {
		if s.units[u.Name] == u {
			s.addDefaults(u)
		}
	}
}

// linkList returns the names of a list that the set knows.
func (s *Set) linkList(b *builder, list dependencyList) []string {
	var out []string
	for _, written := range *list.names {
		name := s.Canonical(written)
		if name == b.unit.Name && list.key != "install.also" {
			b.warnElement(list.key, written, "%s = %q is the unit itself; ignored", shortKey(list.key), written)
			continue
		}
		if s.exists(name) {
			out = append(out, name)
			continue
		}
		reason := s.unknownReason(b, name)
		if list.hard {
			b.failElement(list.key, written, "%s = %q: %s", shortKey(list.key), written, reason)
			continue
		}
		b.warnElement(list.key, written, "%s = %q: %s; ignored, as systemd does", shortKey(list.key), written, reason)
	}
	return unique(out)
}

func shortKey(id string) string { return id[strings.IndexByte(id, '.')+1:] }

// maxNearest is for how many unknown names of a unit the nearest is looked
// up: a file can name tens of thousands.
const maxNearest = 20

func (s *Set) unknownReason(b *builder, name string) string {
	switch {
	case s.files.masked[name] != "":
		return "this unit is masked"
	case s.isTrigger(name):
		return "triggers are not supported yet"
	}
	if b.unknown++; b.unknown <= maxNearest {
		if near := nearest(name, s.allNames()); near != "" {
			return "no such unit (nearest: " + near + ")"
		}
	}
	return "no such unit"
}

// linkSlice has a unit need the file that gives its slice limits, if there is
// one: where that is bad, nothing of the slice starts.
func (s *Set) linkSlice(b *builder) {
	u := b.unit
	if u.Resources.Slice == "" {
		return
	}
	name := u.Resources.Slice + sliceSuffix
	switch {
	case s.files.masked[name] != "":
		b.failKey("resources.slice", "slice = %q: %s is masked", u.Resources.Slice, name)
	case s.exists(name):
		u.Requires, u.After = unique(append(u.Requires, name)), unique(append(u.After, name))
	}
}

// linkNetwork checks the unit whose network is shared, and has this one start
// after it: it is the other's start that makes the namespace.
func (s *Set) linkNetwork(b *builder) {
	n := &b.unit.Network
	if n.Unit == "" {
		return
	}
	written := n.Unit
	n.Unit = s.Canonical(written)
	other := s.units[n.Unit]
	switch {
	case n.Unit == b.unit.Name:
		b.failKey("network.mode", "mode = \"unit:%s\" is the unit itself", written)
	case !s.exists(n.Unit):
		b.failKey("network.mode", "mode = \"unit:%s\": %s", written, s.unknownReason(b, n.Unit))
	case other != nil && other.IsTarget():
		b.failKey("network.mode", "mode = \"unit:%s\": a target has no network", written)
	case !slices.Contains(b.unit.Before, n.Unit):
		b.unit.After = addName(b.unit.After, n.Unit)
	}
}

// install turns [install] of a loaded file round: the targets it names want
// it. An instance of a template is only wanted by what names it.
func (s *Set) install(u *Unit) {
	if u.Template != "" && s.files.whole[u.Name] == "" {
		return
	}
	for _, name := range u.Install.WantedBy {
		if t := s.units[name]; t != nil && !slices.Contains(t.Wants, u.Name) {
			t.Wants = append(t.Wants, u.Name)
		}
	}
	for _, name := range u.Install.RequiredBy {
		if t := s.units[name]; t != nil && !slices.Contains(t.Requires, u.Name) {
			t.Requires = append(t.Requires, u.Name)
		}
	}
}

// addDefaults adds what default_dependencies stands for: a unit is after
// basic and gone before shutdown, and a target is after what it wants.
func (s *Set) addDefaults(u *Unit) {
	if u.target {
		before := setOf(u.Before)
		for _, name := range slices.Concat(u.Wants, u.Requires) {
			if w := s.units[name]; w != nil && !before[name] && !slices.Contains(w.After, u.Name) {
				u.After = append(u.After, name)
			}
		}
		u.After = unique(u.After)
	}
	if !u.DefaultDependencies || u.Name == "shutdown" {
		return
	}
	if !u.target && !slices.Contains(u.Before, "basic") && !slices.Contains(u.Before, "sysinit") {
		u.After = addName(u.After, "basic")
	}
	u.Before = addName(u.Before, "shutdown")
	u.Conflicts = addName(u.Conflicts, "shutdown")
}

func setOf(names []string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[name] = true
	}
	return set
}

func addName(names []string, name string) []string {
	if slices.Contains(names, name) {
		return names
	}
	return append(names, name)
}
