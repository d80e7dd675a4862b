package condition

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// stat looks at p through links. A missing file, or a directory that is not
// one on the way to it, is not an error but a nil FileInfo.
func (h Host) stat(p string) (fs.FileInfo, error) {
	info, err := os.Stat(h.path(p))
	if missing(err) {
		return nil, nil
	}
	return info, err
}

func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)
}

func pathExists(h Host, p string) (bool, string, error) {
	info, err := h.stat(p)
	if info == nil {
		return false, p + " does not exist", err
	}
	return true, p + " exists", nil
}

func pathExistsGlob(h Host, pattern string) (bool, string, error) {
	found, err := filepath.Glob(h.path(pattern))
	if err != nil {
		return false, "", fmt.Errorf("pattern %q: %w", pattern, err)
	}
	if len(found) == 0 {
		return false, "nothing matches " + pattern, nil
	}
	return true, fmt.Sprintf("%d matches of %s", len(found), pattern), nil
}

func pathIsDirectory(h Host, p string) (bool, string, error) {
	info, err := h.stat(p)
	switch {
	case info == nil:
		return false, p + " does not exist", err
	case !info.IsDir():
		return false, p + " is no directory", nil
	}
	return true, p + " is a directory", nil
}

func pathIsSymbolicLink(h Host, p string) (bool, string, error) {
	info, err := os.Lstat(h.path(p))
	switch {
	case missing(err):
		return false, p + " does not exist", nil
	case err != nil:
		return false, "", err
	case info.Mode()&fs.ModeSymlink == 0:
		return false, p + " is no symbolic link", nil
	}
	return true, p + " is a symbolic link", nil
}

// pathIsMountPoint asks statx(2), which knows the root of a mount from Linux
// 5.8 on, bind mounts included.
func pathIsMountPoint(h Host, p string) (bool, string, error) {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, h.path(p), unix.AT_NO_AUTOMOUNT, unix.STATX_TYPE, &st)
	switch {
	case missing(err):
		return false, p + " does not exist", nil
	case err != nil:
		return false, "", fmt.Errorf("statx %s: %w", p, err)
	case st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT == 0:
		return false, "", fmt.Errorf("this kernel does not tell mount points")
	case st.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0:
		return false, p + " is no mount point", nil
	}
	return true, p + " is a mount point", nil
}

func pathIsReadWrite(h Host, p string) (bool, string, error) {
	var st unix.Statfs_t
	err := unix.Statfs(h.path(p), &st)
	switch {
	case missing(err):
		return false, p + " does not exist", nil
	case err != nil:
		return false, "", fmt.Errorf("statfs %s: %w", p, err)
	case st.Flags&unix.ST_RDONLY != 0:
		return false, p + " is on a read-only file system", nil
	}
	return true, p + " is on a writable file system", nil
}

func directoryNotEmpty(h Host, p string) (bool, string, error) {
	info, err := h.stat(p)
	switch {
	case info == nil:
		return false, p + " does not exist", err
	case !info.IsDir():
		return false, p + " is no directory", nil
	}
	entries, err := os.ReadDir(h.path(p))
	if err != nil {
		return false, "", err
	}
	for _, entry := range entries {
		if !hiddenOrBackup(entry.Name()) {
			return true, p + " holds " + entry.Name(), nil
		}
	}
	return false, p + " is empty", nil
}

// hiddenOrBackup reports whether systemd passes over a file of that name:
// hidden ones, and what editors and package managers leave behind.
func hiddenOrBackup(name string) bool {
	if name[0] == '.' || name == "lost+found" || name == "aquota.user" || name == "aquota.group" {
		return true
	}
	for _, suffix := range []string{"~", ".rpmnew", ".rpmsave", ".rpmorig", ".dpkg-old", ".dpkg-new", ".dpkg-tmp",
		".dpkg-dist", ".dpkg-bak", ".dpkg-backup", ".dpkg-remove", ".ucf-new", ".ucf-old", ".ucf-dist", ".swp", ".bak", ".old", ".new"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

// regularFile looks at p; without info, why says what is there instead.
func regularFile(h Host, p string) (info os.FileInfo, why string, err error) {
	info, err = h.stat(p)
	switch {
	case info == nil:
		return nil, p + " does not exist", err
	case !info.Mode().IsRegular():
		return nil, p + " is no regular file", nil
	}
	return info, "", nil
}

func fileNotEmpty(h Host, p string) (bool, string, error) {
	info, why, err := regularFile(h, p)
	switch {
	case info == nil:
		return false, why, err
	case info.Size() == 0:
		return false, p + " is empty", nil
	}
	return true, p + " is not empty", nil
}

func fileIsExecutable(h Host, p string) (bool, string, error) {
	info, why, err := regularFile(h, p)
	switch {
	case info == nil:
		return false, why, err
	case info.Mode().Perm()&0o111 == 0:
		return false, p + " is not executable", nil
	}
	return true, p + " is executable", nil
}
