package logs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// store is the file `current` of a unit. It is written by one manager at a time,
// at an explicit offset, so that what a failed write left is written over.
type store struct {
	dir  string
	unit string
	fd   int
	size int64
	ino  uint64
	dev  uint64
	// first is the sequence number of the file's first record: its name once rotated.
	first uint64
}

// opened is what opening a store found.
type opened struct {
	last  line // where the log stands; a zero line if nothing is known
	known bool
	files []filePos // where the followed files stand
	notes []string  // what was repaired, for the log
}

// open opens or makes dir/current, cuts a torn end off, and finds where the log
// stands, in an older file if need be. Where followed files stand takes a longer
// look.
func (s *store) open(files bool) (found opened, err error) {
	if err := os.MkdirAll(s.dir, 0o750); err != nil {
		return found, fmt.Errorf("cannot make log directory: %w", err)
	}
	path := filepath.Join(s.dir, currentName)
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o640)
	if err != nil {
		return found, fmt.Errorf("cannot open log %s: %w", path, err)
	}
	s.fd = fd
	if err := s.identify(); err != nil {
		s.close()
		return found, err
	}
	if s.size > 0 {
		if err := s.repair(&found); err != nil {
			s.close()
			return found, err
		}
	}
	if !found.known {
		found.last, found.known = s.lastRotated()
	}
	s.first = s.firstSeq(found.last.Seq)
	if files {
		found.files = lastFiles(fdReader(s.fd), s.size)
	}
	return found, nil
}

// identify takes size and identity from the open file.
func (s *store) identify() error {
	var st unix.Stat_t
	if err := unix.Fstat(s.fd, &st); err != nil {
		return fmt.Errorf("cannot stat log of %s: %w", s.unit, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("cannot use log %s/%s: not a regular file", s.dir, currentName)
	}
	s.size, s.ino, s.dev = st.Size, st.Ino, uint64(st.Dev)
	return nil
}

// repair cuts what follows the last readable line. Without any readable line the
// file is set aside and a new one begun.
func (s *store) repair(found *opened) error {
	last, end, ok := lastLine(fdReader(s.fd), s.size)
	if !ok {
		return s.setAside(found)
	}
	found.last, found.known = last, true
	if end == s.size {
		return nil
	}
	if err := unix.Ftruncate(s.fd, end); err != nil {
		return fmt.Errorf("cannot cut the torn end of %s/%s: %w", s.dir, currentName, err)
	}
	found.notes = append(found.notes, fmt.Sprintf("log: cut %d bytes of a record that was being written when the manager ended", s.size-end))
	s.size = end
	return nil
}

func (s *store) setAside(found *opened) error {
	from, to := filepath.Join(s.dir, currentName), filepath.Join(s.dir, damagedName)
	if err := os.Rename(from, to); err != nil {
		return fmt.Errorf("cannot set damaged log aside: %w", err)
	}
	found.notes = append(found.notes, "log: no readable record in current; set aside as "+damagedName)
	s.close()
	fd, err := unix.Open(from, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o640)
	if err != nil {
		return fmt.Errorf("cannot open log %s: %w", from, err)
	}
	s.fd = fd
	return s.identify()
}

// lastRotated reads where the log stands from the newest finished file.
func (s *store) lastRotated() (line, bool) {
	files, err := listRotated(s.dir)
	for i := len(files) - 1; err == nil && i >= 0; i-- {
		if l, ok := files[i].lastLine(); ok {
			return l, true
		}
	}
	return line{}, false
}

// firstSeq reads the sequence number that the file begins after from its head.
func (s *store) firstSeq(last uint64) uint64 {
	head := bufio.NewScanner(io.NewSectionReader(fdReader(s.fd), 0, maxFileLine))
	head.Buffer(make([]byte, 0, 4096), maxFileLine)
	if head.Scan() {
		l, err := parseLine(head.Bytes())
		switch {
		case err != nil:
		case l.isMark():
			return l.Seq + 1
		default:
			return l.Seq
		}
	}
	return last + 1
}

// replaced reports whether current is no longer the file that is open, or not the
// size that it was left at: somebody removed, moved or cut it.
func (s *store) replaced() bool {
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(s.dir, currentName), &st); err != nil {
		return true // opening it anew makes it, or says what is wrong
	}
	return st.Ino != s.ino || uint64(st.Dev) != s.dev || st.Size != s.size
}

// append writes one batch by one write(2). After an error the file is as it was.
func (s *store) append(batch []byte) error {
	n, err := unix.Pwrite(s.fd, batch, s.size)
	if err == nil && n < len(batch) {
		err = unix.ENOSPC // a short write to a file means that; the next would say so
	}
	if err != nil {
		_ = unix.Ftruncate(s.fd, s.size) // if it fails too, the next append or open repairs
		return fmt.Errorf("cannot write log %s/%s: %w", s.dir, currentName, err)
	}
	s.size += int64(n)
	return nil
}

// rotate finishes the file and begins a new one whose first line is mark. At no
// moment is `current` missing; a kill half-way leaves one file under two names,
// which readers see by the sequence numbers and the next rotation puts right.
func (s *store) rotate(mark []byte, next uint64) error {
	path := filepath.Join(s.dir, currentName)
	fresh := filepath.Join(s.dir, newName)
	fd, err := unix.Open(fresh, unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o640)
	if err != nil {
		return fmt.Errorf("cannot rotate log: open %s: %w", fresh, err)
	}
	if n, err := unix.Pwrite(fd, mark, 0); err != nil || n < len(mark) {
		unix.Close(fd)
		_ = os.Remove(fresh)
		return fmt.Errorf("cannot rotate log: write %s: %w", fresh, errors.Join(err, unix.ENOSPC))
	}
	if err := s.keep(path); err != nil {
		unix.Close(fd)
		return fmt.Errorf("cannot rotate log: %w", err)
	}
	if err := os.Rename(fresh, path); err != nil {
		unix.Close(fd)
		return fmt.Errorf("cannot rotate log: %w", err)
	}
	unix.Close(s.fd)
	s.fd, s.first = fd, next
	return s.identify()
}

// keep gives the file at path its finished name too. A name that is taken by
// another file (sequence numbers began anew after a loss) is passed over.
func (s *store) keep(path string) error {
	for first := s.first; ; first++ {
		name := rotatedPath(s.dir, first)
		err := os.Link(path, name)
		if err == nil {
			return nil
		}
		if !errors.Is(err, os.ErrExist) {
			return err
		}
		var st unix.Stat_t
		if err := unix.Stat(name, &st); err == nil && st.Ino == s.ino {
			return nil
		}
	}
}

func (s *store) close() {
	if s.fd >= 0 {
		unix.Close(s.fd)
	}
	s.fd = -1
}

// fdReader reads a descriptor at offsets.
type fdReader int

func (fd fdReader) ReadAt(b []byte, off int64) (n int, err error) {
	for n < len(b) {
		m, err := unix.Pread(int(fd), b[n:], off+int64(n))
		if err != nil {
			return n, err
		}
		if m == 0 {
			return n, io.EOF
		}
		n += m
	}
	return n, nil
}
