package launch

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// writeFile writes one value to a control file: in one write, which is how the
// kernel takes it.
func writeFile(dir, name, value string) error {
	return os.WriteFile(filepath.Join(dir, name), []byte(value), 0o644)
}

func readTrimmed(path string) (string, error) {
	b, err := os.ReadFile(path)
	return string(bytes.TrimSpace(b)), err
}

// readFields reads a control file that is a list of words.
func readFields(dir, name string) ([]string, error) {
	b, err := os.ReadFile(filepath.Join(dir, name))
	return strings.Fields(string(b)), err
}

// readKey reads the number behind key in a "flat keyed" control file.
func readKey(path, key string) (uint64, error) {
	b, err := os.ReadFile(path)
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
