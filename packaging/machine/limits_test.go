package machine_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// shell is a unit that runs a shell script, and no second time.
func shell(script string, tables ...string) string {
	return fmt.Sprintf("[service]\nexec_start = [[\"/bin/sh\", \"-c\", '''%s''']]\nrestart = \"no\"\n%s\n", script, strings.Join(tables, "\n"))
}

// TestLimits: what a unit asks for is in force in the kernel, with every
// controller and capability there.
func TestLimits(t *testing.T) {
	m := boot(t, image{units: map[string]string{
		"hog":    shell("exec tail /dev/zero", "[resources]", `memory_max = "32M"`),
		"group":  shell("tail /dev/zero & exec sleep 1000", `oom_policy = "kill"`, "[resources]", `memory_max = "32M"`),
		"bomb":   shell("bomb() { bomb | bomb & }; bomb; exec sleep 1000", "[resources]", `tasks_max = 64`),
		"burner": shell("while :; do :; done", "[resources]", `cpu_quota = "20%"`, `cpu_weight = 250`, `allowed_cpus = "1"`),
		"idler":  shell("exec sleep 1000", "[resources]", `cpu_weight = "idle"`, `io_weight = 250`),
		"memory": shell("exec sleep 1000", "[resources]", `memory_min = "8M"`, `memory_low = "16M"`, `memory_high = "64M"`, `memory_max = "50%"`, `memory_swap_max = 0`),
		"reader": shell("dd if=/dev/vda of=/dev/null bs=1M count=16 iflag=direct && exec sleep 1000", "[resources]",
			`io_read_bandwidth_max = "/dev/vda 4M"`, `io_write_iops_max = "/dev/vda 100"`, "[security]", `device_allow = "/dev/vda rw"`),
		"favoured":  shell("exec sleep 1000", `oom_score_adjust = -500`, `limit_nofile = 1000000`, `limit_memlock = "infinity"`, `nice = -5`),
		"web.slice": "[resources]\nmemory_max = \"64M\"\ntasks_max = 50\ncpu_quota = \"50%\"\ncpu_weight = 300\nallowed_cpus = \"1\"\n",
		"web1":      shell("exec tail /dev/zero", "[resources]", `slice = "web"`, `memory_max = "1G"`),
		"web2":      shell("bomb() { bomb | bomb & }; bomb; exec sleep 1000", "[resources]", `slice = "web"`),
		"realtime":  shell("exec sleep 1000", `cpu_scheduling_policy = "fifo"`, `cpu_scheduling_priority = 10`),
	}}, power{disks: []string{disk(t, 32)}})
	for name, test := range map[string]func(*testing.T, *machine){
		"memory_max": testMemoryMax, "oom_policy": testOOMPolicy, "tasks_max": testTasksMax, "cpu": testCPU, "weights": testWeights,
		"memory": testMemory, "io": testIO, "process": testProcess, "slice": testSlice,
	} {
		t.Run(name, func(t *testing.T) { test(t, m) })
	}
}

// disk makes a raw disk of so many MiB, which holds nothing.
func disk(t *testing.T, size int64) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size<<20); err != nil {
		t.Fatal(err)
	}
	return file
}

// control reads a file of a unit's cgroup; of main, where path is relative.
func (m *machine) control(t *testing.T, unit, file string) string {
	t.Helper()
	return m.sh(t, "cat /sys/fs/cgroup/nsinit/"+unit+"/"+file)
}

// key reads a number of a file of lines with a key and a value.
func (m *machine) key(t *testing.T, unit, file, key string) int {
	t.Helper()
	for line := range strings.Lines(m.control(t, unit, file)) {
		if k, v, _ := strings.Cut(strings.TrimSpace(line), " "); k == key {
			n, err := strconv.Atoi(v)
			if err != nil {
				t.Fatalf("%s of %s: %v", file, unit, err)
			}
			return n
		}
	}
	t.Fatalf("%s of %s has no %s", file, unit, key)
	return 0
}

// field gives one field of a unit's status.
func (m *machine) field(t *testing.T, unit, name string) string {
	t.Helper()
	return m.sh(t, "nsctl show --value -p "+name+" "+unit)
}

func (m *machine) start(t *testing.T, units string) {
	t.Helper()
	m.sh(t, "nsctl start "+units)
}

// wantControl compares files of a unit's cgroup.
func (m *machine) wantControl(t *testing.T, unit string, want map[string]string) {
	t.Helper()
	for file, value := range want {
		if got := m.control(t, unit, file); got != value {
			t.Errorf("%s of %s is %q, want %q", file, unit, got, value)
		}
	}
}

func testMemoryMax(t *testing.T, m *machine) {
	m.start(t, "hog")
	m.until(t, "nsctl status hog | grep -q failed")
	if got := m.field(t, "hog", "result"); got != "oom-kill" {
		t.Errorf("the result is %q, want oom-kill", got)
	}
	if said := m.sh(t, "nsctl status hog || true"); !strings.Contains(said, "lack of memory") || !strings.Contains(said, "memory_max = 32M") {
		t.Errorf("status does not say why: %s", said)
	}
}

// testSlice: the limits of a slice hold for all that is in it, change when they
// are read again, and go with the last of it.
func testSlice(t *testing.T, m *machine) {
	m.start(t, "web1")
	m.until(t, "nsctl status web1 | grep -q failed")
	if got := m.field(t, "web1", "result"); got != "oom-kill" { // by the slice's 64M, not its own 1G
		t.Errorf("the result is %q, want oom-kill", got)
	}
	m.start(t, "web2")
	m.wantControl(t, "web.slice", map[string]string{"memory.max": "67108864", "pids.max": "50", "cpu.max": "50000 100000", "cpu.weight": "300", "cpuset.cpus": "1"})
	m.until(t, "cat /sys/fs/cgroup/nsinit/web.slice/pids.events /sys/fs/cgroup/nsinit/web.slice/web2/1/main/pids.events | grep -q 'max [1-9]'") // the one or the other, by the kernel's version
	if n, _ := strconv.Atoi(m.control(t, "web.slice", "pids.current")); n > 50 {
		t.Errorf("%d tasks, 50 are allowed", n)
	}
	if got := m.field(t, "web.slice", "tasks_limit"); got != "50" {
		t.Errorf("status says %q tasks, want 50", got)
	}
	m.sh(t, "printf '[resources]\\nmemory_high = \"32M\"\\n' >/etc/nsinit/units/web.slice.toml; nsctl daemon-reload")
	m.wantControl(t, "web.slice", map[string]string{"memory.max": "max", "memory.high": "33554432", "pids.max": "max", "cpu.max": "max 100000",
		"cpu.weight": "100", "cpuset.cpus.effective": m.control(t, "", "cpuset.cpus.effective")})
	m.sh(t, "nsctl kill --signal SIGKILL web2; nsctl stop web.slice; test ! -e /sys/fs/cgroup/nsinit/web.slice")
}

// testOOMPolicy: what is killed is one process, and with it all others.
func testOOMPolicy(t *testing.T, m *machine) {
	m.start(t, "group")
	m.until(t, "nsctl status group | grep -q failed")
	if got := m.field(t, "group", "result"); got != "oom-kill" {
		t.Errorf("the result is %q, want oom-kill", got)
	}
	m.until(t, "test ! -e /sys/fs/cgroup/nsinit/group")
}

func testTasksMax(t *testing.T, m *machine) {
	m.start(t, "bomb")
	m.until(t, "grep -q 'max [1-9]' /sys/fs/cgroup/nsinit/bomb/1/main/pids.events")
	if n, _ := strconv.Atoi(m.control(t, "bomb", "1/main/pids.current")); n > 64 {
		t.Errorf("%d tasks, 64 are allowed", n)
	}
	m.wantControl(t, "bomb", map[string]string{"1/main/pids.max": "64", "1/init/pids.max": "max"})
	m.sh(t, "nsctl kill --signal SIGKILL bomb; nsctl stop bomb; test ! -e /sys/fs/cgroup/nsinit/bomb")
}

func testCPU(t *testing.T, m *machine) {
	m.start(t, "burner")
	m.wantControl(t, "burner", map[string]string{"1/main/cpu.max": "20000 100000", "cpu.weight": "250", "1/main/cpuset.cpus.effective": "1"})
	m.until(t, "grep -Eq 'nr_throttled ([3-9]|..)' /sys/fs/cgroup/nsinit/burner/1/main/cpu.stat")
	used, periods := m.key(t, "burner", "1/main/cpu.stat", "usage_usec"), m.key(t, "burner", "1/main/cpu.stat", "nr_periods")
	// A processor takes its share in slices of 5 ms, and may owe one.
	if most := (periods+1)*20_000 + 10_000; used > most {
		t.Errorf("%d us in %d periods of 100 ms, 20%% are %d", used, periods, most)
	}
	if got := m.sh(t, "grep Cpus_allowed_list /proc/$(nsctl show -p main_pid --value burner)/status"); !strings.HasSuffix(got, "\t1") {
		t.Errorf("%s, want processor 1 alone", got)
	}
	m.sh(t, "nsctl stop burner")
}

func testWeights(t *testing.T, m *machine) {
	m.start(t, "idler")
	m.wantControl(t, "idler", map[string]string{"cpu.idle": "1", "io.weight": "default 250"})
	m.sh(t, "nsctl stop idler")
}

// testMemory: protection holds only where every cgroup above has it too.
func testMemory(t *testing.T, m *machine) {
	m.start(t, "memory")
	total, err := strconv.Atoi(m.sh(t, "sed -n 's/MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo"))
	if err != nil {
		t.Fatal(err)
	}
	half := strconv.Itoa(total * 1024 / 2 / 4096 * 4096)
	m.wantControl(t, "memory", map[string]string{
		"1/main/memory.min": "8388608", "1/memory.min": "8388608", "memory.min": "8388608", "../memory.min": "8388608",
		"1/main/memory.low": "16777216", "../memory.low": "16777216", "1/main/memory.high": "67108864",
		"1/main/memory.max": half, "1/main/memory.swap.max": "0", "1/init/memory.max": "max",
	})
	m.sh(t, "nsctl stop memory")
	if got := m.control(t, "..", "nsinit/memory.min"); got != "0" {
		t.Errorf("memory.min of the instance is %s after the only unit that asked for it has stopped", got)
	}
}

func testIO(t *testing.T, m *machine) {
	began := m.sh(t, "cut -d. -f1 /proc/uptime")
	m.start(t, "reader")
	if got := m.control(t, "reader", "1/main/io.max"); !strings.Contains(got, "rbps=4000000") || !strings.Contains(got, "wiops=100") {
		t.Errorf("io.max is %q", got)
	}
	m.until(t, "grep -q rbytes=16777216 /sys/fs/cgroup/nsinit/reader/1/main/io.stat")
	was, _ := strconv.Atoi(began)
	now, _ := strconv.Atoi(m.sh(t, "cut -d. -f1 /proc/uptime"))
	if now-was < 3 { // never too fast; how slow it is is the machine's business
		t.Errorf("16 MiB took %d s at 4 MB/s", now-was)
	}
	m.sh(t, "nsctl stop reader")
}

func testProcess(t *testing.T, m *machine) {
	m.start(t, "favoured realtime")
	for script, want := range map[string]string{
		"cat /proc/PID/oom_score_adj":                        "-500",
		"sed -n 's/Max open files *//p' /proc/PID/limits":    "1000000              1000000              files",
		"sed -n 's/Max locked memory *//p' /proc/PID/limits": "unlimited            unlimited            bytes",
		"cut -d' ' -f19 /proc/PID/stat":                      "-5",
	} {
		script = strings.ReplaceAll(script, "PID", "$(nsctl show -p main_pid --value favoured)")
		if got := m.sh(t, script); got != want {
			t.Errorf("%s: %q, want %q", script, got, want)
		}
	}
	if got := m.sh(t, "cut -d' ' -f40,41 /proc/$(nsctl show -p main_pid --value realtime)/stat"); got != "10 1" {
		t.Errorf("priority and policy of the real-time unit are %q, want 10 and SCHED_FIFO (1)", got)
	}
	m.sh(t, "nsctl stop favoured realtime")
}
