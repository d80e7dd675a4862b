package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// report collects the samples and writes them.
type report struct {
	options
	starts       []startSet
	crowdResults map[string]*crowdResult
	restarts     map[string][]float64
	network      *netResult
	boots        []*bootSet
	absent       map[string]string // why a contender has no row
	loads        []string          // the machine's load, before and after
	measured     int               // starts, of all contenders
	unquiet      int               // those of them that were measured on a busy machine
}

func newReport(o options) *report {
	return &report{options: o, crowdResults: map[string]*crowdResult{}, restarts: map[string][]float64{}, network: newNetResult(), absent: map[string]string{}}
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

// noteLoad remembers how busy the machine is.
func (r *report) noteLoad() {
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		r.loads = append(r.loads, strings.Join(strings.Fields(string(text))[:2], " "))
	}
}

// table is a part of the report: the first column is text, the others numbers.
type table struct {
	title, note string
	head        []string
	rows        [][]string
	bars        []bar // what of it is drawn
	unit        string
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
	if from := revision(); from != "" {
		fmt.Fprintf(&b, "Built from %s.\n", from)
	}
	if len(r.loads) == 2 {
		fmt.Fprintf(&b, "Load averages (1 and 5 minutes) before: %s, after: %s.\n", r.loads[0], r.loads[1])
	}
	if r.unquiet > 0 {
		fmt.Fprintf(&b, "%d of %d starts were measured although something else kept the machine busy.\n", r.unquiet, r.measured)
	}
	b.WriteString("\n![plot](results.svg)\n")
	for _, t := range append(r.bars(), r.tables()...) {
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

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// revision is the commit that this program was built from, if it is known.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	text, changed := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			text = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = " with changes"
		}
	}
	if text == "" {
		return ""
	}
	return text + changed
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
