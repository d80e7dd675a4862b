package launch

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// setting is one limit as it is written: a file and its value (cgroup-v2.rst
// of the kernel has them all).
type setting struct {
	key        string // of [resources]
	controller string
	parts      []string // directories, relative to the generation's
	file       string
	value      string
	weight     uint64 // of io.weight
	implicit   bool   // nobody asked for it
	err        error  // why it cannot be written at all
}

// Maxima are the payload's alone: the reaper is neither limited nor killed by
// them. Weights are the unit's, so that its generations share one. Protection
// holds only as far as every parent has it (memory.min in cgroup-v2.rst).
var (
	onMain  = []string{"main"}
	onUnit  = []string{".."}
	onWayTo = []string{"..", ".", "main"}
)

// settings gives what is to be written, in order. Only io devices are looked
// up on the host.
func (l *Limits) settings() []setting {
	list := l.memory()
	if l.TasksMax != nil {
		list = append(list, setting{key: "tasks_max", controller: "pids", parts: onMain,
			file: "pids.max", value: formatMax(*l.TasksMax), implicit: l.TasksMaxDefault})
	}
	list = append(list, l.cpu()...)
	if l.OOMGroup {
		list = append(list, setting{key: "oom_policy", controller: "memory", parts: onMain, file: "memory.oom.group", value: "1"})
	}
	if l.IOWeight != 0 {
		list = append(list, setting{key: "io_weight", controller: "io", parts: onUnit, file: "io.weight",
			value: "default " + strconv.FormatUint(l.IOWeight, 10), weight: l.IOWeight})
	}
	return append(list, ioSettings(l.IOMax)...)
}

func (l *Limits) memory() (list []setting) {
	for _, m := range []struct {
		key, file string
		value     *uint64
		parts     []string
	}{
		{"memory_min", "memory.min", l.MemoryMin, onWayTo},
		{"memory_low", "memory.low", l.MemoryLow, onWayTo},
		{"memory_high", "memory.high", l.MemoryHigh, onMain},
		{"memory_max", "memory.max", l.MemoryMax, onMain},
		{"memory_swap_max", "memory.swap.max", l.MemorySwapMax, onMain},
	} {
		if m.value == nil {
			continue
		}
		s := setting{key: m.key, controller: "memory", parts: m.parts, file: m.file, value: "max"}
		if *m.value < 1<<63 {
			s.value = strconv.FormatUint(*m.value, 10)
		}
		list = append(list, s)
	}
	return list
}

func (l *Limits) cpu() (list []setting) {
	if l.CPUIdle {
		list = append(list, setting{key: "cpu_weight", controller: "cpu", parts: onUnit, file: "cpu.idle", value: "1"})
	} else if l.CPUWeight != 0 {
		list = append(list, setting{key: "cpu_weight", controller: "cpu", parts: onUnit,
			file: "cpu.weight", value: strconv.FormatUint(l.CPUWeight, 10)})
	}
	if l.CPUQuotaUsec != 0 {
		list = append(list, setting{key: "cpu_quota", controller: "cpu", parts: onMain,
			file: "cpu.max", value: cpuMax(l.CPUQuotaUsec, l.CPUPeriodUsec)})
	}
	if len(l.AllowedCPUs) > 0 {
		list = append(list, setting{key: "allowed_cpus", controller: "cpuset", parts: onMain,
			file: "cpuset.cpus", value: formatCPUs(l.AllowedCPUs)})
	}
	return list
}

// cpuMax gives cpu.max. The kernel takes no quota below 1 ms and no period
// above 1 s: a small quota gets a longer period.
func cpuMax(quota, period uint64) string {
	const least, longest = 1000, 1000000
	if period == 0 {
		period = 100000
	}
	if quota >= 1<<63 {
		return fmt.Sprintf("max %d", period)
	}
	if quota < least {
		period = min(period*least/quota, longest)
		quota = least
	}
	return fmt.Sprintf("%d %d", quota, period)
}

// ioSettings gives one setting a limit: the key to name in an error differs.
// io.max keeps the limits that a line does not name.
func ioSettings(list []IOMax) (out []setting) {
	for _, m := range list {
		for _, l := range []struct {
			key, name string
			value     *uint64
		}{
			{"io_read_bandwidth_max", "rbps", m.ReadBPS}, {"io_write_bandwidth_max", "wbps", m.WriteBPS},
			{"io_read_iops_max", "riops", m.ReadIOPS}, {"io_write_iops_max", "wiops", m.WriteIOPS},
		} {
			if l.value == nil {
				continue
			}
			major, minor, err := blockDevice(m.Device)
			out = append(out, setting{key: l.key, controller: "io", parts: onMain, file: "io.max",
				value: fmt.Sprintf("%d:%d %s=%s", major, minor, l.name, formatMax(*l.value)), err: err})
		}
	}
	return out
}

// blockDevice finds the whole disk that device names: the kernel limits no
// partitions.
func blockDevice(device string) (major, minor int64, err error) {
	if n, _ := fmt.Sscanf(device, "%d:%d", &major, &minor); n == 2 {
		return major, minor, nil
	}
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil {
		return 0, 0, &os.PathError{Op: "stat", Path: device, Err: err}
	}
	dev := uint64(st.Dev)
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		dev = uint64(st.Rdev)
	}
	major, minor = int64(unix.Major(dev)), int64(unix.Minor(dev))
	if major == 0 {
		return 0, 0, fmt.Errorf("%s is on no block device of its own (an overlay, btrfs or memory file system): name the device node", device)
	}
	if sys := fmt.Sprintf("/sys/dev/block/%d:%d", major, minor); exists(sys + "/partition") {
		if link, err := filepath.EvalSymlinks(sys); err == nil {
			disk, _ := readTrimmed(filepath.Dir(link) + "/dev")
			fmt.Sscanf(disk, "%d:%d", &major, &minor)
		}
	}
	return major, minor, nil
}

// bfqWeight maps io.weight's 1..10000, default 100, to io.bfq.weight's 1..1000,
// default 100.
func bfqWeight(w uint64) uint64 {
	if w <= 100 {
		return w
	}
	return 100 + (w-100)*900/9900
}

func formatMax(n uint64) string {
	if n == Unlimited {
		return "max"
	}
	return strconv.FormatUint(n, 10)
}

// readMax reads a file of one number: Unlimited for "max", 0 if there is no such
// file.
func readMax(path string) uint64 {
	s, err := readTrimmed(path)
	if err != nil {
		return 0
	}
	if s == "max" {
		return Unlimited
	}
	n, _ := strconv.ParseUint(s, 10, 64)
	return n
}

func formatCPUs(cpus []int) string {
	words := make([]string, len(cpus))
	for i, c := range cpus {
		words[i] = strconv.Itoa(c)
	}
	return strings.Join(words, ",")
}
