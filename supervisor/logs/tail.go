package logs

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/supervisor/inroot"
)

const (
	lookAfter  = time.Second // between looks at files of whose changes nothing tells
	lookStep   = 256 << 10   // bytes of one file that are framed until the others have their turn
	maxFiles   = 64          // followed at a time for one unit
	maxPath    = 512         // bytes of a file's path
	maxOld     = 4           // files of one name that have another now, and writers still
	dirEvents  = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR
	fileEvents = unix.IN_MODIFY
)

// Existing is a file as it was before the service started: what it held then is
// not of this service's writing.
type Existing struct {
	at filePos
}

// Survey lists the files under root ("/" or the service's root directory) that
// match patterns (as Config.Files).
func Survey(root string, patterns []string) (list []Existing) {
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	for _, pattern := range patterns {
		dir, _, err := openDir(fd, path.Dir(pattern))
		if err != nil {
			continue
		}
		names, _ := matching(dir, path.Base(pattern))
		unix.Close(dir)
		for _, name := range names {
			if f, err := inroot.Open(fd, path.Join(path.Dir(pattern), name), 0); err == nil {
				if id, st, err := identify(f); err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
					list = append(list, Existing{filePos{Path: path.Join(path.Dir(pattern), name), fileID: id, Off: int64(st.Size)}})
				}
				unix.Close(f)
			}
		}
	}
	return list
}

// Expect tells what Survey found before a start. It is called before the service
// can write anything: the log tells a next manager of it.
func (l *Log) Expect(before []Existing) {
	l.pump.post(func() {
		l.tail.expect(before)
		l.flush()
	})
}

// Follow begins to follow Config.Files below root, an O_PATH descriptor of the
// service's root directory, which belongs to the Log from here on. Detach ends it.
// No link leads out of root; what is no regular file is left alone and never
// opened. A file is followed by its inode: under another name as long as somebody
// has it open for writing, while the one that has its name now is read too.
func (l *Log) Follow(root int) error {
	if !l.pump.post(func() { l.tail.start(root) }) {
		unix.Close(root)
		return fmt.Errorf("cannot follow files of %s: the logs are closed", l.cfg.Unit)
	}
	return nil
}

// tail is what a Log follows. It belongs to the Pump's goroutine. Positions are in
// the cursor, what is open is here.
type tail struct {
	log    *Log
	root   int // -1: nothing is followed
	before []Existing
	open   map[fileID]*tailed
	dirs   map[string]int // watch of each directory, or of the nearest above that is there
	told   map[string]bool

	changed bool // names have changed
	found   bool // positions of the log have been brought together with what is there
	posted  bool // more is to be framed
	deaf    bool // for some place no watch could be had
	packing bool // a finished file is being packed
}

func (t *tail) init(l *Log) { t.log, t.root = l, -1 }

func (t *tail) expect(before []Existing) {
	t.before = before
	for _, e := range before {
		if c := &t.log.cur; t.log.ready && c.fileAt(e.at.fileID) < 0 && isPlain(e.at.Path) && len(c.files) < 2*maxFiles {
			c.files, c.tell = append(c.files, e.at), true
		}
	}
}

func (t *tail) start(root int) {
	t.stop()
	if t.log.closed || len(t.log.cfg.Files) == 0 {
		unix.Close(root)
		return
	}
	t.root, t.open, t.dirs, t.told = root, map[fileID]*tailed{}, map[string]int{}, map[string]bool{}
	t.changed, t.found, t.deaf = true, false, false
	t.look()
}

// stop closes everything; positions stay.
func (t *tail) stop() {
	if t.root < 0 {
		return
	}
	for _, f := range t.open {
		t.close(f)
	}
	for _, wd := range t.dirs {
		t.log.pump.dropWatch(t, wd)
	}
	unix.Close(t.root)
	t.root, t.open, t.dirs = -1, nil, nil
}

// tell says something once.
func (t *tail) tell(p Priority, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !t.told[text] && len(t.told) < 100 {
		t.told[text] = true
		t.log.note(p, "log: %s", text)
	}
}

// event reports whether it has to be looked at something.
func (t *tail) event(wd int, mask uint32, name string) bool {
	for _, f := range t.open {
		if f.wd == wd {
			f.changed = true
			return true
		}
	}
	if name != "" && mask&unix.IN_ISDIR == 0 && !t.concerns(name) {
		return false
	}
	t.changed = true
	return true
}

// concerns: in a directory like /var/log most names are others'.
func (t *tail) concerns(name string) bool {
	return slices.ContainsFunc(t.log.cfg.Files, func(pattern string) bool {
		ok, _ := path.Match(path.Base(pattern), name)
		return ok || slices.Contains(strings.Split(pattern, "/"), name)
	})
}

// stale has everything looked at.
func (t *tail) stale() {
	t.changed = true
	for _, f := range t.open {
		f.changed = true
	}
}

// look brings what is open together with the names that are there, and takes what
// has been written.
func (t *tail) look() {
	if t.root < 0 {
		return
	}
	if !t.log.ready { // positions are not known: the next flush tries
		t.log.flush()
		return
	}
	if t.changed {
		t.scan()
	}
	for _, f := range t.open {
		if f.changed {
			t.measure(f)
		}
	}
	t.log.flush()
}

// tick is for what nothing tells of.
func (t *tail) tick() {
	if t.polled() && t.log.ready {
		t.stale()
		t.scan()
		for _, f := range t.open {
			t.measure(f)
		}
	}
}

func (t *tail) polled() bool { return t.root >= 0 && t.deaf }

// settle goes on after a flush: with what is left to frame, and with files that are
// through or have grown too long.
func (t *tail) settle() {
	if t.root < 0 {
		return
	}
	more, old := !t.found, 0
	for _, p := range slices.Clone(t.log.cur.files) {
		f := t.open[p.fileID]
		switch {
		case f == nil:
		case f.limit < f.size:
			f.changed, more = true, true
		case f.closing && p.Off >= f.size:
			t.drop(f)
		case f.old:
			old++
		case t.due(f):
			t.rotate(f)
		}
	}
	if old > maxOld {
		t.dropOldest()
	}
	if more && !t.posted {
		t.posted = true
		t.log.pump.post(func() { t.posted = false; t.look() })
	}
}

// drop ends with a file that will say nothing more.
func (t *tail) drop(f *tailed) {
	t.close(f)
	delete(t.open, f.id)
	t.forget(f.id)
	if t.log.cfg.Reopen != nil && t.log.cfg.Compress {
		t.pack(f.path)
	}
}

// dropOldest is for a service that does not let go of the files it had.
func (t *tail) dropOldest() {
	for _, p := range t.log.cur.files {
		if f := t.open[p.fileID]; f != nil && f.old {
			t.tell(Warning, "%s: its old file is not followed any more: there are over %d that it has not closed", f.path, maxOld)
			t.drop(f)
			return
		}
	}
}

// drain takes what is there, an unfinished last line too.
func (t *tail) drain() {
	if t.root < 0 || !t.log.ready {
		return
	}
	t.scan()
	for _, f := range t.open {
		t.measure(f)
		f.limit, f.ending = f.size, true
	}
}

func (t *tail) drained() {
	for _, f := range t.open {
		f.ending = f.closing
	}
}

// scan opens what has come, and notes what has lost its name.
func (t *tail) scan() {
	t.changed, t.deaf = false, false
	named := map[fileID]bool{}
	for _, pattern := range t.log.cfg.Files {
		t.scanDir(path.Dir(pattern), path.Base(pattern), named)
	}
	if !t.found {
		t.found = true
		t.findOld()
	}
	for id, f := range t.open {
		if !named[id] && !f.old {
			f.old, f.changed = true, true
			t.watch(f, unix.IN_CLOSE_WRITE)
		}
	}
}

func (t *tail) scanDir(dir, base string, named map[fileID]bool) {
	fd, err := t.enter(dir)
	if err != nil {
		t.tell(Warning, "cannot follow %s: %v", path.Join(dir, base), err)
		t.deaf = true
	}
	if fd < 0 {
		return // it comes later
	}
	defer unix.Close(fd)
	names, err := matching(fd, base)
	if err != nil {
		t.tell(Warning, "cannot list %s: %v", dir, err)
	}
	for _, name := range names {
		t.take(path.Join(dir, name), named)
	}
}

// enter opens dir and has it watched. Where it is not there, what is nearest above
// it is watched, and -1 given: once nothing has come below that meanwhile.
func (t *tail) enter(dir string) (int, error) {
	for last := ""; ; {
		fd, at, err := openDir(t.root, dir)
		if err != nil {
			return -1, err
		}
		if at != last {
			t.watchDir(dir, fd)
		}
		if at == dir {
			return fd, nil
		}
		unix.Close(fd)
		if at == last {
			return -1, nil
		}
		last = at
	}
}

// watchDir watches before anything is listed, or what comes in between is missed.
func (t *tail) watchDir(dir string, fd int) {
	was, had := t.dirs[dir]
	wd, err := t.log.pump.addWatch(t, fd, dirEvents)
	if err != nil {
		t.tell(Warning, "cannot watch %s: %v (looking once a second)", dir, err)
	}
	if had {
		t.log.pump.dropWatch(t, was) // the same one was counted twice
		delete(t.dirs, dir)
	}
	if err == nil {
		t.dirs[dir] = wd
	}
	t.deaf = t.deaf || err != nil || remote(fd)
}
