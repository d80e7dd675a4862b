package condition

import (
	"fmt"
	"os"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"
)

// Probe describes the machine that this process runs on. controllers are those
// of cgroup v2 that units can use.
func Probe(controllers []string) (Host, error) {
	h := Host{Root: "/", Architecture: SystemdArchitecture(runtime.GOARCH), UID: os.Geteuid(), Environ: os.Environ(), Controllers: controllers}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return Host{}, fmt.Errorf("cannot describe the machine: uname: %w", err)
	}
	h.Release, h.Name = unix.ByteSliceToString(uts.Release[:]), unix.ByteSliceToString(uts.Nodename[:])

	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return Host{}, fmt.Errorf("cannot describe the machine: sysinfo: %w", err)
	}
	h.Memory = uint64(info.Totalram) * uint64(info.Unit)

	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return Host{}, fmt.Errorf("cannot describe the machine: sched_getaffinity: %w", err)
	}
	h.CPUs = set.Count()

	groups, err := os.Getgroups()
	if err != nil {
		return Host{}, fmt.Errorf("cannot describe the machine: getgroups: %w", err)
	}
	if h.Groups = groups; !slices.Contains(groups, os.Getegid()) {
		h.Groups = append(h.Groups, os.Getegid())
	}
	for n := range 64 {
		if has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0); err == nil && has == 1 {
			h.Capabilities |= 1 << n
		}
	}
	return h, nil
}

// SystemdArchitecture returns systemd's name for an architecture of Go.
func SystemdArchitecture(goarch string) string {
	names := map[string]string{"amd64": "x86-64", "386": "x86", "ppc64le": "ppc64-le", "mips64le": "mips64-le", "mipsle": "mips-le",
		"loong64": "loongarch64"}
	if name, renamed := names[goarch]; renamed {
		return name
	}
	return goarch
}
