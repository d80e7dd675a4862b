package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The marks between the parts of a report from a machine.
const (
	bootMemory = "== memory "
	bootMore   = "== more"
	bootEnd    = "== end"
)

var (
	handoffPattern = regexp.MustCompile(`(?m)^\[ *(\d+\.\d+)\] Run \S+ as init process$`)
	clockPattern   = regexp.MustCompile(`(?m)^\[ *(\d+\.\d+)\] first=([0-9a-f]{16})$`)
	namedPattern   = regexp.MustCompile(`(?m)^@([0-9a-f]{14})$`)
	ofPIDPattern   = regexp.MustCompile(`(?m)^/proc/(\d+)/[a-z_]+:(\w+):\s+(\S+)`)
)

// parseBoot reads the report of packaging/bench/boots/report.
func parseBoot(text string) (b boot, err error) {
	clock, rest, _ := strings.Cut(text, bootMemory)
	idle, later, found := strings.Cut(rest, bootMore)
	if !found {
		return b, fmt.Errorf("cannot read the machine's report: it ends early: %q", text)
	}
	handoff, err := handoffOf(clock)
	if err != nil {
		return b, err
	}
	services := named(idle)
	more := slices.DeleteFunc(named(later), func(ns int64) bool { return slices.Contains(services, ns) })
	if len(services) != bootServices || len(more) != bootServices {
		return b, fmt.Errorf("cannot read the machine's report: %d services ran and then %d more, want %d each", len(services), len(more), bootServices)
	}
	b.first, b.last = float64(services[0]-handoff), float64(services[len(services)-1]-handoff)
	b.more = float64(more[len(more)-1] - more[0])
	b.usedKiB = sumFields([]byte(idle), "MemTotal:") - sumFields([]byte(idle), "MemAvailable:")
	reporter, _, _ := strings.Cut(idle, "\n")
	b.supervision = supervisionKiB(idle, reporter)
	return b, nil
}

// handoffOf is CLOCK_MONOTONIC, in ns, when the kernel executed init. The
// kernel's log has it on another clock; a line that was written there with
// CLOCK_MONOTONIC in it tells how far the two are apart. The writer may have
// been interrupted in between: of many lines the one with the least gap counts.
func handoffOf(text string) (int64, error) {
	ran := handoffPattern.FindStringSubmatch(text)
	lines := clockPattern.FindAllStringSubmatch(text, -1)
	if ran == nil || len(lines) == 0 {
		return 0, fmt.Errorf("cannot tell when the kernel executed init: its log has %q", text)
	}
	var gaps []int64
	for _, m := range lines {
		ns, err := strconv.ParseInt(m[2], 16, 64)
		if err != nil {
			return 0, fmt.Errorf("cannot read the kernel's log: %w", err)
		}
		gaps = append(gaps, ns-logTime(m[1]))
	}
	return logTime(ran[1]) + slices.Max(gaps), nil
}

// logTime is a time of the kernel's log in ns.
func logTime(text string) int64 {
	seconds, _ := strconv.ParseFloat(text, 64) // the pattern lets nothing else through
	return int64(seconds * 1e9)
}

// named are the instants that services have named themselves after, in order.
func named(text string) (all []int64) {
	for _, m := range namedPattern.FindAllStringSubmatch(text, -1) {
		if ns, err := strconv.ParseInt(m[1], 16, 64); err == nil {
			all = append(all, ns)
		}
	}
	slices.Sort(all)
	return all
}

// supervisionKiB adds private memory and page tables of every process that is
// neither a service nor the reporter or its child. Kernel threads have none.
func supervisionKiB(text, reporter string) (sum int) {
	ofPID := map[string]map[string]string{}
	sums := map[string]int{}
	for _, m := range ofPIDPattern.FindAllStringSubmatch(text, -1) {
		pid, name, value := m[1], m[2], m[3]
		if ofPID[pid] == nil {
			ofPID[pid] = map[string]string{}
		}
		ofPID[pid][name] = value
		if strings.HasPrefix(name, "Private_") || name == "VmPTE" {
			kib, _ := strconv.Atoi(value)
			sums[pid] += kib
		}
	}
	for pid, p := range ofPID {
		if !strings.HasPrefix(p["Name"], "@") && pid != reporter && p["PPid"] != reporter {
			sum += sums[pid]
		}
	}
	return sum
}
