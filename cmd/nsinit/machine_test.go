package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// inPID1 is process 1 of a PID namespace: it writes down the orders that it gets
// and runs a manager, as nsinit's own process 1 does.
const inPID1 = `
for n in halt:3 poweroff:4 reboot:5 kexec:6; do trap "echo order ${n%:*}" SIGRTMIN+${n#*:}; done
start() {
	nsinit --instance "$NAME" --unit-path "$WORK/units" --runtime-dir "$RUN" --log-dir "$WORK/log" \
		--cgroup-parent "$PARENT" --init-of container 2>>"$WORK/manager.log" 3>&- &
	manager=$!
	until nsctl is-system-running --wait; do kill -0 $manager || exit 1; sleep 0.05; done
}
start
for verb in poweroff reboot halt kexec; do nsctl $verb; done
for link in poweroff reboot halt; do ln -s "$(command -v nsctl)" "$WORK/$link"; "$WORK/$link" --no-wall; done
ln -s "$(command -v nsctl)" "$WORK/shutdown"
"$WORK/shutdown" -r now
"$WORK/shutdown" --no-wall -h +60 in an hour
kill -KILL $manager; wait $manager 2>/dev/null
start
echo "kept: $(nsctl shutdown --show)"
"$WORK/shutdown" --no-wall -c
nsctl shutdown --show
nsctl rescue
nsctl is-system-running
nsctl default
nsctl is-system-running
kill -TERM $manager; while kill -0 $manager 2>/dev/null; do wait $manager 2>/dev/null; done
nsctl is-system-running
exit 0
`

// TestMachineOrders: whoever asks the machine's manager for an end of the machine
// has process 1 asked for it; what is scheduled outlives the manager.
func TestMachineOrders(t *testing.T) {
	bin := needBinaries(t)
	dir, err := os.MkdirTemp(filepath.Dir(bin), "machine-")
	if err != nil {
		t.Fatal(err)
	}
	in, err := newInstance(bin, dir)
	if err != nil {
		t.Fatal(err)
	}
	parent := in.name + "p"
	group := filepath.Join(cgroup2(), parent)
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, left := range in.destroy() {
			t.Errorf("left behind: %s", left)
		}
		os.RemoveAll(dir)
		os.Remove(filepath.Join(group, in.name+"-manager"))
		if err := os.Remove(group); err != nil {
			t.Error(err)
		}
	})
	unit := "[service]\nexec_start = \"" + in.probe() + " run\"\n[install]\nwanted_by = \"default\"\n"
	if err := os.WriteFile(filepath.Join(in.units(), "web.toml"), []byte(unit), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "bash", "-c", inPID1)
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "NSCTL_SOCKET="+in.socket(), "NAME="+in.name, "RUN="+in.runDir,
		"WORK="+dir, "PARENT="+parent, "TZ=UTC")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text := string(out)
	want := []string{"running", "order poweroff", "order reboot", "order halt", "order kexec", // the verbs
		"order poweroff", "order reboot", "order halt", "order reboot", // the links, and shutdown -r now
		"Poweroff scheduled for ", "running", "kept: Poweroff scheduled for ", ": in an hour", "Poweroff of ", "no shutdown is scheduled",
		"rescue: isolated", "maintenance", "default: isolated", "running", "offline"}
	for rest := text; len(want) > 0; want = want[1:] {
		_, after, found := strings.Cut(rest, want[0])
		if !found {
			log, _ := os.ReadFile(in.said())
			t.Fatalf("%q is missing, or not in its place:\n%s\nthe manager said:\n%s", want[0], text, log)
		}
		rest = after
	}
}

// TestOrdinaryHost: a manager that is not a machine's leaves the machine alone,
// and says who ends it.
func TestOrdinaryHost(t *testing.T) {
	in := testInstance(t, map[string]string{"bad": "[service]\nexec_start = \"/bin/false\"\nrestart = \"no\"\n[install]\nwanted_by = \"default\"\n"})
	for _, args := range [][]string{{"poweroff"}, {"reboot"}, {"halt"}, {"kexec"}, {"shutdown", "--no-wall", "+5"}, {"shutdown", "now"}} {
		_, stderr, code := in.nsctl(args...)
		if code != 1 || !strings.Contains(stderr, "this instance does not run the machine") {
			t.Errorf("nsctl %v: exit %d: %s", args, code, stderr)
		}
	}
	if err := in.await("bad", "active_state", "failed"); err != nil {
		t.Fatal(err)
	}
	if out, _, code := in.nsctl("is-system-running"); code != 1 || out != "degraded\n" {
		t.Errorf("is-system-running: exit %d: %s", code, out)
	}
}
