package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// bootText is a report in which init was executed at 2 s of the kernel's log,
// which lags 0.5 s behind, the services ran from 3 s on, 10 ms apart, and twenty
// more from 20 s on, 1 ms apart.
func bootText(services int) string {
	var b strings.Builder
	b.WriteString("[    2.000000] Run /init as init process\n")
	for _, late := range []int64{9e6, 0, 3e6} { // after the clock was read, until the line was in the log
		fmt.Fprintf(&b, "[   %9.6f] first=%016x\n", 10+float64(late)/1e9, int64(10.5e9))
	}
	b.WriteString("== memory 50\n")
	for i := range services {
		fmt.Fprintf(&b, "@%014x\n", int64(3e9)+int64(i)*10e6)
	}
	b.WriteString("MemTotal:  1000 kB\nMemFree:  1 kB\nMemAvailable:  900 kB\n")
	for _, p := range []struct {
		pid, parent int
		name        string
	}{{1, 0, "init"}, {2, 0, "kthreadd"}, {40, 1, "@000000b2d05e00"}, {50, 1, "report"}, {51, 50, "grep"}} {
		fmt.Fprintf(&b, "/proc/%d/status:Name:\t%s\n/proc/%d/status:PPid:\t%d\n", p.pid, p.name, p.pid, p.parent)
		if p.pid != 2 {
			fmt.Fprintf(&b, "/proc/%d/status:VmPTE:\t  4 kB\n/proc/%d/smaps_rollup:Private_Clean:  2 kB\n/proc/%d/smaps_rollup:Private_Dirty:  1 kB\n", p.pid, p.pid, p.pid)
		}
	}
	b.WriteString("== more\n")
	for i := range 20 {
		fmt.Fprintf(&b, "@%014x\n@%014x\n", int64(3e9)+int64(i)*10e6, int64(20e9)+int64(i)*1e6)
	}
	return b.String() + bootEnd + "\n"
}

func TestParseBoot(t *testing.T) {
	b, err := parseBoot(bootText(bootServices))
	if want := (boot{first: 0.5e9, last: 0.69e9, more: 19e6, usedKiB: 100, supervision: 7}); err != nil || b != want {
		t.Errorf("parseBoot() = %+v, %v, want %+v", b, err, want)
	}
	for name, text := range map[string]string{
		"no handoff": strings.Replace(bootText(bootServices), "Run /init", "Ran /init", 1), "one service less": bootText(bootServices - 1), "cut off": bootText(bootServices)[:200], "nothing": "",
	} {
		if b, err := parseBoot(text); err == nil {
			t.Errorf("%s: parseBoot() = %+v", name, b)
		}
	}
}

// TestBootReport: nsinit may be later than the fastest by its launches.
func TestBootReport(t *testing.T) {
	for last, verdict := range map[float64]string{119e6: "kept", 121e6: "**missed**"} {
		r := newReport(options{bootRounds: 1, accel: "tcg"})
		r.boots = []*bootSet{
			{name: bootInits[0].name, boots: []boot{{last: 300e6}}}, {name: bootInits[1].name, boots: []boot{{last: 100e6, more: 5e6}}, imageKiB: 7},
			{name: bootInits[2].name}, {name: nsinitName, boots: []boot{{last: last, more: 19e6}}},
		}
		text := r.markdownText(time.Unix(0, 0))
		for _, want := range []string{
			fmt.Sprintf("| at most 120 ms, its 100 ms and 20 launches' 20 ms | %.0f ms | %s |", last/1e6, verdict),
			"| " + bootInits[1].name + " | 0 | 100 | 100 | 100 | 5 | 7 | 0 | 0 |\n", "emulated in software",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("the report lacks %q:\n%s", want, text)
			}
		}
		if strings.Contains(text, bootInits[2].name) {
			t.Errorf("%s has no boot and is in the report", bootInits[2].name)
		}
	}
}
