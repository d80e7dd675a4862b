package launch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The control files are opened by system call: package os would enter each into
// the poller's epoll set and take it out again, as they can be polled.

// writeFile writes one value to a control file: in one write, which is how the
// kernel takes it, and where it refuses. Nobody makes control files: with
// O_CREAT one that this kernel lacks is EACCES or EPERM, and ENOENT means that
// the cgroup is gone.
func writeFile(dir, name, value string) error {
	path := filepath.Join(dir, name)
	fd, err := openFile(path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	n, err := uninterrupted(func() (int, error) { return unix.Write(fd, []byte(value)) })
	if err == nil && n < len(value) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return &os.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

// readFile reads a control file to its end.
func readFile(path string) ([]byte, error) {
	fd, err := openFile(path, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	b := make([]byte, 0, 512)
	for {
		n, err := uninterrupted(func() (int, error) { return unix.Read(fd, b[len(b):cap(b)]) })
		if err != nil {
			return b, &os.PathError{Op: "read", Path: path, Err: err}
		}
		if n == 0 {
			return b, nil
		}
		if b = b[:len(b)+n]; len(b) == cap(b) {
			b = slices.Grow(b, len(b))
		}
	}
}

func openFile(path string, flags int) (int, error) {
	fd, err := uninterrupted(func() (int, error) { return unix.Open(path, flags|unix.O_CLOEXEC, 0o644) })
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// uninterrupted repeats call while signals, of which the Go scheduler sends
// some, break it off.
func uninterrupted(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); err != unix.EINTR {
			return n, err
		}
	}
}

func readTrimmed(path string) (string, error) {
	b, err := readFile(path)
	return string(bytes.TrimSpace(b)), err
}

// readFields reads a control file that is a list of words.
func readFields(dir, name string) ([]string, error) {
	b, err := readFile(filepath.Join(dir, name))
	return strings.Fields(string(b)), err
}

// readKey reads the number behind key in a "flat keyed" control file.
func readKey(path, key string) (uint64, error) {
	b, err := readFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok && k == key {
			return strconv.ParseUint(v, 10, 64)
		}
	}
	return 0, fmt.Errorf("%s has no %q", path, key)
}

// populated says whether dir or what is below it has live processes. A cgroup
// that was removed has none.
func populated(dir string) (bool, error) {
	n, err := readKey(filepath.Join(dir, "cgroup.events"), "populated")
	if isGone(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot tell whether a cgroup has processes: %w", err)
	}
	return n != 0, nil
}

// isGone says that a cgroup was removed before (ENOENT) or after (ENODEV) its
// file was opened.
func isGone(err error) bool { return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) }

// subdirs lists the names of the cgroups in dir.
func subdirs(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// descendants lists dir and all cgroups below it, parents first. It does not
// recurse: a service that manages its own may have made them deep.
func descendants(dir string) ([]string, error) {
	all := []string{dir}
	for i := 0; i < len(all); i++ {
		names, err := subdirs(all[i])
		if err != nil && !isGone(err) {
			return nil, err
		}
		for _, n := range names {
			all = append(all, all[i]+"/"+n)
		}
	}
	return all, nil
}

// removeTree removes dir and the cgroups below it, the deepest first. One that
// has processes stays, and is EBUSY.
func removeTree(dir string) error {
	all, err := descendants(dir)
	if err != nil {
		return fmt.Errorf("cannot list the cgroups to remove: %w", err)
	}
	var first error
	for i := len(all) - 1; i >= 0; i-- {
		err := unix.Rmdir(all[i])
		if err == nil || err == unix.ENOENT || err == unix.EBUSY && first != nil {
			continue // a parent is busy with the child that is
		}
		if first == nil {
			first = fmt.Errorf("cannot remove the cgroup %s: %w%s", all[i], err, busyHint(all[i], err))
		}
	}
	return first
}

func busyHint(dir string, err error) string {
	if err != unix.EBUSY {
		return ""
	}
	pids, _ := procsBelow(dir)
	if len(pids) == 0 {
		return " (a cgroup was made in it meanwhile)"
	}
	return fmt.Sprintf(" (processes are left in it: %v)", pids[:min(len(pids), 10)])
}

// procsBelow lists the processes in dir and below, as this PID namespace
// numbers them; those outside of it are left out.
func procsBelow(dir string) ([]int, error) {
	return idsBelow(dir, "cgroup.procs")
}

func idsBelow(dir, file string) ([]int, error) {
	all, err := descendants(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot list the processes of a cgroup: %w", err)
	}
	var ids []int
	for _, d := range all {
		words, err := readFields(d, file)
		// A threaded cgroup's processes are shown by its domain (EOPNOTSUPP here).
		if err != nil && !isGone(err) && !errors.Is(err, unix.EOPNOTSUPP) {
			return nil, fmt.Errorf("cannot list the processes of a cgroup: %w", err)
		}
		for _, w := range words {
			if id, err := strconv.Atoi(w); err == nil && id > 0 {
				ids = append(ids, id)
			}
		}
	}
	return ids, nil
}
