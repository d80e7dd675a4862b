package condition

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/nsinit/nsinit/unit"
)

func architecture(h Host, value string) (bool, string, error) {
	return value == h.Architecture || value == "native", "the architecture is " + h.Architecture, nil
}

// host compares with the machine id if the value looks like one, else with
// the host name, a pattern without regard to case.
func host(h Host, value string) (bool, string, error) {
	if id := strings.ReplaceAll(value, "-", ""); len(id) == 32 && isHex(id) {
		actual, err := h.read("/etc/machine-id")
		return strings.EqualFold(id, actual), "the machine id is " + orNone(actual), err
	}
	ok, err := path.Match(strings.ToLower(value), strings.ToLower(h.Name))
	return ok, "the host name is " + h.Name, err
}

func isHex(s string) bool {
	return strings.Trim(strings.ToLower(s), "0123456789abcdef") == ""
}

// kernelCommandLine looks for a word "quiet", which "quiet=x" is too, or for
// exactly "root=/dev/sda".
func kernelCommandLine(h Host, value string) (bool, string, error) {
	line, err := h.read("/proc/cmdline")
	if err != nil {
		return false, "", err
	}
	for _, word := range strings.Fields(line) {
		name, _, _ := strings.Cut(word, "=")
		if word == value || !strings.Contains(value, "=") && name == value {
			return true, "the kernel command line has " + word, nil
		}
	}
	return false, "the kernel command line does not have it", nil
}

// kernelVersion takes comparisons such as ">=5.10" and patterns such as
// "6.1.*", separated by blanks, of which all must hold.
func kernelVersion(h Host, value string) (bool, string, error) {
	reason := "the kernel is " + h.Release
	words := strings.Fields(value)
	for i := 0; i < len(words); i++ {
		operator, version := cutOperator(words[i])
		if operator != "" && version == "" && i+1 < len(words) {
			i++
			version = words[i]
		}
		if operator == "" {
			ok, err := path.Match(version, h.Release)
			if !ok || err != nil {
				return false, reason, err
			}
			continue
		}
		if version == "" {
			return false, "", fmt.Errorf("no version after %s", operator)
		}
		if !holds(compareVersions(h.Release, version), operator) {
			return false, reason, nil
		}
	}
	return true, reason, nil
}

func capability(h Host, value string) (bool, string, error) {
	n, err := unit.ParseCapability(value)
	if err != nil {
		return false, "", err
	}
	if h.Capabilities>>n&1 == 0 {
		return false, "nsinit does not have " + value, nil
	}
	return true, "nsinit has " + value, nil
}

// memory compares the machine's memory; no operator is ">=".
func memory(h Host, value string) (bool, string, error) {
	operator, size := cutOperator(value)
	want, err := unit.ParseSize(size)
	if err != nil {
		return false, "", err
	}
	return compareAmount(h.Memory, want, operator), fmt.Sprintf("the memory is %d bytes", h.Memory), nil
}

// cpus compares the number of usable processors; no operator is ">=".
func cpus(h Host, value string) (bool, string, error) {
	operator, number := cutOperator(value)
	want, err := strconv.ParseUint(number, 10, 31)
	if err != nil {
		return false, "", fmt.Errorf("%q is no number of processors", number)
	}
	return compareAmount(uint64(h.CPUs), want, operator), fmt.Sprintf("the number of processors is %d", h.CPUs), nil
}

func compareAmount(have, want uint64, operator string) bool {
	if operator == "" {
		operator = ">="
	}
	order := 0
	switch {
	case have < want:
		order = -1
	case have > want:
		order = 1
	}
	return holds(order, operator)
}

// firstBoot holds while the machine has no identity yet, which is what
// machine-id(5) calls the first boot.
func firstBoot(h Host, value string) (bool, string, error) {
	want, err := parseBool(value)
	if err != nil {
		return false, "", err
	}
	id, err := h.read("/etc/machine-id")
	if err != nil {
		return false, "", err
	}
	if id == "" || id == "uninitialized" {
		return want, "/etc/machine-id is not set yet", nil
	}
	return !want, "/etc/machine-id is set", nil
}

// environment looks for a variable of the manager, or for one with its value.
func environment(h Host, value string) (bool, string, error) {
	for _, assignment := range h.Environ {
		name, _, _ := strings.Cut(assignment, "=")
		if assignment == value || name == value {
			return true, "nsinit's environment has " + name, nil
		}
	}
	return false, "nsinit's environment does not have it", nil
}

// controlGroupController wants every controller that is named, or "v2".
func controlGroupController(h Host, value string) (bool, string, error) {
	for _, name := range strings.Fields(value) {
		switch {
		case name == "v2":
		case name == "v1":
			return false, "nsinit uses cgroup v2", nil
		case !slices.Contains(h.Controllers, name):
			return false, fmt.Sprintf("the controller %s is not available (%s are)", name, orNone(strings.Join(h.Controllers, " "))), nil
		}
	}
	return true, "cgroup v2 has " + value, nil
}

// read returns a small file without the blanks around it; a missing one is
// empty.
func (h Host) read(p string) (string, error) {
	data, err := os.ReadFile(h.path(p))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return strings.TrimSpace(string(data)), nil
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
