package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tell sends one datagram as sd_notify(3) does.
func tell(text string) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: os.Getenv("NOTIFY_SOCKET"), Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte(text))
	return err
}

func notify(args []string) error {
	pause(args[0])
	if err := tell(strings.TrimSpace(strings.Join(args[1:], "\n"))); err != nil {
		return err
	}
	return wait()
}

// hell sends what the manager must survive. What the kernel refuses to carry
// (too long) is no error here.
func hell([]string) error {
	for _, text := range []string{
		"", "\n", "=", "READY", "=1", "\x00", "READY=1\x00", "MAINPID=0", "MAINPID=1", "MAINPID=-1", "MAINPID=2147483648", "MAINPID=99999",
		"STATUS=\x1b[31mred\x1b[0m\xff\xfe", "STATUS=" + strings.Repeat("x", 16385), strings.Repeat("x", 4095), strings.Repeat("x", 4096),
		strings.Repeat("x", 4097), strings.Repeat("x", 64<<10), strings.Repeat("A=1\n", 10000), "WATCHDOG_USEC=0", "WATCHDOG_USEC=1",
		"WATCHDOG_USEC=18446744073709551615", "EXTEND_TIMEOUT_USEC=18446744073709551615", "ERRNO=-5", "ERRNO=x", "BARRIER=1",
		"FDSTORE=1", "FDPOLL=0", "RELOADING=1", "STOPPING=x", "BUSERROR=" + strings.Repeat("y", 500),
	} {
		if err := tell(text); err != nil && !errors.Is(err, syscall.EMSGSIZE) {
			return fmt.Errorf("%.20q: %w", text, err)
		}
	}
	for range 5000 {
		if err := tell("STATUS=flood"); err != nil {
			return err
		}
	}
	if err := tell("WATCHDOG_USEC=0\nREADY=1\nSTATUS=out of hell"); err != nil {
		return err
	}
	return wait()
}

// namesMain hands over to a child that is waited for by PID 1, as daemons do
// that fork; with "wrapper", by this process, which ends when the child has.
// The second argument is what the child does. It is named when it is ready, so
// that it deals with every signal as it means to.
func namesMain(args []string) error {
	ready, told, err := os.Pipe()
	if err != nil {
		return err
	}
	child := exec.Command(os.Args[0], cmp.Or(args[1], "run"))
	child.Stdout, child.ExtraFiles = os.Stdout, []*os.File{told}
	child.Env = append(os.Environ(), tellsReady+"=3")
	if err := child.Start(); err != nil {
		return err
	}
	told.Close()
	signal.Ignore(syscall.SIGTERM)
	if _, err := io.Copy(io.Discard, ready); err != nil { // it ends with the child's word, or with the child
		return err
	}
	if err := tell(fmt.Sprintf("MAINPID=%d\nREADY=1", child.Process.Pid)); err != nil {
		return err
	}
	if args[0] == "wrapper" {
		child.Wait()
	}
	return nil
}

func watchdog(args []string) error {
	period, err := time.ParseDuration(os.Getenv("WATCHDOG_USEC") + "us")
	if err != nil {
		return err
	}
	if err := tell("READY=1"); err != nil {
		return err
	}
	for range number(args[0]) {
		time.Sleep(period / 3)
		if err := tell("WATCHDOG=1"); err != nil {
			return err
		}
	}
	fmt.Println("hanging")
	for {
		time.Sleep(time.Hour)
	}
}

func reloads(args []string) error {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGUSR1, syscall.SIGTERM)
	began := monotonic()
	if err := tell("READY=1"); err != nil {
		return err
	}
	for sig := range told {
		if sig == syscall.SIGTERM {
			return nil
		}
		fmt.Println("signalled")
		at := monotonic()
		switch args[0] {
		case "silent":
			continue
		case "early":
			at = began
		}
		if err := tell(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d\nSTATUS=reloading", at)); err != nil {
			return err
		}
		if err := tell("READY=1\nSTATUS=reloaded"); err != nil {
			return err
		}
	}
	return nil
}

// monotonic is CLOCK_MONOTONIC in microseconds.
func monotonic() int64 {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano() / 1000
}
