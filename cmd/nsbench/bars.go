package main

import "fmt"

// The bars of the project. A ratio of a peer is what nsinit's launch must be
// faster by.
const (
	mostOfFloor     = 1.5
	leastBubblewrap = 2.5
	leastCrun       = 4.0
	leastRunc       = 10.0
	mostServiceKiB  = 48
	mostManagerKiB  = 40 << 10
	mostIdle        = 0.001 // of one CPU
	mostKeptRestart = 1.3   // of a restart without network
	leastThroughput = 0.95  // of a hand-made veth
)

// bars compares the results with what is promised, each with its verdict.
func (r *report) bars() []table {
	t := table{title: "Promised and measured", head: []string{"", "promised", "measured", ""},
		note: "A promise that is not kept is said to be missed."}
	add := func(what, promised, measured string, kept bool) {
		verdict := "kept"
		if !kept {
			verdict = "**missed**"
		}
		t.rows = append(t.rows, []string{what, promised, measured, verdict})
	}
	for _, s := range r.starts {
		r.startBars(s, add)
	}
	r.crowdBars(add)
	r.networkBars(add)
	r.bootBars(add)
	if len(t.rows) == 0 {
		return nil
	}
	return []table{t}
}

func (r *report) startBars(s startSet, add func(what, promised, measured string, kept bool)) {
	place := "static program"
	if !s.static {
		place = "program with libc"
	}
	if s.beside {
		place += fmt.Sprintf(", beside %d services", r.services)
	}
	own, floor := median(s.samples[launchName]), median(s.samples[floorName])
	if own == 0 {
		return
	}
	if floor > 0 {
		add("launch / the kernel's floor, "+place, fmt.Sprintf("at most %.1f", mostOfFloor), ratio(own, floor), own <= mostOfFloor*floor)
	}
	for _, p := range []struct {
		short, name string
		least       float64
	}{{"bubblewrap", bubblewrapName, leastBubblewrap}, {"crun", crunName, leastCrun}, {"runc", runcName, leastRunc}} {
		if peer := median(s.samples[p.name]); peer > 0 {
			add(p.short+" / launch, "+place, fmt.Sprintf("at least %.1f", p.least), ratio(peer, own), peer >= p.least*own)
		}
	}
}

func (r *report) crowdBars(add func(what, promised, measured string, kept bool)) {
	own := r.crowd(nsinitName)
	if s6 := median(r.crowd(s6Name).bringUp); s6 > 0 && len(own.bringUp) > 0 {
		m := median(own.bringUp)
		add(fmt.Sprintf("%d services run, against s6 without isolation", r.services), "less than s6's time",
			fmt.Sprintf("%.2f s, s6 %.2f s", m/1e9, s6/1e9), m < s6)
	}
	if m := own.memory; m.n > 0 {
		add("supervision of one service", fmt.Sprintf("at most %d KiB, one task", mostServiceKiB),
			fmt.Sprintf("%d KiB, %d task", m.each.totalKiB(), m.each.tasks), m.each.totalKiB() <= mostServiceKiB && m.each.tasks == 1)
		share := float64(m.all.totalKiB()) / float64(m.n)
		add("supervision of one service and its share of the manager", fmt.Sprintf("at most %d KiB", mostServiceKiB), fmt.Sprintf("%.1f KiB", share), share <= mostServiceKiB)
		add(fmt.Sprintf("manager's resident set with %d units", m.n), fmt.Sprintf("under %d MiB", mostManagerKiB>>10),
			fmt.Sprintf("%.1f MiB", float64(m.rss)/1024), m.rss < mostManagerKiB)
	}
	if own.idleKnown {
		add(fmt.Sprintf("CPU of all supervision while idle, %d units", r.services), fmt.Sprintf("under %.1f %%", mostIdle*100),
			fmt.Sprintf("%.4f %%", own.idle*100), own.idle < mostIdle)
	}
}

// bootBars: nsinit may be later than the fastest by what its launches cost,
// which is the isolation that the others do not give.
func (r *report) bootBars(add func(what, promised, measured string, kept bool)) {
	var own, fastest *bootSet
	for _, s := range r.boots {
		switch {
		case len(s.boots) == 0:
		case s.name == nsinitName:
			own = s
		case fastest == nil || s.total() < fastest.total():
			fastest = s
		}
	}
	if own == nil || fastest == nil {
		return
	}
	most := fastest.total() + own.launches()
	add(fmt.Sprintf("boot until %d services run, against the fastest, %s", bootServices, fastest.name),
		fmt.Sprintf("at most %s ms, its %s ms and %d launches' %s ms", wholeMillis(most), wholeMillis(fastest.total()), bootServices, wholeMillis(own.launches())),
		wholeMillis(own.total())+" ms", own.total() <= most)
}
