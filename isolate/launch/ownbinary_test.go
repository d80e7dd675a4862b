package launch_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// protected runs the driver until it has protected its binary, with a thread
// whose bounding set lacks what is dropped. It gives what the driver says, and a
// descriptor of its program as one has that was opened by /proc/PID/exe; the
// driver has ended by then.
func protected(t *testing.T, bin string, drop ...int) (said string, exe int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounts need root")
	}
	cmd := exec.Command(bin, "protect", "me")
	cmd.Args[0] = "drv"
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends
		for _, c := range drop {
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil {
				started <- err
				return
			}
		}
		started <- cmd.Start()
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	said, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Error(err)
	}
	exe, err = unix.Open(fmt.Sprintf("/proc/%d/exe", cmd.Process.Pid), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(exe) })
	in.Close()
	io.Copy(io.Discard, out)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	return strings.TrimSpace(said), exe
}

// reopen opens for writing what a descriptor names, as CVE-2019-5736 does when
// nobody executes the file any more.
func reopen(fd int) error {
	w, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		unix.Close(w)
	}
	return err
}

// The binary that runs is on a read-only mount, under its own name; the same
// file by its path can be written to once nobody executes it.
func TestBinaryIsReadOnly(t *testing.T) {
	bin := build(t, nil)
	said, exe := protected(t, bin)
	if want := `/driver|driver|["drv" "protect" "me"]|`; said != want {
		t.Errorf("it says %s, want %s", said, want)
	}
	if err := reopen(exe); err != unix.EROFS {
		t.Errorf("opened for writing: %v", err)
	}
	if err := unix.Fchmodat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", exe), 0o755, 0); err != unix.EROFS {
		t.Errorf("its mode changed: %v", err)
	}
	byPath, err := unix.Open(bin, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(byPath)
	if err := reopen(byPath); err != nil {
		t.Errorf("without the mount this test sees nothing: %v", err)
	}
}

// Where mounts are refused it runs from a copy that cannot be changed.
func TestBinaryIsSealed(t *testing.T) {
	const sysAdmin = 21
	bin := build(t, nil)
	said, exe := protected(t, bin, sysAdmin)
	if want := `/memfd:drv (deleted)|drv|["drv" "protect" "me"]|`; said != want {
		t.Errorf("it says %s, want %s", said, want)
	}
	w, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", exe), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(w)
	if _, err := unix.Write(w, []byte("x")); err != unix.EPERM {
		t.Errorf("written to: %v", err)
	}
	if err := unix.Ftruncate(w, 0); err != unix.EPERM {
		t.Errorf("truncated: %v", err)
	}
	if _, err := unix.FcntlInt(uintptr(w), unix.F_ADD_SEALS, 0); err != unix.EPERM {
		t.Errorf("seals can be added: %v", err)
	}
}

// Whoever says for it that it has done so already is not believed, and there is
// no second round.
func TestBinaryIsNotTakenForProtected(t *testing.T) {
	out, err := exec.Command("/bin/sh", "-c", "NSINIT_EXECUTED=$$ exec "+build(t, nil)+" protect").CombinedOutput()
	if exit, ok := err.(*exec.ExitError); !ok || exit.Sys().(syscall.WaitStatus).ExitStatus() != 1 || !strings.Contains(string(out), "can still be written to") {
		t.Errorf("%v\n%s", err, out)
	}
}
