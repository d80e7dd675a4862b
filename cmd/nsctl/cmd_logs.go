package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/nsinit/nsinit/supervisor/control"
)

// logFlags are journalctl's names for what logs shows and how.
type logFlags struct {
	units          []string
	follow         bool
	lines          string
	since, until   string
	grep, priority string
	output, boot   string
	end, noTail    bool
	reverse, utc   bool
	caseSensitive  bool
	identifiers    []string
	kernel, usage  bool
}

func logsCmd(a *app) *cobra.Command {
	var lf logFlags
	cmd := &cobra.Command{
		Use: "logs [UNIT...]", Short: "Show or follow logs", ValidArgsFunction: a.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			lf.units = append(lf.units, args...)
			return a.logs(cmd.Context(), lf)
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&lf.units, "unit", "u", nil, "a unit; several are merged by time")
	f.BoolVarP(&lf.follow, "follow", "f", false, "go on with what comes")
	f.StringVarP(&lf.lines, "lines", "n", "", "how many, or all (default: all; 10 with -f)")
	f.BoolVar(&lf.noTail, "no-tail", false, "all of them, also with -f")
	f.StringVarP(&lf.boot, "boot", "b", "", "since the instance was started first after the boot")
	f.Lookup("boot").NoOptDefVal = "0"
	f.StringVarP(&lf.since, "since", "S", "", "from then on (2026-11-23 16:02, 16:02, yesterday, -1h, \"5 min ago\", @1700000000)")
	f.StringVarP(&lf.until, "until", "U", "", "up to then")
	f.StringVarP(&lf.grep, "grep", "g", "", "only lines that match this regular expression; without a capital in it, capitals do not matter")
	f.BoolVar(&lf.caseSensitive, "case-sensitive", false, "they do")
	f.StringVarP(&lf.priority, "priority", "p", "", "up to this level (err, warning, 0 to 7), or from one to another (warning..err)")
	f.StringArrayVarP(&lf.identifiers, "identifier", "t", nil, "only what goes by this name (syslog identifier)")
	f.BoolVar(&lf.usage, "disk-usage", false, "how much room the logs take")
	f.BoolVarP(&lf.kernel, "dmesg", "k", false, "")
	f.MarkHidden("dmesg")
	f.StringVarP(&lf.output, "output", "o", "short", outputForms)
	f.BoolVarP(&lf.end, "pager-end", "e", false, "only the last 1000")
	f.BoolVarP(&lf.reverse, "reverse", "r", false, "newest first")
	f.BoolP("catalog", "x", false, "accepted for habit's sake")
	f.BoolP("all", "a", false, "accepted for habit's sake")
	f.Bool("no-hostname", false, "accepted for habit's sake")
	for _, name := range []string{"catalog", "all", "no-hostname"} {
		f.MarkHidden(name)
	}
	f.BoolVar(&lf.utc, "utc", false, "times in UTC")
	return cmd
}

func (a *app) logs(ctx context.Context, lf logFlags) error {
	v := a.view()
	switch {
	case lf.kernel:
		return errors.New("cannot show kernel messages: they are in no unit's log; dmesg shows them")
	case lf.usage:
		return a.logUsage(ctx, lf.units)
	}
	q, err := lf.query(v)
	if err != nil {
		return err
	}
	write, err := a.logWriter(lf, v)
	if err != nil {
		return err
	}
	if asks, err := a.askFirst(ctx, lf, &q); err != nil || !asks {
		return err
	}
	if !lf.follow {
		a.pageFrom(lf.end)
	}
	var all []control.LogRecord
	none := true
	for rec, err := range a.api().Logs(ctx, q) {
		if err != nil {
			return err
		}
		none = false
		if lf.reverse && !lf.follow {
			all = append(all, rec)
		} else if write(a.out, rec) != nil {
			return nil // the pager was left
		}
	}
	if none && !a.json && !a.quiet && strings.HasPrefix(lf.output, "short") {
		fmt.Fprintln(a.out, "-- No entries --")
	}
	for _, rec := range slices.Backward(all) {
		if write(a.out, rec) != nil {
			return nil
		}
	}
	return nil
}

// askFirst fills in what only the manager knows: the names of globs, and when the
// boot was. It tells whether there is anything to ask for then: no unit, and no
// number of lines, would mean all.
func (a *app) askFirst(ctx context.Context, lf logFlags, q *control.LogQuery) (asks bool, err error) {
	if q.Units, err = a.expand(ctx, lf.units); err != nil {
		return false, err
	}
	if lf.boot != "" {
		m, err := a.api().Manager(ctx)
		if err != nil {
			return false, err
		}
		q.SinceUsec = max(q.SinceUsec, m.BootUsec)
	}
	return (len(lf.units) == 0 || len(q.Units) > 0) && (lf.follow || lf.lines != "0"), nil
}

func (lf logFlags) query(v view) (control.LogQuery, error) {
	q := control.LogQuery{Follow: lf.follow, Grep: lf.grep, Identifiers: lf.identifiers}
	var err error
	if lf.boot != "" && lf.boot != "0" {
		return q, fmt.Errorf("cannot take -b %q: only this boot is told from others (-S and -U take times)", lf.boot)
	}
	if strings.ToLower(lf.grep) == lf.grep && lf.grep != "" && !lf.caseSensitive {
		q.Grep = "(?i)" + lf.grep
	}
	switch {
	case lf.lines == "all", lf.noTail && lf.lines == "":
	case lf.lines == "0":
		q.SinceUsec = v.Now.UnixMicro()
	case lf.lines != "":
		if q.Last, err = strconv.Atoi(lf.lines); err != nil || q.Last < 1 {
			return q, fmt.Errorf("cannot take -n %q: a number, or all", lf.lines)
		}
	case lf.follow:
		q.Last = 10
	case lf.end:
		q.Last = 1000
	}
	since, err := parseTime(lf.since, v)
	if err != nil {
		return q, err
	}
	q.SinceUsec = max(q.SinceUsec, since)
	if q.UntilUsec, err = parseTime(lf.until, v); err != nil {
		return q, err
	}
	q.MinPriority, q.MaxPriority, err = priorityRange(lf.priority)
	return q, err
}

// priorityRange takes one level, which means it and all that are more urgent, or
// two in any order.
func priorityRange(s string) (from, to string, err error) {
	a, b, isRange := strings.Cut(s, "..")
	if from, err = priorityNumber(a); err != nil || !isRange {
		return "", from, err
	}
	if to, err = priorityNumber(b); err == nil && (from == "" || to == "") {
		err = fmt.Errorf("cannot take -p %q: two levels, as in warning..err", s)
	}
	return min(from, to), max(from, to), err
}

// logUsage adds up what the files take on the disk, as du(1) does.
func (a *app) logUsage(ctx context.Context, patterns []string) error {
	m, err := a.api().Manager(ctx)
	if err != nil {
		return err
	}
	units, err := a.expand(ctx, patterns)
	if err != nil {
		return err
	}
	dirs := []string{m.LogDir}
	if len(patterns) > 0 {
		dirs = nil
	}
	for _, u := range units {
		dirs = append(dirs, filepath.Join(m.LogDir, u))
	}
	var total uint64
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil // rotated away
			}
			if st, ok := info.Sys().(*syscall.Stat_t); err == nil && ok {
				total += uint64(st.Blocks) * 512
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot add up the logs: %w", err)
		}
	}
	if a.json {
		return a.printLine(map[string]uint64{"disk_usage": total})
	}
	fmt.Fprintf(a.out, "Archived and active logs take up %s in the file system.\n", size(total))
	return nil
}

// priorityNumber takes syslog(3)'s levels by name or number.
func priorityNumber(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	for i, names := range [][]string{{"emerg", "panic"}, {"alert"}, {"crit"}, {"err", "error"}, {"warning", "warn"}, {"notice"}, {"info"}, {"debug"}} {
		if n := strconv.Itoa(i); s == n || slices.Contains(names, strings.ToLower(s)) {
			return n, nil
		}
	}
	return "", fmt.Errorf("cannot take -p %q: one of emerg, alert, crit, err, warning, notice, info, debug, or 0 to 7", s)
}

func priorityColour(p int) string {
	switch {
	case p <= 3:
		return red
	case p == 4:
		return yellow
	case p == 7:
		return grey
	}
	return ""
}

// outputForms are what -o takes.
const outputForms = "short, short-full, short-iso, short-iso-precise, short-precise, short-unix, with-unit, json, json-pretty or cat"

// layouts are the forms of -o that are a line, by how they write the time.
func layouts() map[string]string {
	return map[string]string{"short": "Jan 02 15:04:05", "short-full": "Mon 2006-01-02 15:04:05 MST",
		"with-unit": "Mon 2006-01-02 15:04:05 MST", "short-unix": "unix",
		"short-iso": "2006-01-02T15:04:05-07:00", "short-iso-precise": "2006-01-02T15:04:05.000000-07:00", "short-precise": "Jan 02 15:04:05.000000"}
}

// logWriter gives what prints one record.
func (a *app) logWriter(lf logFlags, v view) (func(io.Writer, control.LogRecord) error, error) {
	if lf.utc {
		v.Local = v.Now.UTC().Location()
	}
	if a.json {
		lf.output = "json"
	}
	switch lf.output {
	case "json":
		return func(_ io.Writer, r control.LogRecord) error { return a.printLine(r) }, nil
	case "json-pretty":
		return func(w io.Writer, r control.LogRecord) error { return printPretty(w, r) }, nil
	case "cat":
		text := func(s string) string { return s }
		if v.Terminal { // elsewhere the bytes are wanted as they are
			text = clean
		}
		return func(w io.Writer, r control.LogRecord) error {
			_, err := fmt.Fprintln(w, v.paint(priorityColour(r.Priority), text(r.Text)))
			return err
		}, nil
	}
	layout, ok := layouts()[lf.output]
	if !ok {
		return nil, fmt.Errorf("cannot take -o %q: %s", lf.output, outputForms)
	}
	return func(w io.Writer, r control.LogRecord) error {
		_, err := fmt.Fprintln(w, logLine(v, layout, r))
		return err
	}, nil
}

// logLine is "Nov 23 16:02:11 nginx[8127]: text".
func logLine(v view, layout string, r control.LogRecord) string {
	from := orElse(r.Unit, "nsinit")
	if r.Identifier != "" && r.Identifier != r.Unit {
		from += "/" + r.Identifier
	}
	from = clean(from)
	if r.PID > 0 {
		from += fmt.Sprintf("[%d]", r.PID)
	}
	text := clean(r.Text)
	if r.Truncated {
		text += " [cut]"
	}
	at := v.at(r.TimeUsec).Format(layout)
	if layout == "unix" {
		at = fmt.Sprintf("%d.%06d", r.TimeUsec/1e6, r.TimeUsec%1e6)
	}
	return at + " " + from + ": " + v.paint(priorityColour(r.Priority), text)
}
