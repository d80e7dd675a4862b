package launch

import (
	"fmt"
	"slices"
	"strings"
)

// fileSubsystems are what names of control files begin with, up to the dot; the
// kernel refuses or confuses a directory of such a name (kernel/cgroup,
// Linux 6.18).
var fileSubsystems = [...]string{"cgroup", "cpu", "cpuset", "debug", "devices", "dmem", "freezer", "hugetlb", "io", "irq",
	"memory", "misc", "perf_event", "pids", "rdma"}

const sliceSuffix = ".slice"

// dirName gives the directory of the unit or instance name. "_" is put before
// what would be the name of a control file, of a slice, of a hidden file, or of
// another unit so prefixed.
func dirName(name string) (string, error) {
	if name == "" || strings.ContainsAny(name, "/\n\x00") {
		return "", fmt.Errorf("%q cannot name a cgroup", name)
	}
	if name[0] == '_' || name[0] == '.' || isControlFile(name) || strings.HasSuffix(name, sliceSuffix) {
		return "_" + name, nil
	}
	return name, nil
}

// fromDirName is the inverse of dirName.
func fromDirName(dir string) string { return strings.TrimPrefix(dir, "_") }

// sliceName gives the directory of a slice. The suffix tells it from a unit's,
// and from any control file; "-" is put before what begins with "_", which is
// the mark of units.
func sliceName(slice string) (string, error) {
	if slice == "" {
		return "", nil
	}
	if strings.ContainsAny(slice, "/\n\x00") || slice[0] == '.' {
		return "", fmt.Errorf("slice %q cannot name a cgroup", slice)
	}
	if slice[0] == '_' || slice[0] == '-' {
		slice = "-" + slice
	}
	return slice + sliceSuffix, nil
}

func isSlice(dir string) bool { return strings.HasSuffix(dir, sliceSuffix) && dir[0] != '_' }

// fromSliceName is the inverse of sliceName.
func fromSliceName(dir string) string {
	return strings.TrimSuffix(strings.TrimPrefix(dir, "-"), sliceSuffix)
}

func isControlFile(name string) bool {
	before, _, ok := strings.Cut(name, ".")
	return ok && slices.Contains(fileSubsystems[:], before) || slices.Contains([]string{"tasks", "notify_on_release", "release_agent"}, name)
}
