package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ErrRunning is in the chain of Listen's error when a server answers already.
var ErrRunning = errors.New("already running")

// pathMax is what fits in sockaddr_un (unix(7)), less the final NUL, and less
// what the private directory adds to the path while the socket is made.
const pathMax = 107 - 24

// Listen makes the control socket at path, mode 0666: credentials decide, not
// the mode, so the directory must be ours and closed to others' writes. What
// stands at path is replaced only if it is a socket that nobody answers on. The
// socket is made under a private name and renamed, so that it never exists with
// another mode, or unbound.
func Listen(path string) (*net.UnixListener, error) {
	l, err := listen(path)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	return l, nil
}

func listen(path string) (*net.UnixListener, error) {
	if len(path) > pathMax {
		return nil, fmt.Errorf("the path has %d bytes, at most %d fit; choose a shorter runtime directory", len(path), pathMax)
	}
	dir := filepath.Dir(path)
	if err := checkDir(dir); err != nil {
		return nil, err
	}
	unlock, err := lock(path + ".lock")
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := checkFree(path); err != nil {
		return nil, err
	}
	return bindAndRename(dir, path)
}

// checkDir refuses a directory in which somebody else could put a socket of
// their own in the place of ours.
func checkDir(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return fmt.Errorf("stat %s: %w", dir, err)
	}
	switch {
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to uid %d; it must be root's", dir, st.Uid)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%s may be written by others (mode %04o); it must be 0755", dir, info.Mode().Perm())
	}
	return nil
}

// lock keeps two managers that start at once from both finding the path free.
// It is held only while the socket is made; afterwards the socket answers.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// checkFree tells whether path may be taken.
func checkFree(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("there is a %s already, which is not ours to replace; remove it or choose another runtime directory",
			typeName(info.Mode()))
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		conn.Close()
		return fmt.Errorf("%w: a server answers there", ErrRunning)
	}
	if errors.Is(err, unix.ECONNREFUSED) { // nobody listens: left by a crash
		return nil
	}
	return fmt.Errorf("%w, or something in its place does not answer: %w", ErrRunning, err)
}

func typeName(m fs.FileMode) string {
	switch {
	case m.IsRegular():
		return "regular file"
	case m.IsDir():
		return "directory"
	case m&fs.ModeSymlink != 0:
		return "symbolic link"
	case m&fs.ModeNamedPipe != 0:
		return "fifo"
	}
	return "device"
}

func bindAndRename(dir, path string) (*net.UnixListener, error) {
	private, err := os.MkdirTemp(dir, ".sock-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(private)
	name := filepath.Join(private, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		return nil, err
	}
	// The path is not unlinked when the listener is closed: by then it may be
	// the next manager's. A stale socket is recognised by checkFree.
	l.SetUnlinkOnClose(false)
	if err = os.Chmod(name, 0o666); err == nil {
		err = os.Rename(name, path)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}
