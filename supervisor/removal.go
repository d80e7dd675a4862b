package supervisor

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// removal removes a tree with three descriptors, however deep it is: what is
// too deep is first moved up into its root. (A service can make directories
// deeper than the manager has descriptors, and than a path can say.)
type removal struct {
	top      *os.File
	serial   int
	deadline time.Time
}

// removeIn removes what dir has under name. Links are removed, not followed,
// and nothing that is mounted in the tree is touched.
func removeIn(dir int, name string, deadline time.Time) error {
	done, err := removeOne(dir, name)
	if done || err != nil {
		return err
	}
	top, err := openOwn(dir, name)
	if err != nil {
		return err
	}
	defer top.Close()
	r := &removal{top: top, deadline: deadline}
	if err := r.empty(top, r.branch); err != nil {
		return err
	}
	return unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
}

// removeOne removes a file, or a directory if it is empty; done says that there
// is nothing left.
func removeOne(dir int, name string) (done bool, err error) {
	err = unix.Unlinkat(dir, name, 0)
	if err == unix.EISDIR || err == unix.EPERM { // EPERM: unlink(2) as POSIX has it
		err = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
	}
	switch err {
	case nil, unix.ENOENT:
		return true, nil
	case unix.ENOTEMPTY, unix.EEXIST:
		return false, nil
	}
	return false, fmt.Errorf("%q: %w", clipName(name), err)
}

// openOwn opens a directory to read it, unless something is mounted there.
func openOwn(dir int, name string) (*os.File, error) {
	how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV}
	for {
		fd, err := unix.Openat2(dir, name, &how)
		switch {
		case err == unix.EINTR || err == unix.EAGAIN:
			continue
		case err == unix.EXDEV:
			return nil, fmt.Errorf("%q: something is mounted there", clipName(name))
		case err != nil:
			return nil, fmt.Errorf("%q: %w", clipName(name), err)
		}
		return os.NewFile(uintptr(fd), clipName(name)), nil
	}
}

// empty has every entry of d removed by remove. Entries that cannot be removed
// do not keep it from the others, as long as it gets on.
func (r *removal) empty(d *os.File, remove func(dir int, name string) error) error {
	for {
		if _, err := d.Seek(0, 0); err != nil {
			return err
		}
		names, _ := d.Readdirnames(256) // at the end io.EOF
		if len(names) == 0 {
			return nil
		}
		var failed []error
		for _, name := range names {
			if time.Now().After(r.deadline) {
				return errors.New("it takes too long: somebody is writing there")
			}
			if err := remove(int(d.Fd()), name); err != nil {
				failed = append(failed, err)
			}
		}
		if len(failed) == len(names) {
			return failed[0]
		}
	}
}

// branch removes an entry of the root.
func (r *removal) branch(top int, name string) error {
	done, err := removeOne(top, name)
	if done || err != nil {
		return err
	}
	d, err := openOwn(top, name)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := r.empty(d, r.lift); err != nil {
		return err
	}
	return unix.Unlinkat(top, name, unix.AT_REMOVEDIR)
}

// lift removes an entry of an entry of the root; a directory that is not empty
// becomes an entry of the root itself.
func (r *removal) lift(dir int, name string) error {
	done, err := removeOne(dir, name)
	if done || err != nil {
		return err
	}
	for {
		r.serial++
		err := unix.Renameat2(dir, name, int(r.top.Fd()), fmt.Sprintf(".removed-%d", r.serial), unix.RENAME_NOREPLACE)
		if err != unix.EEXIST {
			return err
		}
	}
}

// clipName keeps a name that a service chose short enough for a message.
func clipName(name string) string {
	return name[:min(len(name), 64)]
}
