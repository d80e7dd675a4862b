package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const sysctlRoot = "/proc/sys/net"

// sysctls are the settings of the host that routing for services needs. What
// they were is kept in a file, to be put back at the end.
type sysctls struct {
	file string
	was  map[string]string // by path below sysctlRoot
}

func openSysctls(file string) (*sysctls, error) {
	s := &sysctls{file: file, was: map[string]string{}}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &s.was)
	}
	if err != nil { // damaged: what they were is lost, and they stay as they are
		return &sysctls{file: file, was: map[string]string{}}, nil
	}
	return s, nil
}

// set writes a setting, and remembers what it was before.
func (s *sysctls) set(name, value string) error {
	path := filepath.Join(sysctlRoot, name)
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("cannot read the setting %s: %w", path, err)
	}
	old := strings.TrimSpace(string(b))
	if old == value {
		return nil
	}
	if _, known := s.was[name]; !known {
		s.was[name] = old
		if err := s.save(); err != nil {
			return err
		}
	}
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return fmt.Errorf("cannot set %s to %s: %w", path, value, err)
	}
	return nil
}

func (s *sysctls) save() error {
	b, err := json.Marshal(s.was)
	if err == nil {
		err = writeFile(s.file, b)
	}
	if err != nil {
		return fmt.Errorf("cannot remember the settings of the host: %w", err)
	}
	return nil
}

// forward has the host route. A host that takes its own routes from router
// advertisements goes on doing so, which Linux ends with forwarding otherwise
// (accept_ra of ip-sysctl).
func (s *sysctls) forward(six bool) error {
	if err := s.set("ipv4/ip_forward", "1"); err != nil || !six {
		return err
	}
	links, err := filepath.Glob(sysctlRoot + "/ipv6/conf/*/accept_ra")
	if err != nil {
		return err
	}
	for _, path := range links {
		b, err := os.ReadFile(path)
		if err == nil && strings.TrimSpace(string(b)) == "1" {
			name, _ := filepath.Rel(sysctlRoot, path)
			if err := s.set(name, "2"); err != nil && !errors.Is(err, fs.ErrNotExist) { // the link has gone
				return err
			}
		}
	}
	return s.set("ipv6/conf/all/forwarding", "1")
}

// restore puts back what was there. A link that has gone took its settings along.
func (s *sysctls) restore() error {
	var errs []error
	// Forwarding first: it writes accept_ra's consequences, not its value.
	for name, old := range s.was {
		err := os.WriteFile(filepath.Join(sysctlRoot, name), []byte(old), 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("cannot put back the setting %s: %w", name, err))
		}
	}
	if err := os.Remove(s.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// writeFile replaces a file whole.
func writeFile(path string, b []byte) error {
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new") // no unit's: those do not begin with a dot
	if err := os.WriteFile(temp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(temp, path)
}
