package network

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
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

// set writes a setting. What it was before is remembered, and so is what else the
// kernel changes with it, by the patterns of along.
func (s *sysctls) set(name, value string, along ...string) error {
	old, err := setting(name)
	if err != nil {
		return fmt.Errorf("cannot read the setting %s: %w", filepath.Join(sysctlRoot, name), err)
	}
	if old == value {
		return nil
	}
	if _, known := s.was[name]; !known {
		s.was[name] = old
		s.remember(along)
		if err := s.save(); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(sysctlRoot, name), []byte(value), 0); err != nil {
		return fmt.Errorf("cannot set %s to %s: %w", filepath.Join(sysctlRoot, name), value, err)
	}
	return nil
}

func setting(name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(sysctlRoot, name))
	return strings.TrimSpace(string(b)), err
}

// remember keeps those of the patterns that are not known yet.
func (s *sysctls) remember(patterns []string) {
	for _, pattern := range patterns {
		for _, name := range settings(pattern) {
			_, known := s.was[name]
			if old, err := setting(name); err == nil && !known { // else its link has gone
				s.was[name] = old
			}
		}
	}
}

// settings lists those that match.
func settings(pattern string) (names []string) {
	paths, _ := filepath.Glob(filepath.Join(sysctlRoot, pattern)) // only a bad pattern is an error
	for _, path := range paths {
		name, _ := filepath.Rel(sysctlRoot, path)
		names = append(names, name)
	}
	return names
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

// The settings that have the kernel route. Each is written to every link as well,
// and that of IPv4 decides anew whether redirects are accepted (inet_forward_change
// of net/ipv4/devinet.c): whoever had turned those off would have them again.
const (
	forward4 = "ipv4/ip_forward"
	forward6 = "ipv6/conf/all/forwarding"
)

// forward has the host route. A host that takes its own routes from router
// advertisements goes on doing so, which Linux ends with forwarding otherwise
// (accept_ra of ip-sysctl).
func (s *sysctls) forward(six bool) error {
	if err := s.set(forward4, "1", "ipv4/conf/*/forwarding", "ipv4/conf/all/accept_redirects"); err != nil || !six {
		return err
	}
	if on, err := setting(forward6); err == nil && on == "1" {
		return nil // who turned it on has seen to the rest
	}
	for _, name := range settings("ipv6/conf/*/accept_ra") {
		if old, err := setting(name); err != nil || old != "1" {
			continue
		}
		if err := s.set(name, "2"); err != nil && !errors.Is(err, fs.ErrNotExist) { // the link has gone
			return err
		}
	}
	return s.set(forward6, "1", "ipv6/conf/*/forwarding")
}

// noAdvertisements has the host take no routes from what is on a link.
func noAdvertisements(link string) error {
	path := filepath.Join(sysctlRoot, "ipv6/conf", link, "accept_ra")
	if err := os.WriteFile(path, []byte("0"), 0); err != nil && !errors.Is(err, fs.ErrNotExist) { // no IPv6 here
		return fmt.Errorf("cannot set %s to 0: %w", path, err)
	}
	return nil
}

// restore puts back what was there. A link that has gone took its settings along.
func (s *sysctls) restore() error {
	var errs []error
	names := slices.SortedFunc(maps.Keys(s.was), func(a, b string) int { return cmp.Compare(rank(a), rank(b)) })
	for _, name := range names {
		err := os.WriteFile(filepath.Join(sysctlRoot, name), []byte(s.was[name]), 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("cannot put back the setting %s: %w", name, err))
		}
	}
	if err := os.Remove(s.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// rank has those first that change others.
func rank(name string) int {
	switch {
	case name == forward4 || name == forward6:
		return 0
	case strings.Contains(name, "/all/"):
		return 1
	}
	return 2
}

// writeFile replaces a file whole.
func writeFile(path string, b []byte) error {
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new") // no unit's: those do not begin with a dot
	if err := os.WriteFile(temp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(temp, path)
}
