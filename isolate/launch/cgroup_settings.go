package launch

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/cgroups/v3/cgroup2"
	"golang.org/x/sys/unix"
)

// setting is one limit as it is written: either the library's form of it, or a
// file and its value.
type setting struct {
	key        string // of [resources]
	controller string
	parts      []string // directories, relative to the generation's
	resources  *cgroup2.Resources
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
		s := setting{key: "tasks_max", controller: "pids", parts: onMain, implicit: l.TasksMaxDefault}
		if n := *l.TasksMax; n > 0 && n < 1<<63 {
			s.resources = &cgroup2.Resources{Pids: &cgroup2.Pids{Max: int64(n)}}
		} else {
			s.file, s.value = "pids.max", formatMax(n)
		}
		list = append(list, s)
	}
	list = append(list, l.cpu()...)
	if l.OOMGroup {
		yes := true
		list = append(list, setting{key: "oom_policy", controller: "memory", parts: onMain,
			resources: &cgroup2.Resources{Memory: &cgroup2.Memory{OOMGroup: &yes}}})
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
		field     func(*cgroup2.Memory) **int64
	}{
		{"memory_min", "memory.min", l.MemoryMin, onWayTo, func(m *cgroup2.Memory) **int64 { return &m.Min }},
		{"memory_low", "memory.low", l.MemoryLow, onWayTo, func(m *cgroup2.Memory) **int64 { return &m.Low }},
		{"memory_high", "memory.high", l.MemoryHigh, onMain, func(m *cgroup2.Memory) **int64 { return &m.High }},
		{"memory_max", "memory.max", l.MemoryMax, onMain, func(m *cgroup2.Memory) **int64 { return &m.Max }},
		{"memory_swap_max", "memory.swap.max", l.MemorySwapMax, onMain, func(m *cgroup2.Memory) **int64 { return &m.Swap }},
	} {
		if m.value == nil {
			continue
		}
		s := setting{key: m.key, controller: "memory", parts: m.parts}
		if *m.value < 1<<63 {
			n, mem := int64(*m.value), &cgroup2.Memory{}
			*m.field(mem) = &n
			s.resources = &cgroup2.Resources{Memory: mem}
		} else {
			s.file, s.value = m.file, "max"
		}
		list = append(list, s)
	}
	return list
}

func (l *Limits) cpu() (list []setting) {
	add := func(key, controller string, parts []string, cpu cgroup2.CPU) {
		list = append(list, setting{key: key, controller: controller, parts: parts, resources: &cgroup2.Resources{CPU: &cpu}})
	}
	if l.CPUIdle {
		list = append(list, setting{key: "cpu_weight", controller: "cpu", parts: onUnit, file: "cpu.idle", value: "1"})
	} else if l.CPUWeight != 0 {
		add("cpu_weight", "cpu", onUnit, cgroup2.CPU{Weight: &l.CPUWeight})
	}
	if l.CPUQuotaUsec != 0 {
		add("cpu_quota", "cpu", onMain, cgroup2.CPU{Max: cpuMax(l.CPUQuotaUsec, l.CPUPeriodUsec)})
	}
	if len(l.AllowedCPUs) > 0 {
		add("allowed_cpus", "cpuset", onMain, cgroup2.CPU{Cpus: formatCPUs(l.AllowedCPUs)})
	}
	return list
}

// cpuMax gives cpu.max. The kernel takes no quota below 1 ms and no period
// above 1 s: a small quota gets a longer period.
func cpuMax(quota, period uint64) cgroup2.CPUMax {
	const least, longest = 1000, 1000000
	if period == 0 {
		period = 100000
	}
	if quota >= 1<<63 {
		return cgroup2.NewCPUMax(nil, &period)
	}
	if quota < least {
		period = min(period*least/quota, longest)
		quota = least
	}
	q := int64(quota)
	return cgroup2.NewCPUMax(&q, &period)
}

// ioSettings gives one setting a limit: the key to name in an error differs.
func ioSettings(list []IOMax) (out []setting) {
	for _, m := range list {
		for _, l := range []struct {
			key   string
			kind  cgroup2.IOType
			value *uint64
		}{
			{"io_read_bandwidth_max", cgroup2.ReadBPS, m.ReadBPS}, {"io_write_bandwidth_max", cgroup2.WriteBPS, m.WriteBPS},
			{"io_read_iops_max", cgroup2.ReadIOPS, m.ReadIOPS}, {"io_write_iops_max", cgroup2.WriteIOPS, m.WriteIOPS},
		} {
			if l.value == nil {
				continue
			}
			major, minor, err := blockDevice(m.Device)
			s := setting{key: l.key, controller: "io", parts: onMain, err: err}
			if *l.value == Unlimited {
				s.file, s.value = "io.max", fmt.Sprintf("%d:%d %s=max", major, minor, l.kind)
			} else {
				s.resources = &cgroup2.Resources{IO: &cgroup2.IO{Max: []cgroup2.Entry{{Type: l.kind, Major: major, Minor: minor, Rate: *l.value}}}}
			}
			out = append(out, s)
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
