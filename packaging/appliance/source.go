package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"syscall"
)

// source is the system that an image is made from: this machine, or a
// directory that holds another one.
type source string

// file is a path of the source as this machine opens it.
func (s source) file(name string) string { return filepath.Join(string(s), name) }

// hop is a link that was met on the way to a file.
type hop struct{ at, target string }

// resolve follows name inside the source, which links cannot leave, and says
// which links it went over.
func (s source) resolve(name string) (real string, over []hop, err error) {
	left, done := split(name), "/"
	for len(left) > 0 {
		next := path.Join(done, left[0])
		left = left[1:]
		info, err := os.Lstat(s.file(next))
		if err != nil {
			return "", over, reason(name, next, err)
		}
		if info.Mode()&os.ModeSymlink == 0 {
			done = next
			continue
		}
		target, err := os.Readlink(s.file(next))
		if err != nil {
			return "", over, err
		}
		if over = append(over, hop{next, target}); len(over) > maxFollow {
			return "", over, fmt.Errorf("%s: %w", name, syscall.ELOOP)
		}
		if path.IsAbs(target) {
			done = "/"
		}
		left = append(split(target), left...)
	}
	return done, over, nil
}

// reason says what is wrong on the way to name.
func reason(name, at string, err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	if at == name {
		return fmt.Errorf("%s: %w", name, err)
	}
	return fmt.Errorf("%s (of %s): %w", at, name, err)
}

func (s source) exists(name string) bool {
	_, _, err := s.resolve(name)
	return err == nil
}
