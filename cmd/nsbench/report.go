package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// report collects the samples and writes them.
type report struct {
	options
	starts, startsBeside map[string][]float64 // ns by contender
	crowdResults         map[string]*crowdResult
	restarts             map[string][]float64
	absent               map[string]string // why a contender has no row
}

func newReport(o options) *report {
	return &report{options: o, crowdResults: map[string]*crowdResult{}, restarts: map[string][]float64{}, absent: map[string]string{}}
}

// missing notes that a contender could not be measured, with the first reason.
func (r *report) missing(name string, why error) {
	if _, known := r.absent[name]; !known {
		r.absent[name] = why.Error()
	}
}

func (r *report) isMissing(name string) bool { _, missing := r.absent[name]; return missing }

func (r *report) crowd(name string) *crowdResult {
	if r.crowdResults[name] == nil {
		r.crowdResults[name] = &crowdResult{}
	}
	return r.crowdResults[name]
}

// table is a part of the report: the first column is text, the others numbers.
type table struct {
	title, note string
	head        []string
	rows        [][]string
	bars        []bar // what of it is drawn
	unit        string
}

// tables are all parts that have samples.
func (r *report) tables() []table {
	var all []table
	for _, t := range []table{
		r.startTable("Request to first instruction", r.starts),
		r.startTable(fmt.Sprintf("Request to first instruction, beside %d services of nsinit", r.services), r.startsBeside),
		r.bringUpTable(),
		r.memoryTable(),
		r.restartTable(),
		r.idleTable(),
		r.statusTable(),
	} {
		if len(t.rows) > 0 {
			all = append(all, t)
		}
	}
	return all
}

func (r *report) startTable(title string, samples map[string][]float64) table {
	t := table{title: title, unit: "ms", head: []string{"contender", "median ms", "p10", "p90", "x the floor", "x nsinit"},
		note: fmt.Sprintf("%d starts each, in random order. For a command line the request is the start of the command.", r.runs)}
	floor, nsinit := median(samples[floorName]), median(samples[launchName])
	for _, c := range contenders() {
		ns := samples[c.name()]
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
	t := table{title: "Memory and tasks of supervision per service", unit: "KiB",
		head: []string{"supervisor", "process of one service: private + page tables KiB", "its tasks", "all supervising processes / services KiB", "tasks / services", "topmost process KiB"},
		note: fmt.Sprintf("%d services; private memory is Private_* of smaps_rollup, page tables are VmPTE.", r.services)}
	for _, name := range r.crowdNames() {
		m := r.crowd(name).memory
		if m.n == 0 {
			continue
		}
		top := "-"
		if m.manager.tasks > 0 {
			top = fmt.Sprint(m.manager.totalKiB())
		}
		t.rows = append(t.rows, []string{name,
			fmt.Sprintf("%d + %d", m.each.privateKiB, m.each.tablesKiB), fmt.Sprint(m.each.tasks),
			fmt.Sprintf("%.1f", float64(m.all.totalKiB())/float64(m.n)), fmt.Sprintf("%.2f", float64(m.all.tasks)/float64(m.n)), top})
		t.bars = append(t.bars, bar{name, float64(m.all.totalKiB()) / float64(m.n)})
	}
	return t
}

func (r *report) restartTable() table {
	t := table{title: "Kill to restarted", unit: "ms", head: []string{"supervisor", "median ms", "p90", "x runit"},
		note: fmt.Sprintf("SIGKILL to the first instruction of the next process, %d kills; each service had run for over a second. s6 waits one second after every death.", r.runs)}
	base := median(r.restarts[runitName])
	for _, name := range r.crowdNames() {
		if ns := r.restarts[name]; len(ns) > 0 {
			m := median(ns)
			t.rows = append(t.rows, []string{name, millis(m), millis(quantile(ns, 0.9)), ratio(m, base)})
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

// write prints the report and writes both files.
func (r *report) write(out io.Writer) error {
	text := r.markdownText(time.Now())
	io.WriteString(out, text)
	for path, data := range map[string]string{r.markdown: text, r.svg: plot(r.tables())} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			return fmt.Errorf("cannot write the results: %w", err)
		}
	}
	return nil
}

func (r *report) markdownText(now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Measured by `make bench`\n\n%s, %s. Medians of one run; ratios are within it.\n", now.UTC().Format(time.DateOnly), machineText())
	for _, t := range r.tables() {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", t.title, t.note)
		writeRow(&b, t.head)
		b.WriteString("|---" + strings.Repeat("|---:", len(t.head)-1) + "|\n")
		for _, row := range t.rows {
			writeRow(&b, row)
		}
	}
	if len(r.absent) > 0 {
		b.WriteString("\n## Not measured\n\n")
		for _, name := range sortedKeys(r.absent) {
			fmt.Fprintf(&b, "- %s: %s\n", name, r.absent[name])
		}
	}
	return b.String()
}

func writeRow(b *strings.Builder, cells []string) {
	b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

func sortedKeys(m map[string]string) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// machineText says where the numbers come from.
func machineText() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown machine"
	}
	var cpus unix.CPUSet
	unix.SchedGetaffinity(0, &cpus)
	return fmt.Sprintf("Linux %s, %s, %d CPUs", unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:]), cpus.Count())
}

func millis(ns float64) string { return fmt.Sprintf("%.2f", ns/1e6) }

// ratio is a/b, or "-" where there is no b to compare with.
func ratio(a, b float64) string {
	if b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", a/b)
}
