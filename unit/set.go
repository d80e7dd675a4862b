package unit

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"sort"
	"strings"
)

// Options is what LoadSet needs besides the search path.
type Options struct {
	Config  InstanceConfig
	Machine *SpecifierContext // what specifiers know of the machine; nil reads it
	Presets []string          // directories of preset files, see PresetPath
	Vendor  []string          // directories of units that presets are for, see VendorPath
	Lax     bool              // accept files that others than root can write
}

// Set is every unit of a search path. It is not safe for concurrent use,
// because Resolve instantiates templates; its Units are.
type Set struct {
	options   Options
	machine   SpecifierContext
	users     userTable
	files     *files
	presets   presetRules
	units     map[string]*Unit
	drafts    map[string]*builder // of units that had errors or are to be linked
	aliases   map[string]string
	problems  map[string]List
	templates map[string]*Unit // checked with a stand-in instance
}

// LoadSet reads every unit of the search path, first directory first. It
// always returns a Set: a unit that is wrong is in Problems and touches no
// other.
func LoadSet(dirs []string, options Options) *Set {
	s := loadDrafts(dirs, options)
	clear(s.drafts) // they hold every file's text
	return s
}

// loadDrafts is LoadSet that keeps what units were made of.
func loadDrafts(dirs []string, options Options) *Set {
	s := &Set{
		options: options, users: readUsers(""), files: findFiles(dirs, options.Lax),
		units: map[string]*Unit{}, drafts: map[string]*builder{}, aliases: map[string]string{},
		templates: map[string]*Unit{},
	}
	s.options.Config = options.Config.withDefaults()
	s.machine = s.machineContext()
	s.problems = s.files.bad
	var bad map[string]List
	s.presets, bad = readPresets(options.Presets)
	maps.Copy(s.problems, bad)
	for _, t := range builtinTargets() {
		if !s.files.known(t.name) {
			s.addBuiltin(t)
		}
	}
	s.loadFiles()
	s.claimAliases()
	s.loadReferenced(s.sortedUnits())
	s.linkAll(s.allDrafts())
	return s
}

// allDrafts returns every unit whose files could be read, the bad ones too:
// all that is wrong with a unit is said at once.
func (s *Set) allDrafts() []*Unit {
	var units []*Unit
	for _, name := range sortedKeys(s.drafts) {
		if b := s.drafts[name]; !b.unparsed {
			units = append(units, b.unit)
		}
	}
	return units
}

func (s *Set) machineContext() SpecifierContext {
	if s.options.Machine != nil {
		return *s.options.Machine
	}
	return ReadMachine()
}

// Names returns the names of all good units, sorted.
func (s *Set) Names() []string {
	var names []string
	for name := range s.units {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// Problems returns the errors of every unit that is not good, by name. What
// belongs to no unit is listed by its path.
func (s *Set) Problems() map[string]List {
	out := make(map[string]List, len(s.problems))
	for name, list := range s.problems {
		out[name] = list
	}
	return out
}

// Masked reports whether a link to /dev/null hides the unit.
func (s *Set) Masked(name string) bool { return s.files.masked[s.Canonical(name)] != "" }

// Canonical returns the one name of a unit: without .service or .target, and
// with an alias replaced by what it stands for.
func (s *Set) Canonical(name string) string {
	name = BareName(name)
	if real, ok := s.aliases[name]; ok {
		return real
	}
	if template := templateOf(name); template != "" {
		if real, ok := s.aliases[template]; ok {
			return real + name[len(template):]
		}
	}
	return name
}

// Resolve returns the unit that a name means: with or without .service or
// .target, an alias, or an instance of a template, which is loaded when it is
// first asked for. The error of a bad unit is its List.
func (s *Set) Resolve(name string) (*Unit, error) {
	name = s.Canonical(name)
	if u := s.units[name]; u != nil {
		return u, nil
	}
	if err := ValidateName(name); err != nil {
		return nil, err
	}
	switch {
	case len(s.problems[name]) > 0:
		return nil, s.problems[name]
	case s.Masked(name):
		return nil, fmt.Errorf("unit %s is masked: %s is a link to /dev/null", name, s.files.masked[name])
	case strings.HasSuffix(name, "@"):
		return nil, fmt.Errorf("%s is a template; name an instance, such as %sx", name, name)
	case s.isTrigger(name):
		return nil, fmt.Errorf("%s is a trigger, which is %w", name, errNotYet)
	case s.instantiable(name):
		return s.instantiate(name)
	}
	err := fmt.Errorf("unit %s: %w", name, ErrUnknown)
	if s.templates[name+"@"] != nil {
		return nil, fmt.Errorf("%w; %s@ is a template: name an instance, such as %[2]s@x", err, name)
	}
	if near := nearest(name, s.allNames()); near != "" {
		err = fmt.Errorf("%w; did you mean %s?", err, near)
	}
	return nil, err
}

// ErrUnknown is in the chain of Resolve's error for a name that no file and
// no template has.
var ErrUnknown = errors.New("no such unit")

func (s *Set) isTrigger(name string) bool {
	for _, suffix := range triggerSuffixes {
		if bare, ok := strings.CutSuffix(name, suffix); ok {
			return s.exists(s.Canonical(bare))
		}
	}
	return false
}

// exists says whether there is a file, a built-in target or a template for
// the name, good or bad.
func (s *Set) exists(name string) bool {
	return s.units[name] != nil || s.files.whole[name] != "" || s.instantiable(name)
}

func (s *Set) instantiable(name string) bool {
	return templateOf(name) != "" && s.files.whole[templateOf(name)] != ""
}

func (s *Set) instantiate(name string) (*Unit, error) {
	fresh := s.loadReferenced([]*Unit{{Wants: []string{name}}})
	s.linkAll(fresh)
	clear(s.drafts)
	if u := s.units[name]; u != nil {
		return u, nil
	}
	return nil, s.problems[name]
}

func (s *Set) allNames() []string {
	names := s.Names()
	for alias := range s.aliases {
		names = append(names, alias)
	}
	return names
}

func (s *Set) addBuiltin(t builtinTarget) {
	b := s.newBuilder(t.name)
	b.says["unit.default_dependencies"] = &setting{
		key: keyTable().byID["unit.default_dependencies"], items: []item{{v: !t.early}}, at: []item{{v: !t.early}},
	}
	b.mergeFiles(s.files.dropInsOf(t.name), s.files)
	u, errs := b.build()
	u.Wants = append(append([]string(nil), t.wants...), u.Wants...)
	u.After = append(append([]string(nil), t.after...), u.After...)
	u.Aliases = t.aliases
	s.keep(b, u, errs)
}

// loadFiles loads every unit that has a file, and checks every template.
func (s *Set) loadFiles() {
	var names []string
	for name := range s.files.whole {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if len(s.problems[name]) == 0 {
			s.load(name)
		}
	}
}

func (s *Set) sortedUnits() []*Unit {
	var units []*Unit
	for _, name := range s.Names() {
		units = append(units, s.units[name])
	}
	return units
}

// load makes the unit of a name whose file, or whose template's, is there.
func (s *Set) load(name string) *Unit {
	b := s.newBuilder(name)
	path := s.files.whole[name]
	if path == "" {
		path = s.files.whole[templateOf(name)]
	}
	b.unit.Path, b.context.FragmentPath = path, path
	b.mergeFile(path, s.files)
	b.mergeFiles(s.files.dropInsOf(name), s.files)
	u, errs := b.build()
	s.applyPreset(u)
	return s.keep(b, u, errs)
}

// keep stores what was built: a good unit, a bad one's errors, or a template.
func (s *Set) keep(b *builder, u *Unit, errs List) *Unit {
	s.drafts[u.Name] = b
	switch {
	case len(errs) > 0:
		s.problems[u.Name] = errs
	case strings.HasSuffix(u.Name, "@"):
		s.templates[u.Name] = u
	default:
		s.units[u.Name] = u
		return u
	}
	return nil
}

// standIn is the instance that templates are checked with.
const standIn = "instance"

func (s *Set) newBuilder(name string) *builder {
	prefix, instance, isInstance := strings.Cut(name, "@")
	u := &Unit{Name: name, Instance: instance}
	if isInstance && instance != "" {
		u.Template = prefix + "@"
	}
	ctx := s.machine
	ctx.Name, ctx.Prefix, ctx.Instance = name, prefix, instance
	if isInstance && instance == "" {
		ctx.Name, ctx.Instance = name+standIn, standIn
	}
	return &builder{
		unit: u, says: settings{}, context: ctx, users: s.users,
		defaults: s.options.Config.defaults, network: s.options.Config.DefaultNetwork,
		bridges: s.options.Config.Bridges,
	}
}

func (b *builder) mergeFiles(paths []string, f *files) {
	for _, path := range paths {
		b.unit.DropIns = append(b.unit.DropIns, path)
		b.mergeFile(path, f)
	}
}

// mergeFile lays one file over what earlier ones say.
func (b *builder) mergeFile(path string, f *files) {
	src, err := f.read(path)
	if err != nil {
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err
		}
		b.errs = append(b.errs, &Error{File: path, Msg: fmt.Sprintf("cannot read: %v", err)})
		return
	}
	b.mergeText(path, src)
}

func (b *builder) mergeText(path, src string) {
	doc, errs := readDocument(path, src)
	says, keyErrs := doc.settings()
	b.unparsed = b.unparsed || len(errs) > 0
	b.errs = append(append(b.errs, errs...), keyErrs...)
	b.service = b.service || doc.root.field("service") != nil
	b.says.merge(says)
}

// loadReferenced loads the instances that units name, and those that they
// name in turn, and returns what is new.
func (s *Set) loadReferenced(queue []*Unit) []*Unit {
	var fresh []*Unit
	for len(queue) > 0 {
		u := queue[0]
		queue = queue[1:]
		for _, name := range u.references() {
			name = s.Canonical(name)
			if s.units[name] != nil || len(s.problems[name]) > 0 || s.files.masked[name] != "" || !s.instantiable(name) {
				continue
			}
			if len(fresh) >= maxInstances {
				s.problems[name] = List{{File: u.Path, Msg: fmt.Sprintf("cannot load %s: units name more than %d instances in a row", name, maxInstances)}}
				continue
			}
			if added := s.load(name); added != nil {
				fresh = append(fresh, added)
				queue = append(queue, added)
			}
		}
	}
	return fresh
}

// maxInstances bounds what templates that name instances of each other can
// make: x@.toml with wants = ["x@%i0"] would never end.
const maxInstances = 4096

// references are the units that must be loaded with this one.
func (u *Unit) references() []string {
	var names []string
	for _, list := range u.dependencyLists() {
		if !strings.HasPrefix(list.key, "install.") {
			names = append(names, *list.names...)
		}
	}
	if u.Network.Unit != "" {
		names = append(names, u.Network.Unit)
	}
	return names
}
