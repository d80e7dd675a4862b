package logs

import (
	"fmt"
	"hash/crc32"
	"io"

	"golang.org/x/sys/unix"
)

const (
	markStep    = 256 << 10 // bytes after which the position of all files is repeated
	checkWindow = 64        // bytes before a position that tell whether the file is what it was
)

// fileID tells a file from those that have or had its name. The inode number is
// given to another file as soon as it is free, so the time of birth belongs to it
// (statx(2)); where a file system knows none, the device does.
type fileID struct {
	Ino  uint64 `json:"i"`
	Born int64  `json:"b,omitempty"` // ns since 1970; 0: unknown
	Dev  uint64 `json:"d,omitempty"` // 0 where Born is known: device numbers change from boot to boot
}

// filePos is up to where a file has been read. It stands in the records that came
// from there, so that one write(2) brings both into the log or neither.
type filePos struct {
	Path string `json:"p"` // inside the service
	fileID
	Off   int64  `json:"o"`
	Check uint32 `json:"k,omitempty"` // CRC-32 of the checkWindow bytes before Off

	moved bool // since the last line of the log
}

// identify looks at an open file, without asking a server for news.
func identify(fd int) (id fileID, st unix.Statx_t, err error) {
	const want = unix.STATX_BASIC_STATS | unix.STATX_BTIME
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, want, &st); err != nil {
		return id, st, fmt.Errorf("statx: %w", err)
	}
	id.Ino = st.Ino
	if st.Mask&unix.STATX_BTIME != 0 {
		id.Born = st.Btime.Sec*1e9 + int64(st.Btime.Nsec)
	}
	if id.Born == 0 {
		id.Dev = unix.Mkdev(st.Dev_major, st.Dev_minor)
	}
	return id, st, nil
}

// checkOf sums up what stands before off.
func checkOf(fd int, off int64) uint32 {
	var window [checkWindow]byte
	from := max(0, off-checkWindow)
	n, err := unix.Pread(fd, window[:off-from], from)
	if err != nil || n <= 0 {
		return 0
	}
	return crc32.ChecksumIEEE(window[:n])
}

// fileAt finds a file's position, or -1.
func (c *cursor) fileAt(id fileID) int {
	for i := range c.files {
		if c.files[i].fileID == id {
			return i
		}
	}
	return -1
}

// wrote notes that a record of n bytes tells of all positions.
func (c *cursor) wrote(n int) {
	c.unmarked += n
	for i := range c.files {
		c.files[i].moved = false
	}
}

// markDue bounds how far back the positions of all files have to be looked for.
func (c *cursor) markDue() bool { return c.tell || len(c.files) > 0 && c.unmarked >= markStep }

func (c *cursor) marked() {
	c.wrote(0)
	c.unmarked, c.tell = 0, false
}

// appendFiles adds the positions of all files, or of those that have moved.
func appendFiles(dst []byte, files []filePos, all bool) []byte {
	open := `,"f":[`
	for i := range files {
		f := &files[i]
		if !all && !f.moved {
			continue
		}
		dst = append(append(dst, open...), `{"p":`...)
		dst = appendString(dst, []byte(f.Path))
		dst = fmt.Appendf(dst, `,"i":%d,"b":%d,"d":%d,"o":%d,"k":%d}`, f.Ino, f.Born, f.Dev, f.Off, f.Check)
		open = ","
	}
	switch {
	case open == ",":
		dst = append(dst, ']')
	case all && files != nil:
		dst = append(dst, `,"f":[]`...)
	}
	return dst
}

// lastFiles reads from the end of a log where the followed files stand: the last
// mark tells of all of them, and each record since of those that have moved.
func lastFiles(f io.ReaderAt, size int64) (files []filePos) {
	found := cursor{}
	add := func(list []filePos) {
		for _, p := range list {
			if found.fileAt(p.fileID) < 0 && p.Off >= 0 {
				found.files = append(found.files, p)
			}
		}
	}
	_, _ = backward(f, size, func(b []byte) bool { // what cannot be read is repaired elsewhere
		l, err := parseLine(b)
		if err != nil {
			return true
		}
		add(l.Files)
		return !l.isMark()
	})
	return found.files
}
