package logs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/supervisor/notify/dgram"
)

const (
	retryAfter   = time.Second // between attempts to write a log that cannot be written
	syslogBatch  = 32          // datagrams taken per wake-up
	syslogDrain  = 1024        // datagrams taken at most by a Drain
	maxBatchSize = 256 << 10   // bytes written at a time
	scratchSize  = 64 << 10    // bytes of staging read at a time; more than MaxLine
)

// unitState belongs to the Pump's goroutine.
type unitState struct {
	store   store
	stages  [staged]stage
	tail    tail
	syslog  int
	closer  dgram.Closer
	cur     cursor
	pending []Record // notices and datagrams waiting to be written
	ready   bool     // store and stages have been brought together
	closed  bool

	draining bool // nothing may be left untold

	deadline time.Duration // next thing to do without being woken, on the Pump's clock; 0: none
	retryAt  time.Duration // no attempt to write before this
	counts   Status

	main int       // process ID that forwarded records name
	outs []*outlet // where records go on to
}

// cursor is all that framing changes. A batch is framed on a copy, which takes the
// original's place once the batch is in the log.
type cursor struct {
	pos     position
	saved   position // what the last line of the log says; only what is before it may be freed
	seq     uint64
	limit   limiter
	skipped int64          // bytes passed without a record since pos was last written
	told    [staged]uint64 // how much of stage.lost the log tells of
	refused uint64         // how much of Log.refused the log tells of
	limited uint64         // lines dropped by the rate limit, told of or not

	files    []filePos // of what is followed
	unmarked int       // bytes written since the last mark
	tell     bool      // a mark is due: there are files of which the log knows nothing
}

// ident is what names the records of a service that gives itself no name; "" is the
// unit's.
func (l *Log) ident() string {
	if l.cfg.Identifier == l.cfg.Unit {
		return ""
	}
	return l.cfg.Identifier
}

func newLog(p *Pump, cfg Config) *Log {
	l := &Log{pump: p, cfg: withDefaults(cfg)}
	l.status.Store(&Status{})
	l.syslog, l.store.fd = -1, -1
	l.tail.init(l)
	for i := range l.stages {
		l.stages[i].fd = -1
	}
	return l
}

func withDefaults(cfg Config) Config {
	if cfg.StagingMax <= 0 {
		cfg.StagingMax = defaultStagingMax
	}
	if cfg.MaxFiles == 1 {
		cfg.MaxFiles = 2
	}
	return cfg
}

// now is the Pump's clock: monotonic, so that windows survive a clock jump.
func (p *Pump) now() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return time.Duration(ts.Nano())
}

// open opens staging and log. Staging comes first and always succeeds in some form:
// from there on the service cannot be blocked.
func (l *Log) open() {
	if err := os.MkdirAll(l.cfg.StagingDir, 0o700); err != nil {
		l.note(Warning, "log: cannot make staging directory: %v", err)
	}
	for i := range l.stages {
		if err := l.stages[i].open(filepath.Join(l.cfg.StagingDir, Stream(i).String())); err != nil {
			l.note(Warning, "log: %v", err)
		}
	}
	l.connectOuts()
	l.store.dir, l.store.unit = l.cfg.Dir, l.cfg.Unit
	l.flush()
}

// note queues a record of the log's own about itself.
func (l *Log) note(priority Priority, format string, args ...any) {
	l.queued.Add(1)
	l.pending = append(l.pending, Record{Time: time.Now(), Stream: Manager, Priority: priority, Message: fmt.Appendf(nil, format, args...)})
}

// prepare opens the store and brings the last offsets and the staging together.
func (l *Log) prepare() error {
	found, err := l.store.open(!l.ready && len(l.cfg.Files) > 0)
	if err != nil {
		return err
	}
	for _, n := range found.notes {
		l.note(Warning, "%s", n)
	}
	if found.last.Seq >= l.cur.seq {
		l.cur.seq = found.last.Seq
	}
	if l.store.size == 0 {
		l.store.first = l.cur.seq + 1
	}
	if !l.ready {
		l.cur.pos = found.last.position()
		l.cur.saved = l.cur.pos
		l.cur.files = found.files
		l.reconcile(found.known)
		l.ready = true
	}
	return nil
}

// reconcile says in the log what was lost between the managers. A staging file
// that was not there at all is the normal case after a boot.
func (l *Log) reconcile(known bool) {
	for i := range l.stages {
		s := &l.stages[i]
		from, lost, err := s.reconcile(l.cur.pos.off[i])
		if err != nil {
			l.note(Err, "log: %v", err)
		}
		if from != l.cur.pos.off[i] {
			l.cur.pos.off[i], l.cur.pos.mid[i] = from, 0
		}
		switch {
		case !lost, s.volatile:
		case !known:
			l.note(Warning, "log: earlier log is gone; going on with what was not written yet of %s", Stream(i))
		case s.existed || l.cfg.Adopted:
			l.note(Warning, "log: staging of %s was lost or cut; lines of %s may be missing before this one", Stream(i), Stream(i))
		}
	}
}

func (l *Log) attach(stream Stream, p pipe) {
	if l.closed {
		unix.Close(p.fd)
		p.ended()
		return
	}
	s := &l.stages[stream]
	if err := l.pump.poller.Add(p.fd, unix.EPOLLIN, func(uint32) { l.onPipe(s, p) }); err != nil {
		l.note(Err, "log: cannot read %s: %v", stream, err)
		unix.Close(p.fd)
		p.ended()
		return
	}
	s.pipes = append(s.pipes, p)
}

// onPipe serves one readable or finished pipe, a bounded piece at a time: the pipe
// stays readable and epoll comes back to it after the others.
func (l *Log) onPipe(s *stage, p pipe) {
	if _, err := l.take(s, p.fd, spliceMax); errors.Is(err, io.EOF) {
		l.endPipe(s, p)
	}
	l.flush()
}

// take moves up to limit bytes from a pipe into staging, or throws them away where
// there is no room left.
func (l *Log) take(s *stage, fd, limit int) (int, error) {
	if s.fd < 0 {
		return s.discard(fd, l.pump.devNull, limit)
	}
	if err := l.checkStage(s); err != nil {
		return s.discard(fd, l.pump.devNull, limit)
	}
	room := l.cfg.StagingMax - l.backlog(s)
	if room <= 0 || l.dropping(s) {
		s.breakAt = s.size
		return s.discard(fd, l.pump.devNull, limit)
	}
	n, err := s.fill(fd, int(min(int64(limit), room)))
	if err == nil || err == io.EOF || err == unix.EAGAIN || err == unix.EINTR {
		return n, err
	}
	// The tmpfs is full, or the file cannot grow: the service goes first.
	s.breakAt = s.size
	return s.discard(fd, l.pump.devNull, limit)
}

// checkStage notices a staging file that was cut by somebody.
func (l *Log) checkStage(s *stage) error {
	before := s.size
	if err := s.stat(); err != nil {
		return err
	}
	if s.size >= before || !l.ready {
		return nil
	}
	i := l.streamOf(s)
	from, _, err := s.reconcile(l.cur.pos.off[i])
	l.cur.pos.off[i] = from
	if before > l.cur.pos.off[i] {
		l.note(Warning, "log: staging of %s was cut from %d to %d bytes; lines are missing here", Stream(i), before, s.size)
	}
	return err
}

func (l *Log) streamOf(s *stage) int {
	if s == &l.stages[Stderr] {
		return int(Stderr)
	}
	return int(Stdout)
}

// backlog is how many bytes wait in staging.
func (l *Log) backlog(s *stage) int64 {
	return s.size - max(l.cur.pos.off[l.streamOf(s)], s.base)
}

// dropping reports whether bytes were thrown away of which the log does not tell
// yet: until then everything is, or the gap would have no place.
func (l *Log) dropping(s *stage) bool { return s.lost > l.cur.told[l.streamOf(s)] }

func (l *Log) endPipe(s *stage, p pipe) {
	l.pump.poller.Remove(p.fd)
	s.dropPipe(p.fd)
	if len(s.pipes) == 0 {
		s.breakAt = s.size
	}
	p.ended()
}

// buffer is the shared read buffer.
func (p *Pump) buffer() []byte {
	if p.scratch == nil {
		p.scratch = make([]byte, scratchSize)
	}
	return p.scratch
}

// drain takes what is in the pipes and the socket at this moment.
func (l *Log) drain() {
	for i := range l.stages {
		s := &l.stages[i]
		for _, p := range slices.Clone(s.pipes) {
			l.drainPipe(s, p)
		}
		s.breakAt = s.size
	}
	if l.syslog >= 0 {
		l.onSyslog(syslogDrain)
	}
	l.tail.drain()
	l.retryAt, l.draining = 0, true
	l.flush()
	l.draining = false
	l.tail.drained()
}

func (l *Log) drainPipe(s *stage, p pipe) {
	left, err := unix.IoctlGetInt(p.fd, unix.TIOCINQ)
	for err == nil {
		var n int
		if n, err = l.take(s, p.fd, max(min(left, spliceMax), 1)); err == nil {
			if left -= n; left <= 0 {
				return
			}
			l.flush()
		}
	}
	if errors.Is(err, io.EOF) {
		l.endPipe(s, p)
	}
}

func (l *Log) detach() {
	for i := range l.stages {
		s := &l.stages[i]
		for len(s.pipes) > 0 {
			l.endPipe(s, s.pipes[0])
		}
	}
	l.detachSyslog()
	l.tail.stop()
	l.flush()
}

func (l *Log) configure(cfg Config) {
	cfg.Unit, cfg.Dir, cfg.StagingDir, cfg.Adopted = l.cfg.Unit, l.cfg.Dir, l.cfg.StagingDir, l.cfg.Adopted
	l.cfg = withDefaults(cfg)
	l.connectOuts()
	l.flush()
}

func (l *Log) close() {
	if l.closed {
		return
	}
	l.closed = true
	for i := range l.stages {
		for _, p := range l.stages[i].pipes {
			l.pump.poller.Remove(p.fd)
		}
		l.stages[i].close()
	}
	l.detachSyslog()
	l.tail.stop()
	l.leaveOuts()
	l.store.close()
	l.setDeadline(0)
}
