package logs

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

const (
	maxRotated = 1000 // files of one name, where no number is set
	reopenHint = "(reopen_signal is for files that the manager may rename)"
)

// due reports whether the file is to get another name: not while an older one of
// the same name is being read or packed.
func (t *tail) due(f *tailed) bool {
	cfg := &t.log.cfg
	if cfg.Reopen == nil || cfg.MaxSize <= 0 || f.size < cfg.MaxSize || f.old || f.stuck || t.packing {
		return false
	}
	for _, other := range t.open {
		if other.old && other.path == f.path {
			return false
		}
	}
	return true
}

// rotate gives a file its finished name, puts an empty one of the same owner and
// mode in its place, and has the service open that. The service may have put
// anything into the directory: no link is followed there.
func (t *tail) rotate(f *tailed) {
	dir, at, err := openDir(t.root, path.Dir(f.path))
	if err == nil {
		defer unix.Close(dir)
		if at == path.Dir(f.path) {
			err = rotateIn(dir, path.Base(f.path), f.fd, t.log.cfg.MaxFiles-1)
		}
	}
	if err != nil {
		f.stuck = true
		t.tell(Warning, "cannot rotate %s: %v %s", f.path, err, reopenHint)
		return
	}
	t.log.note(Info, "log: rotated %s", f.path)
	t.log.cfg.Reopen()
}

func rotateIn(dir int, base string, fd, keep int) error {
	var have, named unix.Stat_t
	if err := unix.Fstat(fd, &have); err != nil {
		return err
	}
	if err := unix.Fstatat(dir, base, &named, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if named.Ino != have.Ino || named.Dev != have.Dev {
		return errors.New("its name is a link")
	}
	if keep <= 0 {
		keep = maxRotated
	}
	if err := shift(dir, base, keep); err != nil {
		return err
	}
	if err := unix.Renameat(dir, base, dir, rotatedName(base, 1)); err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	fresh, err := createLike(dir, base, &have)
	if err == nil {
		unix.Close(fresh)
	} else if errors.Is(err, unix.EEXIST) {
		err = nil // somebody was first
	}
	return err
}

func rotatedName(base string, n int) string { return fmt.Sprintf("%s.%d", base, n) }

// shift makes room for base.1: keep files stay, packed or not.
func shift(dir int, base string, keep int) error {
	last := 1
	for ; last < keep && exists(dir, rotatedName(base, last)); last++ {
	}
	for n := last; n >= 1; n-- {
		for _, suffix := range []string{"", gzSuffix} {
			from := rotatedName(base, n) + suffix
			var err error
			if n >= keep {
				err = unix.Unlinkat(dir, from, 0)
			} else {
				err = unix.Renameat(dir, from, dir, rotatedName(base, n+1)+suffix)
			}
			if err != nil && err != unix.ENOENT {
				return fmt.Errorf("%s: %w", from, err)
			}
		}
	}
	return nil
}

func exists(dir int, name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil ||
		unix.Fstatat(dir, name+gzSuffix, &st, unix.AT_SYMLINK_NOFOLLOW) == nil
}

// createLike makes a file with owner and permissions of another.
func createLike(dir int, name string, like *unix.Stat_t) (int, error) {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return -1, fmt.Errorf("create %s: %w", name, err)
	}
	err = unix.Fchown(fd, int(like.Uid), int(like.Gid))
	if err == nil {
		err = unix.Fchmod(fd, like.Mode&0o777)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("set owner and mode of %s: %w", name, err)
	}
	return fd, nil
}

// pack compresses the finished files of a name. Nothing is renamed meanwhile.
func (t *tail) pack(name string) {
	dir, at, err := openDir(t.root, path.Dir(name))
	if err != nil || at != path.Dir(name) || t.packing {
		if err == nil {
			unix.Close(dir)
		}
		return
	}
	t.packing = true
	p, keep := t.log.pump, t.log.cfg.MaxFiles
	p.pack(packing{run: func() {
		err := packIn(dir, path.Base(name), keep)
		unix.Close(dir)
		p.post(func() {
			t.packing = false
			if err != nil {
				t.tell(Warning, "cannot compress %s.1: %v", name, err)
			}
			t.log.flush()
		})
	}})
}

func packIn(dir int, base string, keep int) error {
	if keep <= 0 {
		keep = maxRotated
	}
	for n := 1; n <= keep && exists(dir, rotatedName(base, n)); n++ {
		if err := packFile(dir, rotatedName(base, n)); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}

func packFile(dir int, name string) error {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	in := os.NewFile(uintptr(fd), name)
	defer in.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errors.Join(err, fmt.Errorf("%s is no regular file", name))
	}
	tmp := name + gzSuffix + tmpSuffix
	_ = unix.Unlinkat(dir, tmp, 0) // of a manager that was killed
	to, err := createLike(dir, tmp, &st)
	if err != nil {
		return err
	}
	out := os.NewFile(uintptr(to), tmp)
	defer unix.Unlinkat(dir, tmp, 0) // fails once it has been renamed
	z, _ := gzip.NewWriterLevel(out, gzip.BestSpeed)
	_, err = io.Copy(z, in)
	if err = errors.Join(err, z.Close(), out.Sync(), out.Close()); err != nil {
		return err
	}
	if err := unix.Renameat(dir, tmp, dir, name+gzSuffix); err != nil {
		return err
	}
	return unix.Unlinkat(dir, name, 0)
}
