package machine_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// service is a unit that does nothing, for good.
const service = "[service]\nexec_start = \"/bin/sleep 100000\"\n[install]\nwanted_by = \"default\"\n"

// managerPID is a shell expression for the manager's pid.
const managerPID = "$(cat /sys/fs/cgroup/nsinit-manager/cgroup.procs)"

// TestProcess1 does to process 1 and its manager all that a machine can meet,
// one after the other in the same machine.
func TestProcess1(t *testing.T) {
	m := boot(t, image{units: map[string]string{
		"one": service, "two": service, "named": service + "[unit]\ncondition_host = \"machine\"\n", "host": service + "[isolation]\nprofile = \"host\"\n",
		"bomb":  shell("bomb() { bomb | bomb & }; while :; do bomb; done 2>/dev/null", `runtime_max_sec = 30`, `timeout_stop_sec = 1`, "[resources]", `tasks_max = "infinity"`),
		"crowd": shell("i=0; while [ $i -lt 1000 ]; do sleep 1000 & i=$((i + 1)); done; echo all here; wait", "[isolation]", `profile = "host"`),
	}, list: []string{"file /etc/nsinit/units/broken.toml " + file(t, "[service]\nexec_strat = \"/bin/true\"\n")}}, power{})
	m.until(t, "nsctl is-active one two host")
	for _, step := range []struct {
		name string
		test func(*testing.T, *machine)
	}{
		{"ours", testOurs}, {"orphans", testOrphans}, {"manager_killed", testManagerKilled}, {"clock", testClock},
		{"signals", testSignals}, {"fork_bomb", testForkBomb}, {"every_signal", testEverySignal},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.test(t, m) }) {
			return
		}
	}
}

func testOurs(t *testing.T, m *machine) {
	if got := m.sh(t, "readlink /proc/1/exe"); got != "/usr/sbin/nsinit" {
		t.Errorf("process 1 is %s", got)
	}
	if got := m.sh(t, "cat /proc/sys/kernel/hostname"); got != "machine" {
		t.Errorf("the host name is %q, want that of /etc/hostname", got)
	}
	m.until(t, "nsctl is-active named >/dev/null") // conditions know the name
	// Process 1 has executed the manager where its binary cannot be changed: it
	// need not do so itself.
	m.sh(t, `tr '\000' '\n' </proc/`+managerPID+`/environ | grep -x NSINIT_EXECUTED=1`)
	if got := m.sh(t, "(: >/proc/"+managerPID+"/exe) 2>&1 || true"); !strings.Contains(got, "Read-only file system") {
		t.Errorf("the manager's binary opened for writing: %q", got)
	}
	if got := m.sh(t, "nsctl status broken 2>&1 || true"); !strings.Contains(got, "exec_strat") {
		t.Errorf("a unit file with an error among good ones: %s", got)
	}
	if said := m.serial(); strings.Count(said, "unknown key exec_strat") != 1 {
		t.Errorf("a unit file with an error is on the console %d times, want once:\n%s", strings.Count(said, "unknown key exec_strat"), said)
	}
	if got := m.sh(t, "ip link show lo"); !strings.Contains(got, "LOOPBACK,UP") {
		t.Errorf("loopback is not up: %s", got)
	}
}

// mains lists the main pids of the services that must not notice anything.
func mains(t *testing.T, m *machine) string {
	t.Helper()
	return m.field(t, "one", "main_pid") + " " + m.field(t, "two", "main_pid") + " " + m.field(t, "host", "main_pid")
}

func (m *machine) threads(t *testing.T, pid string) string {
	t.Helper()
	return m.sh(t, "ls /proc/"+pid+"/task | wc -l")
}

// noZombies waits until process 1 has no dead children.
func (m *machine) noZombies(t *testing.T) {
	t.Helper()
	m.until(t, `test -z "$(awk '$3 == "Z" && $4 == 1' /proc/[0-9]*/stat 2>/dev/null)"`)
}

// testOrphans: the reaper of a unit dies, and all that ran in it becomes process
// 1's, and then dies.
func testOrphans(t *testing.T, m *machine) {
	m.sh(t, "nsctl start crowd")
	m.until(t, "nsctl logs -u crowd | grep -q 'all here'")
	m.sh(t, "kill -9 $(cat /sys/fs/cgroup/nsinit/crowd/*/init/cgroup.procs)")
	m.until(t, "nsctl is-failed crowd")
	m.noZombies(t)
}

func testManagerKilled(t *testing.T, m *machine) {
	before := mains(t, m)
	for range 20 {
		old := m.sh(t, "echo "+managerPID)
		m.sh(t, "kill -9 "+old)
		m.until(t, "nsctl status >/dev/null 2>&1")
	}
	if after := mains(t, m); after != before {
		t.Errorf("main pids were %s, are %s after the manager was killed 20 times", before, after)
	}
	m.noZombies(t)
}

func testClock(t *testing.T, m *machine) {
	before, manager := mains(t, m), m.sh(t, "echo "+managerPID)
	now, err := strconv.Atoi(m.sh(t, "date +%s"))
	if err != nil {
		t.Fatal(err)
	}
	for _, offset := range []int{10 * 365 * 86400, -10 * 365 * 86400, 0} {
		m.sh(t, fmt.Sprintf("date -s @%d", now+offset))
		m.sh(t, "nsctl status && nsctl start one")
		if after := mains(t, m); after != before {
			t.Errorf("main pids were %s, are %s when the clock has moved by %d s", before, after, offset)
		}
	}
	if got := m.sh(t, "echo "+managerPID); got != manager {
		t.Errorf("the manager is %s, was %s: it was restarted", got, manager)
	}
}

// orders are the signals that end the machine.
var orders = map[int]string{2: "SIGINT", 10: "SIGUSR1", 12: "SIGUSR2", 15: "SIGTERM", 30: "SIGPWR",
	37: "SIGRTMIN+3", 38: "SIGRTMIN+4", 39: "SIGRTMIN+5", 40: "SIGRTMIN+6"}

func testSignals(t *testing.T, m *machine) {
	threads := m.threads(t, "1")
	for round := range 3 {
		for n := 1; n <= 64; n++ {
			if orders[n] == "" {
				m.sh(t, fmt.Sprintf("kill -%d 1", n))
			}
		}
		if got := m.threads(t, "1"); got != threads {
			t.Errorf("process 1 has %s threads after round %d of all signals, had %s", got, round, threads)
		}
	}
	m.sh(t, "nsctl is-active one")
}

// testForkBomb: no process can be made any more, for half a minute; the manager
// ends the unit when its time is over.
func testForkBomb(t *testing.T, m *machine) {
	before := mains(t, m)
	manager := m.sh(t, "echo "+managerPID)
	threads := m.threads(t, "1")
	m.sh(t, "echo 800 >/proc/sys/kernel/pid_max && nsctl start --no-block bomb")
	m.eventually(t, "nsctl is-failed bomb") // while it runs not even a shell can be
	m.sh(t, "echo 32768 >/proc/sys/kernel/pid_max")
	if got := m.sh(t, "echo "+managerPID); got != manager {
		t.Fatalf("the manager is %s, was %s: it did not live through the fork bomb", got, manager)
	}
	if got := m.threads(t, "1"); got != threads {
		t.Errorf("process 1 has %s threads, had %s", got, threads)
	}
	t.Log(m.sh(t, "nsctl status bomb || true"))
	if after := mains(t, m); after != before {
		t.Errorf("main pids were %s, are %s", before, after)
	}
	m.noZombies(t)
}

// testEverySignal is the last thing that the machine sees: the orders too.
func testEverySignal(t *testing.T, m *machine) {
	m.off = true
	m.run("for n in $(seq 1 64); do kill -$n 1; done", patience)
	if reason := m.wentOff(t, patience); reason != "guest-shutdown" && reason != "guest-reset" {
		t.Errorf("the machine went off by %q", reason)
	}
}
