package logs

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/supervisor/inroot"
)

// remote tells file systems that others write to as well, of which inotify knows
// nothing (statfs(2)).
func remote(fd int) bool {
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil {
		return true
	}
	return slices.Contains([]int64{unix.NFS_SUPER_MAGIC, unix.V9FS_MAGIC, unix.FUSE_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC,
		unix.CIFS_SUPER_MAGIC, unix.CEPH_SUPER_MAGIC, unix.AFS_FS_MAGIC}, int64(st.Type))
}

// openDir opens a directory below root, or the nearest above it that is there.
func openDir(root int, dir string) (fd int, at string, err error) {
	for at = dir; ; at = path.Dir(at) {
		fd, err = inroot.Open(root, at, unix.O_DIRECTORY)
		if err == nil || at == "/" || err != unix.ENOENT && err != unix.ENOTDIR {
			return fd, at, err
		}
	}
}

var (
	packed  = regexp.MustCompile(`\.(gz|xz|bz2|zst|lz4)(\.tmp)?$`)
	rotates = regexp.MustCompile(`[.-][0-9]+$`)
)

// matching lists the names in dir that a pattern means: neither packed ones nor
// those that a rotation gave to what is there under its own name too.
func matching(dir int, pattern string) (names []string, err error) {
	if !strings.ContainsAny(pattern, `*?[\`) {
		return []string{pattern}, nil
	}
	all, err := listDir(dir)
	match := func(name string) bool {
		ok, _ := path.Match(pattern, name)
		return ok && (name[0] != '.' || pattern[0] == '.') && !packed.MatchString(name)
	}
	there := map[string]bool{}
	for _, name := range all {
		there[name] = true
	}
	for _, name := range all {
		own := rotates.ReplaceAllString(name, "")
		if match(name) && (own == name || !there[own] || !match(own)) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, err
}

// isPlain refuses names that would not be shown as they are.
func isPlain(name string) bool {
	return utf8.ValidString(name) && len(name) <= maxPath && !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) })
}
