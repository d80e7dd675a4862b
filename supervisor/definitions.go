package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nsinit/nsinit/supervisor/control"
	"github.com/nsinit/nsinit/supervisor/machine"
	"github.com/nsinit/nsinit/unit"
)

// Reload reads the unit files again.
func (b backend) Reload(ctx context.Context) (control.ReloadResult, error) {
	var r control.ReloadResult
	err := b.m.call(ctx, func() { r = b.m.reloadResult() })
	if err != nil {
		return control.ReloadResult{}, err
	}
	return r, nil
}

// reloadResult reloads and compares. It runs on the loop.
func (m *Manager) reloadResult() control.ReloadResult {
	before := m.defs
	problems := m.reload()
	r := control.ReloadResult{Loaded: len(m.defs)}
	for name := range m.defs {
		if before[name] == nil {
			r.Added++
		}
	}
	for name := range before {
		if m.defs[name] == nil {
			r.Removed++
		}
	}
	for _, name := range m.engine.Names() {
		if s, _ := m.engine.State(name); s.Changed {
			r.Changed = append(r.Changed, name)
		}
		if u := m.defs[name]; u != nil {
			for _, w := range u.Warnings {
				problems = append(problems, w.Error())
			}
		}
	}
	slices.Sort(problems)
	for _, p := range slices.Compact(problems) { // a list of several errors is one string
		r.Problems = append(r.Problems, strings.Split(p, "\n")...)
	}
	return r
}

// Enable makes what a unit's [install] says count again.
func (b backend) Enable(ctx context.Context, units []string) ([]control.Change, error) {
	return b.install(ctx, "enable", units, (*unit.Set).Enable)
}

// Disable takes it out of force: the units no longer start by themselves.
func (b backend) Disable(ctx context.Context, units []string) ([]control.Change, error) {
	return b.install(ctx, "disable", units, (*unit.Set).Disable)
}

// Mask hides units from every start. What runs is not touched.
func (b backend) Mask(ctx context.Context, units []string) ([]control.Change, error) {
	return b.install(ctx, "mask", units, (*unit.Set).Mask)
}

// Unmask makes them units again.
func (b backend) Unmask(ctx context.Context, units []string) ([]control.Change, error) {
	return b.install(ctx, "unmask", units, (*unit.Set).Unmask)
}

// install writes and removes drop-ins, then loads all of them at once. What was
// done before an error stays, and is in force.
func (b backend) install(ctx context.Context, verb string, units []string, change func(*unit.Set, string, string) ([]string, error)) ([]control.Change, error) {
	m := b.m
	var out []control.Change
	var err error
	callErr := m.call(ctx, func() {
		dir := enableDir(m.cfg.UnitPath)
		for _, name := range units {
			var paths []string
			paths, err = change(m.set, dir, name)
			out = append(out, changes(m.set.Canonical(name), verb, paths)...)
			if err != nil {
				err = m.installError(verb, m.set.Canonical(name), err)
				break
			}
		}
		if slices.ContainsFunc(out, func(c control.Change) bool { return c.Action != "unchanged" }) {
			m.reload()
		}
	})
	if callErr != nil {
		return nil, callErr
	}
	return out, err
}

// enableDir is where the administrator's drop-ins go: the first directory below
// /etc, else the first.
func enableDir(unitPath []string) string {
	for _, dir := range unitPath {
		if strings.HasPrefix(dir, "/etc/") {
			return dir
		}
	}
	if len(unitPath) == 0 {
		return ""
	}
	return unitPath[0]
}

// changes describes what happened to the paths of one unit. A path that is not
// there any more was removed.
func changes(name, verb string, paths []string) []control.Change {
	if len(paths) == 0 {
		text := map[string]string{"enable": "is enabled already", "disable": "does not start by itself",
			"mask": "is masked already", "unmask": "is not masked"}
		return []control.Change{{Unit: name, Action: "unchanged", Text: text[verb]}}
	}
	var out []control.Change
	for _, p := range paths {
		c := control.Change{Unit: name, Action: "wrote", Path: p}
		if _, err := os.Lstat(p); errors.Is(err, os.ErrNotExist) {
			c.Action = "removed"
		}
		out = append(out, c)
	}
	return out
}

func (m *Manager) installError(verb, name string, err error) error {
	text := err.Error()
	for _, prefix := range []string{"cannot " + verb + " " + name + ": ", name + " has ", "unit " + name + ": "} {
		text = strings.TrimPrefix(text, prefix)
	}
	e := &control.Error{Code: control.CodeConflict, Unit: name, Message: "cannot " + verb + ": " + text}
	var list unit.List
	switch {
	case errors.Is(err, unit.ErrUnknown):
		e.Code, e.Hint = control.CodeNoSuchUnit, "after adding a file: nsctl daemon-reload"
	case errors.As(err, &list):
		e.Code = control.CodeBadUnit
	case errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist):
		e.Code = control.CodeFailed
	}
	return e
}

// Cat gives a unit's files and what they come to. Of a bad unit it gives the
// files alone.
func (b backend) Cat(ctx context.Context, name string) (control.UnitText, error) {
	s, err := b.seen(ctx, name)
	if err != nil {
		return control.UnitText{}, err
	}
	t := control.UnitText{Unit: s.name}
	var paths []string
	switch u := s.unit; {
	case u != nil:
		paths, t.Resolved = append([]string{u.Path}, u.DropIns...), u.Resolved()
	case len(s.problems) > 0:
		paths = badFiles(s, b.m.cfg.UnitPath)
	default:
		return t, &control.Error{Code: control.CodeNoSuchUnit, Unit: s.name, Message: "cannot show: it has no file in force"}
	}
	for _, p := range paths {
		if p == "" {
			continue // a target that is built in
		}
		text, err := readStart(p, unitFileMax)
		if err != nil && len(text) == 0 {
			return t, &control.Error{Code: control.CodeFailed, Unit: s.name, Message: fmt.Sprintf("cannot read %s: %v", p, errors.Unwrap(err))}
		}
		t.Files = append(t.Files, control.FileText{Path: p, Text: strings.ToValidUTF8(string(text), "\ufffd")})
	}
	return t, nil
}

// unitFileMax is what the loader takes of a file.
const unitFileMax = 256 << 10

// badFiles are the files that the errors of a bad unit are in, and the unit's
// own if it is found.
func badFiles(s *sight, dirs []string) []string {
	var paths []string
	for _, dir := range dirs {
		p := filepath.Join(dir, s.name+".toml")
		if _, err := os.Stat(p); err == nil {
			paths = append(paths, p)
			break
		}
	}
	for _, e := range s.problems {
		if e.File != "" && !slices.Contains(paths, e.File) {
			paths = append(paths, e.File)
		}
	}
	return paths
}

// UnitFiles gives every unit file on the search path, by name; of two with the
// same name the first counts.
func (b backend) UnitFiles(ctx context.Context) ([]control.UnitFileEntry, error) {
	found := map[string]string{}
	for _, dir := range b.m.cfg.UnitPath {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // not there: no files
		}
		for _, e := range entries {
			name, ok := strings.CutSuffix(e.Name(), ".toml")
			if ok && !e.IsDir() && found[name] == "" && !strings.HasPrefix(name, ".") {
				found[name] = filepath.Join(dir, e.Name())
			}
		}
	}
	out := make([]control.UnitFileEntry, 0, len(found))
	err := b.m.call(ctx, func() {
		for name, path := range found {
			out = append(out, b.m.fileEntry(name, path))
		}
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b control.UnitFileEntry) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (m *Manager) fileEntry(name, path string) control.UnitFileEntry {
	e := control.UnitFileEntry{Name: name, Path: path, Enabled: m.set.Enabled(name)}
	if u := m.defs[m.set.Canonical(name)]; u != nil {
		e.Profile = u.Profile
	}
	if list := m.set.Problems()[name]; len(list) > 0 {
		e.Error = list[0].Error()
	} else if e.Enabled == "bad" {
		e.Error = "not loaded; nsctl daemon-reload"
	}
	return e
}

// relation is an edge of the graph and its word in a dependency tree.
type relation struct {
	kind machine.Relation
	word string
}

// relations are the edges that a tree follows.
func relations(reverse, all bool) []relation {
	list := []relation{{machine.Requires, "requires"}, {machine.Requisite, "requisite"}, {machine.BindsTo, "binds_to"},
		{machine.Wants, "wants"}, {machine.Upholds, "upholds"}}
	if reverse {
		list = []relation{{machine.RequiredBy, "required_by"}, {machine.RequisiteOf, "requisite_of"}, {machine.BoundBy, "bound_by"},
			{machine.WantedBy, "wanted_by"}, {machine.UpheldBy, "upheld_by"}, {machine.ConsistsOf, "consists_of"}}
	}
	if all {
		list = append(list, relation{machine.After, "after"}, relation{machine.Before, "before"})
	}
	return list
}

// Dependencies gives the tree of what a unit pulls in, or of what pulls it in.
func (b backend) Dependencies(ctx context.Context, q control.DependencyQuery) (control.Dependency, error) {
	s, err := b.seen(ctx, q.Unit)
	if err != nil {
		return control.Dependency{}, err
	}
	t := tree{relations: relations(q.Reverse, q.All), states: map[string]control.Dependency{}, seen: map[string]bool{}}
	err = b.m.call(ctx, func() {
		t.graph = b.m.engine.Graph()
		for _, name := range b.m.unitNames() {
			var st control.UnitStatus
			s := b.m.look(name)
			s.loadState(&st)
			t.states[name] = control.Dependency{Unit: name, ActiveState: string(s.snap.State.Active()), LoadState: st.LoadState}
		}
	})
	if err != nil {
		return control.Dependency{}, err
	}
	return t.node(s.name, nil), nil
}

// tree makes a tree of a graph: each unit has its children once.
type tree struct {
	graph     *machine.Graph // read-only
	relations []relation
	states    map[string]control.Dependency
	seen      map[string]bool
}

func (t *tree) node(name string, kinds []string) control.Dependency {
	d := t.states[name]
	d.Unit, d.Kinds = name, kinds
	if t.seen[name] {
		d.Seen = true
		return d
	}
	t.seen[name] = true
	words := map[string][]string{}
	var order []string
	for _, r := range t.relations {
		for _, other := range t.graph.Related(name, r.kind) {
			if words[other] == nil {
				order = append(order, other)
			}
			words[other] = append(words[other], r.word)
		}
	}
	for _, other := range order {
		d.Children = append(d.Children, t.node(other, words[other]))
	}
	if len(d.Children) == 0 {
		d.Seen = false
	}
	return d
}
