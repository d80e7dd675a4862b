package logs

import (
	"fmt"
	"hash/crc32"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/supervisor/inroot"
)

// tailed is one file that is open.
type tailed struct {
	path    string // inside the service, when it was found
	id      fileID
	fd      int
	wd      int
	size    int64
	limit   int64 // up to where it is framed now
	changed bool
	old     bool // its name is another file's, or nobody's
	closing bool // nobody has it open for writing: what is there is all
	ending  bool // a line ends where the file does
	stuck   bool // it could not be rotated
}

// listDir lists a directory that is open by O_PATH.
func listDir(dir int) ([]string, error) {
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", dir))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

// take opens name, if it is new.
func (t *tail) take(name string, named map[fileID]bool) {
	at, err := inroot.Open(t.root, name, 0)
	if err == unix.ENOENT {
		return
	}
	if err != nil {
		t.tell(Warning, "cannot follow %s: %v", name, err)
		return
	}
	defer unix.Close(at)
	id, st, err := identify(at)
	switch {
	case err != nil:
		t.tell(Warning, "cannot follow %s: %v", name, err)
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		t.tell(Warning, "cannot follow %s: it is no regular file", name)
	case !isPlain(name):
		t.tell(Warning, "cannot follow %.100q: over %d bytes, or characters that cannot be shown", name, maxPath)
	case t.open[id] != nil:
		named[id] = true
	case len(t.open) >= maxFiles:
		t.tell(Warning, "cannot follow %s: %d files are followed, and no more", name, maxFiles)
	default:
		named[id] = t.openFile(name, at, id, int64(st.Size))
	}
}

// openFile takes a file in. O_PATH has shown that it is a regular one: nothing
// that opening could block on or have an effect on.
func (t *tail) openFile(name string, at int, id fileID, size int64) bool {
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", at), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.tell(Warning, "cannot follow %s: %v", name, err)
		return false
	}
	f := &tailed{path: name, id: id, fd: fd, wd: -1, changed: true}
	t.open[id] = f
	t.watch(f, fileEvents)
	c := &t.log.cur
	if c.fileAt(id) < 0 {
		p := filePos{Path: name, fileID: id}
		if i := slices.IndexFunc(t.before, func(e Existing) bool { return e.at.fileID == id }); i >= 0 {
			p.Off = min(t.before[i].at.Off, size)
		}
		c.files = append(c.files, p)
		c.tell = true
	}
	if p := &c.files[c.fileAt(id)]; p.Check == 0 && p.Off <= size { // of a survey, which opens nothing
		p.Check = checkOf(fd, p.Off)
	}
	return true
}

func (t *tail) watch(f *tailed, events uint32) {
	wd, err := t.log.pump.addWatch(t, f.fd, events)
	if err != nil {
		t.tell(Warning, "cannot watch %s: %v (looking once a second)", f.path, err)
		t.deaf = true
		return
	}
	if f.wd >= 0 {
		t.log.pump.dropWatch(t, f.wd) // the same one was counted twice
	}
	f.wd = wd
}

func (t *tail) close(f *tailed) {
	if f.wd >= 0 {
		t.log.pump.dropWatch(t, f.wd)
	}
	unix.Close(f.fd)
}

// findOld looks for the files that the log tells of and that have other names now.
func (t *tail) findOld() {
	for _, p := range slices.Clone(t.log.cur.files) {
		if t.open[p.fileID] == nil && !t.openOld(p) {
			if t.log.cfg.Adopted {
				t.log.note(Warning, "log: %s was removed or packed while no manager ran; what it had after byte %d is missing here", p.Path, p.Off)
			}
			t.forget(p.fileID)
		}
	}
}

// openOld goes through the directory of the name that the file had.
func (t *tail) openOld(p filePos) bool {
	dir, at, err := openDir(t.root, path.Dir(p.Path))
	if err != nil {
		return false
	}
	defer unix.Close(dir)
	names, err := listDir(dir)
	if err != nil || at != path.Dir(p.Path) {
		return false
	}
	for _, name := range names {
		fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		id, st, err := identify(fd)
		found := err == nil && id == p.fileID && st.Mode&unix.S_IFMT == unix.S_IFREG && t.openFile(p.Path, fd, id, int64(st.Size))
		unix.Close(fd)
		if found {
			return true
		}
	}
	return false
}

func (t *tail) forget(id fileID) {
	t.log.cur.files = slices.DeleteFunc(slices.Clone(t.log.cur.files), func(p filePos) bool { return p.fileID == id })
	if t.log.cur.files == nil {
		t.log.cur.files = []filePos{}
	}
}

// measure takes the size of a file, and notices one that was cut or written anew.
func (t *tail) measure(f *tailed) {
	f.changed = false
	f.closing = f.old && !written(f.fd)
	f.ending = f.closing
	i := t.log.cur.fileAt(f.id)
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil || i < 0 {
		t.tell(Warning, "cannot read %s: %v", f.path, err)
		return
	}
	p := &t.log.cur.files[i]
	if st.Size < p.Off || p.Check != checkOf(f.fd, p.Off) {
		if f.size > p.Off {
			t.log.note(Warning, "log: %s was cut; %d bytes that were not read yet are missing here", f.path, f.size-p.Off)
		}
		p.Off, p.Check, p.moved = 0, 0, true
	}
	if p.Off == 0 && st.Size > 0 {
		t.begin(p, f.fd, st.Size)
	}
	f.size = st.Size
	f.limit = min(f.size, p.Off+lookStep)
}

// begin finds where a file begins. A program that does not write at the end
// (O_APPEND) leaves a hole where its text was before somebody cut the file.
func (t *tail) begin(p *filePos, fd int, size int64) {
	s := stage{fd: fd, size: size}
	p.Off = min(s.skipZeros(s.dataFrom(0)), size)
	p.Check, p.moved = checkOf(fd, p.Off), true
}

// written reports whether somebody has the file open for writing: a read lease is
// refused then (F_SETLEASE of fcntl(2)). Where there are no leases, nobody knows.
func written(fd int) bool {
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK); err != nil {
		return true
	}
	_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK)
	return false
}

// backlog reports whether something waits to be framed.
func (t *tail) backlog() bool {
	if t.root >= 0 && !t.found {
		return true
	}
	for id, f := range t.open {
		if i := t.log.cur.fileAt(id); i >= 0 && t.log.cur.files[i].Off < f.limit {
			return true
		}
	}
	return false
}

// frameFiles frames what has been measured.
func (l *Log) frameFiles(b *batch) {
	for i := range b.next.files {
		f := l.tail.open[b.next.files[i].fileID]
		for f != nil && !b.full() && l.frameFile(b, &b.next.files[i], f) {
		}
	}
}

// frameFile frames what one read brings, and reports whether there may be more.
func (l *Log) frameFile(b *batch, p *filePos, f *tailed) bool {
	if p.Off >= f.limit {
		return false
	}
	buf := l.pump.buffer()
	from := max(0, p.Off-checkWindow)
	n, err := unix.Pread(f.fd, buf[:min(int64(len(buf)), f.limit-from)], from)
	lead := int(p.Off - from)
	if err != nil || n <= lead {
		if err != nil {
			l.tail.tell(Warning, "cannot read %s: %v", f.path, err)
		}
		f.limit = f.size // until it changes
		return false
	}
	atEnd := f.ending && from+int64(n) >= f.size
	used := lead
	for !b.full() {
		text, size, cut, ok := nextLine(buf[used:n], atEnd)
		if !ok {
			break
		}
		used += size
		l.frameFileLine(b, p, text, size, crc32.ChecksumIEEE(buf[max(0, used-checkWindow):used]), cut)
	}
	return used > lead
}

// frameFileLine decides on one line, or on one piece of a long one; check is that
// of the position behind it.
func (l *Log) frameFileLine(b *batch, p *filePos, text []byte, size int, check uint32, cut bool) {
	admitted := l.admit(b, Info)
	if admitted {
		l.tellLimited(b) // before the position moves past this line
	}
	p.Off, p.Check, p.moved = p.Off+int64(size), check, true
	if !admitted {
		b.next.skipped += int64(size)
		return
	}
	b.put(&Record{Time: b.wall, Stream: File, Priority: Info, Ident: l.ident(), File: p.Path, Message: text, Continued: cut})
}
