package pid1

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/reaper"
)

// apiMount is a file system that programs expect at its place.
type apiMount struct {
	target, fstype string
	flags          uintptr
	data           string
}

const (
	noDev  = unix.MS_NOSUID | unix.MS_NODEV
	noExec = unix.MS_NOSUID | unix.MS_NOEXEC
)

// early is what the first look around needs.
var early = []apiMount{
	{"/proc", "proc", noDev | noExec, ""},
	{"/sys", "sysfs", noDev | noExec, ""},
	{"/dev", "devtmpfs", unix.MS_NOSUID, "mode=0755"},
}

// apiMounts are the others, in an order in which each has its parent.
var apiMounts = []apiMount{
	{"/dev/pts", "devpts", noExec, "gid=5,mode=0620,ptmxmode=0666"},
	{"/dev/shm", "tmpfs", noDev, "mode=1777"},
	{"/dev/mqueue", "mqueue", noDev | noExec, ""},
	{"/run", "tmpfs", noDev, "mode=0755"},
	{"/sys/fs/cgroup", "cgroup2", noDev | noExec, "nsdelegate,memory_recursiveprot"},
}

// mountMissing mounts what is no mount point yet, and leaves alone what is.
func mountMissing(say *reporter, mounts []apiMount) {
	for _, m := range mounts {
		if isMount(m.target) {
			continue
		}
		if err := m.mount(); err != nil {
			say.warn("cannot mount %s: %v; going on without", m.target, err)
		}
	}
}

func (m apiMount) mount() error {
	if err := os.MkdirAll(m.target, 0o755); err != nil {
		return err
	}
	return unix.Mount(m.fstype, m.target, m.fstype, m.flags, m.data)
}

// isMount tells whether something is mounted there (statx(2), Linux 5.8).
func isMount(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &st)
	return err == nil && st.Attributes_mask&st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// scratch are the places that nothing runs without being able to write there.
var scratch = []apiMount{
	{"/tmp", "tmpfs", noDev, "mode=1777"},
	{"/var/tmp", "tmpfs", noDev, "mode=1777"},
	{"/var/log", "tmpfs", noDev, "mode=0755"},
}

// mountScratch mounts a tmpfs on those that are missing or cannot be written.
func mountScratch(say *reporter) {
	for _, m := range scratch {
		if isMount(m.target) || unix.Access(m.target, unix.W_OK) == nil {
			continue
		}
		if err := m.mount(); err != nil {
			say.warn("cannot mount %s: %v; going on without", m.target, err)
		}
	}
}

// keeperPair makes the two sockets between which descriptors lie in flight that
// have nobody else to keep them (see package reaper). What is there stays.
func keeperPair(say *reporter) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		say.warn("cannot make the keeper's sockets: %v; sockets of units do not outlive the manager", err)
		return
	}
	for i, fd := range []int{reaper.FDKeeperSend, reaper.FDKeeperKeep} {
		if err := unix.Dup3(pair[i], fd, unix.O_CLOEXEC); err != nil && pair[i] != fd {
			say.warn("cannot place a keeper's socket at descriptor %d: %v", fd, err)
			continue
		}
		if pair[i] != fd {
			unix.Close(pair[i])
		}
	}
}

// initPIDNamespace is the inode of the first PID namespace (linux/proc_ns.h).
const initPIDNamespace = "pid:[4026531836]"

// inContainer tells whether this is process 1 of something smaller than the
// machine: it says so, or is in a PID namespace of its own, or may not reboot.
func inContainer() bool {
	if os.Getenv("container") != "" {
		return true
	}
	if ns, err := os.Readlink("/proc/self/ns/pid"); err == nil && ns != initPIDNamespace {
		return true
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	err := unix.Capget(&hdr, &data[0])
	return err == nil && data[0].Effective&(1<<unix.CAP_SYS_BOOT) == 0
}

// cgroup2Mount finds where the cgroup2 tree is mounted.
func cgroup2Mount() (string, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		before, after, _ := strings.Cut(line, " - ")
		if f := strings.Fields(before); len(f) > 4 && strings.HasPrefix(after, "cgroup2 ") {
			return f[4], nil
		}
	}
	return "", errors.New("no cgroup2 is mounted")
}

// cgroupFor opens the cgroup NAME for a child to be born in, and first leaves
// the cgroup that it is made in, where that is not the tree's root: processes in
// it would forbid controllers for its children (cgroups(7)).
func cgroupFor(name string) (int, error) {
	mount, err := cgroup2Mount()
	if err != nil {
		return -1, err
	}
	if _, err := os.Stat(mount + "/cgroup.type"); err == nil {
		own := mount + "/nsinit-init"
		if err := os.Mkdir(own, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return -1, err
		}
		if err := os.WriteFile(own+"/cgroup.procs", []byte("0"), 0); err != nil {
			return -1, fmt.Errorf("cannot move to %s: %w", own, err)
		}
	}
	dir := mount + "/" + name
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return -1, err
	}
	return unix.Open(dir, unix.O_DIRECTORY|unix.O_PATH|unix.O_CLOEXEC, 0)
}
