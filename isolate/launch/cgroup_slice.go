package launch

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
)

// SetSlices says which limits the slices have that generations are made in, by
// name, and brings those that exist in line; one that is not named has none. What
// cannot be set there is an error; whoever starts in it later gets it too.
// MemoryMin and MemoryLow are not a slice's: it has what its units ask for.
func (c *Cgroups) SetSlices(limits map[string]Limits) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slices = limits
	names, err := subdirs(c.abs(c.root))
	for _, name := range names {
		if isSlice(name) {
			_, e := c.limitSlice(fromSliceName(name), filepath.Join(c.abs(c.root), name))
			err = errors.Join(err, e)
		}
	}
	return err
}

// limitSlice sets the limits of the slice that the generation is in, whatever
// they were.
func (g *Generation) limitSlice() error {
	parents := g.parents()
	if len(parents) == 1 {
		return nil
	}
	g.cgroups.mu.Lock()
	defer g.cgroups.mu.Unlock()
	warnings, err := g.cgroups.limitSlice(fromSliceName(filepath.Base(parents[0])), parents[0])
	g.Warnings = append(g.Warnings, warnings...)
	return err
}

// limitSlice sets what the slice has in its directory, and takes back what it
// has no more. mu is held.
func (c *Cgroups) limitSlice(name, dir string) (warnings []string, err error) {
	l, limited := c.slices[name]
	list := l.settings()
	takeBack(dir, list)
	if !limited {
		return nil, nil
	}
	for _, s := range list {
		s.parts = []string{"."}
		failed := c.set(dir, s)
		switch {
		case failed == nil:
		case l.BestEffort:
			warnings = append(warnings, fmt.Sprintf("%s%s: %v", name, sliceSuffix, failed))
		default:
			err = errors.Join(err, fmt.Errorf("%s%s: %w", name, sliceSuffix, failed))
		}
	}
	return warnings, err
}

// takeBack writes the kernel's defaults of what is not in list. io.max has no
// file of its own for each device, and keeps what it has until the slice is
// made anew.
func takeBack(dir string, list []setting) {
	all, _ := readTrimmed(filepath.Join(filepath.Dir(dir), "cpuset.cpus.effective"))                // none is refused while somebody is in it
	for _, d := range []setting{{file: "cpu.idle", value: "0"}, {file: "cpu.weight", value: "100"}, // refused while idle
		{file: "cpu.max", value: "max 100000"}, {file: "cpuset.cpus", value: all},
		{file: "memory.high", value: "max"}, {file: "memory.max", value: "max"}, {file: "memory.swap.max", value: "max"},
		{file: "pids.max", value: "max"}, {file: "io.weight", value: "default 100"}, {file: "io.bfq.weight", value: "100"}} {
		wanted := slices.ContainsFunc(list, func(s setting) bool {
			return s.file == d.file || s.file == "io.weight" && d.file == "io.bfq.weight" || s.file == "cpu.idle" && d.file == "cpu.weight"
		})
		if !wanted && exists(dir+"/"+d.file) {
			writeFile(dir, d.file, d.value)
		}
	}
}

// SlicePath returns the cgroup of a slice relative to Mount, whether it is there
// or not.
func (c *Cgroups) SlicePath(name string) string {
	dir, _ := sliceName(name)
	return filepath.Join(c.root, dir)
}

// SliceStat reads what all in a slice use, their reapers included. A slice that
// is not there uses nothing.
func (c *Cgroups) SliceStat(name string) (Stat, error) {
	s, err := statOf(c.abs(c.SlicePath(name)))
	if err != nil {
		return s, fmt.Errorf("%s%s: %w", name, sliceSuffix, err)
	}
	return s, nil
}
