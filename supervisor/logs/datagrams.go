package logs

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/supervisor/notify/dgram"
)

func (l *Log) attachSyslog(fd int) {
	l.detachSyslog()
	if l.closed {
		unix.Close(fd)
		return
	}
	if err := l.pump.poller.Add(fd, unix.EPOLLIN, func(uint32) { l.onSyslog(syslogBatch) }); err != nil {
		l.note(Err, "log: cannot read /dev/log: %v", err)
		unix.Close(fd)
		return
	}
	l.syslog = fd
}

func (l *Log) detachSyslog() {
	if l.syslog >= 0 {
		l.pump.poller.Remove(l.syslog)
		unix.Close(l.syslog)
		l.syslog = -1
	}
}

// onSyslog takes up to limit datagrams.
func (l *Log) onSyslog(limit int) {
	for range limit {
		d, err := dgram.Receive(l.syslog, l.pump.buffer())
		if err != nil {
			break
		}
		l.queueDatagram(d)
		l.closer.Close(d.FDs...)
	}
	if l.closer.Stuck() {
		l.detachSyslog()
		l.note(Warning, "log: /dev/log is closed: descriptors that were sent to it cannot be closed")
	}
	l.flush()
}

func (l *Log) queueDatagram(d dgram.Datagram) {
	if l.queued.Load() >= maxQueued {
		l.refused.Add(1)
		return
	}
	for _, r := range l.parse(d) {
		r.Time, r.PID = time.Now(), d.Sender.PID
		r.Continued = r.Continued || d.Truncated
		l.queued.Add(1)
		l.pending = append(l.pending, r)
	}
}

// parse reads a datagram of either protocol.
func (l *Log) parse(d dgram.Datagram) []Record {
	switch {
	case len(d.Data) == 0 && len(d.FDs) > 0:
		b, err := readSealed(d.FDs[0])
		if err != nil {
			l.note(Warning, "log: cannot read a record from the descriptor that process %d sent: %v", d.Sender.PID, err)
		}
		return ParseNative(b)
	case isNative(d.Data):
		return ParseNative(d.Data)
	}
	data := d.Data[:min(len(d.Data), maxDatagram)]
	r := ParseSyslog(data)
	r.Continued = r.Continued || len(d.Data) > len(data)
	r.Message = append([]byte(nil), r.Message...)
	return []Record{r}
}
