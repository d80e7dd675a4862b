package unit

import (
	"fmt"
	"os"
	"path/filepath"
)

// Mask hides a unit, bad ones too, so that nothing starts it: by a link to
// /dev/null in dir, the first directory of the search path. A file that is there
// already is not replaced. It returns the paths that it wrote, none if the unit is
// masked already; the Set must be loaded again to see them.
func (s *Set) Mask(dir, name string) ([]string, error) {
	name = s.Canonical(name)
	if s.Masked(name) {
		return nil, nil
	}
	if s.templates[name] == nil && len(s.problems[name]) == 0 {
		if _, err := s.Resolve(name); err != nil {
			return nil, err
		}
	}
	path := filepath.Join(dir, name+".toml")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot mask %s: %w", name, err)
	}
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("cannot mask %s: its own file %s is where the link would be; move it away, or disable the unit", name, path)
	}
	if err := os.Symlink(os.DevNull, path); err != nil {
		return nil, fmt.Errorf("cannot mask %s: %w", name, err)
	}
	return []string{path}, nil
}

// Unmask removes the link of Mask. It returns the paths that it removed, none if
// the unit is not masked.
func (s *Set) Unmask(dir, name string) ([]string, error) {
	name = s.Canonical(name)
	path := s.files.masked[name]
	switch {
	case path == "":
		if !s.exists(name) && s.templates[name] == nil {
			return nil, fmt.Errorf("unit %s: %w", name, ErrUnknown)
		}
		return nil, nil
	case filepath.Clean(path) != filepath.Join(dir, name+".toml"):
		return nil, fmt.Errorf("cannot unmask %s: the link is in another place than those of mask; remove %s", name, path)
	}
	if err := os.Remove(path); err != nil {
		return nil, fmt.Errorf("cannot unmask %s: %w", name, err)
	}
	return []string{path}, nil
}
