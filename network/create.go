package network

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// errNotNamespace is a file that is no network namespace.
var errNotNamespace = errors.New("not a network namespace")

// openNamespace opens path and verifies that it is a network namespace: of
// nsfs, and by the kernel's word of that type (NS_GET_NSTYPE of ioctl_ns(2),
// Linux 4.11).
func openNamespace(path string) (int, error) {
	// O_NONBLOCK: a FIFO that is given by mistake must not hang the start.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		unix.Close(fd)
		return -1, &os.PathError{Op: "fstatfs", Path: path, Err: err}
	}
	kind := 0
	if fs.Type == unix.NSFS_MAGIC {
		kind, err = unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	}
	if err != nil || kind != unix.CLONE_NEWNET {
		unix.Close(fd)
		return -1, fmt.Errorf("cannot use %s: %w (a file below /run/netns or /proc/PID/ns/net is one)", path, errNotNamespace)
	}
	return fd, nil
}

// create makes a network namespace whose loopback interface is up. The
// descriptor keeps it.
func create() (fd int, err error) {
	onSpareThread(func() { fd, err = createHere() })
	return fd, err
}

// onSpareThread runs f on a thread that goes back to its network namespace
// afterwards, or ends, so that no other goroutine comes to run in the one that f
// leaves it in. The main thread is not taken: it cannot end before the process
// (runtime.mexit parks it), would hold the namespace, and show it as the
// process's own in /proc.
func onSpareThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			onSpareThread(f) // on another one, since this is locked
			runtime.UnlockOSThread()
			return
		}
		home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		f()
		if err != nil {
			return // still locked, which is what ends the thread
		}
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		unix.Close(home)
	}()
	<-done
}

// createHere moves the calling thread to a new namespace and opens that.
func createHere() (fd int, err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return -1, fmt.Errorf("cannot make a network namespace: %w%s", os.NewSyscallError("unshare", err), unshareHint(err))
	}
	if err := loopbackUp(); err != nil {
		return -1, err
	}
	if fd, err = openNamespace("/proc/thread-self/ns/net"); err != nil {
		return -1, fmt.Errorf("cannot open the new network namespace: %w", err)
	}
	return fd, nil
}

func unshareHint(err error) string {
	switch err {
	case unix.EPERM:
		return " (this needs CAP_SYS_ADMIN)"
	case unix.ENOSPC:
		return " (user.max_net_namespaces is reached)"
	}
	return ""
}

// loopbackUp sets up the loopback interface of the calling thread's namespace
// (netdevice(7)); it gets its addresses by that.
func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot talk to the network namespace: %w", os.NewSyscallError("socket", err))
	}
	defer unix.Close(s)
	lo, err := unix.NewIfreq("lo")
	if err == nil {
		lo.SetUint16(unix.IFF_UP)
		err = os.NewSyscallError("ioctl SIOCSIFFLAGS", unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo))
	}
	if err != nil {
		return fmt.Errorf("cannot set up the loopback interface: %w", err)
	}
	return nil
}

// pin binds the namespace that fd has open on the file path.
func pin(fd int, path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o400)
	if err != nil {
		return fmt.Errorf("cannot pin the network namespace: %w", err)
	}
	f.Close()
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", fd), path, "", unix.MS_BIND, ""); err != nil {
		os.Remove(path)
		return fmt.Errorf("cannot pin the network namespace at %s: %w", path, os.NewSyscallError("mount", err))
	}
	return nil
}

// unpin takes away the bind and its file. Detaching cannot be refused by one
// who has the pin open.
func unpin(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && err != unix.EINVAL && err != unix.ENOENT { // no mount point, no file
		return fmt.Errorf("cannot unpin the network namespace %s: %w", path, os.NewSyscallError("umount2", err))
	}
	if err := unix.Unlink(path); err != nil && err != unix.ENOENT {
		return &os.PathError{Op: "unlink", Path: path, Err: err}
	}
	return nil
}

func isMountPoint(dir string) (bool, error) {
	mounted, err := mountinfo.Mounted(dir)
	if err != nil {
		return false, fmt.Errorf("cannot tell whether %s is a mount point: %w", dir, err)
	}
	return mounted, nil
}
