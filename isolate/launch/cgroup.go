package launch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// controllers are those that limits and statistics of services use.
var controllers = [...]string{"cpu", "cpuset", "io", "memory", "pids"}

// CgroupOptions say whose the cgroup tree above the instance is.
type CgroupOptions struct {
	// OwnMachine allows to enable controllers in the tree's very root, which
	// is nobody else's where nsinit is the machine's PID 1.
	OwnMachine bool
	// Parent is the cgroup, relative to the mount, that was delegated to this
	// process and that the instance is made in ("system.slice/nsinit.service"
	// of a systemd unit with Delegate=). "" is the tree's root.
	Parent string
}

// Cgroups is an instance's part of the cgroup v2 tree (cgroups(7)). Safe for
// concurrent use.
type Cgroups struct {
	mount   string   // "/sys/fs/cgroup"
	root    string   // relative to it: "nsinit"
	enabled []string // for the children of root, ascending

	mu     sync.Mutex // held where unit and slice directories come and go
	slices map[string]Limits
}

// OpenCgroups makes the instance's cgroup <mount>/[<parent>/]<instance>, or
// takes over the one that is there, and enables for its children what
// controllers there are. A host without cgroup v2 is an error that says so.
func OpenCgroups(instance string, opt CgroupOptions) (*Cgroups, error) {
	mount, _, err := CgroupMount()
	if err != nil {
		return nil, err
	}
	return openCgroups(mount, instance, opt)
}

// openCgroups is OpenCgroups below any directory.
func openCgroups(mount, instance string, opt CgroupOptions) (*Cgroups, error) {
	name, err := dirName(instance)
	if err != nil {
		return nil, fmt.Errorf("cannot make the cgroup of instance %q: %w", instance, err)
	}
	c := &Cgroups{mount: mount, root: filepath.Join(opt.Parent, name)}
	parent := filepath.Join(mount, opt.Parent)
	if opt.OwnMachine || opt.Parent != "" {
		if err := enableFromParent(parent, filepath.Join(parent, name+"-manager")); err != nil {
			return nil, err
		}
	}
	if err := os.Mkdir(c.abs(c.root), 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("cannot make the instance's cgroup: %w%s", err, mkdirHint(err))
	}
	if t, err := readTrimmed(filepath.Join(c.abs(c.root), "cgroup.type")); err == nil && t != "domain" {
		return nil, fmt.Errorf("cannot use the cgroup %s: it is of type %q, and services need a domain", c.abs(c.root), t)
	}
	if c.enabled, err = enable(c.abs(c.root), controllers[:]); err != nil {
		return nil, err
	}
	return c, nil
}

func mkdirHint(err error) string {
	switch {
	case errors.Is(err, unix.EROFS):
		return " (the cgroup file system is mounted read-only: remount it read-write, or run with a writable cgroup namespace)"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return " (nsinit needs root, or a delegated cgroup)"
	case errors.Is(err, unix.EAGAIN):
		return " (cgroup.max.descendants or cgroup.max.depth of a parent is reached)"
	case errors.Is(err, os.ErrNotExist):
		return " (its parent does not exist)"
	}
	return ""
}

// enableFromParent enables controllers in a cgroup that is ours. Processes in
// it forbid that (the "no internal processes" rule of cgroups(7)): where this
// process is such a one, it moves to the leaf aside first.
func enableFromParent(parent, aside string) error {
	_, err := enable(parent, controllers[:])
	if !errors.Is(err, unix.EBUSY) {
		return err
	}
	if err := os.Mkdir(aside, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("cannot make the manager's own cgroup: %w", err)
	}
	if err := writeFile(aside, "cgroup.procs", strconv.Itoa(os.Getpid())); err != nil {
		return fmt.Errorf("cannot move the manager to a cgroup of its own: %w", err)
	}
	_, err = enable(parent, controllers[:])
	return err
}

// enable turns on those of want that dir has to give, for dir's children, and
// returns what is on afterwards. A controller that refuses (cpu, while there
// are real-time processes) is left out; only EBUSY, which all of them share,
// is an error.
func enable(dir string, want []string) ([]string, error) {
	have, err := readFields(dir, "cgroup.controllers")
	if err != nil {
		return nil, fmt.Errorf("cannot tell the controllers of a cgroup: %w", err)
	}
	on, err := readFields(dir, "cgroup.subtree_control")
	if err != nil {
		return nil, fmt.Errorf("cannot tell the controllers of a cgroup's children: %w", err)
	}
	var missing []string
	for _, w := range want {
		if slices.Contains(have, w) && !slices.Contains(on, w) {
			missing = append(missing, "+"+w)
		}
	}
	if len(missing) > 0 && writeFile(dir, "cgroup.subtree_control", strings.Join(missing, " ")) != nil {
		for _, w := range missing {
			if err := writeFile(dir, "cgroup.subtree_control", w); errors.Is(err, unix.EBUSY) {
				return nil, fmt.Errorf("cannot enable controllers (there are processes in the cgroup itself): %w", err)
			}
		}
	}
	on, err = readFields(dir, "cgroup.subtree_control")
	slices.Sort(on)
	return on, err
}

// Mount returns where the tree is mounted, "/sys/fs/cgroup" mostly.
func (c *Cgroups) Mount() string { return c.mount }

// Root returns the instance's cgroup, relative to Mount: "nsinit".
func (c *Cgroups) Root() string { return c.root }

// Controllers returns the controllers that services can be limited with,
// ascending.
func (c *Cgroups) Controllers() []string { return slices.Clone(c.enabled) }

// RemoveRoot removes the instance's cgroup with all that is empty in it.
// errors.Is(err, unix.EBUSY) says that processes are left in it.
func (c *Cgroups) RemoveRoot() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return removeTree(c.abs(c.root))
}

// Find lists the generations that exist, by slice, unit and number, whoever
// made them: what a new manager adopts or removes.
func (c *Cgroups) Find() ([]Found, error) {
	names, err := subdirs(c.abs(c.root))
	if err != nil {
		return nil, fmt.Errorf("cannot look for generations: %w", err)
	}
	var found []Found
	for _, name := range names {
		if !isSlice(name) {
			found = c.findUnit(found, "", name)
			continue
		}
		units, err := subdirs(filepath.Join(c.abs(c.root), name))
		if err != nil {
			continue // removed meanwhile
		}
		for _, u := range units {
			found = c.findUnit(found, name, u)
		}
	}
	return found, nil
}

// Found is a generation that exists.
type Found struct {
	Unit, Slice string
	Number      uint64
	InitProcs   []int // the reaper; empty: it is gone
	Populated   bool  // the payload has processes
}

func (c *Cgroups) findUnit(found []Found, slice, unit string) []Found {
	dir := filepath.Join(c.abs(c.root), slice, unit)
	names, err := subdirs(dir)
	if err != nil {
		return found
	}
	for _, name := range names {
		n, err := strconv.ParseUint(name, 10, 64)
		if err != nil {
			continue
		}
		f := Found{Unit: fromDirName(unit), Slice: fromSliceName(slice), Number: n}
		f.InitProcs, _ = procsBelow(filepath.Join(dir, name, "init"))
		f.Populated, _ = populated(filepath.Join(dir, name, "main"))
		found = append(found, f)
	}
	return found
}

func (c *Cgroups) abs(rel string) string { return filepath.Join(c.mount, rel) }
