package machine

import "time"

// idleWait is how long a unit of type idle waits for the others' jobs to be
// done, as systemd.service(5) has it.
const idleWait = 5 * time.Second

// waitsForQuiet: the job of a unit of type idle, whose turn it is, goes on
// waiting. finish decides about it when nothing else is left to do.
func (e *Engine) waitsForQuiet(j *job) bool {
	if j.idle == 0 {
		j.idle = e.now.after(idleWait)
	}
	return !j.quiet && e.now < j.idle
}

// endQuiet lets the units of type idle start, all at once, when no job is under
// way. Jobs that are not have to wait for one that is, or for an idle one.
func (e *Engine) endQuiet() bool {
	var waiting []int
	for i, u := range e.units {
		j := u.job
		if j != nil && j.running {
			return false
		}
		if j != nil && j.idle != 0 && !j.quiet {
			waiting = append(waiting, i)
		}
	}
	for _, i := range waiting {
		e.units[i].job.quiet = true
		e.look(i)
	}
	return len(waiting) > 0
}

// tickIdle looks at a job whose patience is at its end.
func (e *Engine) tickIdle(i int, j *job) {
	if j.idle != 0 && !j.running && j.idle <= e.now {
		e.look(i)
	}
}

// idleDue is when tickIdle has something to do.
func (j *job) idleDue() Instant {
	if j.running || j.quiet {
		return 0
	}
	return j.idle
}
