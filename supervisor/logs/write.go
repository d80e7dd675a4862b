package logs

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// skipMax is how many bytes may pass without a record (rate limit, LevelMax) before
// the log is told where it stands.
const skipMax = 2 << 20

// flush frames and writes what there is. After a failure everything stays where it
// is, in staging and in the queue, and is tried again after retryAfter.
func (l *Log) flush() {
	defer l.publish()
	now := l.pump.now()
	if l.closed {
		return
	}
	if now < l.retryAt {
		if l.waiting() { // it may not have been when the last attempt failed
			l.setDeadline(l.retryAt)
		}
		return
	}
	if !l.current(now) {
		return
	}
	for {
		b := l.frame(now)
		if len(b.out) == 0 {
			l.commit(&b) // what was dropped has been counted
			break
		}
		if err := l.write(&b); err != nil {
			l.fail(now, err)
			return
		}
		l.commit(&b)
	}
	l.counts.Degraded, l.retryAt = l.stagingTrouble(), 0
	l.tail.settle()
	l.schedule(now)
}

// current makes sure that the store is open and still is what `current` names.
func (l *Log) current(now time.Duration) bool {
	if l.store.fd >= 0 && !l.store.replaced() {
		return true
	}
	if l.store.fd >= 0 {
		l.store.close()
		l.note(Warning, "log: current was removed, replaced or cut by somebody; going on")
	}
	if err := l.prepare(); err != nil {
		l.fail(now, err)
		return false
	}
	return true
}

func (l *Log) fail(now time.Duration, err error) {
	l.counts.Degraded = err.Error()
	l.retryAt = now + retryAfter
	if l.waiting() {
		l.setDeadline(l.retryAt)
	}
}

// waiting reports whether something is there to be written.
func (l *Log) waiting() bool {
	for i := range l.stages {
		if l.backlog(&l.stages[i]) > 0 || l.dropping(&l.stages[i]) {
			return true
		}
	}
	return len(l.pending) > 0 || l.tail.backlog()
}

func (l *Log) stagingTrouble() string {
	for i := range l.stages {
		if l.stages[i].volatile {
			return "staging of " + Stream(i).String() + " is not safe against a crash of the manager: cannot open it in " + l.cfg.StagingDir
		}
	}
	return ""
}

// write appends the batch, beginning a new file first where it would not fit.
func (l *Log) write(b *batch) error {
	if l.store.size == 0 {
		b.headed(l)
	} else if l.cfg.MaxSize > 0 && l.store.size+int64(len(b.out)) > l.cfg.MaxSize && l.store.first <= l.cur.seq {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	return l.store.append(b.out)
}

func (l *Log) rotate() error {
	mark := appendMark(nil, l.cfg.Unit, time.Now(), l.cur.seq, l.cur.saved, l.cur.files)
	if err := l.store.rotate(mark, l.cur.seq+1); err != nil {
		return err
	}
	if l.cfg.MaxFiles > 0 {
		if err := prune(l.cfg.Dir, l.cfg.MaxFiles-1); err != nil {
			l.note(Warning, "log: cannot remove old files: %v", err)
		}
	}
	if l.cfg.Compress {
		l.pump.compress(l.cfg.Dir)
	}
	return nil
}

// commit makes the batch's cursor the log's, and frees what it consumed.
func (l *Log) commit(b *batch) {
	l.cur = b.next
	l.counts.Records += uint64(b.records)
	l.queued.Add(-int32(b.taken))
	l.pending = append(l.pending[:0], l.pending[b.taken:]...)
	if len(l.pending) == 0 {
		l.pending = nil
	}
	b.hasTold()
	if len(b.sends) > 0 {
		l.pump.send(b.sends)
	}
	for i := range l.stages {
		l.stages[i].punch(l.cur.saved.off[i])
	}
}

// publish shows the state to other goroutines.
func (l *Log) publish() {
	st := l.counts
	st.Seq, st.DroppedLines = l.cur.seq, l.cur.limited
	for i := range l.stages {
		st.DroppedBytes += l.stages[i].lost
	}
	st.NotForwarded, st.Forwarding = l.forwarding()
	if *l.status.Load() != st {
		l.status.Store(&st)
	}
}

// schedule arms the timer where something has to be said later without a wake-up:
// how many lines the rate limit dropped, at the end of its window; and where files
// have to be looked at because nothing tells of their changes.
func (l *Log) schedule(now time.Duration) {
	var at time.Duration
	if l.cur.limit.dropped > 0 {
		at = max(l.cur.limit.start+l.cfg.RateInterval, now+time.Millisecond)
	}
	if l.tail.polled() && (at == 0 || now+lookAfter < at) {
		at = now + lookAfter
	}
	l.setDeadline(at)
}

func (l *Log) setDeadline(at time.Duration) {
	l.deadline = at
	if at > 0 {
		l.pump.arm(at)
	}
}

// arm lets the timer go off at the given time of the Pump's clock, if no earlier
// time is set.
func (p *Pump) arm(at time.Duration) {
	if p.armed > 0 && p.armed <= at {
		return
	}
	p.armed = at
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(at))}
	_ = unix.TimerfdSettime(p.timer, unix.TFD_TIMER_ABSTIME, &spec, nil)
}

func (p *Pump) onTimer(uint32) {
	var count [8]byte
	_, _ = unix.Read(p.timer, count[:])
	p.armed = 0
	now := p.now()
	for l := range p.logs {
		switch {
		case l.deadline == 0:
		case l.deadline <= now:
			l.deadline = 0
			l.tail.tick()
			l.flush()
		default:
			p.arm(l.deadline)
		}
	}
	for _, t := range p.targets {
		t.retry(now)
	}
}

// packing is work on finished files that takes long.
type packing struct {
	name string // of the directory: one that waits is not to wait twice; "" is none
	run  func()
}

// compress packs the finished files of dir.
func (p *Pump) compress(dir string) {
	p.pack(packing{dir, func() { _ = compress(dir) }}) // a failure leaves plain files, which the next rotation tries again
}

// pack has the work done on a goroutine of its own, one piece at a time.
func (p *Pump) pack(work packing) {
	// The first is at work and may have seen its directory already.
	if work.name != "" && len(p.packing) > 1 && slices.ContainsFunc(p.packing[1:], func(w packing) bool { return w.name == work.name }) {
		return
	}
	p.packing = append(p.packing, work)
	if len(p.packing) == 1 {
		p.packNext()
	}
}

func (p *Pump) packNext() {
	work := p.packing[0]
	go func() {
		work.run()
		p.post(func() {
			if p.packing = p.packing[1:]; len(p.packing) > 0 {
				p.packNext()
			}
		})
	}()
}
