package unit

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// PresetPath returns where the preset files of an instance are (systemd.preset(5));
// of two of one name the one in the earlier directory counts.
func PresetPath(instance string) []string {
	return []string{
		"/etc/" + instance + "/preset.d", "/run/" + instance + "/preset.d",
		"/usr/local/lib/" + instance + "/preset.d", "/usr/lib/" + instance + "/preset.d",
	}
}

// VendorPath returns the directories of SearchPath whose units presets are for:
// those of packages, not of the administrator.
func VendorPath(instance string) []string {
	return []string{"/usr/local/lib/" + instance + "/units", "/usr/lib/" + instance + "/units"}
}

// presetRule is one line of a preset file.
type presetRule struct {
	enable  bool
	pattern string
	at      Position
}

// presetRules are the rules in force, the first that matches counts.
type presetRules []presetRule

// readPresets reads every preset file, in the order of their names whatever
// their directory. Lines that are wrong are given by their file, and skipped.
func readPresets(dirs []string) (presetRules, map[string]List) {
	files := map[string]string{}
	bad := map[string]List{}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			bad[dir] = List{{File: dir, Msg: fmt.Sprintf("cannot read presets: %v", err)}}
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".preset") && files[e.Name()] == "" {
				files[e.Name()] = filepath.Join(dir, e.Name())
			}
		}
	}
	var names []string
	for name := range files {
		names = append(names, name)
	}
	sort.Strings(names)
	var all presetRules
	for _, name := range names {
		file := files[name]
		if linkTarget(file) == os.DevNull {
			continue
		}
		rules, errs := readPresetFile(file)
		if all = append(all, rules...); len(errs) > 0 {
			bad[file] = errs
		}
	}
	return all, bad
}

func readPresetFile(file string) (rules presetRules, errs List) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, List{{File: file, Msg: fmt.Sprintf("cannot read preset: %v", err)}}
	}
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		rule, err := parsePreset(strings.Fields(line))
		if err != nil {
			errs = append(errs, &Error{File: file, Line: n, Col: 1, Msg: err.Error()})
			continue
		}
		if rule.at = (Position{file, n, 1}); rule.pattern != "" {
			rules = append(rules, rule)
		}
	}
	return rules, errs
}

// parsePreset reads "enable PATTERN" or "disable PATTERN"; "ignore" has no pattern left.
func parsePreset(words []string) (presetRule, error) {
	switch {
	case words[0] == "ignore" && len(words) == 2:
		return presetRule{}, nil
	case words[0] != "enable" && words[0] != "disable":
		return presetRule{}, fmt.Errorf("%s: a preset line begins with enable, disable or ignore", printable(words[0]))
	case len(words) > 2 && words[0] == "enable":
		return presetRule{}, fmt.Errorf("instances of a template are not possible here; nsctl enable %sNAME makes one", printable(BareName(words[1])))
	case len(words) != 2:
		return presetRule{}, fmt.Errorf("a preset line is enable or disable, and one name or pattern")
	}
	pattern := BareName(words[1])
	if _, err := path.Match(pattern, ""); err != nil {
		return presetRule{}, fmt.Errorf("pattern %s: %w", printable(pattern), err)
	}
	return presetRule{enable: words[0] == "enable", pattern: pattern}, nil
}

// of returns the rule for a unit.
func (p presetRules) of(name string) (presetRule, bool) {
	for _, r := range p {
		if match, _ := path.Match(r.pattern, name); match {
			return r, true
		}
	}
	return presetRule{}, false
}

// applyPreset takes [install] of a package's unit out of force where a preset
// says so, unless a drop-in from elsewhere says anything about it. It does not
// concern instances: they are enabled one by one anyway.
func (s *Set) applyPreset(u *Unit) {
	if strings.Contains(u.Name, "@") || !s.isVendors(u.Path) {
		return
	}
	rule, found := s.presets.of(u.Name)
	if !found {
		return
	}
	u.Preset, u.PresetAt = pick(rule.enable, "enabled", "disabled"), rule.at
	for _, list := range []struct {
		key           string
		names, offers *[]string
	}{
		{"install.wanted_by", &u.Install.WantedBy, &u.offered.WantedBy},
		{"install.required_by", &u.Install.RequiredBy, &u.offered.RequiredBy},
	} {
		elsewhere := slices.ContainsFunc(u.Origins(list.key), func(p Position) bool { return !s.isVendors(p.File) })
		if !rule.enable && !elsewhere {
			*list.offers, *list.names = *list.names, nil
		}
	}
}

// isVendors reports whether a unit file, or a drop-in, is a package's.
func (s *Set) isVendors(file string) bool {
	dir := filepath.Dir(file)
	if strings.HasSuffix(dir, ".toml.d") {
		dir = filepath.Dir(dir)
	}
	return slices.Contains(s.options.Vendor, dir)
}
