package compile

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/unit"
)

// The numbers of ioprio_set(2).
const (
	ioRealtime   = 1
	ioBestEffort = 2
	ioIdle       = 3
	ioDefault    = 4 // the middle of the eight levels
)

// rlimits returns the limits that the unit sets. Without CAP_SYS_RESOURCE no
// hard limit can be raised, so they are cut at the manager's, as systemd does.
func (c *compiler) rlimits() []isolate.Rlimit {
	s := &c.unit.Service
	var list []isolate.Rlimit
	for _, l := range []struct {
		resource int
		limit    *unit.Rlimit
	}{
		{unix.RLIMIT_CPU, s.LimitCpu}, {unix.RLIMIT_FSIZE, s.LimitFsize}, {unix.RLIMIT_DATA, s.LimitData},
		{unix.RLIMIT_STACK, s.LimitStack}, {unix.RLIMIT_CORE, s.LimitCore}, {unix.RLIMIT_RSS, s.LimitRss},
		{unix.RLIMIT_NPROC, s.LimitNproc}, {unix.RLIMIT_NOFILE, s.LimitNofile}, {unix.RLIMIT_MEMLOCK, s.LimitMemlock},
		{unix.RLIMIT_AS, s.LimitAs}, {unix.RLIMIT_LOCKS, s.LimitLocks}, {unix.RLIMIT_SIGPENDING, s.LimitSigpending},
		{unix.RLIMIT_MSGQUEUE, s.LimitMsgqueue}, {unix.RLIMIT_NICE, s.LimitNice}, {unix.RLIMIT_RTPRIO, s.LimitRtprio},
		{unix.RLIMIT_RTTIME, s.LimitRttime},
	} {
		if l.limit == nil {
			continue
		}
		limit := isolate.Rlimit{Resource: l.resource, Soft: l.limit.Soft, Hard: l.limit.Hard}
		if c.host.Caps>>unix.CAP_SYS_RESOURCE&1 == 0 {
			limit.Hard = min(limit.Hard, c.host.Rlimits[l.resource].Hard)
			limit.Soft = min(limit.Soft, limit.Hard)
		}
		list = append(list, limit)
	}
	return list
}

// scheduling returns what the unit wants other than the manager has.
func scheduling(s *unit.Service) isolate.Scheduling {
	sched := isolate.Scheduling{Nice: s.Nice, Affinity: s.CpuAffinity, Priority: s.CpuSchedulingPriority}
	policies := map[string]int{"other": 0, "fifo": 1, "rr": 2, "batch": 3, "idle": 5} // SCHED_* of sched(7)
	if policy, set := policies[s.CpuSchedulingPolicy]; set {
		sched.Policy = &policy
	}
	class, set := map[string]int{"realtime": ioRealtime, "best-effort": ioBestEffort, "idle": ioIdle}[s.IoSchedulingClass]
	if set || s.IoSchedulingPriority != nil {
		if !set {
			class = ioBestEffort
		}
		sched.IOClass, sched.IOPriority = &class, ioDefault
		if s.IoSchedulingPriority != nil {
			sched.IOPriority = *s.IoSchedulingPriority
		}
	}
	if s.TimerSlackNsec != nil {
		slack := time.Duration(*s.TimerSlackNsec)
		sched.TimerSlack = &slack
	}
	return sched
}
