package boot

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// tree is a file system tree that is changed as root, and in which others may
// have made links: those are not followed. Links of root's are, "/var/run" for
// one, and lead nowhere outside.
type tree struct {
	fd    int
	owner uint32 // whose links are followed
}

func openTree(root string) (tree, error) {
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	return tree{fd, uint32(os.Geteuid())}, err
}

func (t tree) close() { unix.Close(t.fd) }

// linksMax is the kernel's limit too.
const linksMax = 40

// parent opens the directory that p is in, making those that are missing where
// create says so, and gives p's last name. The caller closes it.
func (t tree) parent(p string, create bool) (dir int, base string, err error) {
	return t.walk(path.Dir(p), path.Base(p), create, linksMax)
}

func (t tree) walk(dirPath, base string, create bool, links int) (int, string, error) {
	dir, err := unix.Openat(t.fd, ".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, "", err
	}
	names := strings.FieldsFunc(dirPath, func(r rune) bool { return r == '/' })
	for i, name := range names {
		if create {
			if err := unix.Mkdirat(dir, name, 0o755); err != nil && err != unix.EEXIST {
				unix.Close(dir)
				return -1, "", err
			}
		}
		next, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			unix.Close(dir)
			return -1, "", err
		}
		var st unix.Stat_t
		if err = unix.Fstat(next, &st); err == nil {
			err = t.crossing(dir, &st)
		}
		if err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
			target, err := t.readLink(next, &st, links)
			unix.Close(next)
			unix.Close(dir)
			if err != nil {
				return -1, "", fmt.Errorf("%s: %w", name, err)
			}
			// What is above has no links any more: ".." in the target is plain text.
			if !path.IsAbs(target) {
				target = path.Join("/", path.Join(names[:i]...), target)
			}
			return t.walk(path.Join("/", target, path.Join(names[i+1:]...)), base, create, links-1)
		}
		unix.Close(dir)
		dir = next
		if err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			err = unix.ENOTDIR
		}
		if err != nil {
			unix.Close(dir)
			return -1, "", fmt.Errorf("%s: %w", name, err)
		}
	}
	return dir, base, nil
}

// crossing refuses a step from a directory of a user's to what is somebody
// else's, root's too: the user may have moved it there. (Those that
// systemd-tmpfiles calls unsafe path transitions.)
func (t tree) crossing(dir int, st *unix.Stat_t) error {
	var above unix.Stat_t
	if err := unix.Fstat(dir, &above); err != nil {
		return err
	}
	if above.Uid != t.owner && above.Uid != st.Uid {
		return fmt.Errorf("it is uid %d's in a directory of uid %d, who may have moved it there: %w", st.Uid, above.Uid, unix.EPERM)
	}
	return nil
}

func (t tree) readLink(fd int, st *unix.Stat_t, links int) (string, error) {
	if st.Uid != t.owner {
		return "", fmt.Errorf("a link that uid %d has made is not followed: %w", st.Uid, unix.ELOOP)
	}
	if links == 0 {
		return "", unix.ELOOP
	}
	b := make([]byte, 4096)
	n, err := unix.Readlinkat(fd, "", b)
	return string(b[:max(n, 0)]), err
}

// at opens p itself, not following it where it is a link.
func (t tree) at(p string) (fd int, st unix.Stat_t, err error) {
	dir, base, err := t.parent(p, false)
	if err != nil {
		return -1, st, err
	}
	defer unix.Close(dir)
	if base == "/" {
		base = "."
	}
	fd, st, err = openPath(dir, base)
	if err == nil {
		if err = t.crossing(dir, &st); err != nil {
			unix.Close(fd)
		}
	}
	return fd, st, err
}

// openPath opens what is in a directory, not following it where it is a link.
func openPath(dir int, name string) (fd int, st unix.Stat_t, err error) {
	fd, err = unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == nil {
		if err = unix.Fstat(fd, &st); err != nil {
			unix.Close(fd)
		}
	}
	return fd, st, err
}

// names lists a directory.
func names(fd int) ([]string, error) {
	again, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(again), "directory")
	defer f.Close()
	return f.Readdirnames(-1)
}

// remove removes what is in a directory by a name, with all below, on one file
// system: what is mounted there stays.
func remove(dir int, name string) error {
	err := unix.Unlinkat(dir, name, 0)
	if err != unix.EISDIR {
		return err
	}
	fd, err := unix.Openat2(dir, name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC | unix.O_NOFOLLOW, Resolve: unix.RESOLVE_NO_XDEV})
	if err == unix.EXDEV {
		return nil
	}
	if err != nil {
		return err
	}
	err = empty(fd)
	unix.Close(fd)
	return errors.Join(err, unix.Unlinkat(dir, name, unix.AT_REMOVEDIR))
}

// empty removes what is in a directory.
func empty(fd int) error {
	list, err := names(fd)
	for _, n := range list {
		err = errors.Join(err, remove(fd, n))
	}
	return err
}
