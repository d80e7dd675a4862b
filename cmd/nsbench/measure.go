package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// crowdResult is what is known of one supervisor.
type crowdResult struct {
	bringUp   []float64 // ns until every service runs, by round
	memory    memoryResult
	idle      float64   // share of one CPU that all supervising processes used while nothing happened
	idleKnown bool      // tini watches nothing: it is not measured
	status    []float64 // ns of one `nsctl status`
}

// memoryResult compares supervision by service.
type memoryResult struct {
	each    footprint // the median supervising process of one service
	all     footprint // all supervising processes together
	manager footprint // the topmost of them, all services' together
	rss     int       // its resident memory, KiB, what it shares included
	n       int
}

// measureCrowds brings every supervisor up o.rounds times, taking turns, and in
// the last round looks at memory, idleness and status. The starts are measured
// once more beside the running services of nsinit.
func measureCrowds(ctx context.Context, l *lab, r *report) error {
	for round := range l.rounds {
		cs := crowds()
		if round == l.rounds-1 {
			cs = append(cs, &tinis{})
		}
		for _, c := range cs {
			if r.isMissing(c.name()) {
				continue
			}
			if err := c.setup(l, l.services); err != nil {
				r.missing(c.name(), err)
				continue
			}
			if err := measureCrowd(ctx, l, c, r, round == l.rounds-1); err != nil {
				return fmt.Errorf("%s: %w", c.name(), err)
			}
		}
	}
	return nil
}

func measureCrowd(ctx context.Context, l *lab, c crowd, r *report, last bool) (err error) {
	requested, err := c.start()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	firsts, err := c.firsts(ctx, l.services)
	if err != nil {
		return err
	}
	result := r.crowd(c.name())
	result.bringUp = append(result.bringUp, float64(slices.Max(firsts)-requested))
	if !last {
		return nil
	}
	if result.memory, err = measureMemory(c, l.hold, l.services); err != nil {
		return err
	}
	if c.root() == 0 {
		return nil
	}
	if result.idle, err = measureIdle(ctx, supervisors(c, l.hold), l.idle); err != nil {
		return err
	}
	result.idleKnown = true
	if product, ok := c.(*nsinitCrowd); ok {
		return measureBeside(ctx, l, product, r)
	}
	return nil
}

// measureBeside is what only makes sense while nsinit runs its crowd.
func measureBeside(ctx context.Context, l *lab, c *nsinitCrowd, r *report) error {
	for range l.runs {
		begin := monotonic()
		if _, err := c.nsctl(ctx, "status"); err != nil {
			return err
		}
		result := r.crowd(c.name())
		result.status = append(result.status, float64(monotonic()-begin))
	}
	l.crowded = true
	defer func() { l.crowded = false }()
	return measureStarts(ctx, l, r)
}

// measureMemory reads every supervising process. The median of those that serve
// one service each leaves the topmost process out.
func measureMemory(c crowd, hold string, n int) (memoryResult, error) {
	result := memoryResult{n: n}
	var each []footprint
	for _, pid := range supervisors(c, hold) {
		f, err := footprintOf(pid)
		if err != nil {
			return result, fmt.Errorf("cannot read the memory of %d: %w", pid, err)
		}
		result.all = result.all.plus(f)
		if pid == c.root() {
			result.manager = f
			if result.rss, err = residentKiB(pid); err != nil {
				return result, err
			}
			continue
		}
		each = append(each, f)
	}
	if len(each) == 0 {
		return result, fmt.Errorf("cannot read memory: no supervising process but the first")
	}
	slices.SortFunc(each, func(a, b footprint) int { return a.totalKiB() - b.totalKiB() })
	result.each = each[len(each)/2]
	return result, nil
}

// measureIdle is the share of one CPU that the processes use in a span.
func measureIdle(ctx context.Context, pids []int, span time.Duration) (float64, error) {
	settle := min(span, 2*time.Second) // the last logs are written, the collector has run
	if err := wait(ctx, settle); err != nil {
		return 0, err
	}
	sum := func() (ns int64) {
		for _, pid := range pids {
			ns += cpuTime(pid)
		}
		return ns
	}
	before, begin := sum(), monotonic()
	if err := wait(ctx, span); err != nil {
		return 0, err
	}
	after, end := sum(), monotonic()
	return float64(after-before) / float64(end-begin), nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// restartServices is how many services take turns at being killed, restartPause
// the time between two kills: each has then run for more than a second, and runit
// holds back only what did not. (s6 waits a second after every death.)
const (
	restartServices = 15
	restartPause    = 100 * time.Millisecond
	restartBudget   = 40 * time.Second // for one supervisor; at least restartServices kills
)

func measureRestarts(ctx context.Context, l *lab, r *report) error {
	for _, c := range crowds() {
		if r.isMissing(c.name()) {
			continue
		}
		if err := c.setup(l, restartServices); err != nil {
			r.missing(c.name(), err)
			continue
		}
		samples, err := measureRestart(ctx, l, c)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name(), err)
		}
		r.restarts[c.name()] = samples
	}
	return nil
}

func measureRestart(ctx context.Context, l *lab, c crowd) (samples []float64, err error) {
	if _, err := c.start(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	if _, err := c.firsts(ctx, restartServices); err != nil {
		return nil, err
	}
	if err := wait(ctx, restartPause*restartServices); err != nil {
		return nil, err
	}
	queue := services(c, l.hold) // the longest-running first
	if len(queue) != restartServices {
		return nil, fmt.Errorf("cannot find the services: %d of %d are there", len(queue), restartServices)
	}
	deadline := time.Now().Add(restartBudget)
	for i := range l.runs {
		if i >= restartServices && time.Now().After(deadline) {
			break
		}
		victim := queue[0]
		killed := monotonic()
		if err := unix.Kill(victim, unix.SIGKILL); err != nil {
			return nil, fmt.Errorf("cannot kill service %d: %w", victim, err)
		}
		firsts, err := c.firsts(ctx, 1)
		if err != nil {
			return nil, err
		}
		samples = append(samples, float64(firsts[0]-killed))
		queue = append(queue[1:], newcomer(services(c, l.hold), queue))
		if err := wait(ctx, restartPause); err != nil {
			return nil, err
		}
	}
	return samples, nil
}

// newcomer is the pid that is not among the old ones.
func newcomer(now, old []int) int {
	for _, pid := range now {
		if !slices.Contains(old, pid) {
			return pid
		}
	}
	return 0
}
