package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// watch waits for changes in one directory by inotify(7).
type watch struct {
	file *os.File
	stop func() bool
	buf  [4096]byte
}

func newWatch(ctx context.Context, dir string) (*watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("cannot watch for changes: %w", err)
	}
	const events = unix.IN_MODIFY | unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_ONLYDIR
	if _, err := unix.InotifyAddWatch(fd, dir, events); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot watch for changes: %w", err)
	}
	w := &watch{file: os.NewFile(uintptr(fd), "inotify")}
	// A deadline in the past ends the Read that wait is in.
	w.stop = context.AfterFunc(ctx, func() { _ = w.file.SetReadDeadline(time.Unix(1, 0)) })
	return w, nil
}

// wait returns when something in the directory has changed since the last call.
func (w *watch) wait() error {
	_, err := w.file.Read(w.buf[:])
	return err
}

func (w *watch) close() {
	w.stop()
	w.file.Close()
}

// follow passes new records on, for ever.
func (r *reader) follow() error {
	for {
		if err := r.catchUp(); err != nil {
			return err
		}
		if err := r.watch.wait(); err != nil {
			return err
		}
	}
}

// catchUp reads what is new: the rest of the file that is open, the files that were
// begun and finished meanwhile, and the present one.
func (r *reader) catchUp() error {
	for {
		if err := r.newLines(); err != nil {
			return err
		}
		next, err := r.successor()
		if err != nil || next == nil {
			return err
		}
		// The old file is complete now: what came between the read and the rotation.
		if err := r.newLines(); err != nil {
			next.Close()
			return err
		}
		if r.current != nil {
			r.current.Close()
		}
		r.current, r.off = next, 0
		if err := r.missed(); err != nil {
			return err
		}
	}
}

// successor opens current if it is another file than the one that is open.
func (r *reader) successor() (*os.File, error) {
	next, err := os.Open(filepath.Join(r.dir, currentName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil || r.current == nil {
		return next, err
	}
	a, err1 := next.Stat()
	b, err2 := r.current.Stat()
	if err := errors.Join(err1, err2); err != nil || os.SameFile(a, b) {
		next.Close()
		return nil, err
	}
	return next, nil
}

// missed reads the finished files that hold records not seen yet, if the head of
// current tells of any.
func (r *reader) missed() error {
	head := newLineScanner(io.NewSectionReader(r.current, 0, maxFileLine))
	if head.Scan() {
		if l, err := parseLine(head.Bytes()); err == nil && l.isMark() && l.Seq <= r.seen {
			return nil
		}
	}
	files, err := listRotated(r.dir)
	if err != nil {
		return err
	}
	for i, f := range files {
		if i+1 < len(files) && files[i+1].first <= r.seen+1 {
			continue
		}
		if err := r.wholeFile(f); err != nil {
			return err
		}
	}
	return nil
}
