package launch

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
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
	s, err := statOf(g.leaf("main"))
	if err != nil {
		return s, fmt.Errorf("%s: %w", g.Unit, err)
	}
	return s, nil
}

// statOf reads what a cgroup uses.
func statOf(dir string) (Stat, error) {
	usec, err := readKey(dir+"/cpu.stat", "usage_usec")
	if errors.Is(err, unix.ENODEV) {
		return Stat{}, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return Stat{}, fmt.Errorf("cannot read what the cgroup uses: %w", err)
	}
	s := Stat{CPUNsec: usec * 1000, Tasks: readMax(dir + "/pids.current"), TasksMax: readMax(dir + "/pids.max"),
		Memory: readMax(dir + "/memory.current"), MemoryPeak: readMax(dir + "/memory.peak"),
		MemoryMax: readMax(dir + "/memory.max"), MemoryHigh: readMax(dir + "/memory.high")}
	if io, err := readFile(dir + "/io.stat"); err == nil {
		s.IORead, s.IOWrite = sumIO(string(io))
	}
	if s.TasksMax == 0 && !exists(dir+"/pids.max") {
		threads, err := idsBelow(dir, "cgroup.threads")
		if err != nil {
			return s, err
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

// sumIO adds up io.stat, which has a line a device: "8:0 rbytes=1 wbytes=2
// rios=3 ...". (Some kernels print a device's number and nothing behind
// it, not even an end of line.)
func sumIO(stat string) (read, written uint64) {
	for word := range strings.FieldsSeq(stat) {
		name, value, _ := strings.Cut(word, "=")
		n, err := strconv.ParseUint(value, 10, 64)
		switch {
		case err != nil:
		case name == "rbytes":
			read += n
		case name == "wbytes":
			written += n
		}
	}
	return read, written
}
