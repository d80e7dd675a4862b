package launch_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// probe is what the tests run inside services.
func probe(args []string) int {
	switch args[0] {
	case "look":
		look()
	case "namespaces": // which is all that is looked at where the tree may be the host's
		json.NewEncoder(os.Stdout).Encode(sight{Namespaces: ownNamespaces()})
	case "hold":
		fmt.Println("ready")
		wait()
	case "exit":
		n, _ := strconv.Atoi(args[1])
		return n
	case "echo":
		fmt.Println(strings.Join(args[1:], " "))
	case "attack":
		attack(1)
	case "hunt":
		hunt()
	case "queue":
		n, _ := strconv.Atoi(args[1])
		queue(n)
	case "limit":
		limit := unix.Rlimit{Cur: 64, Max: 64}
		fmt.Println(errText(unix.Prlimit(1, unix.RLIMIT_FSIZE, &limit, nil)))
	case "orphans":
		n, _ := strconv.Atoi(args[1])
		return orphans(n)
	case "undo":
		undo()
	case "once": // an orphan for the reaper: its parent is gone before it ends
		exec.Command("/proc/self/exe").Start()
	}
	return 0
}

// sight is what a service sees of its surroundings.
type sight struct {
	Namespaces map[string]string
	Mounts     []string
	Dev        []string
	FDs        map[string]string
	Hostname   string
	Loopback   string
	Writable   []string // files of /proc and /sys that open for writing
	Masked     map[string]string
	Root       string
	Status     map[string]string
	Cwd        string
	Cgroup     string
	ReadOnly   map[string]string
	Ignored    string
}

func look() {
	s := sight{Namespaces: ownNamespaces(), FDs: links("/proc/self/fd"), Masked: map[string]string{}, Status: map[string]string{},
		ReadOnly: map[string]string{}}
	s.Hostname, _ = os.Hostname()
	s.Cwd, _ = os.Getwd()
	b, _ := os.ReadFile("/proc/self/mountinfo")
	s.Mounts = strings.Split(strings.TrimSpace(string(b)), "\n")
	entries, _ := os.ReadDir("/dev")
	for _, e := range entries {
		s.Dev = append(s.Dev, e.Name())
	}
	if lo, err := net.InterfaceByName("lo"); err == nil {
		s.Loopback = lo.Flags.String()
	}
	for _, p := range []string{"/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/kmsg", "/sys/firmware", "/home", "/root", "/boot"} {
		s.Masked[p] = content(p)
	}
	for _, p := range []string{"/etc/probe", "/usr/probe", "/var/probe", "/probe", "/dev/probe", "/sys/probe", "/tmp/probe", "/run/new"} {
		s.ReadOnly[p] = errText(os.WriteFile(p, nil, 0o600))
	}
	s.Writable = writable("/proc", "/sys")
	var st unix.Stat_t
	unix.Stat("/", &st)
	s.Root = fmt.Sprintf("%d:%d", st.Dev, st.Ino)
	status, _ := os.ReadFile("/proc/self/status")
	for _, l := range strings.Split(string(status), "\n") {
		k, v, _ := strings.Cut(l, ":")
		s.Status[k] = strings.TrimSpace(v)
	}
	cg, _ := os.ReadFile("/proc/self/cgroup")
	s.Cgroup = string(cg)
	json.NewEncoder(os.Stdout).Encode(s)
}

func ownNamespaces() map[string]string { return links("/proc/self/ns") }

func links(dir string) map[string]string {
	m := map[string]string{}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if t, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			m[e.Name()] = t
		}
	}
	return m
}

// content tells how much can be read of a path.
func content(p string) string {
	st, err := os.Stat(p)
	if err != nil {
		return errText(err)
	}
	if st.IsDir() {
		es, _ := os.ReadDir(p)
		return fmt.Sprintf("directory of %d, mode %03o", len(es), st.Mode().Perm())
	}
	f, err := os.Open(p)
	if err != nil {
		return errText(err)
	}
	defer f.Close()
	n, _ := f.Read(make([]byte, 1))
	return fmt.Sprintf("%d bytes", n)
}

func errText(err error) string {
	var e syscall.Errno
	if errors.As(err, &e) {
		return unix.ErrnoName(e)
	}
	return fmt.Sprint(err)
}

// writable walks kernel file systems and lists what takes a write (of nothing). The
// processes' own directories are theirs.
func writable(roots ...string) (found []string) {
	for _, root := range roots {
		filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil
			}
			name := strings.TrimPrefix(p, "/proc/")
			if d.IsDir() && name != p && name != "" && name[0] >= '0' && name[0] <= '9' {
				return filepath.SkipDir
			}
			if !d.Type().IsRegular() {
				return nil
			}
			if fd, err := unix.Open(p, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err == nil {
				// Root opens everything; what nothing can be written to says EIO.
				if _, err := unix.Write(fd, nil); err != unix.EIO {
					found = append(found, p)
				}
				unix.Close(fd)
			}
			return nil
		})
	}
	return found
}

// attack tries to get hold of a process and prints the errors by name; nil is a success.
func attack(pid int) {
	runtime.LockOSThread()
	out, dir := map[string]string{}, "/proc/"+strconv.Itoa(pid)
	out["ptrace"] = errText(syscall.PtraceAttach(pid))
	if out["ptrace"] == "<nil>" {
		unix.Wait4(pid, nil, unix.WALL, nil) // for its stop
		syscall.PtraceDetach(pid)
	}
	f, err := os.OpenFile(dir+"/mem", os.O_RDWR, 0)
	out["mem"] = errText(err)
	f.Close()
	fd, err := unix.Open(dir+"/exe", unix.O_RDONLY, 0)
	out["exe"] = errText(err)
	unix.Close(fd)
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err == nil {
		fd, err = unix.PidfdGetfd(pidfd, 3, 0)
		unix.Close(fd)
	}
	out["pidfd_getfd"] = errText(err)
	_, err = os.Readlink(dir + "/fd/3")
	out["fd"] = errText(err)
	_, err = os.Stat(dir + "/root/etc")
	out["root"] = errText(err)
	json.NewEncoder(os.Stdout).Encode(out)
}

// permitted reads the capabilities of a process.
func permitted(pid string) string {
	b, _ := os.ReadFile("/proc/" + pid + "/status")
	_, rest, _ := strings.Cut(string(b), "\nCapPrm:")
	line, _, _ := strings.Cut(rest, "\n")
	return line
}

// gate is where a command waits between its clone and its execve.
const gate = "/run/gate"

// hunt attacks the first process that comes, once it has no more capabilities
// than the hunter, and opens the gate for it.
func hunt() {
	unix.Mkfifo(gate, 0o600)
	fmt.Println("ready")
	for {
		entries, _ := os.ReadDir("/proc")
		for _, e := range entries {
			if pid, err := strconv.Atoi(e.Name()); err == nil && pid > 1 && pid != os.Getpid() && permitted(e.Name()) == permitted("self") {
				attack(pid)
				os.WriteFile(gate, nil, 0)
				return
			}
		}
	}
}

// queue sends n signals to PID 1 with rt_sigqueueinfo(2), and says when it is done.
func queue(n int) {
	type siginfo struct {
		signo, errno, code int32
		_                  int32
		pid, uid           int32
		value              uint64
		_                  [96]byte
	}
	signals := []int32{1, 2, 3, 10, 12, 13, 14, 15, 17, 20, 34, 40, 50, 64}
	for i := range n {
		info := siginfo{signo: signals[i%len(signals)], code: -1}
		unix.RawSyscall(unix.SYS_RT_SIGQUEUEINFO, 1, uintptr(info.signo), uintptr(unsafe.Pointer(&info)))
	}
	fmt.Println("queued")
	wait()
}

// wait never ends, and the runtime does not take it for a deadlock.
func wait() {
	unix.Pause()
}

// orphans leaves n processes to the reaper, half of which end before it looks.
func orphans(n int) int {
	for range n {
		pid, _, e := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if e != 0 {
			fmt.Println(e)
			return 1
		}
		if pid == 0 { // the child makes a grandchild and is gone: only raw calls here
			unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
			for {
				unix.RawSyscall(unix.SYS_EXIT_GROUP, 3, 0, 0)
			}
		}
		// Not waited for: the child is a zombie until this process ends.
	}
	return 42
}

// undo tries what would lift the protection of the tree.
func undo() {
	out := map[string]string{
		"remount":       errText(unix.Mount("", "/proc/sys", "", unix.MS_REMOUNT|unix.MS_BIND, "")),
		"umount":        errText(unix.Unmount("/proc/sys", 0)),
		"proc":          errText(unix.Mount("proc", "/tmp", "proc", 0, "")),
		"cgroup2":       errText(unix.Mount("cgroup2", "/tmp", "cgroup2", 0, "")),
		"unshare mount": errText(unix.Unshare(unix.CLONE_NEWNS)),
		"mknod":         errText(unix.Mknod("/tmp/m", unix.S_IFBLK|0o600, int(unix.Mkdev(254, 0)))),
		"setattr":       errText(unix.MountSetattr(unix.AT_FDCWD, "/", 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY})),
		"pivot":         errText(unix.PivotRoot("/tmp", "/tmp")),
	}
	_, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE)
	out["open_tree"] = errText(err)
	json.NewEncoder(os.Stdout).Encode(out)
}
