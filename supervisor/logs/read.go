package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

// Query chooses records. Zero fields choose everything.
type Query struct {
	Lines    int            // only the last so many of those that match
	Since    time.Time      // not before
	Until    time.Time      // not after
	Grep     *regexp.Regexp // matched against Message
	Priority *Priority      // this and lower numbers (more urgent)
	Urgent   *Priority      // this and higher numbers
	Streams  []Stream       // any of these
	Idents   []string       // any of these identifiers; Unit is that of records without one
	Unit     string
	AfterSeq uint64 // a cursor: only records with a higher Seq
	Follow   bool   // then wait for new records, until ctx ends
}

func (q *Query) match(r *Record) bool {
	switch {
	case r.Seq <= q.AfterSeq,
		!q.Since.IsZero() && r.Time.Before(q.Since),
		!q.Until.IsZero() && r.Time.After(q.Until),
		q.Priority != nil && r.Priority > *q.Priority,
		q.Urgent != nil && r.Priority < *q.Urgent,
		len(q.Idents) > 0 && !slices.Contains(q.Idents, orElse(r.Ident, q.Unit)),
		len(q.Streams) > 0 && !slices.Contains(q.Streams, r.Stream),
		q.Grep != nil && !q.Grep.Match(r.Message):
		return false
	}
	return true
}

// Read goes through the log in dir, oldest record first, finished files included.
// It needs no manager, and may run while one writes and rotates. Lines that cannot
// be read are passed over. An error ends it: os.ErrNotExist where there is no log
// at all. With Follow it ends when ctx does, without an error; nothing is buffered,
// so a slow consumer costs nothing but falls behind (and loses what is rotated away).
// Records belong to the consumer.
func Read(ctx context.Context, dir string, q Query) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		r := &reader{ctx: ctx, dir: dir, q: q, yield: yield}
		defer r.close()
		if err := r.run(); err != nil && !errors.Is(err, errStopped) && ctx.Err() == nil {
			yield(Record{}, fmt.Errorf("cannot read log %s: %w", dir, err))
		}
	}
}

// errStopped says that the consumer has had enough.
var errStopped = errors.New("stopped")

type reader struct {
	ctx   context.Context
	dir   string
	q     Query
	yield func(Record, error) bool

	watch   *watch
	current *os.File
	off     int64  // where in current the next line begins
	seen    uint64 // last sequence number passed
	buf     []byte
}

func (r *reader) run() (err error) {
	if r.q.Follow {
		if r.watch, err = newWatch(r.ctx, r.dir); err != nil {
			return err
		}
	}
	// current before the list: a rotation in between shows a file twice, which the
	// sequence numbers tell, and hides none.
	files, err := r.open()
	if err != nil {
		return err
	}
	if r.q.Lines > 0 {
		err = r.tail(files)
	} else {
		err = r.forward(files)
	}
	if err != nil || !r.q.Follow {
		return err
	}
	return r.follow()
}

func (r *reader) open() ([]rotated, error) {
	f, err := os.Open(filepath.Join(r.dir, currentName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err == nil {
		r.current = f
	}
	files, lerr := listRotated(r.dir)
	if lerr == nil && r.current == nil && len(files) == 0 && !r.q.Follow {
		return nil, err
	}
	return files, lerr
}

func (r *reader) close() {
	if r.watch != nil {
		r.watch.close()
	}
	if r.current != nil {
		r.current.Close()
	}
}

// take passes one line of a file on, if it is a record that matches and is new.
func (r *reader) take(b []byte) error {
	l, err := parseLine(b)
	if err != nil || l.isMark() || l.Seq <= r.seen {
		return nil
	}
	r.seen = l.Seq
	rec := l.record()
	if r.q.match(&rec) && !r.yield(rec, nil) {
		return errStopped
	}
	return nil
}

func (r *reader) forward(files []rotated) error {
	for i, f := range files {
		if i+1 < len(files) && files[i+1].first <= max(r.q.AfterSeq, r.seen)+1 || r.tooOld(f) {
			continue
		}
		if err := r.wholeFile(f); err != nil {
			return err
		}
	}
	return r.newLines()
}

// tooOld reports whether the file was finished before Since.
func (r *reader) tooOld(f rotated) bool {
	if r.q.Since.IsZero() {
		return false
	}
	st, err := os.Stat(f.path)
	return err == nil && st.ModTime().Before(r.q.Since.Add(-time.Second))
}

// wholeFile reads a finished file. One that is gone was removed or compressed
// meanwhile.
func (r *reader) wholeFile(f rotated) error {
	in, err := f.open()
	if errors.Is(err, os.ErrNotExist) && !f.gz {
		f.gz, f.path = true, f.path+gzSuffix
		in, err = f.open()
	}
	if err != nil {
		return ignoreMissing(err)
	}
	defer in.Close()
	scan := newLineScanner(in)
	for scan.Scan() {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		if err := r.take(scan.Bytes()); err != nil {
			return err
		}
	}
	return nil // a damaged rest (torn gzip, overlong line) is passed over
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// newLines reads the complete lines of current from r.off on.
func (r *reader) newLines() error {
	if r.current == nil {
		return nil
	}
	if st, err := r.current.Stat(); err == nil && st.Size() < r.off {
		r.off = 0 // cut by somebody
	}
	if r.buf == nil {
		r.buf = make([]byte, 64<<10)
	}
	for {
		n, err := r.current.ReadAt(r.buf, r.off)
		used, terr := r.takeLines(r.buf[:n])
		r.off += int64(used)
		switch {
		case terr != nil:
			return terr
		case r.ctx.Err() != nil:
			return r.ctx.Err()
		case err == io.EOF && used == 0:
			return nil
		case err != nil && err != io.EOF:
			return err
		case used == 0 && len(r.buf) <= maxFileLine:
			r.buf = make([]byte, 2*maxFileLine)
		case used == 0:
			r.off += int64(n) // no line is that long: damage
		}
	}
}

func (r *reader) takeLines(b []byte) (used int, err error) {
	for {
		i := bytes.IndexByte(b[used:], '\n')
		if i < 0 {
			return used, nil
		}
		text := b[used : used+i]
		used += i + 1
		if err := r.take(text); err != nil {
			return used, err
		}
	}
}

// tail passes the last q.Lines matching records on, reading files from their ends.
func (r *reader) tail(files []rotated) error {
	var found []Record // newest first
	if r.current != nil {
		st, err := r.current.Stat()
		if err != nil {
			return err
		}
		if r.off, err = backward(r.current, st.Size(), func(b []byte) bool { return r.collect(b, &found) }); err != nil {
			return err
		}
	}
	for i := len(files) - 1; i >= 0 && len(found) < r.q.Lines; i-- {
		if i+1 < len(files) && files[i+1].first <= r.q.AfterSeq+1 {
			break // all before the cursor
		}
		if err := r.tailFile(files[i], &found); err != nil {
			return err
		}
	}
	for _, rec := range slices.Backward(found) {
		r.seen = max(r.seen, rec.Seq)
		if !r.yield(rec, nil) {
			return errStopped
		}
	}
	return nil
}

// collect takes one line for tail, newest first, and reports whether to go on.
func (r *reader) collect(b []byte, found *[]Record) bool {
	l, err := parseLine(b)
	if err != nil {
		return true
	}
	r.seen = max(r.seen, l.Seq) // a mark carries the number of the record before it
	if l.isMark() {
		return true
	}
	rec := l.record()
	if n := len(*found); n > 0 && rec.Seq >= (*found)[n-1].Seq {
		return true // the file was shown under both its names
	}
	if r.q.match(&rec) {
		*found = append(*found, rec)
	}
	return len(*found) < r.q.Lines && r.ctx.Err() == nil && rec.Seq > r.q.AfterSeq
}

func (r *reader) tailFile(f rotated, found *[]Record) error {
	if r.tooOld(f) {
		return nil
	}
	if f.gz {
		return r.tailPacked(f, found)
	}
	in, err := os.Open(f.path)
	if errors.Is(err, os.ErrNotExist) {
		return r.tailPacked(rotated{f.first, f.path + gzSuffix, true}, found)
	}
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	_, err = backward(in, st.Size(), func(b []byte) bool { return r.collect(b, found) })
	return err
}

// tailPacked has to unpack the whole file, and keeps only what may be needed.
func (r *reader) tailPacked(f rotated, found *[]Record) error {
	in, err := f.open()
	if err != nil {
		return ignoreMissing(err)
	}
	defer in.Close()
	need := r.q.Lines - len(*found)
	var kept []Record
	scan := newLineScanner(in)
	for scan.Scan() {
		l, err := parseLine(scan.Bytes())
		if err != nil || l.isMark() {
			continue
		}
		if rec := l.record(); r.q.match(&rec) && (len(*found) == 0 || rec.Seq < (*found)[len(*found)-1].Seq) {
			kept = append(kept, rec)
			kept = kept[max(0, len(kept)-need):]
		}
	}
	for _, rec := range slices.Backward(kept) {
		*found = append(*found, rec)
	}
	return nil
}

// backward calls fn with the complete lines of f, last first, until it returns
// false, and returns where the last complete line ends.
func backward(f io.ReaderAt, size int64, fn func([]byte) bool) (end int64, err error) {
	const step = 32 << 10
	var buf []byte // the file from `from` up to the end of the last line not yet given
	end = -1
	for from := size; from > 0; {
		n := min(step, from)
		from -= n
		grown := make([]byte, int(n)+len(buf))
		if m, err := f.ReadAt(grown[:n], from); int64(m) < n {
			return 0, fmt.Errorf("file became shorter while it was read: %w", err)
		}
		copy(grown[n:], buf)
		buf = grown
		if end < 0 {
			nl := bytes.LastIndexByte(buf, '\n')
			if nl < 0 {
				buf = nil // an unfinished end longer than a step
				continue
			}
			end, buf = from+int64(nl)+1, buf[:nl]
		}
		for {
			nl := bytes.LastIndexByte(buf, '\n')
			if nl < 0 {
				break
			}
			if !fn(buf[nl+1:]) {
				return end, nil
			}
			buf = buf[:nl]
		}
		if len(buf) > maxFileLine {
			buf = buf[:0] // damage: no line is that long
		}
	}
	if len(buf) > 0 {
		fn(buf)
	}
	return max(end, 0), nil
}
