package main

import (
	"cmp"
	"fmt"
	"html"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/nsinit/nsinit/supervisor/control"
)

// took is how long a unit's start lasted: until it was good, or until it had
// failed. One that is still at it has taken none yet.
func took(u control.StartupUnit) time.Duration {
	end := u.ActiveUsec
	if end == 0 {
		end = u.EndedUsec
	}
	return time.Duration(max(0, end-u.ActivatingUsec)) * time.Microsecond
}

// after is the time from the origin to an instant.
func after(st control.Startup, usec int64) time.Duration {
	return time.Duration(max(0, usec-st.OriginUsec)) * time.Microsecond
}

func renderStartTime(w io.Writer, st control.Startup) error {
	if st.TargetUsec == 0 {
		return fmt.Errorf("cannot tell: %s is not reached (nsctl list-jobs shows what is under way, nsctl status what has failed)", st.Target)
	}
	kernel, userspace := time.Duration(st.KernelNsec), after(st, st.TargetUsec)
	text := "Startup finished in " + precise(userspace) + "."
	if kernel > 0 {
		text = fmt.Sprintf("Startup finished in %s (kernel) + %s (userspace) = %s.", precise(kernel), precise(userspace), precise(kernel+userspace))
	}
	_, err := fmt.Fprintf(w, "%s\n%s reached after %s in userspace.\n", text, clean(st.Target), precise(userspace))
	return err
}

// renderBlame lists services, the slowest first.
func renderBlame(w io.Writer, st control.Startup) error {
	units := services(st)
	slices.SortStableFunc(units, func(a, b control.StartupUnit) int { return cmp.Compare(took(b), took(a)) })
	for _, u := range units {
		note := ""
		if u.Failed {
			note = " (failed)"
		}
		if _, err := fmt.Fprintf(w, "%8s %s%s\n", precise(took(u)), clean(u.Name), note); err != nil {
			return err
		}
	}
	return nil
}

func services(st control.Startup) []control.StartupUnit {
	return slices.DeleteFunc(slices.Clone(st.Units), func(u control.StartupUnit) bool { return u.Target })
}

// renderChain follows from a unit what it waited for last, and that in turn.
func renderChain(w io.Writer, st control.Startup, name string) error {
	byName := map[string]control.StartupUnit{}
	for _, u := range st.Units {
		byName[u.Name] = u
	}
	u, ok := byName[name]
	if !ok {
		return &control.Error{Code: control.CodeNoSuchUnit, Unit: name, Message: "cannot follow: it has not been started, or there is no such unit"}
	}
	fmt.Fprint(w, "The time when a unit was up is printed after the \"@\".\nThe time that its start took is printed after the \"+\".\n\n")
	seen := map[string]bool{}
	for depth := 0; ok && !seen[u.Name]; depth++ {
		seen[u.Name] = true
		indent := ""
		if depth > 0 {
			indent = strings.Repeat("  ", depth-1) + "└─"
		}
		if _, err := fmt.Fprintln(w, indent+chainLink(st, u)); err != nil {
			return err
		}
		u, ok = lastBefore(u, byName)
	}
	return nil
}

func chainLink(st control.Startup, u control.StartupUnit) string {
	text := clean(u.Name)
	switch {
	case u.ActiveUsec == 0 && u.EndedUsec == 0:
		return text + " (still starting)"
	case u.ActiveUsec == 0:
		text += " (failed)"
	}
	text += " @" + precise(after(st, max(u.ActiveUsec, u.ActivatingUsec)))
	if d := took(u); d > 0 && !u.Target {
		text += " +" + precise(d)
	}
	return text
}

// lastBefore is the unit that u waited for last: it was settled before u began.
// One that was started again since is out of the picture.
func lastBefore(u control.StartupUnit, byName map[string]control.StartupUnit) (last control.StartupUnit, ok bool) {
	for _, name := range u.After {
		a, known := byName[name]
		if !known || settled(a) == 0 || settled(a) > u.ActivatingUsec {
			continue
		}
		if !ok || settled(a) > settled(last) {
			last, ok = a, true
		}
	}
	return last, ok
}

func settled(u control.StartupUnit) int64 {
	if u.ActiveUsec != 0 {
		return u.ActiveUsec
	}
	return u.EndedUsec
}

// The measures of the picture, in pixels.
const (
	plotWidth  = 1000
	plotRow    = 18
	plotTop    = 60
	plotMargin = 20
)

// renderPlot draws a bar for every unit, from its start to when it was up, in
// the order of the starts.
func renderPlot(w io.Writer, st control.Startup) error {
	units := slices.DeleteFunc(slices.Clone(st.Units), func(u control.StartupUnit) bool { return u.ActivatingUsec < st.OriginUsec })
	slices.SortStableFunc(units, func(a, b control.StartupUnit) int { return cmp.Compare(a.ActivatingUsec, b.ActivatingUsec) })
	total := plotTotal(st, units)
	x := func(d time.Duration) float64 { return plotMargin + float64(d)/float64(total)*plotWidth }
	height := plotTop + plotRow*len(units) + plotMargin
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", plotWidth+plotMargin*2+260, height)
	fmt.Fprintln(&b, `<style>.axis{stroke:#ccc}.service{fill:#c66}.target{fill:#999}.failed{fill:#900}.reached{stroke:#393;stroke-width:2}</style>`)
	fmt.Fprintf(&b, `<text x="%d" y="20" font-weight="bold">%s</text>`+"\n", plotMargin, escaped(plotTitle(st)))
	step := tick(total)
	for d := time.Duration(0); d <= total; d += step {
		fmt.Fprintf(&b, `<line class="axis" x1="%.1f" y1="%d" x2="%[1].1f" y2="%[3]d"/><text x="%[1].1f" y="%[4]d">%[5]s</text>`+"\n",
			x(d), plotTop-10, height-plotMargin, plotTop-14, precise(d))
	}
	if st.TargetUsec != 0 {
		at := x(after(st, st.TargetUsec))
		fmt.Fprintf(&b, `<line class="reached" x1="%.1f" y1="%d" x2="%[1].1f" y2="%[3]d"/>`+"\n", at, plotTop-10, height-plotMargin)
	}
	for i, u := range units {
		y := plotTop + i*plotRow
		class, label := "service", clean(u.Name)
		switch {
		case u.ActiveUsec == 0:
			class = "failed"
		case u.Target:
			class = "target"
		}
		if d := took(u); d > 0 && !u.Target {
			label += " (" + precise(d) + ")"
		}
		begin := x(after(st, u.ActivatingUsec))
		width := max(1, float64(took(u))/float64(total)*plotWidth)
		fmt.Fprintf(&b, `<rect class="%s" x="%.1f" y="%d" width="%.1f" height="%d"/><text x="%.1f" y="%d">%s</text>`+"\n",
			class, begin, y, width, plotRow-4, begin+width+5, y+12, escaped(label))
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// plotTotal is the span of the picture: to the target, or without one to the
// last start that came to something.
func plotTotal(st control.Startup, units []control.StartupUnit) time.Duration {
	end := st.TargetUsec
	if end == 0 {
		for _, u := range units {
			end = max(end, settled(u))
		}
	}
	return max(time.Millisecond, after(st, end)*21/20)
}

func plotTitle(st control.Startup) string {
	var b strings.Builder
	if renderStartTime(&b, st) != nil {
		return st.Target + " is not reached"
	}
	text, _, _ := strings.Cut(b.String(), "\n")
	return text
}

// tick is a round step that gives about ten of them.
func tick(total time.Duration) time.Duration {
	unit := time.Duration(math.Pow(10, math.Floor(math.Log10(float64(total)/10))))
	for _, n := range []time.Duration{1, 2, 5} {
		if total/(n*unit) <= 12 {
			return n * unit
		}
	}
	return 10 * unit
}

// escaped is s as text of XML, which has no control characters. (The package
// encoding/xml would be a part of nsctl for this alone.)
func escaped(s string) string { return html.EscapeString(clean(s)) }
