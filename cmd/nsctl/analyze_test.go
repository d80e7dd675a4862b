package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nsinit/nsinit/supervisor/control"
)

const origin = 1_700_000_000_000_000

// testStartup is a boot: db takes 1.5 s, web waits for it, bad fails, slow came
// after everything, and log was restarted an hour later.
func testStartup() control.Startup {
	at := func(ms int64) int64 { return origin + ms*1000 }
	return control.Startup{OriginUsec: origin, KernelNsec: int64(1200 * time.Millisecond), Target: "default", TargetUsec: at(2000), Units: []control.StartupUnit{
		{Name: "bad", ActivatingUsec: at(20), EndedUsec: at(70), Failed: true, After: []string{"basic"}},
		{Name: "basic", Target: true, BuiltIn: true, ActivatingUsec: at(10), ActiveUsec: at(10), After: []string{"sysinit"}},
		{Name: "db", ActivatingUsec: at(20), ActiveUsec: at(1520), After: []string{"basic", "nope"}},
		{Name: "default", Target: true, ActivatingUsec: at(2000), ActiveUsec: at(2000), After: []string{"basic", "db", "web", "log"}},
		{Name: "log", ActivatingUsec: at(3600_000), ActiveUsec: at(3600_005), After: []string{"basic"}},
		{Name: "web<&", ActivatingUsec: at(1521), ActiveUsec: 0, After: []string{"db"}},
		{Name: "web", ActivatingUsec: at(1521), ActiveUsec: at(1999), After: []string{"bad", "basic", "db", "log"}},
	}}
}

func rendered(t *testing.T, render func(io.Writer, control.Startup) error, st control.Startup) string {
	t.Helper()
	var b strings.Builder
	if err := render(&b, st); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestAnalyzeTime(t *testing.T) {
	st := testStartup()
	want := "Startup finished in 1.2s (kernel) + 2s (userspace) = 3.2s.\ndefault reached after 2s in userspace.\n"
	if diff := cmp.Diff(want, rendered(t, renderStartTime, st)); diff != "" {
		t.Error(diff)
	}
	st.KernelNsec = 0
	if got := rendered(t, renderStartTime, st); !strings.HasPrefix(got, "Startup finished in 2s.\n") {
		t.Errorf("an ordinary host: %q", got)
	}
	st.TargetUsec = 0
	if err := renderStartTime(io.Discard, st); err == nil || !strings.Contains(err.Error(), "default is not reached") {
		t.Errorf("not reached: %v", err)
	}
}

func TestAnalyzeBlame(t *testing.T) {
	want := []string{"1.5s db", "478ms web", "50ms bad (failed)", "5ms log", "0us web<&"}
	var got []string
	for line := range strings.Lines(rendered(t, renderBlame, testStartup())) {
		got = append(got, strings.TrimSpace(line))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAnalyzeChain(t *testing.T) {
	chain := func(unit string) string {
		text := rendered(t, func(w io.Writer, st control.Startup) error { return renderChain(w, st, unit) }, testStartup())
		_, text, _ = strings.Cut(text, "\n\n")
		return text
	}
	if diff := cmp.Diff("default @2s\n└─web @1.999s +478ms\n  └─db @1.52s +1.5s\n    └─basic @10ms\n", chain("default")); diff != "" {
		t.Error(diff)
	}
	if got := chain("bad"); got != "bad (failed) @20ms +50ms\n└─basic @10ms\n" {
		t.Errorf("got %q", got)
	}
	if got := chain("web<&"); !strings.HasPrefix(got, "web<& (still starting)\n└─db") {
		t.Errorf("got %q", got)
	}
	// Two that each claim to come after the other end it.
	st := control.Startup{OriginUsec: 1, Units: []control.StartupUnit{
		{Name: "a", ActivatingUsec: 5, ActiveUsec: 5, After: []string{"b"}}, {Name: "b", ActivatingUsec: 5, ActiveUsec: 5, After: []string{"a"}}}}
	if err := renderChain(io.Discard, st, "a"); err != nil {
		t.Error(err)
	}
	var refused *control.Error
	if err := renderChain(io.Discard, st, "c"); !errors.As(err, &refused) || refused.Code != control.CodeNoSuchUnit {
		t.Errorf("got %v", err)
	}
}

func TestAnalyzePlot(t *testing.T) {
	text := rendered(t, renderPlot, testStartup())
	count := map[string]int{}
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("it is no XML: %v\n%s", err, text)
		}
		if e, ok := token.(xml.StartElement); ok {
			count[e.Name.Local]++
		}
	}
	if count["svg"] != 1 || count["rect"] != len(testStartup().Units) || count["line"] < 8 {
		t.Errorf("elements: %v", count)
	}
	for _, want := range []string{"db (1.5s)", "web&lt;&amp;", "1.2s (kernel)"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	empty := rendered(t, renderPlot, control.Startup{OriginUsec: origin, Target: "default"})
	if !strings.Contains(empty, "default is not reached") {
		t.Errorf("without anything: %s", empty)
	}
}

func TestTick(t *testing.T) {
	for total, want := range map[time.Duration]time.Duration{
		2100 * time.Millisecond: 200 * time.Millisecond, time.Second: 100 * time.Millisecond, 13 * time.Millisecond: 2 * time.Millisecond,
		90 * time.Second: 10 * time.Second,
	} {
		if got := tick(total); got != want {
			t.Errorf("%v: %v, want %v", total, got, want)
		}
	}
}
