package supervisor

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
)

// A place is a directory of a unit below one of the machine's, "app/data" below
// /var/lib. The machine's directory and the first name in it are the operator's,
// and may be links. What is below that may be a service's to write, which would
// choose by a link what root makes, gives away or removes: none is followed there.

// enter opens a directory of dir; first says that it is the operator's.
func enter(dir int, name string, first bool, flags uint64) (int, error) {
	how := unix.OpenHow{Flags: flags | unix.O_DIRECTORY | unix.O_CLOEXEC}
	if !first {
		how.Resolve = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS
	}
	for {
		fd, err := unix.Openat2(dir, name, &how)
		switch err {
		case unix.EINTR, unix.EAGAIN:
			continue
		case unix.ELOOP:
			err = fmt.Errorf("%s is a link, and a service may have made it: %w", name, unix.ELOOP)
		}
		return fd, err
	}
}

// makePlace makes what is missing of d: what lies above it for root, itself for
// its owner. It gives what was there already.
func makePlace(d isolate.Directory) (st unix.Stat_t, made bool, err error) {
	dir, err := unix.Open(d.Base, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return st, false, err
	}
	defer func() { unix.Close(dir) }()
	names := strings.Split(strings.TrimPrefix(d.Path, d.Base+"/"), "/")
	for i, name := range names {
		made = false
		next, err := enter(dir, name, i == 0, unix.O_PATH)
		if errors.Is(err, unix.ENOENT) {
			made = true
			if i < len(names)-1 {
				next, err = makeIn(dir, name, 0, 0, 0o755)
			} else {
				next, err = makeIn(dir, name, int(d.UID), int(d.GID), d.Mode)
			}
		}
		if err != nil {
			return st, false, err
		}
		unix.Close(dir)
		dir = next
	}
	return st, made, unix.Fstat(dir, &st)
}

// makeIn makes one directory and gives it away by its descriptor: whatever has
// its name by then.
func makeIn(dir int, name string, uid, gid int, mode uint32) (int, error) {
	if err := unix.Mkdirat(dir, name, 0o700); err != nil {
		return -1, err
	}
	fd, err := enter(dir, name, false, unix.O_RDONLY)
	if err != nil {
		return -1, err
	}
	if err = unix.Fchown(fd, uid, gid); err == nil {
		err = unix.Fchmod(fd, mode&0o7777)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// removeTime bounds the removal of one place. Nobody should be writing there any
// more, but who shares the unit's user could.
const removeTime = time.Minute

// removePlace removes a place with all that is in it, and then what has become
// empty above it. What is mounted there stays. Missing is removed.
func removePlace(base, rel string) error {
	path := base + "/" + rel
	parents, err := openParents(base, rel)
	defer func() {
		for _, fd := range parents {
			unix.Close(fd)
		}
	}()
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	names := strings.Split(rel, "/")
	if err == nil {
		err = removeIn(parents[len(parents)-1], names[len(names)-1], time.Now().Add(removeTime))
	}
	if err != nil {
		return fmt.Errorf("cannot remove %s: %w", path, err)
	}
	for i := len(names) - 2; i >= 0; i-- {
		if unix.Unlinkat(parents[i], names[i], unix.AT_REMOVEDIR) != nil {
			break
		}
	}
	return nil
}

// openParents opens the directories that rel is reached by, base first.
func openParents(base, rel string) (fds []int, err error) {
	fd, err := unix.Open(base, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	names := strings.Split(rel, "/")
	for i := 0; err == nil; i++ {
		fds = append(fds, fd)
		if i == len(names)-1 {
			break
		}
		fd, err = enter(fd, names[i], i == 0, unix.O_PATH)
	}
	return fds, err
}
