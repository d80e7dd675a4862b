package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fork is a bare fork(2): the child must not return.
func fork() (pid uintptr, err error) {
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return pid, nil
}

func leave(code uintptr) {
	for {
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, code, 0, 0)
	}
}

// zombies makes children that it never waits for. They become PID 1's all at
// once when this process ends.
func zombies(args []string) error {
	for range number(args[0]) {
		pid, err := fork()
		if err != nil {
			return err
		}
		if pid == 0 {
			leave(0)
		}
	}
	fmt.Println("zombies:", args[0])
	os.Exit(number(args[1]))
	return nil
}

// orphans makes children whose children are PID 1's from the beginning.
func orphans(args []string) error {
	for range number(args[0]) {
		pid, err := fork()
		if err != nil {
			return err
		}
		if pid == 0 {
			syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
			leave(0) // both
		}
		if _, err := unix.Wait4(int(pid), nil, 0, nil); err != nil {
			return err
		}
	}
	fmt.Println("orphans:", args[0])
	return wait()
}

// attack tries what would make the supervision of this service its own.
func attack([]string) error {
	report := func(what string, err error) {
		if err == nil {
			fmt.Println(what, "WORKED")
		} else {
			fmt.Println(what, "refused:", err)
		}
	}
	report("ptrace", unix.PtraceAttach(1))
	report("seize", unix.PtraceSeize(1))
	for _, name := range []string{"mem", "exe", "environ", "maps", "fd/3", "root/etc", "cwd/etc"} {
		f, err := os.Open("/proc/1/" + name)
		if err == nil {
			_, err = f.Stat()
			f.Close()
		}
		report("/proc/1/"+name, err)
	}
	pidfd, err := unix.PidfdOpen(1, 0)
	if err != nil {
		return err
	}
	for fd := range 32 {
		_, err = unix.PidfdGetfd(pidfd, fd, 0)
		if err != unix.EBADF {
			break
		}
	}
	report("pidfd_getfd", err)
	_, err = unix.ProcessVMReadv(1, []unix.Iovec{{Base: new(byte), Len: 1}}, []unix.RemoteIovec{{Base: 0x400000, Len: 1}}, 0)
	report("process_vm_readv", err)
	limit := unix.Rlimit{Cur: 64, Max: 64}
	report("prlimit", unix.Prlimit(1, unix.RLIMIT_FSIZE, &limit, nil))
	report("kill", killed())
	return wait()
}

// killed sends PID 1 what it could die of, and reports whether it did: the
// kernel takes the signal and drops it.
func killed() error {
	for _, sig := range []unix.Signal{unix.SIGKILL, unix.SIGSEGV, unix.SIGTERM, unix.SIGSTOP} {
		if err := unix.Kill(1, sig); err != nil {
			return err
		}
	}
	return fmt.Errorf("still here")
}

// overwrite tries to change the program that PID 1 runs, once it is told to.
//
// A file that is being executed cannot be opened for writing (ETXTBSY), which
// defends it only for as long as it is. What has O_TRUNC asks the mount first,
// and a time stamp asks nothing but the mount: EROFS is the mount's refusal.
func overwrite(args []string) error {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGHUP)
	fmt.Println("waiting")
	<-told
	report := ""
	try := func(what string, err error) {
		answer := "WORKED"
		if errno, ok := err.(syscall.Errno); ok {
			answer = unix.ErrnoName(errno)
		}
		report += what + " " + answer + "\n"
	}
	const exe = "/proc/1/exe"
	fd, err := unix.Open(exe, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	try("read", err)
	_, err = unix.Open(exe, unix.O_WRONLY|unix.O_TRUNC|unix.O_CLOEXEC, 0)
	try("write", err)
	_, err = unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_WRONLY|unix.O_TRUNC|unix.O_CLOEXEC, 0)
	try("reopen", err)
	try("touch", unix.UtimesNanoAt(unix.AT_FDCWD, exe, nil, 0))
	try("chmod", unix.Fchmod(fd, 0o755))
	if err := os.WriteFile(args[0], []byte(report), 0o644); err != nil {
		return err
	}
	return wait()
}

// sigspam queues signals for PID 1, each a real-time one with a value, which the
// kernel must keep if the receiver blocks it.
func sigspam(args []string) error {
	info := struct {
		Signo, Errno, Code int32
		_                  int32
		PID, UID           int32
		rest               [104]byte
	}{Code: -1, PID: int32(os.Getpid())} // SI_QUEUE
	for i := range number(args[0]) {
		sig := 34 + i%30
		info.Signo = int32(sig)
		_, _, errno := unix.Syscall(unix.SYS_RT_SIGQUEUEINFO, 1, uintptr(sig), uintptr(unsafe.Pointer(&info)))
		if errno != 0 {
			return fmt.Errorf("after %d signals: %w", i, errno)
		}
	}
	fmt.Println("signals:", args[0])
	return wait()
}
