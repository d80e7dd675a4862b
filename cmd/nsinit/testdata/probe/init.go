package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// hold is PID 1 of a machine as far as the keeper needs one: it holds the two
// ends of the keeper's socketpair, runs the manager and collects who ends. At
// SIGUSR1 it kills the manager and runs another; SIGTERM goes to the manager,
// whose orderly end is its own.
func hold(args []string) error {
	err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("proc", "/proc", "proc", 0, ""), holdPair(10, 11))
	if err != nil {
		return err
	}
	told := make(chan os.Signal, 16)
	signal.Notify(told, syscall.SIGUSR1, syscall.SIGTERM, syscall.SIGCHLD)
	argv := trim(args)
	run := func() (int, error) {
		return syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
	}
	manager, err := run()
	for ; err == nil; err = reapAll(manager, &manager, run) {
		switch sig := <-told; sig {
		case syscall.SIGUSR1:
			err = syscall.Kill(manager, syscall.SIGKILL)
		case syscall.SIGTERM:
			err = syscall.Kill(manager, syscall.SIGTERM)
		}
	}
	if errors.Is(err, errOrderly) {
		return nil
	}
	return err
}

// trim drops the empty arguments that main adds for every mode.
func trim(args []string) []string {
	for len(args) > 0 && args[len(args)-1] == "" {
		args = args[:len(args)-1]
	}
	return args
}

// holdPair makes the socketpair as package reaper describes it.
func holdPair(numbers ...int) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	for i, n := range numbers {
		if err == nil {
			err = unix.Dup3(pair[i], n, unix.O_CLOEXEC)
		}
	}
	return err
}

var errOrderly = errors.New("the manager has ended")

// reapAll collects everybody who has ended. A manager that was killed is run again.
func reapAll(manager int, now *int, run func() (int, error)) error {
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
		switch {
		case pid <= 0:
			return nil
		case err != nil:
			return err
		case pid != manager:
		case ws.Signaled():
			*now, err = run()
			return err
		case ws.ExitStatus() != 0:
			return fmt.Errorf("the manager exits %d", ws.ExitStatus())
		default:
			return errOrderly
		}
	}
}
