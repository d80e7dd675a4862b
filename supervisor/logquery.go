package supervisor

import (
	"context"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nsinit/nsinit/supervisor/control"
	"github.com/nsinit/nsinit/supervisor/logs"
)

func (m *Manager) logDir(unit string) string { return filepath.Join(m.cfg.LogDir, unit) }

// Logs gives records of several units, oldest first, and with Follow goes on
// until ctx ends. It reads files, and needs the loop only for names.
func (b backend) Logs(ctx context.Context, q control.LogQuery) iter.Seq2[control.LogRecord, error] {
	return func(yield func(control.LogRecord, error) bool) {
		r := &logReader{m: b.m, q: q, yield: yield, last: map[string]uint64{}}
		if err := r.run(ctx, b); err != nil {
			yield(control.LogRecord{}, err)
		}
	}
}

type logReader struct {
	m     *Manager
	q     control.LogQuery
	yield func(control.LogRecord, error) bool
	query logs.Query
	last  map[string]uint64 // sequence number of the last record given, by unit

	starts map[string]start // of each unit's present or last generation
}

// start is when a generation began, by the wall clock: what was written since
// is its own. Of earlier generations nothing is known any more.
type start struct {
	number uint64
	at     time.Time
}

func (r *logReader) run(ctx context.Context, b backend) error {
	if err := r.parse(); err != nil {
		return err
	}
	units, err := b.canonical(ctx, r.q.Units)
	if err != nil {
		return err
	}
	for _, u := range units {
		if err := r.check(ctx, u); err != nil {
			return err
		}
	}
	here, err := r.present(units)
	if err == nil {
		err = r.refresh(ctx)
	}
	if err != nil {
		return err
	}
	if !r.past(ctx, here) || !r.q.Follow {
		return nil
	}
	r.follow(ctx, units)
	return nil
}

// refresh learns of new generations.
func (r *logReader) refresh(ctx context.Context) error {
	starts := map[string]start{}
	err := r.m.call(ctx, func() {
		c := clockNow()
		for name, s := range r.m.services {
			starts[name] = start{s.snap.Generation, c.at(s.snap.StartedAt)}
		}
	})
	if err == nil {
		r.starts = starts
	}
	return err
}

// record puts a record in the API's form.
func (r *logReader) record(unit string, rec logs.Record) control.LogRecord {
	out := logRecord(unit, rec)
	if s := r.starts[unit]; s.number > 0 && !rec.Time.Before(s.at) {
		out.Generation = s.number
	}
	return out
}

// parse turns the query into that of package logs; the server has checked it.
func (r *logReader) parse() error {
	r.query = logs.Query{Lines: r.q.Last}
	if r.q.SinceUsec != 0 {
		r.query.Since = time.UnixMicro(r.q.SinceUsec)
	}
	if r.q.UntilUsec != 0 {
		r.query.Until = time.UnixMicro(r.q.UntilUsec).Add(time.Microsecond - 1) // inclusive: records have nanoseconds
	}
	if p := r.q.MaxPriority; len(p) == 1 && p >= "0" && p <= "7" {
		most := logs.Priority(p[0] - '0')
		r.query.Priority = &most
	}
	if p := r.q.MinPriority; len(p) == 1 && p >= "0" && p <= "7" {
		least := logs.Priority(p[0] - '0')
		r.query.Urgent = &least
	}
	r.query.Idents = r.q.Identifiers
	if r.q.Grep != "" {
		form, err := regexp.Compile(r.q.Grep)
		if err != nil {
			return &control.Error{Code: control.CodeBadRequest, Message: "cannot search: " + err.Error()}
		}
		r.query.Grep = form
	}
	return nil
}

// check refuses units that have neither a log nor a definition. A name is one
// directory of the log directory and never leads anywhere else.
func (r *logReader) check(ctx context.Context, name string) error {
	if !isLogName(name) {
		return &control.Error{Code: control.CodeBadRequest, Unit: name, Message: "cannot read the log: this is no unit's name"}
	}
	if r.exists(name) {
		return nil
	}
	var known bool
	err := r.m.call(ctx, func() {
		if _, known = r.m.engine.State(name); !known {
			known = r.m.unknown(name) == nil // bad or masked: it has no log, and that is no error
		}
	})
	if err != nil {
		return err
	}
	if !known {
		return &control.Error{Code: control.CodeNoSuchUnit, Unit: name, Message: "cannot read the log: there is neither such a unit nor a log of one"}
	}
	return nil
}

func isLogName(name string) bool {
	return name != "." && filepath.IsLocal(name) && !strings.ContainsAny(name, "/\x00")
}

// exists: a link is no log, it would lead out of the log directory.
func (r *logReader) exists(name string) bool {
	info, err := os.Lstat(r.m.logDir(name))
	return err == nil && info.IsDir()
}

// present lists the units that have a log, of those asked for or of all.
func (r *logReader) present(units []string) ([]string, error) {
	if len(units) == 0 {
		entries, err := os.ReadDir(r.m.cfg.LogDir)
		if err != nil {
			return nil, &control.Error{Code: control.CodeFailed, Message: "cannot read the logs: " + err.Error()}
		}
		for _, e := range entries {
			units = append(units, e.Name())
		}
	}
	return slices.DeleteFunc(slices.Clone(units), func(u string) bool { return !isLogName(u) || !r.exists(u) }), nil
}

// past gives what is in the logs already, merged by time. It reports whether
// to go on.
func (r *logReader) past(ctx context.Context, units []string) bool {
	var streams []*logStream
	defer func() {
		for _, s := range streams {
			s.stop()
		}
	}()
	for _, u := range units {
		s := &logStream{unit: u}
		s.next, s.stop = iter.Pull2(logs.Read(ctx, r.m.logDir(u), r.queryOf(u)))
		streams = append(streams, s)
		s.advance()
	}
	if r.query.Lines > 0 && len(streams) > 1 {
		return r.pastTail(ctx, streams)
	}
	for s := earliest(streams); s != nil; s = earliest(streams) {
		r.last[s.unit] = s.head.Seq
		if !r.yield(r.record(s.unit, s.head), nil) {
			return false
		}
		s.advance()
	}
	return ctx.Err() == nil
}

func (r *logReader) queryOf(unit string) logs.Query {
	q := r.query
	q.Unit = unit
	return q
}

// pastTail merges the last records of each unit and gives the last of all.
func (r *logReader) pastTail(ctx context.Context, streams []*logStream) bool {
	var all []control.LogRecord
	for s := earliest(streams); s != nil; s = earliest(streams) {
		r.last[s.unit] = s.head.Seq
		if all = append(all, r.record(s.unit, s.head)); len(all) >= 2*r.query.Lines {
			all = append(all[:0], all[len(all)-r.query.Lines:]...)
		}
		s.advance()
	}
	for _, rec := range all[max(0, len(all)-r.query.Lines):] {
		if !r.yield(rec, nil) {
			return false
		}
	}
	return ctx.Err() == nil
}

// logStream is one unit's records, of which the first is at hand.
type logStream struct {
	unit string
	next func() (logs.Record, error, bool)
	stop func()
	head logs.Record
	done bool
}

// advance goes to the next record. A log that cannot be read ends: the others
// are not to suffer from it.
func (s *logStream) advance() {
	rec, err, ok := s.next()
	s.head, s.done = rec, !ok || err != nil
}

func earliest(streams []*logStream) *logStream {
	var first *logStream
	for _, s := range streams {
		if !s.done && (first == nil || s.head.Time.Before(first.head.Time)) {
			first = s
		}
	}
	return first
}

// follow passes new records on as they come, one goroutine for each log, all
// joined before it returns. Logs that begin later are found when something
// happens to a unit.
func (r *logReader) follow(ctx context.Context, units []string) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	woken, stop := r.m.events.watch()
	defer stop()
	records := make(chan unitRecord)
	following := map[string]bool{}
	query := r.query
	query.Lines, query.Follow = 0, true
	begin := func() {
		here, err := r.present(units)
		if err != nil {
			return // the directory is there or will be
		}
		for _, u := range here {
			if following[u] {
				continue
			}
			following[u] = true
			q := query
			q.AfterSeq, q.Unit = r.last[u], u
			running.Go(func() { r.followOne(ctx, u, q, records) })
		}
	}
	begin()
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-woken:
			if !ok || r.refresh(ctx) != nil {
				return
			}
			begin()
		case rec := <-records:
			// A start is published before it can write anything: if this is of
			// a new one, that has been said by now.
			select {
			case _, ok := <-woken:
				if !ok || r.refresh(ctx) != nil {
					return
				}
				begin()
			default:
			}
			if !r.yield(r.record(rec.unit, rec.Record), nil) {
				return
			}
		}
	}
}

type unitRecord struct {
	unit string
	logs.Record
}

func (r *logReader) followOne(ctx context.Context, unit string, q logs.Query, records chan<- unitRecord) {
	for rec, err := range logs.Read(ctx, r.m.logDir(unit), q) {
		if err != nil {
			return // this log is gone, or cannot be read; the others go on
		}
		select {
		case records <- unitRecord{unit, rec}:
		case <-ctx.Done():
			return
		}
	}
}

// logStatus is what is wrong with a log, or nil.
func logStatus(l *logs.Log) *control.LogStatus {
	if l == nil {
		return nil
	}
	st := l.Status()
	out := control.LogStatus{Degraded: st.Degraded, DroppedLines: st.DroppedLines, DroppedBytes: st.DroppedBytes,
		DroppedMessages: st.DroppedOther, NotForwarded: st.NotForwarded, Forwarding: st.Forwarding}
	if out == (control.LogStatus{}) {
		return nil
	}
	return &out
}

// logRecord is what the record itself says.
func logRecord(unit string, r logs.Record) control.LogRecord {
	stream := r.Stream.String()
	if r.Stream == logs.Manager {
		stream = "nsinit"
	}
	stream = orElse(r.File, stream)
	var fields map[string]string
	for _, f := range r.Fields {
		if fields == nil {
			fields = map[string]string{}
		}
		fields[f.Name] = f.Value
	}
	return control.LogRecord{Unit: unit, TimeUsec: r.Time.UnixMicro(), Stream: stream, Priority: int(r.Priority), PID: r.PID,
		Identifier: orElse(r.Ident, unit), Text: strings.ToValidUTF8(string(r.Message), "\ufffd"), Fields: fields, Truncated: r.Continued}
}
