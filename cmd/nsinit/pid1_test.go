package main_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The signals that containers are ended by; the others are glibc's SIGRTMIN+3
// and so on.
const (
	sigReboot   = syscall.Signal(34 + 5)
	exitReboot  = 133
	exitBadFlag = 2
)

// container is nsinit as process 1 of a container: a PID, mount, cgroup, IPC and
// UTS namespace of its own, with the cgroup of the test as its root.
type container struct {
	*instance
	t      *testing.T
	cgroup string
}

// startContainer runs a container with unit files by name.
func startContainer(t *testing.T, units map[string]string, args ...string) *container {
	t.Helper()
	bin := needBinaries(t)
	dir, err := os.MkdirTemp(filepath.Dir(bin), "c-")
	if err != nil {
		t.Fatal(err)
	}
	os.Chmod(dir, 0o755)
	in, err := newInstance(bin, dir)
	if err != nil {
		t.Fatal(err)
	}
	// Not below /run: process 1 mounts one of its own where this machine has none.
	in.runDir = filepath.Join(dir, "r")
	c := &container{instance: in, t: t, cgroup: filepath.Join(cgroup2(), in.name)}
	if err := os.Mkdir(c.cgroup, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.remove)
	for name, text := range units {
		if err := os.WriteFile(filepath.Join(in.units(), name+".toml"), []byte(in.expand(text)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c.run(args...)
	return c
}

// run clones a shell as process 1 into the cgroup, which takes the host's cgroup
// tree away and becomes nsinit.
func (c *container) run(args ...string) {
	fd, err := unix.Open(c.cgroup, unix.O_DIRECTORY|unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		c.t.Fatal(err)
	}
	defer unix.Close(fd)
	out, err := os.OpenFile(c.said(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		c.t.Fatal(err)
	}
	defer out.Close()
	script := `mount --make-rprivate / && umount --recursive --lazy /sys/fs/cgroup && mount -t proc proc /proc && exec unshare --cgroup -- "$@"`
	cmd := exec.Command("/bin/sh", append([]string{"-ec", script, "sh", filepath.Join(c.bin, "nsinit"), "--instance", c.name, "--unit-path", c.units(),
		"--runtime-dir", c.runDir, "--log-dir", c.logs()}, args...)...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: fd,
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.manager, c.ended = cmd, make(chan struct{})
	go func() {
		cmd.Wait() // its status is in cmd.ProcessState
		close(c.ended)
	}()
}

// remove ends what is left, which only a failed test leaves, and the cgroup.
func (c *container) remove() {
	if c.t.Failed() {
		said, _ := os.ReadFile(c.said())
		c.t.Logf("process 1 and the manager said:\n%s", said)
	}
	if c.manager != nil {
		if c.t.Failed() {
			status, _ := c.inside(filepath.Join(c.bin, "nsctl"), "--socket", c.socket(), "status", "web")
			c.t.Logf("nsctl status web:\n%s", status)
		}
		c.manager.Process.Kill() // the kernel ends its namespace with it
		<-c.ended
	}
	if err := eventually("the cgroup's removal", func() (bool, string) { return removeCgroups(c.cgroup), c.cgroup }); err != nil {
		c.t.Error(err)
	}
	if _, err := os.Stat(c.runDir); err == nil && !c.t.Failed() {
		c.t.Errorf("left behind: %s", c.runDir)
	}
	os.RemoveAll(c.dir)
}

// removeCgroups removes a cgroup and those below, which are empty.
func removeCgroups(dir string) bool {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			removeCgroups(filepath.Join(dir, e.Name()))
		}
	}
	err := os.Remove(dir)
	return err == nil || errors.Is(err, os.ErrNotExist)
}

// inside runs a command in the container's namespaces; only there the manager
// knows who asks.
func (c *container) inside(command ...string) ([]byte, error) {
	args := append([]string{"--target", strconv.Itoa(c.manager.Process.Pid), "--pid", "--mount", "--"}, command...)
	return exec.Command("nsenter", args...).CombinedOutput()
}

// await polls until the unit's field matches.
func (c *container) await(unit, field, want string) {
	c.t.Helper()
	if err := eventually(fmt.Sprintf("%s of %s to be %s", field, unit, want), func() (bool, string) {
		v, err := c.field(unit, field)
		return err == nil && v == want, fmt.Sprint(v, err)
	}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *container) field(unit, field string) (string, error) {
	out, err := c.inside(filepath.Join(c.bin, "nsctl"), "--socket", c.socket(), "show", "--json", unit)
	if err != nil && len(out) == 0 {
		return "", err
	}
	return jsonField(out, field)
}

// managerPID is the process in the manager's cgroup, as seen from here.
func (c *container) managerPID() (int, error) {
	b, err := os.ReadFile(filepath.Join(c.cgroup, "nsinit-manager", "cgroup.procs"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// exits waits for process 1 and compares its exit code.
func (c *container) exits(code int) {
	c.t.Helper()
	state, err := c.wait()
	if err != nil {
		c.t.Fatal(err)
	}
	if state.ExitCode() != code {
		c.t.Errorf("process 1 ended with %v; want exit status %d", state, code)
	}
}

const sleeper = "[service]\nexec_start = \"@PROBE@ run\"\n"

// TestContainer: process 1 keeps the manager, which keeps the services.
func TestContainer(t *testing.T) {
	c := startContainer(t, map[string]string{"default": "[unit]\nwants = [\"web\"]\n", "web": sleeper})
	c.await("web", "sub_state", "running")
	before, err := c.field("web", "main_pid")
	if err != nil || before == "" {
		t.Fatalf("main_pid %q: %v", before, err)
	}
	for range 3 {
		old, err := c.managerPID()
		if err != nil {
			t.Fatal(err)
		}
		syscall.Kill(old, syscall.SIGKILL)
		if err := eventually("another manager", func() (bool, string) {
			pid, err := c.managerPID()
			return err == nil && pid != old, fmt.Sprint(pid, err)
		}); err != nil {
			t.Fatal(err)
		}
	}
	c.await("web", "main_pid", before)
	c.signal(syscall.SIGTERM)
	c.exits(0)
	if b, err := os.ReadFile(filepath.Join(c.cgroup, c.name, "cgroup.procs")); err == nil {
		t.Errorf("the instance's cgroup is left behind: %q", b)
	}
}

// TestContainerStopsInOrder: the end comes while the manager is dead, or dies of
// it, and yet every unit runs its exec_stop, in order.
func TestContainerStopsInOrder(t *testing.T) {
	said := filepath.Join(t.TempDir(), "said")
	stops := func(name, more string) string {
		return "[unit]\n" + more + "[isolation]\nprofile = \"host\"\n[service]\nexec_start = \"@PROBE@ run\"\nexec_stop = \"/bin/sh -c 'echo " + name + " >>" + said + "'\"\n"
	}
	c := startContainer(t, map[string]string{"default": "[unit]\nwants = [\"a\", \"b\"]\n", "a": stops("a", ""), "b": stops("b", "after = [\"a\"]\n")})
	c.await("b", "sub_state", "running")
	pid, err := c.managerPID()
	if err != nil {
		t.Fatal(err)
	}
	c.signal(syscall.SIGSTOP) // process 1, so that the order finds no manager
	syscall.Kill(pid, syscall.SIGKILL)
	c.signal(syscall.SIGTERM)
	c.signal(syscall.SIGCONT)
	c.exits(0)
	if b, err := os.ReadFile(said); string(b) != "b\na\n" {
		t.Errorf("stopped %q, %v; want b, then a", b, err)
	}
}

// TestContainerForced: an order without the manager goes to process 1, which nsctl
// knows by what it was built from.
func TestContainerForced(t *testing.T) {
	c := startContainer(t, map[string]string{"default": ""})
	c.await("default", "sub_state", "active")
	if out, err := c.inside(filepath.Join(c.bin, "nsctl"), "--socket", c.socket(), "reboot", "--force", "--force"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c.exits(exitReboot)
}

// TestContainerReboot: who asks for a reboot gets an exit code that says so.
func TestContainerReboot(t *testing.T) {
	c := startContainer(t, map[string]string{"default": ""})
	c.await("default", "sub_state", "active")
	c.signal(sigReboot)
	c.exits(exitReboot)
}

// TestContainerRefuses: a manager that cannot start is the container's failure
// and not a loop in it.
func TestContainerRefuses(t *testing.T) {
	c := startContainer(t, nil, "--no-such-flag")
	c.exits(exitBadFlag)
}

// TestContainerSignals: no signal ends process 1 but those that ask for it, one
// by one or all at once. (The orders themselves are left out.)
func TestContainerSignals(t *testing.T) {
	c := startContainer(t, map[string]string{"default": "[unit]\nwants = [\"web\"]\n", "web": sleeper})
	c.await("web", "sub_state", "running")
	// From inside: the kernel shields process 1 from its own namespace only.
	script := `some() { for s in "$@"; do case $s in 2|9|10|12|15|19|30|37|38|39|40) ;; *) kill -$s 1;; esac; done; }
for n in 1 2 3 4; do (i=0; while [ $i -lt 50 ]; do some $(seq 1 64); some 32 34 32 34; i=$((i+1)); done) & done; wait`
	if out, err := c.inside("sh", "-c", script); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c.await("web", "sub_state", "running")
	c.signal(syscall.SIGTERM)
	c.exits(0)
}

// TestContainerOrphans: process 1 reaps what nobody else does.
func TestContainerOrphans(t *testing.T) {
	c := startContainer(t, map[string]string{"default": ""})
	c.await("default", "sub_state", "active")
	script := `i=0; while [ $i -lt 300 ]; do (sh -c : &); i=$((i+1)); done`
	if out, err := c.inside("sh", "-c", script); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	target := strconv.Itoa(c.manager.Process.Pid)
	if err := eventually("process 1 to have no child but the manager", func() (bool, string) {
		var children []string // of each of its threads
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%s/task/*/children", target))
		for _, f := range files {
			b, _ := os.ReadFile(f)
			children = append(children, strings.Fields(string(b))...)
		}
		return len(children) == 1, strings.Join(children, " ")
	}); err != nil {
		t.Error(err)
	}
	c.signal(syscall.SIGTERM)
	c.exits(0)
}
