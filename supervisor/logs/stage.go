package logs

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

const (
	// spliceMax bounds what one wake-up moves for one pipe, and with it the time until
	// the next unit's turn: 32,768 records of one-byte lines at worst.
	spliceMax = 64 << 10
	// punchStep is how many consumed bytes are given back to the tmpfs at a time.
	punchStep = 16 << 10
)

// stage is the staging of one stream: a file whose end is what has been taken from
// the pipes, and whose beginning, up to the framed offset, is punched away.
type stage struct {
	fd       int
	volatile bool  // an unnamed file stands in: it dies with the manager
	existed  bool  // the file was there when it was opened
	size     int64 // where the next byte goes
	base     int64 // first byte that was there when it was opened
	scanned  int64 // no newline from scanFor to here
	scanFor  int64
	breakAt  int64 // a line ends here, newline or not
	punched  int64
	lost     uint64 // bytes dropped since the manager started
	pipes    []pipe
}

// pipe is a read end, and what to call once nothing of it will be read any more.
type pipe struct {
	fd    int
	ended func()
}

// open opens the staging file at path, made if missing. Where that fails an
// unnamed file in memory takes its place, so that the service is never blocked; the
// error then says what was lost: safety against a crash of the manager.
func (s *stage) open(path string) (err error) {
	if s.fd, s.existed, err = openStaging(path); err != nil {
		err = fmt.Errorf("cannot open log staging %s: %w; lines may be lost if the manager is killed", path, err)
		s.volatile = true
		if s.fd = openVolatile(path); s.fd < 0 {
			return err
		}
	}
	if serr := s.stat(); serr != nil {
		return serr
	}
	s.base = s.dataFrom(0)
	return err
}

func openStaging(path string) (fd int, existed bool, err error) {
	const flags = unix.O_RDWR | unix.O_CLOEXEC | unix.O_NOFOLLOW
	if fd, err = unix.Open(path, flags, 0); !errors.Is(err, unix.ENOENT) {
		return fd, err == nil, err
	}
	fd, err = unix.Open(path, flags|unix.O_CREAT|unix.O_EXCL, 0o600)
	return fd, false, err
}

// volatileStart is the offset at which an unnamed staging file begins: 4 TiB, beyond
// what a named one will mostly have reached, since the log's last offset may not be
// known yet. (A file on a tmpfs may have 8 EiB, one on ext4 16 TiB.)
const volatileStart = 1 << 42

// openVolatile makes the unnamed file, or returns -1: output is thrown away then.
func openVolatile(path string) int {
	fd, err := unix.MemfdCreate("log-"+filepath.Base(path), unix.MFD_CLOEXEC)
	if err != nil {
		return -1
	}
	if err := unix.Ftruncate(fd, volatileStart); err != nil {
		unix.Close(fd)
		return -1
	}
	return fd
}

// stat takes the size from the file, which is the truth: somebody may have cut it.
func (s *stage) stat() error {
	var st unix.Stat_t
	if err := unix.Fstat(s.fd, &st); err != nil {
		return fmt.Errorf("cannot stat log staging: %w", err)
	}
	s.size = st.Size
	s.scanned = min(s.scanned, s.size)
	return nil
}

// dataFrom is the first offset from off on that is not a hole, or the size.
func (s *stage) dataFrom(off int64) int64 {
	data, err := unix.Seek(s.fd, off, unix.SEEK_DATA)
	if err != nil {
		return max(s.size, off)
	}
	return data
}

// reconcile brings the file and the log's last offset together and returns the
// offset to go on from. lost says that bytes are missing: the file was cut, or
// removed while the service ran, or the offset lies in what was consumed already.
func (s *stage) reconcile(off int64) (from int64, lost bool, err error) {
	if err := s.stat(); err != nil {
		return off, false, err
	}
	if s.size < off {
		if err := unix.Ftruncate(s.fd, off); err != nil {
			return s.size, true, fmt.Errorf("cannot extend log staging to offset %d: %w", off, err)
		}
		s.size = off
		return off, true, nil
	}
	data := s.dataFrom(off)
	if data == off || off == s.size {
		return off, false, nil
	}
	return s.skipZeros(data), true, nil
}

// skipZeros passes the zeros that punching left in the first page with data.
func (s *stage) skipZeros(off int64) int64 {
	var page [4096]byte
	n, _ := unix.Pread(s.fd, page[:], off)
	for i := range max(n, 0) {
		if page[i] != 0 {
			return off + int64(i)
		}
	}
	return off + int64(max(n, 0))
}

// fill moves up to limit bytes from pipe to the end of the file. It returns io.EOF
// when all writers are gone, unix.EAGAIN when the pipe is empty.
func (s *stage) fill(pipe, limit int) (int, error) {
	off := s.size
	n, err := unix.Splice(pipe, nil, s.fd, &off, limit, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
	switch {
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	s.size = off
	return int(n), nil
}

// discard throws away up to limit bytes of pipe.
func (s *stage) discard(pipe, devNull, limit int) (int, error) {
	n, err := unix.Splice(pipe, nil, devNull, nil, limit, unix.SPLICE_F_NONBLOCK)
	switch {
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	s.lost += uint64(n)
	return int(n), nil
}

// punch frees what lies before off, once that is worth a system call. The file
// keeps its size, so offsets grow for ever (8 EiB).
func (s *stage) punch(off int64) {
	if s.fd < 0 || off-s.punched < punchStep {
		return
	}
	err := unix.Fallocate(s.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, s.punched, off-s.punched)
	if err == nil {
		s.punched = off &^ 4095
	}
}

func (s *stage) dropPipe(fd int) {
	s.pipes = slices.DeleteFunc(s.pipes, func(p pipe) bool { return p.fd == fd })
	unix.Close(fd)
}

func (s *stage) close() {
	for _, p := range s.pipes {
		unix.Close(p.fd)
	}
	s.pipes = nil
	if s.fd >= 0 {
		unix.Close(s.fd)
		s.fd = -1
	}
}
