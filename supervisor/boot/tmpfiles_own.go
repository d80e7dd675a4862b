package boot

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// own sets owner and mode of what fd names, through /proc: an O_PATH descriptor
// cannot be changed itself, and a path could mean another file by now.
func (a applier) own(e entry, fd int, st *unix.Stat_t) error {
	uid, gid, err := a.owners(e)
	if err != nil {
		return err
	}
	if err := a.oneName(st); err != nil {
		return err
	}
	if uid >= 0 && uint32(uid) != st.Uid || gid >= 0 && uint32(gid) != st.Gid {
		if err := unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH); err != nil {
			return os.NewSyscallError("fchownat", err)
		}
	}
	if e.mode < 0 || e.keepMode || st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return nil
	}
	return os.NewSyscallError("chmod", unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), uint32(e.modeFor(st.Mode))))
}

// oneName refuses a file that has several names where the kernel lets users give
// names to files of others (fs.protected_hardlinks): it may be any file.
func (a applier) oneName(st *unix.Stat_t) error {
	if st.Mode&unix.S_IFMT == unix.S_IFDIR || st.Nlink < 2 || a.hardlinksProtected {
		return nil
	}
	return fmt.Errorf("it has %d names, and a user may have given it one: %w", st.Nlink, unix.EMLINK)
}

// owners finds user and group; -1 leaves one as it is.
func (a applier) owners(e entry) (uid, gid int, err error) {
	if uid, err = idOf(e.user, e.keepUser, a.users); err != nil {
		return -1, -1, fmt.Errorf("there is no user %q", e.user)
	}
	if gid, err = idOf(e.group, e.keepGrp, a.groups); err != nil {
		return -1, -1, fmt.Errorf("there is no group %q", e.group)
	}
	return uid, gid, nil
}

// modeFor is the mode, masked by the present one where the line says so: no bit
// to execute, write or read is given that nobody has.
func (e entry) modeFor(present uint32) int64 {
	mode := e.mode
	if !e.masked {
		return mode
	}
	for _, bits := range []int64{0o111, 0o222, 0o444} {
		if int64(present)&bits == 0 {
			mode &^= bits
		}
	}
	if present&unix.S_IFMT != unix.S_IFDIR {
		mode &^= 0o7000
	}
	return mode
}

// idOf finds a name or number; -1 leaves it as it is.
func idOf(name string, keep bool, ids map[string]int) (int, error) {
	if name == "" || keep {
		return -1, nil
	}
	if id, ok := ids[name]; ok {
		return id, nil
	}
	if name == "root" {
		return 0, nil
	}
	n, err := strconv.ParseUint(name, 10, 31)
	return int(n), err
}

// adjustAll is Z: of a path and all below it, following no link.
func (a applier) adjustAll(e entry, p string) error {
	fd, st, err := a.at(p)
	if err != nil {
		return err
	}
	return a.ownAll(e, fd, &st)
}

// ownAll is own of fd and what is below; it closes fd.
func (a applier) ownAll(e entry, fd int, st *unix.Stat_t) error {
	defer unix.Close(fd)
	errs := a.own(e, fd, st)
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return errs
	}
	list, err := names(fd)
	errs = errors.Join(errs, err)
	for _, n := range list {
		if below, st, err := openPath(fd, n); err == nil {
			errs = errors.Join(errs, a.ownAll(e, below, &st))
		} else if err != unix.ENOENT {
			errs = errors.Join(errs, err)
		}
	}
	return errs
}
