package logs

import (
	"slices"
	"time"
)

// Logs of others that records are sent on to, besides "udp:HOST:PORT" and
// "tcp:HOST:PORT", which are syslog servers (RFC 5424, by RFC 5426 and RFC 6587).
const (
	ToSyslog  = "syslog"  // the machine's: RFC 3164, as syslog(3) sends it
	ToJournal = "journal" // systemd's "Native Journal Protocol"

	SyslogSocket  = "/dev/log" // where the two listen
	JournalSocket = "/run/systemd/journal/socket"
)

// tellAfter is the time between two notices of what was left out while a log stays
// out of reach.
const tellAfter = time.Minute

// outlet is where one Log's records go on to.
type outlet struct {
	*target
	unsent uint64        // records that did not get there
	told   uint64        // how many of them the log tells of
	again  time.Duration // not before this while it stays out of reach
}

// toldUnsent is what a batch tells of an outlet.
type toldUnsent struct {
	out *outlet
	n   uint64
}

// ForwardTo names the sockets of the machine's logs; "" is the usual one.
func (p *Pump) ForwardTo(syslog, journal string) {
	p.post(func() {
		p.sockets = map[string]string{ToSyslog: orElse(syslog, SyslogSocket), ToJournal: orElse(journal, JournalSocket)}
		for name, t := range p.targets {
			if path, ok := p.sockets[name]; ok {
				t.move(path)
			}
		}
	})
}

func orElse(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// Main tells the process ID of the service's main process, which is sent along.
func (l *Log) Main(pid int) { l.pump.post(func() { l.main = pid }) }

// connectOuts brings the outlets together with the configuration.
func (l *Log) connectOuts() {
	var outs []*outlet
	for _, name := range l.cfg.Forward {
		i := slices.IndexFunc(l.outs, func(o *outlet) bool { return o.name == name })
		if i >= 0 {
			outs = append(outs, l.outs[i])
			continue
		}
		t := l.pump.target(name)
		t.users++
		outs = append(outs, &outlet{target: t})
	}
	for _, o := range l.outs {
		if !slices.Contains(outs, o) {
			l.pump.leave(o.target)
		}
	}
	l.outs = outs
}

func (l *Log) leaveOuts() {
	for _, o := range l.outs {
		l.pump.leave(o.target)
	}
	l.outs = nil
}

// forward puts r, as it goes to others' logs, into the batch.
func (l *Log) forward(b *batch, r *Record) {
	for _, o := range l.outs {
		if !b.alone {
			b.sends = append(b.sends, message{to: o, data: o.encode(l, r)})
		}
	}
}

// tellUnsent says in the unit's own log what did not go on to another: once that
// has taken all that waited, and from time to time while it does not. These
// notices stay here: each that could not go on would lead to another.
func (l *Log) tellUnsent(b *batch) {
	for _, o := range l.outs {
		if o.unsent == o.told || len(o.queue) > 0 && b.now < o.again {
			continue
		}
		b.alone = true
		b.notice(Warning, "log: %d records were not forwarded to %s (%s)", o.unsent-o.told, o.name, orElse(o.trouble, "it did not take them in time"))
		b.alone = false
		b.tells = append(b.tells, toldUnsent{o, o.unsent})
	}
}

// hasTold notes what a batch that is in the log told.
func (b *batch) hasTold() {
	for _, t := range b.tells {
		t.out.told, t.out.again = t.n, b.now+tellAfter
	}
}

// forwarding is the state of the outlets: how many records did not get through,
// and what is out of reach now.
func (l *Log) forwarding() (unsent uint64, trouble string) {
	for _, o := range l.outs {
		unsent += o.unsent
		if o.trouble != "" && trouble == "" {
			trouble = o.name + " (" + o.trouble + ")"
		}
	}
	return unsent, trouble
}
