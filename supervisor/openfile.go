package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/supervisor/compile"
	"github.com/nsinit/nsinit/unit"
)

// openFiles opens what open_file names, on the host and with the manager's
// rights, and notes under which names it is passed.
func (b *birth) openFiles() error {
	u := b.g.def
	b.g.facts.Passed = nil
	for _, f := range u.Service.OpenFile {
		fd, err := openFile(f, compile.WritableAbove(u, f.Path))
		if err != nil && f.Graceful {
			continue
		}
		if err != nil {
			return &compile.Error{Unit: u.Name, Key: "service.open_file", Class: isolate.ClassFDs,
				Err: fmt.Errorf("cannot open %s for it: %w%s", f.Path, err, openFileHint(err))}
		}
		b.owned = append(b.owned, fd)
		b.files.Passed = append(b.files.Passed, fd)
		b.g.facts.Passed = append(b.g.facts.Passed, f.Name)
	}
	return nil
}

func openFileHint(err error) string {
	switch {
	case errors.Is(err, unix.ELOOP):
		return "; no link is followed where the service may write: name the place that it leads to"
	case errors.Is(err, unix.ENOENT):
		return "; make it, or write \"graceful\" where the service may do without"
	}
	return ""
}

// openFile opens f as systemd.service(5) has it under OpenFile=. No link is
// followed below the directory writable. It never waits, and what it opens does.
func openFile(f unit.OpenFile, writable string) (int, error) {
	place, err := openPlace(f.Path, writable)
	if err != nil {
		return -1, err
	}
	defer unix.Close(place)
	var st unix.Stat_t
	if err := unix.Fstat(place, &st); err != nil {
		return -1, err
	}
	self := procFD(place)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		return connectTo(self)
	case unix.S_IFDIR: // from a directory of the host every other one can be reached (openat(2), "..")
		return -1, errors.New("it is a directory, which would lead out of the service's tree; write bind_paths in [filesystem]")
	}
	flags := unix.O_RDWR | unix.O_CLOEXEC | unix.O_NOCTTY | unix.O_NONBLOCK
	if f.ReadOnly && st.Mode&unix.S_IFMT == unix.S_IFREG {
		tree, err := readOnlyMount(place)
		if err != nil {
			return -1, err
		}
		defer unix.Close(tree)
		self = procFD(tree)
	}
	switch {
	case f.ReadOnly:
		flags = flags&^unix.O_ACCMODE | unix.O_RDONLY
	case f.Append:
		flags |= unix.O_APPEND
	case f.Truncate:
		flags |= unix.O_TRUNC
	}
	fd, err := unix.Open(self, flags, 0)
	if err != nil {
		return -1, err
	}
	return blocking(fd)
}

func procFD(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// readOnlyMount gives a read-only mount of a file that is attached nowhere
// (mount_setattr(2), Linux 5.12): root in the service could open the descriptor
// that it is passed again, for writing.
func readOnlyMount(file int) (int, error) {
	const flags = unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_EMPTY_PATH
	tree, err := unix.OpenTree(file, "", flags)
	if err != nil {
		return -1, os.NewSyscallError("open_tree", err)
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		unix.Close(tree)
		return -1, os.NewSyscallError("mount_setattr", err)
	}
	return tree, nil
}

// openPlace finds p without opening it.
func openPlace(p, writable string) (int, error) {
	if writable == "" {
		return unix.Open(p, unix.O_PATH|unix.O_CLOEXEC, 0)
	}
	dir, err := unix.Open(writable, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	return unix.Openat2(dir, path.Clean("./"+strings.TrimPrefix(p, writable)), &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS})
}

// connectTo connects to the Unix socket at p, of whatever type it is. It does
// not wait for a listener that accepts nothing.
func connectTo(p string) (int, error) {
	for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_SEQPACKET} {
		fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return -1, err
		}
		if err = unix.Connect(fd, &unix.SockaddrUnix{Name: p}); err == nil {
			return blocking(fd)
		}
		unix.Close(fd)
		if err != unix.EPROTOTYPE {
			return -1, err
		}
	}
	return -1, syscall.EPROTOTYPE
}

// blocking makes what was opened without waiting wait, as programs expect.
func blocking(fd int) (int, error) {
	if err := unix.SetNonblock(fd, false); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
