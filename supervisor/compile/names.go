package compile

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/unit"
)

// NameFile is a file of the machine that a service resolves names by.
type NameFile struct {
	Source string // on the machine
	Target string // in the service's root, links resolved
}

// BindNames has u see files of the machine as /etc/hosts and /etc/resolv.conf,
// where links of its root lead to those; "" leaves its root's. A unit that binds
// something there itself keeps that.
func (f *Facts) BindNames(u *unit.Unit, hosts, resolv string) error {
	if !u.Isolation.Namespaces.Mount {
		return nil
	}
	for _, file := range []struct{ source, path string }{{hosts, "/etc/hosts"}, {resolv, "/etc/resolv.conf"}} {
		if file.source == "" || bindsItself(u, file.path) {
			continue
		}
		target, err := inRoot(orDefault(u.Filesystem.RootDirectory, "/"), file.path)
		if err != nil {
			return &Error{Unit: u.Name, Class: isolate.ClassNamespace, Err: err}
		}
		if !owned(u, target) {
			m, err := missingTarget(u, target)
			if err != nil {
				return &Error{Unit: u.Name, Class: isolate.ClassNamespace, Err: err}
			}
			if m != nil {
				f.Missing = append(f.Missing, MissingTarget{Asked: target, Missing: *m})
			}
		}
		f.Names = append(f.Names, NameFile{Source: file.source, Target: target})
	}
	return nil
}

// bindsItself reports whether the unit has a file system of its own choice at p.
func bindsItself(u *unit.Unit, p string) bool {
	f := &u.Filesystem
	for _, b := range slices.Concat(f.BindPaths, f.BindReadOnlyPaths) {
		if within(p, b.Destination) {
			return true
		}
	}
	return slices.ContainsFunc(f.TemporaryFileSystem, func(t unit.Tmpfs) bool { return within(p, t.Path) })
}

// inRoot resolves the links of p below root. Where the last leads to nothing, it
// is what it names.
func inRoot(root, p string) (string, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return p, nil // the start will say so where it needs it
	}
	defer unix.Close(dir)
	top, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", dir))
	if err != nil {
		return "", err
	}
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for range 8 { // of links that lead to nothing, one after the other
		fd, err := unix.Openat2(dir, strings.TrimPrefix(p, "/"), how)
		if err == nil {
			name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
			unix.Close(fd)
			if err != nil {
				return "", err
			}
			rel, err := filepath.Rel(top, name)
			return path.Join("/", rel), err
		}
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(dir, strings.TrimPrefix(p, "/"), buf)
		if err != nil {
			return p, nil
		}
		link := string(buf[:n])
		if !path.IsAbs(link) {
			link = path.Join(path.Dir(p), link)
		}
		p = path.Clean(link)
	}
	return "", fmt.Errorf("cannot follow the links of %s", p)
}

// nameFiles binds the files that the service resolves names by.
func (c *compiler) nameFiles() (rules []isolate.PathRule) {
	for _, n := range c.facts.Names {
		rules = append(rules, isolate.PathRule{Action: isolate.PathBind, Path: n.Target, Source: n.Source, ReadOnly: true})
	}
	return rules
}

// named reports whether a file that the service resolves names by is at p.
func (c *compiler) named(p string) bool {
	return slices.ContainsFunc(c.facts.Names, func(n NameFile) bool { return n.Target == p })
}

// NetworkLines says what the manager makes of u's network, one link a line, for a
// plan that no manager is asked for.
func NetworkLines(u *unit.Unit) (lines []string) {
	for i, l := range u.Network.AllLinks() {
		words := []string{l.Name, l.Mode}
		switch l.Mode {
		case unit.NetworkVeth:
			words = append(words, "on bridge", l.Bridge)
		case unit.NetworkVlan:
			words = append(words, fmt.Sprint(l.VlanId), "of", l.Parent)
		default:
			words = append(words, "of", l.Parent)
		}
		line := strings.Join(words, " ")
		for _, a := range l.Address {
			line += ", " + a.String()
		}
		for _, p := range u.Network.Publish {
			if i == 0 {
				line += ", publish " + p.String()
			}
		}
		lines = append(lines, line)
	}
	return lines
}
