package unit

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Report is what nsctl verify has to say about one file.
type Report struct {
	File     string
	Errors   List
	Warnings List
	Relaxes  []string // distance from profile strict
	Preset   string   // `disabled by /etc/nsinit/preset.d/50-site.preset:3`, "" without one
}

// Verify checks unit files and drop-ins as if they stood in front of the
// search path, together with their neighbours. It also looks up, on this
// machine, the users and programs that they name. Paths in the reports are
// as given.
func Verify(paths, dirs []string, options Options) []Report {
	options.Lax = true
	sets := map[string]*Set{}
	var reports []Report
	for _, path := range paths {
		dir, name, err := unitOfPath(path)
		if err != nil {
			reports = append(reports, Report{File: path, Errors: List{{File: path, Msg: err.Error()}}})
			continue
		}
		if sets[dir] == nil {
			sets[dir] = loadDrafts(append([]string{dir}, dirs...), options)
		}
		reports = append(reports, sets[dir].report(path, name))
	}
	return reports
}

// unitOfPath returns the directory and the unit that a file belongs to.
func unitOfPath(path string) (dir, name string, err error) {
	dir, base := filepath.Split(filepath.Clean(path))
	dir = filepath.Clean(dir)
	name, ok := strings.CutSuffix(base, ".toml")
	if !ok {
		return "", "", fmt.Errorf("the name of a unit file ends in .toml")
	}
	if unit, isDropIn := strings.CutSuffix(filepath.Base(dir), ".toml.d"); isDropIn {
		return filepath.Dir(dir), unit, nil
	}
	return dir, name, ValidateName(name)
}

// report collects what concerns one file of a loaded set.
func (s *Set) report(path, name string) Report {
	path = filepath.Clean(path)
	r := Report{File: path}
	for _, e := range s.problems[name] {
		if e.File == path || e.File == "" {
			r.Errors = append(r.Errors, e)
		}
	}
	b := s.drafts[name]
	switch {
	case b == nil && len(r.Errors) == 0:
		if _, err := os.Stat(path); err != nil {
			r.Errors = List{{File: path, Msg: "cannot read: no such file"}}
		}
		return r
	case b == nil || b.unparsed:
		return r
	}
	u := b.unit
	if s.files.whole[name] != path && !slices.Contains(u.DropIns, path) {
		return r // masked by a link, or a drop-in hidden by another one
	}
	b.verifyUsers()
	b.verifyPrograms()
	r.Errors = r.Errors[:0]
	for _, e := range append(append(List(nil), b.errs...), u.Warnings...) {
		if e.File != path && e.File != "" {
			continue
		}
		if e.Warning {
			r.Warnings = append(r.Warnings, e)
		} else {
			r.Errors = append(r.Errors, e)
		}
	}
	sortErrors(r.Errors)
	sortErrors(r.Warnings)
	r.Relaxes = u.Relaxations
	if u.Preset != "" {
		r.Preset = fmt.Sprintf("%s by %s:%d", u.Preset, u.PresetAt.File, u.PresetAt.Line)
	}
	return r
}

// verifyUsers looks users and groups up where the service will: in the tables
// of its own root.
func (b *builder) verifyUsers() {
	if b.unit.target {
		return
	}
	users := b.users
	if root := b.unit.Filesystem.RootDirectory; root != "" {
		users = readUsers(root)
	}
	s := &b.unit.Service
	b.verifyPrincipal("service.user", s.User, "/etc/passwd", users.passwd)
	b.verifyPrincipal("service.group", s.Group, "/etc/group", users.group)
	for _, g := range s.SupplementaryGroups {
		b.verifyPrincipal("service.supplementary_groups", g, "/etc/group", users.group)
	}
}

func (b *builder) verifyPrincipal(id, name, file string, table map[string][]string) {
	if name == "" || isNumber(name) || table[name] != nil || !b.says.written(id) {
		return
	}
	b.failElement(id, name, "%s %q: not in %s%s", shortKey(id), name, b.unit.Filesystem.RootDirectory, file)
}

// verifyPrograms warns of programs that are not there. It is no error: a
// package may come later, and a template's path may differ by instance.
func (b *builder) verifyPrograms() {
	if b.unit.Filesystem.RootDirectory != "" || strings.HasSuffix(b.unit.Name, "@") {
		return
	}
	for _, list := range b.unit.Service.commandLists() {
		for i, c := range list.commands {
			set := b.says["service."+list.key]
			info, err := os.Stat(c.Path)
			switch {
			case len(set.items) <= i:
			case err != nil:
				b.warn(set.key, set.items[i], "%s: %s: no such file", list.key, c.Path)
			case info.IsDir() || info.Mode().Perm()&0o111 == 0:
				b.warn(set.key, set.items[i], "%s: %s: not executable", list.key, c.Path)
			case b.ownPlace(c.Path) != "":
				b.warn(set.key, set.items[i], "%s: %s: not inside, where %s", list.key, c.Path, b.ownPlace(c.Path))
			}
		}
	}
}

// ownPlace says why the service does not see a program of the host: it lies in a
// directory that the service has for itself, and no bind shows it. "" if it does.
func (b *builder) ownPlace(path string) string {
	f := &b.unit.Filesystem
	for _, bind := range append(slices.Clone(f.BindPaths), f.BindReadOnlyPaths...) {
		if strings.HasPrefix(path+"/", bind.Destination+"/") {
			return ""
		}
	}
	switch {
	case f.PrivateTmp && (strings.HasPrefix(path, "/tmp/") || strings.HasPrefix(path, "/var/tmp/")):
		return "the service has a /tmp and /var/tmp of its own (private_tmp)"
	case f.PrivateRun && strings.HasPrefix(path, "/run/"):
		return "the service has a /run of its own (private_run)"
	case f.ProtectHome != "false" && f.ProtectHome != "read-only" && (strings.HasPrefix(path, "/home/") || strings.HasPrefix(path, "/root/")):
		return "/home and /root are hidden (protect_home)"
	}
	return ""
}

// Format writes reports as nsctl verify prints them: a line for each error
// and warning, the source line below those that have a hint, what is relaxed,
// and the sum.
func Format(reports []Report) string {
	var b strings.Builder
	errs, warnings := 0, 0
	for _, r := range reports {
		for _, e := range byPlace(r.Errors, r.Warnings) {
			b.WriteString(e.Detail())
		}
		if len(r.Relaxes) > 0 {
			fmt.Fprintf(&b, "%s: relaxes: %s\n", r.File, strings.Join(r.Relaxes, " · "))
		}
		errs, warnings = errs+len(r.Errors), warnings+len(r.Warnings)
	}
	if errs+warnings > 0 {
		fmt.Fprintf(&b, "%s, %s\n", count(errs, "error"), count(warnings, "warning"))
	}
	return b.String()
}

func byPlace(errs, warnings List) List {
	all := append(append(List(nil), errs...), warnings...)
	sortErrors(all)
	return all
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Detail writes the error as nsctl verify prints it: "file:line:col: error:
// message", and with a hint the source line, a mark under the place, and the
// hint. It ends in a line break.
func (e *Error) Detail() string {
	word := "error"
	if e.Warning {
		word = "warning"
	}
	head := fmt.Sprintf("%s: %s: %s", e.place(), word, e.Msg)
	if e.Hint == "" {
		return head + "\n"
	}
	if e.Source == "" || len(e.Source) > 200 {
		return head + "; " + e.Hint + "\n"
	}
	return head + "\n" + e.marked()
}

// marked is the source line, and below it a caret, tildes and the hint.
func (e *Error) marked() string {
	number := fmt.Sprint(e.Line)
	var indent strings.Builder // tabs stay, so that the caret stands right
	for i := 0; i < e.Col-1 && i < len(e.Source); i++ {
		if e.Source[i] == '\t' {
			indent.WriteByte('\t')
		} else if e.Source[i] < 0x80 || e.Source[i] >= 0xc0 {
			indent.WriteByte(' ')
		}
	}
	mark := "^" + strings.Repeat("~", max(0, e.Len-1))
	return fmt.Sprintf("  %s | %s\n  %s | %s%s %s\n",
		number, e.Source, strings.Repeat(" ", len(number)), indent.String(), mark, e.Hint)
}
