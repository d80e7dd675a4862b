package launch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/cgroups/v3/cgroup2"
)

// Stat is what the payload uses, in bytes and nanoseconds; zero where the
// controller is missing. A maximum that is not set is math.MaxUint64.
type Stat struct {
	Tasks, TasksMax                           uint64
	Memory, MemoryPeak, MemoryMax, MemoryHigh uint64 // the peak needs Linux 5.19
	CPUNsec                                   uint64 // user and system; needs no controller
	IORead, IOWrite                           uint64 // of block devices
}

// Stat reads what the payload uses now. Without the pids controller threads are
// counted. A generation that is gone has used nothing.
func (g *Generation) Stat() (Stat, error) {
	manager, err := g.manager("main")
	if err != nil {
		return Stat{}, err
	}
	m, err := manager.StatFiltered(cgroup2.StatPids | cgroup2.StatCPU | cgroup2.StatIO)
	if isGone(err) {
		return Stat{}, nil
	}
	if err != nil {
		return Stat{}, fmt.Errorf("%s: cannot read what the cgroup uses: %w", g.Unit, err)
	}
	s := Stat{Tasks: m.Pids.GetCurrent(), TasksMax: m.Pids.GetLimit(), CPUNsec: m.CPU.GetUsageUsec() * 1000}
	for _, e := range m.Io.GetUsage() {
		s.IORead, s.IOWrite = s.IORead+e.GetRbytes(), s.IOWrite+e.GetWbytes()
	}
	// The library would read memory.stat as well, which is long and slow.
	main := g.leaf("main")
	s.Memory, s.MemoryPeak = readMax(main+"/memory.current"), readMax(main+"/memory.peak")
	s.MemoryMax, s.MemoryHigh = readMax(main+"/memory.max"), readMax(main+"/memory.high")
	if s.TasksMax == 0 && !exists(main+"/pids.max") {
		threads, err := idsBelow(main, "cgroup.threads")
		if err != nil {
			return s, fmt.Errorf("%s: %w", g.Unit, err)
		}
		s.Tasks = uint64(len(threads))
	}
	return s, nil
}

// OOMKills counts the payload's processes that were killed for lack of memory
// since the generation was made (memory.events, oom_kill). Without the memory
// controller it is an error: errors.Is(err, fs.ErrNotExist).
func (g *Generation) OOMKills() (uint64, error) {
	n, err := readKey(g.leaf("main")+"/memory.events", "oom_kill")
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return 0, fmt.Errorf("%s: cannot count OOM kills, which needs the memory controller: %w", g.Unit, err)
		}
		return 0, fmt.Errorf("%s: cannot count OOM kills: %w", g.Unit, err)
	}
	return n, nil
}

// manager gives the library's handle on a part of the generation. It reads and
// writes the files in that directory only; its NewManager would switch
// controllers all the way from the tree's root.
func (g *Generation) manager(part string) (*cgroup2.Manager, error) {
	m, err := cgroup2.Load(filepath.Join("/", g.path, part), cgroup2.WithMountpoint(g.cgroups.mount))
	if err != nil {
		return nil, fmt.Errorf("%s: cannot use the cgroup %s: %w", g.Unit, g.path, err)
	}
	return m, nil
}
