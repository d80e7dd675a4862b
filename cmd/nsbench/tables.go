package main

import (
	"fmt"
	"slices"
)

// tables are all parts that have samples.
func (r *report) tables() []table {
	var all []table
	for _, s := range r.starts {
		all = append(all, r.startTable(s))
	}
	all = append(all, r.bringUpTable(), r.memoryTable(), r.restartTable(), r.idleTable(), r.statusTable())
	all = append(all, r.networkTables()...)
	all = append(all, r.bootTable())
	var filled []table
	for _, t := range all {
		if len(t.rows) > 0 {
			filled = append(filled, t)
		}
	}
	return filled
}

func (r *report) startTable(s startSet) table {
	title := "Request to " + s.title
	if s.beside {
		title += fmt.Sprintf(", beside %d services of nsinit", r.services)
	}
	t := table{title: title, unit: "ms", head: []string{"contender", "median ms", "p10", "p90", "x the floor", "x nsinit's launch"},
		note: fmt.Sprintf("%d starts each, taking turns in random order. For a command line the request is the start of the command; for nsinit's launch it is the moment at which the manager's worker begins.", r.runs)}
	floor, nsinit := median(s.samples[floorName]), median(s.samples[launchName])
	for _, c := range contenders() {
		ns := s.samples[c.name()]
		if len(ns) == 0 {
			continue
		}
		m := median(ns)
		t.rows = append(t.rows, []string{c.name(), millis(m), millis(quantile(ns, 0.1)), millis(quantile(ns, 0.9)), ratio(m, floor), ratio(m, nsinit)})
		t.bars = append(t.bars, bar{c.name(), m / 1e6})
	}
	return t
}

func (r *report) crowdNames() []string { return []string{s6Name, runitName, tiniName, nsinitName} }

func (r *report) bringUpTable() table {
	t := table{title: fmt.Sprintf("Until %d services run", r.services), unit: "s", head: []string{"supervisor", "median s", "x s6"},
		note: fmt.Sprintf("From the start of the supervisor to the first instruction of the last service; %d rounds.", r.rounds)}
	base := median(r.crowd(s6Name).bringUp)
	for _, name := range r.crowdNames() {
		if name == tiniName { // this program starts them one by one: nothing to compare
			continue
		}
		if ns := r.crowd(name).bringUp; len(ns) > 0 {
			m := median(ns)
			t.rows = append(t.rows, []string{name, fmt.Sprintf("%.2f", m/1e9), ratio(m, base)})
			t.bars = append(t.bars, bar{name, m / 1e9})
		}
	}
	return t
}

func (r *report) memoryTable() table {
	t := table{title: "Memory and tasks of supervision per service", unit: "KiB, its own process and its share of the topmost",
		head: []string{"supervisor", "process of one service: private + page tables KiB", "its tasks", "share of the topmost process KiB", "both KiB", "topmost process: private + page tables KiB", "its resident set KiB"},
		note: fmt.Sprintf("%d services. Private memory is Private_* of smaps_rollup, page tables are VmPTE; the median of the processes that serve one service each. What the kernel keeps for a namespace is in none of it.", r.services)}
	for _, name := range r.crowdNames() {
		m := r.crowd(name).memory
		if m.n == 0 {
			continue
		}
		share, top, rss := "-", "-", "-"
		if m.manager.tasks > 0 {
			share = fmt.Sprintf("%.1f", float64(m.manager.totalKiB())/float64(m.n))
			top, rss = fmt.Sprintf("%d + %d", m.manager.privateKiB, m.manager.tablesKiB), fmt.Sprint(m.rss)
		}
		both := float64(m.all.totalKiB()) / float64(m.n)
		t.rows = append(t.rows, []string{name, fmt.Sprintf("%d + %d", m.each.privateKiB, m.each.tablesKiB), fmt.Sprint(m.each.tasks),
			share, fmt.Sprintf("%.1f", both), top, rss})
		t.bars = append(t.bars, bar{name, both})
	}
	return t
}

func (r *report) restartTable() table {
	t := table{title: "Kill to restarted", unit: "ms", head: []string{"supervisor", "median ms", "p90", "kills", "x runit"},
		note: "SIGKILL to the first instruction of the next process; each service had run for over a second. s6 holds every restart back for a second by design, nsinit for `restart_sec`, here 0."}
	base := median(r.restarts[runitName])
	for _, name := range r.crowdNames() {
		if ns := r.restarts[name]; len(ns) > 0 {
			m := median(ns)
			t.rows = append(t.rows, []string{name, millis(m), millis(quantile(ns, 0.9)), fmt.Sprint(len(ns)), ratio(m, base)})
			t.bars = append(t.bars, bar{name, m / 1e6})
		}
	}
	return t
}

func (r *report) idleTable() table {
	t := table{title: "CPU used while nothing happens", head: []string{"supervisor", "% of one CPU"},
		note: fmt.Sprintf("All supervising processes of %d services over %v.", r.services, r.idle)}
	for _, name := range r.crowdNames() {
		if c := r.crowd(name); c.idleKnown {
			t.rows = append(t.rows, []string{name, fmt.Sprintf("%.4f", c.idle*100)})
		}
	}
	return t
}

func (r *report) statusTable() table {
	t := table{title: fmt.Sprintf("`nsctl status` with %d units", r.services), head: []string{"", "median ms", "p90"},
		note: "The whole command, from its start to its end."}
	if ns := r.crowd(nsinitName).status; len(ns) > 0 {
		t.rows = append(t.rows, []string{nsinitName, millis(median(ns)), millis(quantile(ns, 0.9))})
	}
	return t
}

// emulated explains what times of an emulated processor are worth.
const emulated = " The processor was emulated in software (QEMU, TCG): code runs many times slower, what runs for the first time slower still, because it is translated first. Compare the inits with each other; the times are no machine's."

func (r *report) bootTable() table {
	t := table{title: fmt.Sprintf("Boot, from the kernel's handoff until %d services run", bootServices), unit: "ms",
		head: []string{"init", "first service ms", "all services ms", "least", "most", fmt.Sprintf("%d more launches ms", bootServices), "image KiB", "memory used KiB", "of it supervision KiB"},
		note: fmt.Sprintf("A virtual machine with 2 processors and 512 MiB, the same kernel and builder for all; %d boots each, taking turns in random order. From the kernel's exec of init to the first instruction of a static program. The image is the initramfs, compressed (zstd), with busybox in each. Memory is MemTotal - MemAvailable at idle, the unpacked initramfs in it; supervision is private memory and page tables of all processes but the services and the one that reports.", r.bootRounds)}
	if r.accel != "kvm" {
		t.note += emulated
	}
	for _, s := range r.boots {
		all := s.of(func(b boot) float64 { return b.last })
		if len(all) == 0 {
			continue
		}
		first := median(s.of(func(b boot) float64 { return b.first }))
		used := median(s.of(func(b boot) float64 { return float64(b.usedKiB) }))
		supervision := median(s.of(func(b boot) float64 { return float64(b.supervision) }))
		t.rows = append(t.rows, []string{s.name, wholeMillis(first), wholeMillis(s.total()), wholeMillis(slices.Min(all)), wholeMillis(slices.Max(all)), wholeMillis(s.launches()),
			fmt.Sprint(s.imageKiB), fmt.Sprintf("%.0f", used), fmt.Sprintf("%.0f", supervision)})
		t.bars = append(t.bars, bar{s.name, s.total() / 1e6})
	}
	return t
}

func wholeMillis(ns float64) string { return fmt.Sprintf("%.0f", ns/1e6) }
