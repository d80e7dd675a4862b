package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestHeldByInit: where nsinit is PID 1 that process holds what the manager
// keeps, and there is no stub. It is PID 1 of a PID namespace here.
func TestHeldByInit(t *testing.T) {
	pid1, parent, nsctl := machineInstance(t, `
[service]
exec_start = "@PROBE@ run"
exec_reload = [["/bin/sh", "-c", "i=0; while [ $i -lt 300 ]; do i=$((i + 1)); echo $i; sleep 0.004; done; echo finished"]]
[log]
log_rate_limit_burst = 0
`)
	must := func(what string, ask func() (bool, string)) {
		t.Helper()
		if err := eventually(what, ask); err != nil {
			t.Fatal(err)
		}
	}
	logged := func(text string) func() (bool, string) {
		return func() (bool, string) {
			out, _ := nsctl("logs", "-o", "cat", "-u", "web")
			return strings.Contains(out, text), out
		}
	}
	must("the manager", func() (bool, string) { out, ok := nsctl("start", "web"); return ok, out })
	if out, ok := nsctl("reload", "--no-block", "web"); !ok {
		t.Fatal(out)
	}
	for _, line := range []string{"\n20\n", "\n60\n", "\n100\n"} {
		must("line "+line, logged(line))
		pid1.Process.Signal(syscall.SIGUSR1) // kills the manager
	}
	must("the end of the command", logged("finished\n"))
	_, out := logged("")()
	if n, err := consecutive(out); n != 300 || err != nil {
		t.Errorf("%d lines of 300: %v", n, err)
	}
	if restarts, _ := nsctl("show", "-p", "manager_restarts", "--value"); strings.TrimSpace(restarts) != "3" {
		t.Errorf("the manager was started again %q times, not 3", restarts)
	}
	if exists(filepath.Join(parent, "nsinit/.keeper")) {
		t.Error("there is a stub beside PID 1")
	}
	pid1.Process.Signal(syscall.SIGTERM)
	if err := pid1.Wait(); err != nil {
		t.Error(err)
	}
}

// machineInstance runs the instance that PID 1 has, with the unit web, in a
// cgroup that is the test's.
func machineInstance(t *testing.T, web string) (pid1 *exec.Cmd, parent string, nsctl func(...string) (string, bool)) {
	t.Helper()
	bin := needBinaries(t)
	in, err := newInstance(bin, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(in.units(), "web.toml"), []byte(in.expand(web)), 0o644); err != nil {
		t.Fatal(err)
	}
	parent = filepath.Join(cgroup2(), in.name)
	if err := os.Mkdir(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, dir := range []string{filepath.Join(parent, "nsinit-manager"), parent} {
			if err := os.Remove(dir); err != nil && exists(dir) {
				t.Error(err)
			}
		}
		for _, left := range in.destroy() {
			t.Errorf("left behind: %s", left)
		}
	})
	pid1 = startInit(t, in, parent)
	return pid1, parent, func(args ...string) (string, bool) { // whoever asks must have a process number there
		out, err := exec.Command("nsenter", append([]string{"-p", "-m", "-t", strconv.Itoa(pid1.Process.Pid),
			filepath.Join(bin, "nsctl"), "--socket", in.socket()}, args...)...).CombinedOutput()
		return string(out), err == nil
	}
}

// startInit runs the probe under the name that PID 1 has on such a machine.
func startInit(t *testing.T, in *instance, parent string) *exec.Cmd {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "nsinit")
	if err := exec.Command("cp", in.probe(), program).Run(); err != nil {
		t.Fatal(err)
	}
	said, err := os.Create(in.said())
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	cmd := exec.Command(program, "hold", filepath.Join(in.bin, "nsinit"), "--cgroup-parent", filepath.Base(parent), "--unit-path", in.units(),
		"--runtime-dir", in.runDir, "--log-dir", in.logs())
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil { // the test has failed: with PID 1 all of its namespace ends
			cmd.Process.Kill()
			cmd.Wait()
		}
		if t.Failed() {
			text, _ := os.ReadFile(in.said())
			t.Logf("the manager said:\n%s", text)
		}
	})
	return cmd
}
