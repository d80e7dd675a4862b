package launch

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// executedVar says, in the environment, which process has executed itself again:
// an exec keeps the number, and whoever inherits the variable has another. "1"
// is process 1's word for its child. It is not believed: checkProtected looks.
const executedVar = "NSINIT_EXECUTED"

// ProtectBinary has the process execute its own binary again from where nobody
// can write to it: call it before anything else. Reapers are copies of this
// process, so that /proc/1/exe of a service leads to the binary, and root in the
// service could change it for the host (CVE-2019-5736; ptrace(2) forbids that to
// those who lack CAP_SYS_PTRACE, and a file that is being executed cannot be
// opened for writing, but both end some time). It leads to a read-only mount
// that is attached nowhere (open_tree(2), mount_setattr(2), Linux 5.12), or where
// that is refused to a sealed copy in memory (memfd_create(2)).
//
// Process 1 starts its manager from there at once (Protected), which saves that
// the second execution.
//
// It returns nil in the process that runs from there. Where neither can be had
// the error says why, and the process must not launch anything: without them
// mounts of services would fail as well.
func ProtectBinary() error {
	by := os.Getenv(executedVar)
	again := by == strconv.Itoa(os.Getpid()) || by == "1" && os.Getppid() == 1
	os.Unsetenv(executedVar)
	if again {
		return checkProtected()
	}
	bind := execReadOnly()
	return fmt.Errorf("cannot protect nsinit's own binary from services: %w; %w", bind, execSealed())
}

// executeAgain is execve(2) of path by this process; it returns an error or not
// at all.
func executeAgain(path string) error {
	env := append(os.Environ(), fmt.Sprintf("%s=%d", executedVar, os.Getpid()))
	return &os.PathError{Op: "execve", Path: path, Err: syscall.Exec(path, os.Args, env)}
}

// execReadOnly executes the binary through a read-only mount of its directory,
// so that ps and /proc/PID/exe have its name.
func execReadOnly() error {
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	tree, shielded, err := readOnly(path)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	return executeAgain(shielded)
}

// Protected gives a path at which the caller's own binary, which path must be, is
// executed from a read-only mount, and what the environment must have for
// ProtectBinary to see that; it is for process 1. The path is good until done is
// called.
func Protected(path string) (shielded, env string, done func(), err error) {
	tree, shielded, err := readOnly(path)
	if err != nil {
		return "", "", nil, fmt.Errorf("cannot protect %s: %w", path, err)
	}
	return shielded, executedVar + "=1", func() { unix.Close(tree) }, nil
}

// lowestTree keeps the descriptor of a mount away from those that a child is
// given.
const lowestTree = 16

// readOnly makes a read-only mount of the own binary's directory that is attached
// nowhere, and gives its descriptor and the file's path through it.
func readOnly(path string) (tree int, shielded string, err error) {
	dir, name := filepath.Split(path)
	low, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, "", &os.PathError{Op: "open_tree", Path: dir, Err: err}
	}
	defer unix.Close(low)
	var there, own unix.Stat_t
	if err := errors.Join(unix.Fstatat(low, name, &there, 0), unix.Stat("/proc/self/exe", &own)); err != nil {
		return -1, "", &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if there.Dev != own.Dev || there.Ino != own.Ino {
		return -1, "", fmt.Errorf("%s is another file by now, or a mount", path)
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if err := unix.MountSetattr(low, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return -1, "", os.NewSyscallError("mount_setattr", err)
	}
	if tree, err = unix.FcntlInt(uintptr(low), unix.F_DUPFD_CLOEXEC, lowestTree); err != nil {
		return -1, "", os.NewSyscallError("fcntl", err)
	}
	return tree, fmt.Sprintf("/proc/self/fd/%d/%s", tree, name), nil
}

// seals are those that leave the content of a file as it is (fcntl(2)).
const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

// execSealed executes a copy of the binary in memory.
func execSealed() error {
	own, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer own.Close()
	name := filepath.Base(os.Args[0])
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(name, flags|unix.MFD_EXEC) // Linux 6.3
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate(name, flags)
	}
	if err != nil {
		return os.NewSyscallError("memfd_create", err)
	}
	copied := os.NewFile(uintptr(fd), "sealed copy")
	defer copied.Close()
	if _, err := io.Copy(copied, own); err != nil {
		return fmt.Errorf("cannot copy it: %w", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	return executeAgain(fmt.Sprintf("/proc/self/fd/%d", fd))
}

// checkProtected makes sure of what execReadOnly or execSealed has done, and
// gives the process its name back, which the latter makes a number of.
func checkProtected() error {
	var fs unix.Statfs_t
	if err := unix.Statfs("/proc/self/exe", &fs); err != nil {
		return fmt.Errorf("cannot tell whether nsinit's own binary is protected: %w", &os.PathError{Op: "statfs", Path: "/proc/self/exe", Err: err})
	}
	if fs.Flags&unix.ST_RDONLY != 0 {
		return nil
	}
	own, err := os.Open("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("cannot tell whether nsinit's own binary is protected: %w", err)
	}
	defer own.Close()
	if got, err := unix.FcntlInt(own.Fd(), unix.F_GET_SEALS, 0); err != nil || got&seals != seals {
		return fmt.Errorf("cannot protect nsinit's own binary from services: executed again, it can still be written to (%s=%d is set by somebody else)", executedVar, os.Getpid())
	}
	name := strings.TrimPrefix(filepath.Base(os.Args[0]), "-")
	if err := os.WriteFile("/proc/self/comm", []byte(name), 0); err != nil {
		return fmt.Errorf("cannot name the process: %w", err)
	}
	return nil
}
