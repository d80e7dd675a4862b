package unit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// disableFile is the drop-in that takes [install] of a file out of force.
const disableFile = "50-disable.toml"

// enableFile is the drop-in that puts [install] in force against a preset.
const enableFile = "50-enable.toml"

// heldBack reports whether only a preset keeps the unit from being enabled.
func (u *Unit) heldBack() bool { return len(u.offered.WantedBy)+len(u.offered.RequiredBy) > 0 }

// installText is a drop-in that says the same as in does.
func installText(in Install) string {
	text := "[install]\n"
	for _, list := range []struct {
		key   string
		names []string
	}{{"wanted_by", in.WantedBy}, {"required_by", in.RequiredBy}} {
		if len(list.names) > 0 {
			text += list.key + " = ['', '" + strings.Join(list.names, "', '") + "']\n"
		}
	}
	return text
}

// Enabled says whether a unit starts with another one: "enabled", "disabled",
// "static" (nothing in [install], it starts as a dependency or by hand),
// "masked" or "bad".
func (s *Set) Enabled(name string) string {
	name = s.Canonical(name)
	u := s.units[name]
	switch {
	case s.files.masked[name] != "":
		return "masked"
	case u == nil && s.templates[name] == nil && !s.instantiable(name):
		return "bad"
	case templateOf(name) != "" && s.files.whole[name] == "" && s.wanted(name):
		return "enabled"
	case templateOf(name) != "" && s.files.whole[name] == "" && s.installs(name):
		return "disabled"
	case u != nil && len(u.Install.WantedBy)+len(u.Install.RequiredBy) > 0:
		return "enabled"
	case s.files.dropIns[name][disableFile] != "", u != nil && u.heldBack():
		return "disabled"
	}
	return "static"
}

// installs tells whether an instance could be enabled.
func (s *Set) installs(name string) bool {
	u := s.units[name]
	if u == nil {
		u = s.templates[templateOf(name)]
	}
	return u != nil && len(u.Install.WantedBy)+len(u.Install.RequiredBy) > 0
}

func (s *Set) wanted(name string) bool {
	for _, u := range s.units {
		if slices.Contains(u.Wants, name) || slices.Contains(u.Requires, name) {
			return true
		}
	}
	return false
}

// Enable makes [install] of a unit and of those in its also count again, by
// changing drop-ins in dir, the first directory of the search path. An
// instance becomes a drop-in of the targets that its template names; a bare
// template means its default_instance. It returns the paths that it wrote or
// removed; the Set must be loaded again to see them.
func (s *Set) Enable(dir, name string) ([]string, error) {
	return s.eachAlso(name, func(name string) ([]string, error) {
		if templateOf(name) != "" && s.files.whole[name] == "" {
			return s.enableInstance(dir, name)
		}
		return s.enableUnit(dir, name)
	})
}

// Disable is the reverse of Enable: the unit no longer starts by itself.
func (s *Set) Disable(dir, name string) ([]string, error) {
	return s.eachAlso(name, func(name string) ([]string, error) {
		if templateOf(name) != "" && s.files.whole[name] == "" {
			return s.disableInstance(dir, name)
		}
		return s.disableUnit(dir, name)
	})
}

// eachAlso calls change for a unit and for what its also names, each once.
func (s *Set) eachAlso(name string, change func(string) ([]string, error)) ([]string, error) {
	var changed []string
	seen := map[string]bool{}
	for queue := []string{name}; len(queue) > 0; queue = queue[1:] {
		u, err := s.installable(queue[0])
		if err != nil {
			return changed, err
		}
		if seen[u.Name] {
			continue
		}
		seen[u.Name] = true
		paths, err := change(u.Name)
		changed = append(changed, paths...)
		if err != nil {
			return changed, err
		}
		queue = append(queue, u.Install.Also...)
	}
	return changed, nil
}

// installable finds the unit to enable: for a bare template its default
// instance.
func (s *Set) installable(name string) (*Unit, error) {
	name = s.Canonical(name)
	if t := s.templates[name]; t != nil {
		if t.Install.DefaultInstance == "" {
			return nil, fmt.Errorf("%s is a template without default_instance; name an instance, such as %sx", name, name)
		}
		name += t.Install.DefaultInstance
	}
	return s.Resolve(name)
}

func (s *Set) enableUnit(dir, name string) ([]string, error) {
	u := s.units[name]
	written := s.files.dropIns[name][disableFile]
	path := filepath.Join(dir, name+".toml.d", disableFile)
	switch {
	case written == "" && u.heldBack():
		path = filepath.Join(dir, name+".toml.d", enableFile)
		return []string{path}, writeDropIn(path, installText(u.offered))
	case written == "" && len(u.Install.WantedBy)+len(u.Install.RequiredBy)+len(u.Install.Alias) > 0:
		return nil, nil // in force already
	case written == "":
		return nil, fmt.Errorf("%s has nothing to enable: no wanted_by or required_by in [install] of %s", name, u.Path)
	case filepath.Clean(written) == path:
		err := removeDropIn(path)
		if err == nil && u.Preset == "disabled" {
			err = fmt.Errorf("%s is removed, and now %s keeps %s disabled: enable it once more", path, u.PresetAt.File, name)
		}
		return []string{path}, err
	case linkTarget(written) == os.DevNull:
		return nil, nil
	}
	// The one that disables is another directory's: hide it.
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("cannot enable %s: %w", name, err)
	}
	if err := os.Symlink(os.DevNull, path); err != nil {
		return nil, fmt.Errorf("cannot enable %s: %w", name, err)
	}
	return []string{path}, nil
}

func (s *Set) disableUnit(dir, name string) ([]string, error) {
	u := s.units[name]
	if len(u.Install.WantedBy)+len(u.Install.RequiredBy) == 0 {
		return nil, nil
	}
	// Enable wrote it against a preset, which holds again without it.
	if path := filepath.Join(dir, name+".toml.d", enableFile); s.files.dropIns[name][enableFile] == path && u.Preset == "disabled" {
		return []string{path}, removeDropIn(path)
	}
	text := "[install]\nwanted_by = []\n"
	if len(u.Install.RequiredBy) > 0 {
		text += "required_by = []\n"
	}
	path := filepath.Join(dir, name+".toml.d", disableFile)
	if linkTarget(path) == os.DevNull { // Enable had hidden another one
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("cannot disable %s: %w", name, err)
		}
	}
	return []string{path}, writeDropIn(path, text)
}

func instanceDropIn(dir, target, name string) string {
	return filepath.Join(dir, target+".toml.d", "50-enable-"+name+".toml")
}

func (s *Set) enableInstance(dir, name string) ([]string, error) {
	u := s.units[name]
	var changed []string
	for _, list := range []struct {
		key     string
		targets []string
	}{{"wants", u.Install.WantedBy}, {"requires", u.Install.RequiredBy}} {
		for _, target := range list.targets {
			path := instanceDropIn(dir, target, name)
			if err := writeDropIn(path, fmt.Sprintf("[unit]\n%s = ['%s']\n", list.key, name)); err != nil {
				return changed, err
			}
			changed = append(changed, path)
		}
	}
	if len(changed) == 0 {
		return nil, fmt.Errorf("%s has nothing to enable: no wanted_by or required_by in [install] of %s", name, u.Path)
	}
	return changed, nil
}

func (s *Set) disableInstance(dir, name string) ([]string, error) {
	u := s.units[name]
	var changed []string
	for _, target := range append(append([]string(nil), u.Install.WantedBy...), u.Install.RequiredBy...) {
		path := instanceDropIn(dir, target, name)
		err := removeDropIn(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return changed, err
		}
		changed = append(changed, path)
	}
	return changed, nil
}

// writeDropIn puts a whole file in place or none.
func writeDropIn(path, text string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("cannot write drop-in: %w", err)
	}
	temp, err := os.CreateTemp(dir, ".new-*") // no unit file: no .toml at its end
	if err != nil {
		return fmt.Errorf("cannot write drop-in: %w", err)
	}
	defer os.Remove(temp.Name())
	_, err = strings.NewReader(text).WriteTo(temp)
	err = errors.Join(err, temp.Chmod(0o644), temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("cannot write drop-in: %w", err)
	}
	return nil
}

// removeDropIn removes a file, and its directory when that is empty then.
func removeDropIn(path string) error {
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("cannot remove drop-in: %w", err)
	}
	_ = os.Remove(filepath.Dir(path)) // not empty: stays
	return nil
}
