// Package condition evaluates the condition_X and assert_X keys of a unit on
// the host, with the meaning that systemd.unit(5) gives them.
package condition

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/nsinit/nsinit/unit"
)

// Host is what conditions are held against: the files below Root and what the
// system calls say of the machine and of this process. Probe makes the real
// one; tests make theirs.
type Host struct {
	Root         string   // where paths, /proc, /sys and /etc are looked up
	Release      string   // of the kernel: "6.1.0-18-amd64"
	Architecture string   // systemd's name: "x86-64", "arm64"
	Name         string   // the machine's host name
	Memory       uint64   // bytes
	CPUs         int      // that this process may run on
	Capabilities uint64   // this process' bounding set
	UID          int      // this process' user
	Groups       []int    // this process' groups
	Environ      []string // this process' environment
	Controllers  []string // of cgroup v2, usable for units
}

// Failure says which condition does not hold.
type Failure struct {
	Condition unit.Condition // the first that failed; of triggering ones, the last
	Reason    string         // what was found instead, in words
	Triggers  int            // how many triggering conditions failed together; 0 if it is none
}

// Error returns the condition as its unit file has it and the reason:
// `path_exists = "!/etc/x" does not hold: /etc/x exists`.
func (f *Failure) Error() string {
	key, value, _ := strings.Cut(f.Condition.String(), "=")
	text := fmt.Sprintf("%s = %q does not hold: %s", key, value, f.Reason)
	if f.Triggers > 1 {
		text = fmt.Sprintf("none of %d triggering conditions holds; the last: %s", f.Triggers, text)
	}
	return text
}

// Check evaluates the conditions of a unit. It returns nil if every plain one
// holds and, where there are triggering ones ("|"), at least one of those. A
// condition that cannot be evaluated does not hold, negated or not.
func Check(list []unit.Condition, h Host) *Failure {
	var unmet *Failure
	met, triggers := false, 0
	for _, c := range list {
		ok, reason := h.evaluate(c)
		switch {
		case c.Trigger:
			triggers++
			met = met || ok
			if !ok {
				unmet = &Failure{Condition: c, Reason: reason}
			}
		case !ok:
			return &Failure{Condition: c, Reason: reason}
		}
	}
	if triggers == 0 || met {
		return nil
	}
	unmet.Triggers = triggers
	return unmet
}

// evaluate returns whether c holds, "!" applied, and what was found.
func (h Host) evaluate(c unit.Condition) (bool, string) {
	test, known := tests()[c.Kind]
	if !known {
		return false, "this version of nsinit cannot evaluate it"
	}
	found, reason, err := test(h, c.Value)
	if err != nil {
		return false, "cannot evaluate it: " + err.Error()
	}
	return found != c.Negate, reason
}

// A test decides one condition without its prefixes and says what it found.
type test func(h Host, value string) (bool, string, error)

// tests lists every condition by its key without condition_ or assert_.
func tests() map[string]test {
	return map[string]test{
		"path_exists":              pathExists,
		"path_exists_glob":         pathExistsGlob,
		"path_is_directory":        pathIsDirectory,
		"path_is_symbolic_link":    pathIsSymbolicLink,
		"path_is_mount_point":      pathIsMountPoint,
		"path_is_read_write":       pathIsReadWrite,
		"directory_not_empty":      directoryNotEmpty,
		"file_not_empty":           fileNotEmpty,
		"file_is_executable":       fileIsExecutable,
		"architecture":             architecture,
		"virtualization":           virtualization,
		"host":                     host,
		"kernel_command_line":      kernelCommandLine,
		"kernel_version":           kernelVersion,
		"capability":               capability,
		"security":                 security,
		"ac_power":                 acPower,
		"memory":                   memory,
		"cpus":                     cpus,
		"user":                     user,
		"group":                    group,
		"first_boot":               firstBoot,
		"environment":              environment,
		"control_group_controller": controlGroupController,
	}
}

// Known reports whether Check can evaluate condition_kind and assert_kind.
func Known(kind string) bool {
	_, known := tests()[kind]
	return known
}

// path returns where a path of the host is to be looked up.
func (h Host) path(p string) string { return filepath.Join("/", h.Root, p) }

// parseBool reads a boolean as systemd does in conditions.
func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "1", "yes", "y", "true", "t", "on":
		return true, nil
	case "0", "no", "n", "false", "f", "off":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", s)
}
