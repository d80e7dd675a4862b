package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// write adds what add has decided to the files, groups first: a user whose group
// is missing is worse than a group without one.
func (db *accounts) write() error {
	if len(db.passwd)+len(db.group)+len(db.members) == 0 {
		return nil
	}
	unlock, err := db.lock()
	if err != nil {
		return err
	}
	defer unlock()
	day := time.Now().Unix() / int64(24*time.Hour/time.Second)
	var shadow, gshadow []string
	for _, name := range db.shadow {
		shadow = append(shadow, fmt.Sprintf("%s:!*:%d::::::", name, day))
	}
	for _, name := range db.gshadow {
		gshadow = append(gshadow, name+":!*::")
	}
	return errors.Join(
		db.extend("etc/group", 0o644, db.group),
		db.extend("etc/gshadow", 0o000, gshadow),
		db.extend("etc/passwd", 0o644, db.passwd),
		db.extend("etc/shadow", 0o000, shadow),
	)
}

// lock is lckpwdf(3), so that useradd and others wait.
func (db *accounts) lock() (unlock func(), err error) {
	path := filepath.Join(db.root, "etc/.pwd.lock")
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", path, err)
	}
	if err := unix.FcntlFlock(uintptr(fd), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot lock %s: somebody changes users: %w", path, err)
	}
	return func() { unix.Close(fd) }, nil
}

// extend adds lines to a file, before the lines of NIS, which must be the last,
// and the new members to groups.
func (db *accounts) extend(name string, mode os.FileMode, more []string) error {
	path := filepath.Join(db.root, name)
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	if lines[0] == "" {
		lines = lines[1:]
	}
	at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "+") || strings.HasPrefix(l, "-") })
	if at < 0 {
		at = len(lines)
	}
	// A line of the file that is there by that name, in shadow for example, stays.
	more = slices.DeleteFunc(slices.Clone(more), func(m string) bool {
		key := m[:strings.IndexByte(m, ':')+1]
		return slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, key) })
	})
	lines = slices.Insert(lines, at, more...)
	if name == "etc/group" || name == "etc/gshadow" {
		for i, l := range lines {
			lines[i] = db.withMembers(l)
		}
	}
	text := strings.Join(lines, "\n") + "\n"
	if text == string(b) || len(lines) == 0 {
		return nil
	}
	return replaceFile(path, []byte(text), mode)
}

// withMembers adds the new members to a line of group(5) or gshadow(5), whose
// last field they are.
func (db *accounts) withMembers(l string) string {
	group, _, _ := strings.Cut(l, ":")
	i := strings.LastIndexByte(l, ':')
	if i < 0 || len(db.members[group]) == 0 {
		return l
	}
	var have []string
	if l[i+1:] != "" {
		have = strings.Split(l[i+1:], ",")
	}
	for _, m := range db.members[group] {
		if !slices.Contains(have, m) {
			have = append(have, m)
		}
	}
	return l[:i+1] + strings.Join(have, ",")
}
