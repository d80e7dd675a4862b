// Package supervisor is the manager: it reads the units, drives their state
// machines, starts and ends generations, keeps the logs and answers nsctl.
//
// One goroutine, the poller's, owns all of it: what happens elsewhere (a launch,
// a request, a readable descriptor) is posted to it. The manager is crash-only:
// whatever it needs to go on stands in the cgroup tree, in the record of every
// reaper, in the descriptors that reapers keep, and in one small state file per
// unit; starting is adopting what is there.
package supervisor

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/nsinit/nsinit/supervisor/tty"
	"github.com/nsinit/nsinit/unit"
)

// Config names an instance of the manager and its places.
type Config struct {
	Instance   string   // names the cgroup and the default places
	UnitPath   []string // directories of unit files, the first wins
	ConfigDir  string   // where enable and disable write, and nsinit.toml is
	RuntimeDir string   // on a tmpfs: sockets, records, state
	LogDir     string   // one directory per unit
	Target     string   // what the first start aims at

	// CgroupParent is the cgroup, relative to the mount, in which the instance's
	// is made, "nsinit.slice" under systemd; "" is the tree's root.
	CgroupParent string

	// OwnMachine says that nsinit is process 1 here, of a machine or a container:
	// the root of the cgroup tree is its own, and nobody else prepares the rest.
	OwnMachine bool
	// Boot has the first manager after a boot prepare the machine (package boot).
	// A container's image is prepared by who makes it.
	Boot bool
	// StopOnly is the manager that process 1 starts at the end where none runs: it
	// takes over what is there, starts nothing, stops all of it, and ends.
	StopOnly bool
	// KernelTook is how long the kernel ran before process 1 did, 0 if unknown.
	KernelTook time.Duration
	// Watchdog is the limit of the hardware watchdog, instead of nsinit.toml's;
	// 0 is that.
	Watchdog time.Duration

	// Console is the terminal, file or pipe that shows what happens between boot
	// and target, and at the end; "" is none. Quiet keeps what went wrong.
	Console string
	Quiet   bool

	Utmp tty.UtmpFiles // where logins are entered

	Version string
	Lax     bool // accept unit files that others than root can write
	Logger  zerolog.Logger
}

// DefaultTarget is what a first start aims at, unless it is told otherwise.
const DefaultTarget = "default"

// DefaultConfig gives the places of an instance (hier(7)).
func DefaultConfig(instance string) Config {
	return Config{
		Instance:   instance,
		UnitPath:   unit.SearchPath(instance),
		ConfigDir:  filepath.Join("/etc", instance),
		RuntimeDir: filepath.Join("/run", instance),
		LogDir:     filepath.Join("/var/log", instance),
		Target:     DefaultTarget,
		Utmp:       tty.MachineUtmp(),
		Logger:     zerolog.Nop(),
	}
}

// namesInstance says whether the name can be a part of paths, of a cgroup and of
// a group's name. (It is a loop because process 1 would compile a pattern too.)
func namesInstance(name string) bool {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	return len(name) >= 1 && len(name) <= 64 && strings.Contains(letters, name[:1]) && strings.Trim(name, letters+"_.-") == ""
}

// check refuses what nothing should be made for. euid is that of this process.
func (c Config) check(euid int) error {
	switch {
	case !namesInstance(c.Instance):
		return fmt.Errorf("cannot start: %q cannot name an instance: 1 to 64 letters, digits and _.- are good, beginning with a letter or digit", c.Instance)
	case euid != 0:
		return fmt.Errorf("cannot start as uid %d: making namespaces, mounts and cgroups needs root", euid)
	}
	return nil
}

// Socket is where the manager answers.
func (c Config) Socket() string { return filepath.Join(c.RuntimeDir, "control.sock") }

func (c Config) unitDir(unit string) string { return filepath.Join(c.RuntimeDir, "units", unit) }
