package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// debianRoot makes an overlay over this machine's root, with /run, /proc and the
// cgroups of its own, puts nsinit and its systemctl there, takes the package away
// if the machine has it, and becomes nsinit.
const debianRoot = `
bin=$1 compat=$2 dir=$3 package=$4
mount --make-rprivate /
mount -t tmpfs tmpfs "$dir"
mkdir "$dir/upper" "$dir/work" "$dir/root" "$dir/keep"
cp "$bin/nsinit" "$bin/nsctl" "$compat/systemctl" "$dir/keep/"
cp "$5" "$dir/keep/package.deb"
mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"
cd "$dir/root"
mount -t proc proc proc
mount --rbind /dev dev
mount -t sysfs sysfs sys
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
cp "$dir"/keep/* mnt/
mkdir -p run/old
pivot_root . run/old
cd /
umount -l /run/old
rmdir /run/old
rm -rf /etc/nsinit /usr/local/lib/nsinit /usr/lib/nsinit /usr/bin/systemd-tmpfiles
dpkg -P --no-triggers --force-depends "$package" >/dev/null 2>&1
install -m 755 /mnt/nsinit /usr/sbin/nsinit
install -m 755 /mnt/nsctl /usr/bin/nsctl
install -m 755 /mnt/systemctl /usr/bin/systemctl
rm -f /usr/sbin/policy-rc.d
mkdir -p /run/systemd/system /etc/nsinit/units
exec unshare --cgroup -- /usr/sbin/nsinit
`

// debianMachine is nsinit as process 1 of such a root.
type debianMachine struct {
	t   *testing.T
	pid int
}

// debPackage is the file of a package, downloaded once.
func debPackage(t *testing.T, bin, name string) string {
	t.Helper()
	dir := filepath.Join(bin, "debs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	find := func() []string { files, _ := filepath.Glob(filepath.Join(dir, name+"_*.deb")); return files }
	if len(find()) == 0 {
		cmd := exec.Command("apt-get", "download", name)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("cannot download %s: %v\n%s", name, err, out)
		}
	}
	return find()[0]
}

func startDebian(t *testing.T, name string) *debianMachine {
	t.Helper()
	bin := needBinaries(t)
	deb := debPackage(t, bin, name)
	compat, err := filepath.Abs("../../packaging/compat")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cgroup := filepath.Join(cgroup2(), "nst-debian-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(cgroup, 0o755); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(cgroup, unix.O_DIRECTORY|unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	said, err := os.CreateTemp(bin, "said-")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-ec", debianRoot, "sh", bin, compat, dir, name, deb)
	cmd.Stdout, cmd.Stderr = said, said
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "container=test")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: fd,
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() // the kernel ends its namespace with it
		cmd.Wait()
		if err := eventually("the cgroup's removal", func() (bool, string) { return removeCgroups(cgroup), cgroup }); err != nil {
			t.Error(err)
		}
		if text, _ := os.ReadFile(said.Name()); t.Failed() {
			t.Logf("process 1 said:\n%s", text)
		}
		said.Close()
		os.Remove(said.Name())
	})
	m := &debianMachine{t, cmd.Process.Pid}
	if err := eventually("nsinit to run", func() (bool, string) {
		out, _ := m.try("test -S /run/nsinit/control.sock && nsctl is-system-running")
		return strings.HasPrefix(out, "running") || strings.HasPrefix(out, "degraded"), out
	}); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *debianMachine) try(script string) (string, error) {
	cmd := exec.Command("nsenter", "--target", strconv.Itoa(m.pid), "--pid", "--mount", "--net", "--", "/bin/sh", "-ec", script)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (m *debianMachine) run(script string) string {
	m.t.Helper()
	out, err := m.try(script)
	if err != nil {
		status, _ := m.try("nsctl status; nsctl status memcached; ls -lR /usr/local/lib/nsinit /etc/systemd/system/*.wants")
		m.t.Fatalf("%s: %v\n%s\n%s", script, err, out, status)
	}
	return out
}

// A package's scripts start, reload and remove its daemon through systemctl.
func TestDebianPackage(t *testing.T) {
	m := startDebian(t, "memcached")
	t.Logf("%s", m.run("dpkg -i --no-triggers --force-unsafe-io /mnt/package.deb"))
	if got := m.run("systemctl is-enabled memcached.service; systemctl is-active memcached"); got != "enabled\nactive\n" {
		t.Fatalf("after dpkg -i: %q", got)
	}
	// Isolated: another mount namespace than process 1's, and not root's user.
	m.run(`pid=$(systemctl show -p MainPID --value memcached)
test "$(readlink /proc/$pid/ns/mnt)" != "$(readlink /proc/1/ns/mnt)"
test "$(ps -o user= -p $pid)" = memcache`)
	m.run("head -n 1 /usr/local/lib/nsinit/units/memcached.toml | grep -F /lib/systemd/system/memcached.service")
	before := m.run("systemctl show -p MainPID --value memcached")
	m.run("systemctl try-reload-or-restart memcached.service; invoke-rc.d memcached restart; service memcached restart")
	if after := m.run("systemctl show -p MainPID --value memcached"); after == before {
		t.Errorf("restart kept process %s", after)
	}
	if got := m.run("systemctl disable --now memcached; systemctl is-enabled memcached || true; systemctl is-active memcached || true"); !strings.HasSuffix(got, "disabled\ninactive\n") {
		t.Errorf("after disable --now: %q", got)
	}
	m.run("systemctl enable --now memcached; systemctl is-active memcached")
	for command, want := range map[string]string{
		"systemctl start nosuch.service": "5", "systemctl frobnicate": "1", "systemctl start": "1", "systemctl --frob start x": "1",
		"systemctl start x.socket": "0", "systemctl --user daemon-reload": "0", "systemctl is-active nosuch": "3",
	} {
		if got := m.run("s=0; " + command + " >/dev/null 2>&1 || s=$?; echo $s"); strings.TrimSpace(got) != want {
			t.Errorf("%s: exit status %s, want %s", command, strings.TrimSpace(got), want)
		}
	}
	m.rotateLogs()
	m.run("dpkg -P --no-triggers memcached")
	if got := m.run("find /usr/local/lib/nsinit /etc/nsinit /etc/systemd/system -name '*memcached*'; pgrep -x memcached || true"); got != "" {
		t.Errorf("dpkg -P leaves %s", got)
	}
}

// rotateLogs has logrotate rotate the log of rsyslog, whose script is systemctl
// kill -s HUP: only that makes it write to the new file that it was "HUPed". Its
// unit file says nothing of /var/log, which the profile keeps read-only: the admin
// does, and the drop-in outlives the import.
func (m *debianMachine) rotateLogs() {
	m.t.Helper()
	m.run(`mkdir -p /etc/nsinit/units/rsyslog.toml.d
echo 'global(processInternalMessages="on")' >/etc/rsyslog.d/00-own.conf
printf '[filesystem]\nread_write_paths = "/var/log"\n[security]\ncapability_bounding_set = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"]\n' >/etc/nsinit/units/rsyslog.toml.d/log.toml`)
	m.run("systemctl start rsyslog.service; date >>/var/log/syslog; logrotate --force /etc/logrotate.d/rsyslog")
	if err := eventually("rsyslog to open its new log", func() (bool, string) {
		out, err := m.try("grep 'rsyslogd was HUPed' /var/log/syslog")
		return err == nil, out
	}); err != nil {
		state, _ := m.try("systemctl status rsyslog; ls -l /var/log/syslog*; tail -n 3 /var/log/syslog.1")
		m.t.Fatalf("%v\n%s", err, state)
	}
}
