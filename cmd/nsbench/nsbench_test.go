package main

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	for _, tc := range []struct {
		samples []float64
		q, want float64
	}{
		{nil, 0.5, 0},
		{[]float64{7}, 0.9, 7},
		{[]float64{3, 1, 2}, 0.5, 2},
		{[]float64{4, 1, 3, 2}, 0.5, 2.5},
		{[]float64{10, 20, 30}, 1, 30},
		{[]float64{10, 20, 30}, 0.25, 15},
	} {
		if got := quantile(tc.samples, tc.q); got != tc.want {
			t.Errorf("quantile(%v, %v) = %v, want %v", tc.samples, tc.q, got, tc.want)
		}
	}
}

func TestStamps(t *testing.T) {
	text := "2026 web stdout: first=000000000000000a\nfirst=00ff\nfirst=0000000100000000\n"
	got := stamps([]byte(text))
	if len(got) != 2 || got[0] != 10 || got[1] != 1<<32 {
		t.Errorf("stamps = %v, want [10 %d]", got, int64(1)<<32)
	}
}

func TestParseStat(t *testing.T) {
	got, err := parseStat("42 (a) S (b) R 7 42 42 0")
	if want := (process{pid: 42, parent: 7, name: "a) S (b", state: 'R'}); err != nil || got != want {
		t.Errorf("parseStat = %+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"", "42", "42 (a)", "x (a) S 1", "42 (a) S x"} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("parseStat(%q) is no error", bad)
		}
	}
}

func TestSumFields(t *testing.T) {
	text := "Rss: 10 kB\nPrivate_Clean:  4 kB\nPrivate_Dirty: 16 kB\n"
	if got := sumFields([]byte(text), "Private_"); got != 20 {
		t.Errorf("sumFields = %d, want 20", got)
	}
}

// TestReport gives each contender one sample and reads the report as a reader
// would: every row is there, ratios are against the floor, and a contender that
// could not run is named with the reason.
func TestReport(t *testing.T) {
	r := newReport(options{runs: 1, services: 2})
	r.starts = []startSet{{title: "x", static: true, samples: map[string][]float64{plainName: {1e6}, floorName: {2e6}, launchName: {4e6}, crunName: {16e6}}}}
	r.crowd(s6Name).bringUp = []float64{1e9}
	r.crowd(runitName).bringUp = []float64{2e9}
	r.crowd(s6Name).memory = memoryResult{each: footprint{10, 4, 1}, all: footprint{20, 8, 2}, n: 2}
	r.missing("runc", errors.New("no such file"))
	r.missing("runc", errors.New("later reason"))

	text := r.markdownText(time.Unix(0, 0))
	for _, want := range []string{
		"| " + plainName + " | 1.00 | 1.00 | 1.00 | 0.50 | 0.25 |",
		"| crun run, same namespaces and mounts | 16.00 | 16.00 | 16.00 | 8.00 | 4.00 |",
		"| launch / the kernel's floor, static program | at most 1.5 | 2.00 | **missed** |",
		"| crun / launch, static program | at least 4.0 | 4.00 | kept |",
		"| " + runitName + " | 2.00 | 2.00 |",
		"| " + s6Name + " | 10 + 4 | 1 | - | 14.0 | - | - |",
		"- runc: no such file\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
		t.Errorf("the report divides by nothing:\n%s", text)
	}
}

func TestPlotIsXML(t *testing.T) {
	text := plot([]table{{title: "a < b & c", unit: "ms", bars: []bar{{"x", 0}, {"nsinit", 2}}}})
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
	}
	if !strings.Contains(text, "a &lt; b &amp; c (ms)") {
		t.Errorf("no title in\n%s", text)
	}
}

func TestRoundStep(t *testing.T) {
	for v, want := range map[float64]float64{0: 0, 0.07: 0.1, 0.1: 0.1, 1: 1, 1.1: 2, 3: 5, 6: 10, 200: 200, 201: 500} {
		if got := roundStep(v); math.Abs(got-want) > 1e-9 {
			t.Errorf("roundStep(%v) = %v, want %v", v, got, want)
		}
	}
}
