// Package pidfile reads the files in which daemons name their main process
// (daemon(7)), as they stand in a service's own root. Whoever writes there is
// not trusted: what is read is a number, and no more than a claim.
package pidfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/supervisor/inroot"
)

// File is what a pid file says.
type File struct {
	PID     int       // as its writer saw it; above 1
	Changed time.Time // when the file was last changed (ctime, inode(7)), which nobody can set
	UID     uint32    // its owner, here
}

// longest is more than any number with white space around it takes.
const longest = 64

// Read reads the pid file name, an absolute path below the directory root. Links
// are followed inside root only (openat2(2), RESOLVE_IN_ROOT, Linux 5.6). The
// error says what is wrong with the file; errors.Is(err, fs.ErrNotExist) that
// there is none. It may take as long as the file systems of the service let it.
func Read(root int, name string) (File, error) {
	fd, st, err := open(root, name)
	if err != nil {
		return File{}, err
	}
	defer unix.Close(fd)
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFREG {
		return File{}, fmt.Errorf("%s is %s, not a regular file", name, kindOf(kind))
	}
	text, err := contents(fd)
	if err != nil {
		return File{}, fmt.Errorf("cannot read %s: %w", name, err)
	}
	pid, err := parse(text)
	if err != nil {
		return File{}, fmt.Errorf("%s %w", name, err)
	}
	return File{PID: pid, Changed: time.Unix(st.Ctim.Unix()), UID: st.Uid}, nil
}

// open finds the file without opening it: to open a device or a FIFO has effects.
func open(root int, name string) (fd int, st unix.Stat_t, err error) {
	if fd, err = inroot.Open(root, name, 0); err != nil {
		return 0, st, fmt.Errorf("cannot open %s: %w", name, err)
	}
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return 0, st, fmt.Errorf("cannot look at %s: %w", name, err)
	}
	return fd, st, nil
}

// contents reads the file behind an O_PATH descriptor.
func contents(fd int) (string, error) {
	file, err := os.OpenFile(link(fd), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return "", errors.Unwrap(err) // without the descriptor's name
	}
	defer file.Close()
	b := make([]byte, longest+1)
	n, err := io.ReadFull(file, b)
	if n == 0 && err != io.EOF {
		return "", err
	}
	return string(b[:n]), nil
}

// link is the name of a descriptor of ours that a path can lead through.
func link(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// parse reads the number in the first line, as systemd does.
func parse(text string) (int, error) {
	line, _, _ := strings.Cut(text, "\n")
	line = strings.TrimSpace(line)
	if line == "" {
		return 0, errors.New("is empty")
	}
	n, err := strconv.ParseUint(line, 10, 31)
	switch {
	case len(line) > longest || err != nil:
		return 0, fmt.Errorf("holds no process ID, but %.20q", line)
	case n == 0:
		return 0, errors.New("names process 0, which is none")
	case n == 1:
		return 0, errors.New("names process 1, which is init and no service")
	}
	return int(n), nil
}

func kindOf(mode uint32) string {
	switch mode {
	case unix.S_IFDIR:
		return "a directory"
	case unix.S_IFIFO:
		return "a FIFO"
	case unix.S_IFSOCK:
		return "a socket"
	}
	return "a device"
}

// Watch has the inotify(7) descriptor events tell of whatever can change what
// Read gives: each directory on the way, as far as there are, and the file. It
// may be called again, and is to be after each event; what comes to be while it
// runs has an event.
func Watch(events, root int, name string) error {
	const dir = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_ATTRIB | unix.IN_MOVE_SELF
	const file = unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_CLOSE_WRITE
	at := ""
	for _, part := range strings.Split(strings.Trim("/"+name, "/"), "/") {
		if err := watch(events, root, orRoot(at), dir); err != nil {
			return err
		}
		at += "/" + part
	}
	return watch(events, root, at, file)
}

func orRoot(name string) string {
	if name == "" {
		return "/"
	}
	return name
}

// watch watches one thing on the way, if it is there.
func watch(events, root int, name string, mask uint32) error {
	fd, err := inroot.Open(root, name, 0)
	if err != nil {
		return nil // its parent tells of it, or Read of the error
	}
	defer unix.Close(fd)
	if _, err := unix.InotifyAddWatch(events, link(fd), mask); err != nil {
		return fmt.Errorf("cannot watch %s: %w", name, os.NewSyscallError("inotify_add_watch", err))
	}
	return nil
}

// Remove removes the pid file of a service that has ended, if it left one: the
// name itself, where it is a link.
func Remove(root int, name string) error {
	dir, err := inroot.Open(root, path.Dir(name), unix.O_DIRECTORY)
	if err == nil {
		defer unix.Close(dir)
		err = unix.Unlinkat(dir, path.Base(name), 0)
	}
	if err == nil || err == unix.ENOENT || err == unix.ENOTDIR {
		return nil
	}
	return fmt.Errorf("cannot remove pid_file %s: %w", name, err)
}
