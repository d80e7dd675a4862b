package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// process is what /proc/PID/stat says of one process; see proc(5).
type process struct {
	pid, parent int
	name        string
	state       byte
}

// monotonic is CLOCK_MONOTONIC in nanoseconds, the clock that the probe reads.
func monotonic() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(err) // it has no way to fail
	}
	return now.Nano()
}

// parseStat reads a line of /proc/PID/stat. The name stands in parentheses and
// may itself contain any of them.
func parseStat(stat string) (process, error) {
	open, end := strings.IndexByte(stat, '('), strings.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return process{}, fmt.Errorf("cannot parse stat %q", stat)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(stat[:open]))
	rest := strings.Fields(stat[end+1:])
	if err != nil || len(rest) < 2 {
		return process{}, fmt.Errorf("cannot parse stat %q", stat)
	}
	parent, err := strconv.Atoi(rest[1])
	return process{pid: pid, parent: parent, name: stat[open+1 : end], state: rest[0][0]}, err
}

// descendants lists the processes below root, root itself not among them.
func descendants(root int) []process {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	children := map[int][]process{}
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		if p, err := parseStat(string(data)); err == nil {
			children[p.parent] = append(children[p.parent], p)
		}
	}
	var all []process
	queue := []int{root}
	for len(queue) > 0 {
		below := children[queue[0]]
		queue = queue[1:]
		for _, p := range below {
			all = append(all, p)
			queue = append(queue, p.pid)
		}
	}
	return all
}

// exe is the executable of a process, or "" when it has ended.
func exe(pid int) string {
	path, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return path
}

// footprint is what one process costs.
type footprint struct {
	privateKiB, tablesKiB, tasks int
}

func (f footprint) plus(g footprint) footprint {
	return footprint{f.privateKiB + g.privateKiB, f.tablesKiB + g.tablesKiB, f.tasks + g.tasks}
}

func (f footprint) totalKiB() int { return f.privateKiB + f.tablesKiB }

// footprintOf reads private memory (smaps_rollup, Private_*: pages that no other
// process maps), page tables (VmPTE) and tasks of a process.
func footprintOf(pid int) (footprint, error) {
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return footprint{}, err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return footprint{}, err
	}
	return footprint{
		privateKiB: sumFields(rollup, "Private_"),
		tablesKiB:  sumFields(status, "VmPTE:"),
		tasks:      sumFields(status, "Threads:"),
	}, nil
}

// residentKiB is VmRSS of a process.
func residentKiB(pid int) (int, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return sumFields(status, "VmRSS:"), err
}

// sumFields adds the numbers of all lines that begin with prefix.
func sumFields(text []byte, prefix string) int {
	sum := 0
	for line := range bytes.Lines(text) {
		words := strings.Fields(string(line))
		if len(words) >= 2 && strings.HasPrefix(words[0], prefix) {
			n, _ := strconv.Atoi(words[1])
			sum += n
		}
	}
	return sum
}

// cpuTime is the time on a CPU of every task of a process, in nanoseconds, from
// schedstat: /proc/PID/stat counts in ticks of 10 ms, too coarse for idleness.
func cpuTime(pid int) int64 {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	var sum int64
	for _, path := range tasks {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		first, _, _ := strings.Cut(string(data), " ")
		ns, _ := strconv.ParseInt(first, 10, 64)
		sum += ns
	}
	return sum
}
