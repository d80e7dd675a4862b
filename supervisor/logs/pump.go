package logs

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/supervisor/notify/dgram"
	"github.com/nsinit/nsinit/supervisor/poll"
)

// Config says where a unit's log is and what its limits are. Zero limits mean
// "none", except where a default is named.
type Config struct {
	Unit       string
	Dir        string // log directory of the unit, made if missing (0750)
	StagingDir string // on a tmpfs, outlives generations; made if missing (0700)

	// Adopted says that the service has been running under an earlier manager: only
	// then is a missing staging file a loss that the log has to mention.
	Adopted bool

	MaxSize  int64 // bytes of `current` before it is rotated
	MaxFiles int   // files kept, `current` included; 0: all; at least 2 else
	Compress bool  // gzip rotated files

	RateInterval time.Duration // at most RateBurst lines per interval; either 0: no limit
	RateBurst    int

	// LevelMax drops lines of a higher number; the zero value keeps Emerg only, so
	// set it (Debug keeps everything). The manager's own notices are always kept.
	LevelMax Priority

	// Files are files that the service writes itself, as paths inside it, the last
	// component of which may be a pattern (path.Match): see Follow.
	Files []string
	// Reopen has the service open its files anew, once one has been given another
	// name because it had reached MaxSize; it must not block. nil: they are followed
	// and left where they are.
	Reopen func()

	// Forward are the logs that records go to as well, once they are in this one:
	// ToSyslog, ToJournal, "udp:HOST:PORT", "tcp:HOST:PORT".
	Forward    []string
	Identifier string // the name that they go by there; "" is Unit

	// StagingMax is how many bytes per stream wait in the staging file while the log
	// cannot be written; beyond that output is dropped and counted. 0: 4 MiB.
	StagingMax int64
}

const (
	pipeSize          = 1 << 20
	defaultStagingMax = 4 << 20
	maxQueued         = 256 // notices and datagrams waiting per unit
)

// Status is the state of a log for `nsctl status` and /metrics.
type Status struct {
	// Degraded says, as one sentence, why records cannot be written now (disk full,
	// read-only ...); "" when all is well. It recovers by itself.
	Degraded     string
	Records      uint64 // written by this manager
	Seq          uint64 // last sequence number in the log
	DroppedLines uint64 // by the rate limit, by this manager
	DroppedBytes uint64 // because the staging file was full
	DroppedOther uint64 // notices and datagrams for which there was no room
	NotForwarded uint64 // records that other logs did not take
	Forwarding   string // which of them is out of reach now, and why
}

// Pump moves and frames the output of all units on one goroutine, the one that
// calls Run. Every method of Pump and Log may be called from any goroutine and
// only queues the work, in order: a slow disk never blocks the caller. Functions
// given as `done` run on the Pump's goroutine, and must not block.
type Pump struct {
	poller  *poll.Poller
	logs    map[*Log]struct{}
	timer   int // timerfd, armed only while a Log has a deadline
	armed   time.Duration
	devNull int
	scratch []byte             // bytes read from staging, shared by all units
	batch   []byte             // encoded records, shared by all units
	targets map[string]*target // others' logs, by their names in Config.Forward
	sockets map[string]string  // of the machine's logs

	ctx       context.Context // ends the search for servers
	cancel    context.CancelFunc
	resolving sync.WaitGroup
	packing   []packing // finished files that wait to be compressed
	watch     watcher   // of followed files
}

// NewPump makes a Pump without units.
func NewPump() (*Pump, error) {
	poller, err := poll.New()
	if err != nil {
		return nil, fmt.Errorf("cannot make log pump: %w", err)
	}
	p := &Pump{poller: poller, logs: make(map[*Log]struct{}), timer: -1, devNull: -1, watch: watcher{fd: -1}}
	p.targets, p.sockets = map[string]*target{}, map[string]string{ToSyslog: SyslogSocket, ToJournal: JournalSocket}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	if err := p.open(); err != nil {
		p.release()
		return nil, fmt.Errorf("cannot make log pump: %w", err)
	}
	return p, nil
}

func (p *Pump) open() (err error) {
	if p.devNull, err = unix.Open("/dev/null", unix.O_WRONLY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("open /dev/null: %w", err)
	}
	p.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("timerfd_create: %w", err)
	}
	return p.poller.Add(p.timer, unix.EPOLLIN, p.onTimer)
}

// Run serves all units until Close. It returns an error only if epoll fails.
func (p *Pump) Run() error {
	defer p.release()
	return p.poller.Run()
}

// Close makes Run write what has been queued, close every Log and return. What is
// still in the pipes stays there.
func (p *Pump) Close() {
	p.post(func() {
		for l := range p.logs {
			l.close()
		}
	})
	p.poller.Close()
}

func (p *Pump) post(fn func()) bool { return p.poller.Post(fn) }

func (p *Pump) release() {
	p.cancel()
	p.resolving.Wait()
	for _, t := range p.targets {
		t.close()
	}
	p.poller.Close()
	for _, fd := range []int{p.timer, p.devNull, p.watch.fd} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	p.timer, p.devNull, p.watch.fd = -1, -1, -1
}

// Add takes a unit in. Its log directory, staging files and last position are
// opened by the Pump; where that fails the Log is degraded, keeps what can be kept,
// and is tried again.
func (p *Pump) Add(cfg Config) *Log {
	l := newLog(p, cfg)
	p.post(func() {
		p.logs[l] = struct{}{}
		l.open()
	})
	return l
}

// Pipe makes the pipe for one output stream: r for Log.Attach, w for the
// service. It holds 1 MiB (64 KiB where the user's pipe limit is reached); both
// ends are close-on-exec, and only r is non-blocking.
func Pipe() (r, w int, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return -1, -1, fmt.Errorf("cannot make log pipe: %w", err)
	}
	// EPERM past fs.pipe-user-pages-soft: a smaller pipe works too.
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, pipeSize)
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return -1, -1, fmt.Errorf("cannot make log pipe non-blocking: %w", err)
	}
	return fds[0], fds[1], nil
}

// Log is the log of one unit, from Pump.Add to Remove. It passes on from one
// generation of the unit to the next.
type Log struct {
	pump    *Pump
	cfg     Config
	status  atomic.Pointer[Status]
	queued  atomic.Int32  // records posted and not yet written
	refused atomic.Uint64 // records that found the queue full

	unitState
}

// Status is the state after the last wake-up.
func (l *Log) Status() Status {
	st := *l.status.Load()
	st.DroppedOther += l.refused.Load()
	return st
}

// Attach reads stream (Stdout or Stderr) from the pipe whose read end is fd, until
// all writers are gone. The descriptor belongs to the Log from here on. A stream
// may have several pipes, such as those of processes left over from an earlier
// generation; their lines do not mix unless unfinished.
func (l *Log) Attach(stream Stream, fd int) error { return l.AttachUntil(stream, fd, func() {}) }

// AttachUntil is Attach of a pipe that is kept elsewhere too. Once nothing of it
// will be read any more, because all writers are gone or it was detached, ended is
// called on the Pump's goroutine. It is not called for what Remove and Pump.Close
// leave unread, nor where AttachUntil fails.
func (l *Log) AttachUntil(stream Stream, fd int, ended func()) error {
	if stream >= staged {
		return fmt.Errorf("cannot attach a pipe to log stream %s of %s: only stdout and stderr have one", stream, l.cfg.Unit)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return fmt.Errorf("cannot attach descriptor %d to log stream %s of %s: %w", fd, stream, l.cfg.Unit, err)
	}
	if !l.pump.post(func() { l.attach(stream, pipe{fd, ended}) }) {
		return fmt.Errorf("cannot attach log stream %s of %s: %w", stream, l.cfg.Unit, os.ErrClosed)
	}
	return nil
}

// AttachSyslog receives from the service's /dev/log, a socket of ListenSyslog or
// one that an earlier manager made. The descriptor belongs to the Log from here on.
// A second socket takes the place of the first.
func (l *Log) AttachSyslog(fd int) error {
	if err := dgram.Adopt(fd); err != nil {
		return fmt.Errorf("%w (/dev/log of %s)", err, l.cfg.Unit)
	}
	if !l.pump.post(func() { l.attachSyslog(fd) }) {
		return fmt.Errorf("cannot attach /dev/log of %s: %w", l.cfg.Unit, os.ErrClosed)
	}
	return nil
}

// Append adds a record of the manager's own: "start 4: ready in 38 ms". Seq is
// given by the log; a zero Time is now; rate limit and LevelMax do not apply.
// While the log cannot be written 256 of them wait; more are dropped and counted.
func (l *Log) Append(r Record) {
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	if l.queued.Add(1) > maxQueued {
		l.queued.Add(-1)
		l.refused.Add(1)
		return
	}
	r.Message = append([]byte(nil), r.Message...)
	l.pump.post(func() {
		l.pending = append(l.pending, r)
		l.flush()
	})
}

// Notice is Append of a notice of the manager.
func (l *Log) Notice(priority Priority, format string, args ...any) {
	l.Append(Record{Stream: Manager, Priority: priority, Message: fmt.Appendf(nil, format, args...)})
}

// Drain reads what is in the pipes and the /dev/log now, ends an unfinished last
// line, writes it all if the log can be written, and calls done. It is for the release of a generation: call
// it when the service's processes are gone and before the reaper, which holds the
// pipes, is ended. What is written into the pipes meanwhile is not waited for.
func (l *Log) Drain(done func()) {
	l.pump.post(func() {
		l.drain()
		done()
	})
}

// Detach closes the pipes and the /dev/log of the unit, without reading them; it is
// for after a Drain, so that a new generation can Attach its own.
func (l *Log) Detach() {
	l.pump.post(l.detach)
}

// Configure changes limits while the log is in use. Unit, Dir, StagingDir and
// Adopted cannot be changed and are ignored.
func (l *Log) Configure(cfg Config) {
	l.pump.post(func() { l.configure(cfg) })
}

// Remove drains the Log, closes everything and forgets it; the files stay. done may
// be nil.
func (l *Log) Remove(done func()) {
	l.pump.post(func() {
		l.drain()
		l.close()
		delete(l.pump.logs, l)
		if done != nil {
			done()
		}
	})
}
