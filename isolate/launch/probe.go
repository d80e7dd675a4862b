package launch

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
)

// probe finds out what isolate.Host holds. What a kernel lacks is simply not
// in the result; only what nothing can be done without is an error.
func probe() (isolate.Host, error) {
	h := isolate.Host{LastCap: readInt("/proc/sys/kernel/cap_last_cap", 40), OOMScoreAdj: readInt("/proc/self/oom_score_adj", 0)}
	var err error
	if h.Kernel, err = kernelVersion(); err != nil {
		return h, err
	}
	for ns, name := range map[isolate.Namespaces]string{isolate.Mount: "mnt", isolate.PID: "pid", isolate.IPC: "ipc",
		isolate.UTS: "uts", isolate.Cgroup: "cgroup", isolate.Net: "net", isolate.User: "user", isolate.Time: "time"} {
		if exists("/proc/self/ns/" + name) {
			h.Namespaces |= ns
		}
	}
	if h.Caps, err = ownCapabilities(); err != nil {
		return h, err
	}
	for i := range h.Rlimits {
		var l unix.Rlimit
		if err := unix.Prlimit(0, i, nil, &l); err != nil {
			return h, fmt.Errorf("cannot read the limits: %w", os.NewSyscallError("prlimit64", err))
		}
		h.Rlimits[i] = isolate.Rlimit{Resource: i, Soft: l.Cur, Hard: l.Max}
	}
	if nice, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err == nil {
		h.Nice = 20 - nice // the system call's answer is 20 less the nice value
	}
	if h.Ignored, err = ignoredSignals(); err != nil {
		return h, err
	}
	// No cgroup2 is the supervisor's error to report: nothing is launched then.
	h.CgroupMount, h.NSDelegate, _ = CgroupMount()
	h.ProcFiles = existing(isolate.MaskedFiles, isolate.TunableFiles, isolate.LogFiles)
	h.ProcDirs = existing(isolate.MaskedDirs, isolate.TunableDirs)
	h.PIDMaxPerNS = h.Kernel[0] > 6 || h.Kernel[0] == 6 && h.Kernel[1] >= 14
	return h, nil
}

func kernelVersion() (v [2]int, err error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return v, fmt.Errorf("cannot tell the kernel's version: %w", err)
	}
	release := unix.ByteSliceToString(u.Release[:])
	if _, err := fmt.Sscanf(release, "%d.%d", &v[0], &v[1]); err != nil {
		return v, fmt.Errorf("cannot tell the kernel's version from %q", release)
	}
	if v[0] < 6 || v[0] == 6 && v[1] < 1 {
		return v, fmt.Errorf("Linux %s is older than 6.1, the oldest that nsinit supports", release)
	}
	return v, nil
}

// ignoredSignals reads which signals this process was made to ignore (nohup(1)
// and the like): children would ignore them too.
func ignoredSignals() (uint64, error) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("cannot read own signals: %w", err)
	}
	_, rest, _ := strings.Cut(string(b), "\nSigIgn:")
	line, _, _ := strings.Cut(rest, "\n")
	mask, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	if err != nil {
		return 0, fmt.Errorf("cannot read own signals: SigIgn in /proc/self/status: %w", err)
	}
	return mask, nil
}

func ownCapabilities() (uint64, error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return 0, fmt.Errorf("cannot read own capabilities: %w", os.NewSyscallError("capget", err))
	}
	return uint64(data[0].Effective) | uint64(data[1].Effective)<<32, nil
}

// CgroupMount finds where cgroup2 is mounted, by the mount table: a hybrid host
// has it at /sys/fs/cgroup/unified, without controllers.
func CgroupMount() (point string, nsdelegate bool, err error) {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup2"))
	if err != nil {
		return "", false, fmt.Errorf("cannot read the host's mounts: %w", err)
	}
	for _, m := range mounts {
		if m.Root == "/" {
			return m.Mountpoint, strings.Contains(","+m.VFSOptions+",", ",nsdelegate,"), nil
		}
	}
	if len(mounts) > 0 {
		return mounts[0].Mountpoint, strings.Contains(","+mounts[0].VFSOptions+",", ",nsdelegate,"), nil
	}
	return "", false, fmt.Errorf("no cgroup2 file system is mounted: nsinit needs cgroup v2; mount it with: mount -t cgroup2 cgroup2 /sys/fs/cgroup")
}

func existing(lists ...[]string) (out []string) {
	for _, list := range lists {
		for _, p := range list {
			if exists(p) {
				out = append(out, p)
			}
		}
	}
	return out
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func readInt(path string, otherwise int) int {
	b, err := os.ReadFile(path)
	if err != nil {
		return otherwise
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return otherwise
	}
	return n
}
