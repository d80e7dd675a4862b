package supervisor

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/isolate/launch"
	"github.com/nsinit/nsinit/unit"
)

// quotaPeriod is the period of cpu.max that cpu_quota is given for, as systemd
// does: 100 ms.
const quotaPeriod = 100_000

// limitsOf puts [resources] in the cgroup files' terms. Shares of memory are of
// the machine's, those of tasks of what the kernel can have.
func limitsOf(u *unit.Unit, memory uint64, owner isolate.Credentials) launch.Limits {
	r := u.Resources
	l := launch.Limits{
		MemoryMin: amount(r.MemoryMin, memory), MemoryLow: amount(r.MemoryLow, memory), MemoryHigh: amount(r.MemoryHigh, memory),
		MemoryMax: amount(r.MemoryMax, memory), MemorySwapMax: amount(r.MemorySwapMax, memory),
		TasksMax: tasks(r.TasksMax), TasksMaxDefault: len(u.Origins("resources.tasks_max")) == 0,
		IOWeight: uint64(r.IoWeight), AllowedCPUs: r.AllowedCpus, BestEffort: r.BestEffort, OOMGroup: u.Service.OomPolicy == "kill",
	}
	switch {
	case r.CpuWeight == unit.CpuWeightIdle:
		l.CPUIdle = true
	default:
		l.CPUWeight = uint64(r.CpuWeight)
	}
	if r.CpuQuota != 0 {
		l.CPUQuotaUsec, l.CPUPeriodUsec = r.CpuQuota*quotaPeriod/10_000, quotaPeriod
	}
	l.IOMax = ioMax(r)
	if r.Delegate.Enabled {
		l.Delegate = launch.Delegate{Enabled: true, UID: int(owner.UID), GID: int(owner.GID), Controllers: r.Delegate.Controllers}
	}
	return l
}

// limitSlices hands the limits of the slices to who makes cgroups.
func (m *Manager) limitSlices() {
	limits := map[string]launch.Limits{}
	for _, u := range m.defs {
		if u.IsSlice() {
			limits[u.SliceName()] = limitsOf(u, m.host.Memory, isolate.Credentials{})
		}
	}
	if err := m.cgroups.SetSlices(limits); err != nil {
		m.problem(err)
	}
}

// ioMax merges the four io_*_max keys, one entry a device.
func ioMax(r unit.Resources) []launch.IOMax {
	byDevice := map[string]*launch.IOMax{}
	var order []string
	add := func(list []unit.IoLimit, field func(*launch.IOMax) **uint64) {
		for _, e := range list {
			if byDevice[e.Device] == nil {
				byDevice[e.Device] = &launch.IOMax{Device: e.Device}
				order = append(order, e.Device)
			}
			*field(byDevice[e.Device]) = &e.Value
		}
	}
	add(r.IoReadBandwidthMax, func(m *launch.IOMax) **uint64 { return &m.ReadBPS })
	add(r.IoWriteBandwidthMax, func(m *launch.IOMax) **uint64 { return &m.WriteBPS })
	add(r.IoReadIopsMax, func(m *launch.IOMax) **uint64 { return &m.ReadIOPS })
	add(r.IoWriteIopsMax, func(m *launch.IOMax) **uint64 { return &m.WriteIOPS })
	list := make([]launch.IOMax, len(order))
	for i, d := range order {
		list[i] = *byDevice[d]
	}
	return list
}

// tasks gives tasks_max. What it may be a share of stands in files.
func tasks(a unit.Amount) *uint64 {
	if a.Share == 0 {
		return amount(a, 0)
	}
	return amount(a, maxTasks())
}

func amount(a unit.Amount, total uint64) *uint64 {
	if !a.Set {
		return nil
	}
	v := a.Of(total)
	return &v
}

// maxTasks is the most tasks that the kernel can have: the smaller of
// kernel.pid_max and kernel.threads-max, as systemd counts.
func maxTasks() uint64 {
	most := uint64(1 << 22)
	for _, path := range []string{"/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"} {
		if n, err := readNumber(path); err == nil {
			most = min(most, n)
		}
	}
	return most
}

// readNumber reads a file of /proc/sys that is one number. (Package os would
// enter it into the poller's epoll set and take it out again: it can be polled.)
func readNumber(path string) (uint64, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	var b [24]byte
	n, err := unix.Read(fd, b[:])
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(b[:n])), 10, 64)
}
