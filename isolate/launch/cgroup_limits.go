package launch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Unlimited is the value of a limit that says "max".
const Unlimited = ^uint64(0)

// Limits are what a generation may use. nil, 0 and "" are unset and leave the
// kernel's default, which is no limit.
type Limits struct {
	MemoryMin, MemoryLow, MemoryHigh, MemoryMax, MemorySwapMax *uint64 // bytes

	TasksMax        *uint64
	TasksMaxDefault bool // TasksMax was not asked for: skip it where there is no pids controller

	CPUWeight     uint64 // 1..10000
	CPUIdle       bool   // runs only when nothing else does; CPUWeight is not used then
	CPUQuotaUsec  uint64 // time of processors in each period; Unlimited: none
	CPUPeriodUsec uint64 // 1000..1000000; 0: 100000
	AllowedCPUs   []int

	IOWeight uint64 // 1..10000
	IOMax    []IOMax

	OOMGroup bool // the kernel kills all of the payload or none of it
	Delegate Delegate

	// BestEffort makes a warning of what cannot be set.
	BestEffort bool
}

// IOMax limits a block device: "8:0", a device node, or a path on a file system
// of that device. nil is unset.
type IOMax struct {
	Device                                 string
	ReadBPS, WriteBPS, ReadIOPS, WriteIOPS *uint64
}

// Delegate gives the payload's cgroup to the service, to make its own in it.
type Delegate struct {
	Enabled     bool
	UID, GID    int
	Controllers []string // nil: all that there are
}

// LimitError is a limit that cannot be set.
type LimitError struct {
	Key        string // "memory_max", of [resources]
	Controller string // set: it is missing
	Where      string // the cgroup that lacks it, or the directory, relative to the generation's, that refused
	Err        error  // nil with Controller
}

// Error says which key, and what to do.
func (e *LimitError) Error() string {
	if e.Controller != "" {
		return fmt.Sprintf("cannot limit: %s needs the %s controller, which is not in the v2 hierarchy at %s; "+
			"leave it out, or set best_effort = true in [resources]", e.Key, e.Controller, e.Where)
	}
	return fmt.Sprintf("cannot limit: %s: %v", e.Key, e.Err)
}

// Unwrap gives the cause.
func (e *LimitError) Unwrap() error { return e.Err }

// limit sets l in the generation's directories.
func (g *Generation) limit(l Limits, fresh bool) error {
	if err := g.enable(l); err != nil {
		return err
	}
	if err := g.limitSlice(); err != nil {
		return err
	}
	if !fresh {
		g.resetUnit()
	}
	for _, s := range l.settings() {
		if err := g.set(s); err != nil && !(s.implicit && err.Controller != "") {
			if err := g.missed(l, err); err != nil {
				return err
			}
		}
	}
	return g.protectFor(l)
}

// protectFor has the parents follow, where there is anything to protect.
func (g *Generation) protectFor(l Limits) error {
	g.cgroups.mu.Lock()
	defer g.cgroups.mu.Unlock()
	if l.MemoryMin == nil && l.MemoryLow == nil && !g.cgroups.protects() {
		return nil
	}
	if err := g.protect(); err != nil {
		return g.missed(l, &LimitError{Key: "memory_min", Where: g.cgroups.abs(g.cgroups.root), Err: err})
	}
	return nil
}

// missed makes a warning of err where the unit does with what there is.
func (g *Generation) missed(l Limits, err error) error {
	if l.BestEffort {
		g.Warnings = append(g.Warnings, err.Error())
		return nil
	}
	return fmt.Errorf("%s: %w", g.Unit, err)
}

// enable turns controllers on for the slice's, unit's and generation's
// children. cpuset is left out where it is not used.
func (g *Generation) enable(l Limits) error {
	want := g.cgroups.enabled
	if len(l.AllowedCPUs) == 0 && !l.Delegate.Enabled {
		want = slices.DeleteFunc(slices.Clone(want), func(c string) bool { return c == "cpuset" })
	}
	if len(want) == 0 {
		return nil
	}
	all := "+" + strings.Join(want, " +")
	for _, d := range append(g.parents(), g.cgroups.abs(g.path)) {
		if writeFile(d, "cgroup.subtree_control", all) == nil {
			continue
		}
		if _, err := enable(d, want); err != nil { // something is missing or refuses: one by one
			return fmt.Errorf("%s: %w", g.Unit, err)
		}
	}
	return nil
}

// set writes one setting to every directory that it is for.
func (g *Generation) set(s setting) *LimitError { return g.cgroups.set(g.cgroups.abs(g.path), s) }

// set writes one setting to its parts of dir.
func (c *Cgroups) set(dir string, s setting) *LimitError {
	if !slices.Contains(c.enabled, s.controller) {
		return &LimitError{Key: s.key, Controller: s.controller, Where: c.abs(c.root)}
	}
	if s.err != nil {
		return &LimitError{Key: s.key, Err: s.err}
	}
	for _, part := range s.parts {
		if err := apply(filepath.Join(dir, part), s); err != nil {
			return &LimitError{Key: s.key, Where: part, Err: err}
		}
	}
	return nil
}

// apply writes a setting to one directory. The BFQ scheduler has a file of its
// own for io.weight where the kernel lacks the iocost controller.
func apply(dir string, s setting) error {
	err := writeFile(dir, s.file, s.value)
	if err != nil && s.file == "io.weight" && !exists(dir+"/io.weight") && exists(dir+"/io.bfq.weight") {
		return writeFile(dir, "io.bfq.weight", strconv.FormatUint(bfqWeight(s.weight), 10))
	}
	return explain(err)
}

// explain tells the case that the kernel has the controller but not the file.
func explain(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)) && !exists(pe.Path) {
		return fmt.Errorf("this kernel has no %s", pe.Path)
	}
	return err
}

// resetUnit takes back what an earlier generation, which something was left
// of, has set on the unit's directory. Files that are not there need none.
func (g *Generation) resetUnit() {
	dir := filepath.Dir(g.cgroups.abs(g.path))
	for _, s := range []setting{{file: "cpu.idle", value: "0"}, {file: "cpu.weight", value: "100"}, // refused while idle
		{file: "io.weight", value: "default 100"}, {file: "io.bfq.weight", value: "100"},
		{file: "memory.min", value: "0"}, {file: "memory.low", value: "0"}} {
		if exists(dir + "/" + s.file) {
			writeFile(dir, s.file, s.value)
		}
	}
}

// delegate hands the payload's cgroup over: those files whose owner may then
// manage what is below it, but not its own limits (/sys/kernel/cgroup/delegate).
func (g *Generation) delegate(l Limits) error {
	d := l.Delegate
	if !d.Enabled {
		return nil
	}
	for _, c := range d.Controllers {
		if !slices.Contains(g.cgroups.enabled, c) {
			err := &LimitError{Key: "delegate", Controller: c, Where: g.cgroups.abs(g.cgroups.root)}
			if err := g.missed(l, err); err != nil {
				return err
			}
		}
	}
	files := []string{"", "/cgroup.procs", "/cgroup.threads", "/cgroup.subtree_control"}
	if b, err := readFile("/sys/kernel/cgroup/delegate"); err == nil {
		files = []string{""}
		for f := range strings.FieldsSeq(string(b)) {
			files = append(files, "/"+f)
		}
	}
	for _, f := range files {
		err := os.Chown(g.leaf("main")+f, d.UID, d.GID)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s: cannot delegate the cgroup: %w", g.Unit, err)
		}
	}
	return nil
}
