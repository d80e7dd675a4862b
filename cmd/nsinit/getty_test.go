package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pseudo is a terminal for services: nothing but its master is open.
func pseudo(t *testing.T) (term *terminal, path string) {
	t.Helper()
	term, slave := openTerminal(t)
	defer slave.Close()
	n, err := unix.IoctlGetInt(int(term.master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	return term, fmt.Sprintf("/dev/pts/%d", n)
}

// shipped reads a unit that `make install` installs.
func shipped(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../packaging/units", name+".toml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestGetty: the templates that are installed make a login of a terminal, with
// Debian's agetty and with busybox's; it is the session's own, and the next one
// comes when it is hung up.
func TestGetty(t *testing.T) {
	needBinaries(t)
	template := shipped(t, "serial-getty@")
	for name, program := range map[string]string{"agetty": "/sbin/agetty", "busybox": "/bin/busybox"} {
		t.Run(name, func(t *testing.T) {
			if _, err := os.Stat(program); err != nil {
				t.Skipf("%s is not installed: packaging/deps.sh util-linux busybox-static", program)
			}
			command := program
			if name == "busybox" {
				command += " getty"
			}
			in := testInstance(t, map[string]string{"serial-getty@": strings.Replace(template, "/sbin/getty", command, 1)})
			term, path := pseudo(t)
			unit := "serial-getty@pts-" + filepath.Base(path)
			if out, stderr, code := in.nsctl("start", unit); code != 0 {
				t.Fatalf("nsctl start: exit %d: %s%s", code, out, stderr)
			}
			term.expect(t, "login: ")
			pid := in.mainPID(t, unit)
			if tty, leader := controlling(t, pid); !strings.HasSuffix(path, fmt.Sprint("/", unix.Minor(tty))) || !leader {
				t.Errorf("the controlling terminal of %s is %d:%d (leader %v), want %s", unit, unix.Major(tty), unix.Minor(tty), leader, path)
			}
			if env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); !strings.Contains(string(env), "TERM=vt220\x00") {
				t.Errorf("the environment is %q", env)
			}
			if out, stderr, code := in.nsctl("restart", unit); code != 0 {
				t.Fatalf("nsctl restart: exit %d: %s%s", code, out, stderr)
			}
			term.expectTwice(t, "login: ")
		})
	}
}

// TestTerminalInUse: what becomes of a service whose terminal another one has.
func TestTerminalInUse(t *testing.T) {
	needBinaries(t)
	term, path := pseudo(t)
	shell := func(input string) string {
		return fmt.Sprintf(`[service]
exec_start = [["/bin/sh", "-c", "tty; stty size; echo %s has it; sleep 1000"]]
standard_input = %q
tty_path = %q
tty_rows = 33
tty_columns = 101
restart = "no"
[isolation]
profile = "host"
[log]
standard_output = "tty"
`, input, input, path)
	}
	units := map[string]string{}
	for _, input := range []string{"tty", "tty-fail", "tty-force"} {
		units[input] = shell(input)
	}
	units["first"] = shell("tty")
	in := testInstance(t, units)
	mustRun := func(want int, args ...string) string {
		t.Helper()
		out, stderr, code := in.nsctl(args...)
		if code != want {
			t.Fatalf("nsctl %s: exit %d: %s%s", strings.Join(args, " "), code, out, stderr)
		}
		return out + stderr
	}
	mustRun(0, "start", "first")
	term.expect(t, "tty has it")
	term.expect(t, path)
	term.expect(t, "33 101")

	if out := mustRun(1, "start", "tty-fail"); !strings.Contains(out, path+" as controlling terminal") || !strings.Contains(out, "operation not permitted") ||
		!strings.Contains(out, "STDIN") {
		t.Errorf("nsctl start tty-fail says: %s", out)
	}
	mustRun(0, "start", "--no-block", "tty")
	if err := in.await("tty", "sub_state", "launching|start"); err != nil {
		t.Error(err)
	}
	mustRun(0, "stop", "first")
	if err := in.await("tty", "active_state", "active"); err != nil {
		t.Error(err)
	}
	if tty, leader := controlling(t, in.mainPID(t, "tty")); tty == 0 || !leader {
		t.Errorf("after waiting for it, the terminal is %d:%d (leader %v)", unix.Major(tty), unix.Minor(tty), leader)
	}
	mustRun(0, "start", "tty-force")
	term.expect(t, "tty-force has it")
	if err := in.await("tty", "active_state", "active"); err != nil { // its terminal was taken, not its life
		t.Error(err)
	}
	if tty, _ := controlling(t, in.mainPID(t, "tty")); tty != 0 {
		t.Errorf("the terminal was taken away, and still is %d:%d", unix.Major(tty), unix.Minor(tty))
	}
	mustRun(0, "stop", "tty", "tty-force")

	// A start that waits for the terminal can be stopped.
	mustRun(0, "start", "first")
	mustRun(0, "start", "--no-block", "tty")
	mustRun(0, "stop", "tty")
	if err := in.await("tty", "active_state", "inactive|failed"); err != nil {
		t.Error(err)
	}
}

func (in *instance) mainPID(t *testing.T, unit string) int {
	t.Helper()
	v, err := in.field(unit, "main_pid")
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(v)
	if err != nil {
		t.Fatalf("%s has the main pid %q", unit, v)
	}
	return pid
}

// controlling reads the terminal of a process, 0 for none, and whether it leads
// its session (proc_pid_stat(5)).
func controlling(t *testing.T, pid int) (tty uint64, leader bool) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	number, err := strconv.ParseUint(fields[4], 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return number, fields[3] == strconv.Itoa(pid)
}

// expectTwice waits until the text has been on the screen two times.
func (term *terminal) expectTwice(t *testing.T, text string) {
	t.Helper()
	err := eventually(text+" twice", func() (bool, string) {
		term.mu.Lock()
		defer term.mu.Unlock()
		return strings.Count(term.text.String(), text) > 1, term.text.String()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestTerminalIsLeftToTheNext: what is done to a terminal after a service does not
// hit the one that follows on a restart.
func TestTerminalIsLeftToTheNext(t *testing.T) {
	needBinaries(t)
	_, path := pseudo(t)
	in := testInstance(t, map[string]string{"login": fmt.Sprintf(`
[unit]
start_limit_interval_sec = 0
[service]
exec_start = [["/bin/sleep", "1000"]]
standard_input = "tty"
tty_path = %q
tty_reset = true
tty_vhangup = true
restart = "no"
[isolation]
profile = "host"
`, path)})
	if out, stderr, code := in.nsctl("start", "login"); code != 0 {
		t.Fatalf("nsctl start: exit %d: %s%s", code, out, stderr)
	}
	for n := range 20 {
		if out, stderr, code := in.nsctl("restart", "login"); code != 0 {
			t.Fatalf("nsctl restart: exit %d: %s%s", code, out, stderr)
		}
		before := filepath.Join(in.runDir, "units", "login", fmt.Sprint(n+1)) // the last that is removed of it
		for deadline := time.Now().Add(patience); exists(before); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s stays", before)
			}
		}
		if state, err := in.field("login", "sub_state"); err != nil || state != "running" {
			t.Fatalf("after restart %d it is %q (%v)", n+1, state, err)
		}
	}
}
