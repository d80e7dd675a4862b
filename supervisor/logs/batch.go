package logs

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// batch is what one write(2) brings into the log, and where the log stands then.
type batch struct {
	out     []byte
	next    cursor
	records int
	taken   int       // of Log.pending
	sends   []message // for the machine's logs, once this is in the unit's
	log     *Log
	tells   []toldUnsent
	alone   bool // what is put in now goes nowhere else
	limit   int  // bytes after which the batch is full
	wall    time.Time
	now     time.Duration
}

// frame makes the next batch out of the queue and the staging files. It changes
// nothing of the Log but what is remembered to save work. An empty batch means that
// nothing is to be written now.
func (l *Log) frame(now time.Duration) batch {
	b := batch{log: l, out: l.pump.batch[:0], next: l.cur, wall: time.Now(), now: now, limit: batchLimit(l.cfg.MaxSize)}
	b.next.files = slices.Clone(l.cur.files)
	for _, r := range l.pending {
		if b.full() {
			break
		}
		b.taken++
		if r.Stream == Manager || l.admit(&b, r.Priority) {
			l.add(&b, &r)
		}
	}
	for i := range l.stages {
		l.frameStage(&b, i)
	}
	l.frameFiles(&b)
	l.tellDropped(&b)
	if cap(b.out) <= 2*maxBatchSize {
		l.pump.batch = b.out[:0]
	}
	return b
}

func (b *batch) full() bool { return len(b.out) >= b.limit }

// batchLimit keeps a batch small against the size at which files are rotated.
func batchLimit(maxSize int64) int {
	if maxSize <= 0 {
		return maxBatchSize
	}
	return int(max(1, min(maxBatchSize, maxSize/4)))
}

// headed puts a mark in front of the batch: the head of an empty file.
func (b *batch) headed(l *Log) {
	mark := appendMark(nil, l.cfg.Unit, b.wall, l.cur.seq, l.cur.saved, l.cur.files)
	b.out = append(mark, b.out...)
}

// admit applies LevelMax and the rate limit.
func (l *Log) admit(b *batch, p Priority) bool {
	if p > l.cfg.LevelMax {
		return false
	}
	if b.next.limit.open && b.next.limit.ended(b.now, l.cfg.RateInterval) {
		l.tellLimited(b)
	}
	if b.next.limit.allow(b.now, l.cfg.RateInterval, l.cfg.RateBurst) {
		return true
	}
	b.next.limited++
	return false
}

// add puts r into the batch. What the rate limit dropped before it is told first,
// since the position written with r passes it.
func (l *Log) add(b *batch, r *Record) {
	l.tellLimited(b)
	b.put(r)
}

func (b *batch) put(r *Record) {
	b.next.seq++
	r.Seq = b.next.seq
	before := len(b.out)
	b.out = appendLine(b.out, r, b.next.pos, b.next.files)
	b.next.wrote(len(b.out) - before)
	b.records++
	b.log.forward(b, r)
	b.next.saved, b.next.skipped = b.next.pos, 0
}

func (b *batch) notice(p Priority, format string, args ...any) {
	b.put(&Record{Time: b.wall, Stream: Manager, Priority: p, Message: fmt.Appendf(nil, format, args...)})
}

func (l *Log) tellLimited(b *batch) {
	if n := b.next.limit.dropped; n > 0 {
		b.next.limit.dropped = 0
		b.notice(Warning, "log: rate limit dropped %d lines (more than %d in %s)", n, l.cfg.RateBurst, l.cfg.RateInterval)
	}
}

// tellDropped says at the end of a batch what has been dropped, and where the log
// stands after a long time without a record.
func (l *Log) tellDropped(b *batch) {
	if n := l.refused.Load(); n > b.next.refused {
		b.notice(Warning, "log: dropped %d notices or syslog messages: the log could not be written", n-b.next.refused)
		b.next.refused = n
	}
	l.tellUnsent(b)
	if l.draining || b.next.limit.ended(b.now, l.cfg.RateInterval) || b.next.skipped >= skipMax {
		l.tellLimited(b)
	}
	if b.next.skipped >= skipMax || b.next.markDue() {
		b.out = appendMark(b.out, l.cfg.Unit, b.wall, b.next.seq, b.next.pos, b.next.files)
		b.next.saved, b.next.skipped = b.next.pos, 0
		b.next.marked()
	}
}

// frameStage frames one stream up to the last complete line, or until the batch is
// full. The gap of what was thrown away comes after all that staging still held.
func (l *Log) frameStage(b *batch, i int) {
	s := &l.stages[i]
	if !l.ready {
		return
	}
	for s.fd >= 0 && !b.full() && l.frameChunk(b, i) {
	}
	if s.lost > b.next.told[i] && (s.fd < 0 || b.next.pos.off[i] >= s.size) {
		b.notice(Warning, "log: dropped %d bytes of %s: the log could not be written; lines around here are incomplete", s.lost-b.next.told[i], Stream(i))
		b.next.told[i] = s.lost
	}
}

// frameChunk frames what one read of staging brings, and reports whether there may
// be more.
func (l *Log) frameChunk(b *batch, i int) bool {
	s := &l.stages[i]
	off := b.next.pos.off[i]
	limit, atBreak := s.size, false
	if s.breakAt > off && s.breakAt <= s.size {
		limit, atBreak = s.breakAt, true
	}
	if off >= limit || !atBreak && l.stillPartial(s, off) {
		return false
	}
	buf := l.pump.buffer()
	n, err := unix.Pread(s.fd, buf[:min(int64(len(buf)), limit-off)], off)
	if err != nil || n <= 0 {
		return false
	}
	used := l.frameLines(b, i, buf[:n], atBreak && off+int64(n) == limit)
	if used == 0 {
		s.scanFor, s.scanned = off, off+int64(n)
	}
	return used > 0
}

// stillPartial looks at the new bytes only: a line that comes in many small pieces
// is not read from its beginning each time.
func (l *Log) stillPartial(s *stage, off int64) bool {
	if s.scanFor != off || s.scanned <= off || s.size-off > MaxLine {
		return false
	}
	if s.scanned >= s.size {
		return true
	}
	buf := l.pump.buffer()
	n, err := unix.Pread(s.fd, buf[:s.size-s.scanned], s.scanned)
	if err != nil || bytes.IndexByte(buf[:max(n, 0)], '\n') >= 0 {
		return false
	}
	s.scanned += int64(max(n, 0))
	return true
}

// frameLines frames the lines in buf and returns how many bytes they took.
func (l *Log) frameLines(b *batch, i int, buf []byte, atEnd bool) (used int) {
	for !b.full() {
		text, size, cut, ok := nextLine(buf[used:], atEnd)
		if !ok {
			break
		}
		used += size
		l.frameLine(b, i, text, size, cut)
	}
	return used
}

// frameLine decides on one line, or on one piece of a long one.
func (l *Log) frameLine(b *batch, i int, text []byte, size int, cut bool) {
	mid := &b.next.pos.mid[i]
	priority := Priority(*mid - 1)
	if *mid == 0 {
		priority, text = linePriority(text)
	}
	admitted := l.admit(b, priority)
	if admitted {
		l.tellLimited(b) // before the position moves past this line
	}
	b.next.pos.off[i] += int64(size)
	*mid = 0
	if cut {
		*mid = uint8(priority) + 1
	}
	if !admitted {
		b.next.skipped += int64(size)
		return
	}
	b.put(&Record{Time: b.wall, Stream: Stream(i), Priority: priority, Ident: l.ident(), Message: text, Continued: cut})
}
