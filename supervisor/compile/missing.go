package compile

import (
	"errors"
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

// maxEntries is how many entries a directory may have in which a place to mount
// on is made: each of them is a mount of the service's.
const maxEntries = 1000

// MissingTarget is a place to mount on that the unit names and its root lacks.
type MissingTarget struct {
	Asked           string // the path as the unit has it
	isolate.Missing        // where that is, links resolved
}

// missingTargets finds the targets of binds and the like that are not in the
// tree that the unit asks for.
func missingTargets(u *unit.Unit) ([]MissingTarget, error) {
	targets := mountTargets(u)
	if len(targets) == 0 || !u.Isolation.Namespaces.Mount {
		return nil, nil
	}
	var list []MissingTarget
	for _, asked := range targets {
		if owned(u, asked) {
			continue
		}
		m, err := missingTarget(u, asked)
		if err != nil {
			return nil, err
		}
		if m != nil {
			list = append(list, MissingTarget{Asked: asked, Missing: *m})
		}
	}
	return list, nil
}

// mountTargets lists where the unit has something mounted.
func mountTargets(u *unit.Unit) (list []string) {
	f := &u.Filesystem
	for _, t := range f.TemporaryFileSystem {
		list = append(list, t.Path)
	}
	for _, b := range slices.Concat(f.BindPaths, f.BindReadOnlyPaths) {
		if _, err := os.Lstat(b.Source); b.Optional && err != nil {
			continue // left out
		}
		list = append(list, b.Destination)
	}
	if f.RootDirectory != "" && f.RootDirectory != "/" { // else they are made on the host, and so in the tree
		for _, kind := range directoryKinds(u) {
			for _, entry := range kind.entries {
				list = append(list, path.Join(kind.base, entry.Path))
			}
		}
	}
	return list
}

// owned reports whether p lies in what every start makes for itself.
func owned(u *unit.Unit, p string) bool {
	f := &u.Filesystem
	for _, fresh := range []struct {
		dir string
		own bool
	}{{"/run", f.PrivateRun}, {"/var/run", f.PrivateRun}, {"/tmp", f.PrivateTmp}, {"/var/tmp", f.PrivateTmp}, {"/dev", f.PrivateDevices},
		{"/proc", true}, {"/sys", true}} {
		if fresh.own && within(p, fresh.dir) {
			return true
		}
	}
	return slices.ContainsFunc(f.TemporaryFileSystem, func(t unit.Tmpfs) bool { return p != t.Path && within(p, t.Path) })
}

// missingTarget looks for p where the tree will have it from: in the innermost
// bind above it, else in the root. It is nil if p is there.
func missingTarget(u *unit.Unit, p string) (*isolate.Missing, error) {
	root, at, inBind := orDefault(u.Filesystem.RootDirectory, "/"), "/", false
	for _, b := range slices.Concat(u.Filesystem.BindPaths, u.Filesystem.BindReadOnlyPaths) {
		if p != b.Destination && within(p, b.Destination) && len(b.Destination) > len(at) {
			root, at, inBind = b.Source, b.Destination, true
		}
	}
	if inBind && slices.Contains([]string{"/tmp", "/var/tmp", "/dev/pts", "/dev/log"}, root) && owned(u, root) {
		return nil, nil // the service's own, which is not there yet
	}
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil // the start will say so where it needs it
	}
	defer unix.Close(dir)
	resolve := uint64(unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS)
	if inBind { // links in it lead elsewhere in the tree
		resolve = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS
	}
	m, err := nearest(dir, strings.TrimPrefix(strings.TrimPrefix(p, at), "/"), resolve)
	if m == nil || err != nil {
		if err != nil {
			err = fmt.Errorf("cannot make %s in the tree: %w", p, err)
		}
		return nil, err
	}
	m.Path, m.Dir = path.Join(at, m.Path), path.Join(at, m.Dir)
	return m, nil
}

// nearest finds the directory below root, with its entries, in which the first
// part of rel is missing; nil if rel is there, or what is wrong with it is not
// that it is missing.
func nearest(root int, rel string, resolve uint64) (*isolate.Missing, error) {
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: resolve}
	for dir, tail := rel, ""; ; {
		fd, err := unix.Openat2(root, orDefault(dir, "."), how)
		switch {
		case err == nil && tail == "":
			unix.Close(fd)
			return nil, nil
		case err == nil:
			defer unix.Close(fd)
			return describe(root, fd, tail)
		case err != unix.ENOENT || dir == "" || dir == ".":
			return nil, nil
		}
		tail = path.Join(path.Base(dir), tail)
		dir = strings.TrimPrefix(path.Dir(dir), ".")
	}
}

// describe says what the directory fd, in which tail is missing, is like.
func describe(root, fd int, tail string) (*isolate.Missing, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil, err
	}
	top, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", root))
	if err != nil {
		return nil, err
	}
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return nil, err
	}
	rel, err := filepath.Rel(top, name)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return nil, fmt.Errorf("%s is not below %s any more", name, top)
	}
	first, _, _ := strings.Cut(tail, "/")
	m := &isolate.Missing{Path: path.Join("/", rel, tail), Dir: path.Join("/", rel), Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid}
	m.Entries, err = entries(fd, name, first)
	return m, err
}

// entries lists a directory less the name without, in the order of names.
func entries(fd int, name, without string) ([]isolate.DirEntry, error) {
	list, err := os.ReadDir(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return nil, fmt.Errorf("cannot list %s: %w", name, errors.Unwrap(err))
	}
	if len(list) > maxEntries {
		return nil, fmt.Errorf("%s holds %d entries, and each would be a mount; the most is %d: make it on the host", name, len(list), maxEntries)
	}
	var out []isolate.DirEntry
	for _, e := range list {
		if e.Name() == without {
			continue
		}
		entry := isolate.DirEntry{Name: e.Name(), Dir: e.IsDir()}
		if e.Type()&os.ModeSymlink != 0 {
			if entry.Link, err = os.Readlink(fmt.Sprintf("/proc/self/fd/%d/%s", fd, e.Name())); err != nil {
				continue // gone
			}
		}
		out = append(out, entry)
	}
	return out, nil
}

// resolveMissing respells every rule at or below a missing target, since rules
// are applied in the order of their paths.
func (c *compiler) resolveMissing(spec *isolate.Spec) {
	for _, m := range c.facts.Missing {
		spec.Missing = append(spec.Missing, m.Missing)
		for i := range spec.Paths {
			if r := &spec.Paths[i]; within(r.Path, m.Asked) {
				r.Path = m.Path + strings.TrimPrefix(r.Path, m.Asked)
			}
		}
	}
}
