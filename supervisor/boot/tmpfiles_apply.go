package boot

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// tmpfiles makes, removes and adjusts what tmpfiles.d(5) asks for at a boot:
// first everything is removed, then the rest is made.
func tmpfiles(root string) []error {
	lines, problems := readAll(root, "tmpfiles")
	entries, errs := parseEntries(lines, specifiers(root))
	problems = append(problems, errs...)
	t, err := openTree(root)
	if err != nil {
		return append(problems, fmt.Errorf("cannot open %s: %w", root, err))
	}
	defer t.close()
	a := applier{tree: t, root: root}
	protected, _ := os.ReadFile(filepath.Join(root, "proc/sys/fs/protected_hardlinks"))
	a.hardlinksProtected = strings.TrimSpace(string(protected)) == "1"
	if a.users, err = readIDs(filepath.Join(root, "etc/passwd")); err == nil {
		a.groups, err = readIDs(filepath.Join(root, "etc/group"))
	}
	if err != nil {
		return append(problems, err)
	}
	inOrder(entries)
	for _, step := range []func(entry) error{a.remove, a.create} {
		for _, e := range entries {
			if err := step(e); err != nil && !e.optional {
				problems = append(problems, e.errorf("cannot apply %q to %s: %w", e.kind, e.path, err))
			}
		}
	}
	return problems
}

// specifiers gives those of tmpfiles.d(5) that do not depend on the caller.
func specifiers(root string) func(byte) (string, bool) {
	return func(c byte) (string, bool) {
		switch c {
		case '%':
			return "%", true
		case 'm', 'b':
			file := map[byte]string{'m': "etc/machine-id", 'b': "proc/sys/kernel/random/boot_id"}[c]
			b, err := os.ReadFile(filepath.Join(root, file))
			return strings.ReplaceAll(strings.TrimSpace(string(b)), "-", ""), err == nil
		case 'H', 'v':
			var u unix.Utsname
			err := unix.Uname(&u)
			if c == 'H' {
				return unix.ByteSliceToString(u.Nodename[:]), err == nil
			}
			return unix.ByteSliceToString(u.Release[:]), err == nil
		}
		dir, ok := map[byte]string{'t': "/run", 'S': "/var/lib", 'C': "/var/cache", 'L': "/var/log", 'T': "/tmp", 'V': "/var/tmp"}[c]
		return dir, ok
	}
}

// applier makes entries so.
type applier struct {
	tree
	root          string
	users, groups map[string]int

	hardlinksProtected bool
}

func (a applier) remove(e entry) error {
	switch e.kind {
	case 'r', 'R':
		return a.each(e.path, func(p string) error {
			dir, base, err := a.parent(p, false)
			if err != nil {
				return err
			}
			defer unix.Close(dir)
			if e.kind == 'R' {
				return remove(dir, base)
			}
			if err = unix.Unlinkat(dir, base, 0); err == unix.EISDIR {
				err = unix.Unlinkat(dir, base, unix.AT_REMOVEDIR)
			}
			return err
		})
	case 'D':
		fd, st, err := a.at(e.path)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return nil
		}
		return empty(fd)
	}
	return nil
}

func (a applier) create(e entry) error {
	if strings.IndexByte("rRxXwL", e.kind) < 0 { // before anything is made for nobody
		if _, _, err := a.owners(e); err != nil {
			return err
		}
	}
	switch e.kind {
	case 'd', 'D', 'q', 'Q', 'v':
		return a.make(e, 0o755, func(dir int, base string) error { return unix.Mkdirat(dir, base, 0o700) }, unix.S_IFDIR)
	case 'e':
		return a.each(e.path, func(p string) error { return a.adjust(e, p, unix.S_IFDIR) })
	case 'f':
		return a.file(e)
	case 'w':
		return a.each(e.path, func(p string) error { return a.write(e, p) })
	case 'p':
		return a.make(e, 0o644, func(dir int, base string) error { return unix.Mknodat(dir, base, unix.S_IFIFO|0o600, 0) }, unix.S_IFIFO)
	case 'c', 'b':
		return a.device(e)
	case 'L':
		return a.link(e)
	case 'z':
		return a.each(e.path, func(p string) error { return a.adjust(e, p, 0) })
	case 'Z':
		return a.each(e.path, func(p string) error { return a.adjustAll(e, p) })
	}
	return nil
}

// each calls f for the paths that a pattern stands for. None is no error, nor is
// what has gone meanwhile.
func (a applier) each(pattern string, f func(string) error) error {
	paths := []string{pattern}
	if strings.ContainsAny(pattern, "*?[") {
		found, err := filepath.Glob(filepath.Join(a.root, pattern))
		if err != nil {
			return err
		}
		paths = nil
		for _, p := range found {
			paths = append(paths, path.Join("/", strings.TrimPrefix(p, filepath.Clean(a.root))))
		}
	}
	var errs error
	for _, p := range paths {
		if err := f(p); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = errors.Join(errs, err)
		}
	}
	return errs
}

// make makes one thing unless it is there, and gives it mode and owner; mode is
// what it gets where the line has none. What is there and of another type stays,
// and is an error unless the line wants it replaced.
func (a applier) make(e entry, mode int64, f func(dir int, base string) error, format uint32) error {
	dir, base, err := a.parent(e.path, true)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	err = unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if base == "/" {
		return a.adjust(e, e.path, format)
	}
	if err == nil && st.Mode&unix.S_IFMT != format {
		if !e.fix && !(e.plus && e.kind != 'f') {
			if format == unix.S_IFDIR && st.Mode&unix.S_IFMT == unix.S_IFLNK {
				return nil // "/var/run" is a good directory
			}
			return fmt.Errorf("it is there and of another type: %w", unix.EEXIST)
		}
		if err := remove(dir, base); err != nil {
			return err
		}
		err = unix.ENOENT
	}
	if err == unix.ENOENT {
		if err := f(dir, base); err != nil {
			return err
		}
		if e.mode < 0 {
			e.mode = mode
		}
		if e.user == "" {
			e.user = "0"
		}
		if e.group == "" {
			e.group = "0"
		}
		e.keepMode, e.keepUser, e.keepGrp, e.masked = false, false, false, false
		return a.adjustAt(e, dir, base, format)
	}
	if err != nil {
		return err
	}
	return a.adjustAt(e, dir, base, format)
}

// file is f: content is written to what is new, f+ to what is there too.
func (a applier) file(e entry) error {
	if e.plus {
		if err := a.truncate(e.path); err != nil {
			return err
		}
	}
	return a.make(e, 0o644, func(dir int, base string) error {
		fd, err := unix.Openat(dir, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return err
		}
		return writeClose(fd, e.argument)
	}, unix.S_IFREG)
}

// truncate takes a regular file away that has content, to be made anew. It is
// not emptied: it may have another name, which somebody else has given it.
func (a applier) truncate(p string) error {
	dir, base, err := a.parent(p, false)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	if unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	return unix.Unlinkat(dir, base, 0)
}

func writeClose(fd int, content string) error {
	f := os.NewFile(uintptr(fd), "file")
	_, err := f.WriteString(content)
	return errors.Join(err, f.Close())
}

// write is w: over the beginning of what is there, with a plus at its end.
func (a applier) write(e entry, p string) error {
	dir, base, err := a.parent(p, false)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	flags := unix.O_WRONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC | unix.O_NOCTTY
	if e.plus {
		flags |= unix.O_APPEND
	}
	fd, err := unix.Openat(dir, base, flags, 0)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return err
	}
	if err := errors.Join(a.crossing(dir, &st), a.oneName(&st)); err != nil {
		unix.Close(fd)
		return err
	}
	return writeClose(fd, e.argument)
}

func (a applier) device(e entry) error {
	major, minor, ok := strings.Cut(e.argument, ":")
	x, err1 := strconv.ParseUint(major, 10, 32)
	y, err2 := strconv.ParseUint(minor, 10, 32)
	if !ok || err1 != nil || err2 != nil {
		return fmt.Errorf("%q is no MAJOR:MINOR", e.argument)
	}
	format := uint32(unix.S_IFCHR)
	if e.kind == 'b' {
		format = unix.S_IFBLK
	}
	return a.make(e, 0o644, func(dir int, base string) error {
		return unix.Mknodat(dir, base, format|0o600, int(unix.Mkdev(uint32(x), uint32(y))))
	}, format)
}

// link is L: what is there stays, unless L+ replaces it.
func (a applier) link(e entry) error {
	target := e.argument
	if target == "" {
		target = path.Join("/usr/share/factory", e.path)
	}
	dir, base, err := a.parent(e.path, true)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	err = unix.Symlinkat(target, dir, base)
	if err != unix.EEXIST {
		return err
	}
	b := make([]byte, 4096)
	if n, err := unix.Readlinkat(dir, base, b); err == nil && string(b[:n]) == target || !e.plus {
		return nil
	}
	if err := remove(dir, base); err != nil {
		return err
	}
	return unix.Symlinkat(target, dir, base)
}

// adjust gives a path mode and owner. format is the type that it must have, 0
// for any.
func (a applier) adjust(e entry, p string, format uint32) error {
	fd, st, err := a.at(p)
	if err != nil {
		return err
	}
	return a.ownAs(e, fd, &st, format)
}

func (a applier) adjustAt(e entry, dir int, base string, format uint32) error {
	fd, st, err := openPath(dir, base)
	if err != nil {
		return err
	}
	return a.ownAs(e, fd, &st, format)
}

// ownAs is own of what has the right type; it closes fd.
func (a applier) ownAs(e entry, fd int, st *unix.Stat_t, format uint32) error {
	defer unix.Close(fd)
	if format != 0 && st.Mode&unix.S_IFMT != format {
		return fmt.Errorf("it is of another type: %w", unix.EEXIST)
	}
	return a.own(e, fd, st)
}
