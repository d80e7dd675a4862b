// Command probe is the service that the tests run: one behaviour of a daemon a
// mode, the bad ones included.
//
//	probe run                    say "ready", wait for SIGTERM, say "stopping", exit 0;
//	                             at SIGHUP say "reloaded", at SIGUSR1 exit 42
//	probe exit CODE [DELAY]      exit
//	probe signal NAME [DELAY]    end by a signal
//	probe notify DELAY LINE...   send the lines to the notify socket after DELAY, then as run
//	probe hell                   send what no service should to the notify socket, then READY=1
//	probe mainpid [wrapper MODE] start a child, name it as main, end at once (when the child has)
//	probe reloads [silent|early] be ready, answer SIGUSR1 as type notify-reload wants it: not at all, or with
//	                             the announcement of an earlier reload
//	probe watchdog N             be ready, send N pings, then hang
//	probe stubborn               as run, and ignore SIGTERM
//	probe escape                 leave a process in another session that ignores SIGTERM
//	probe zombies N CODE         collect N zombies, then exit
//	probe orphans N              orphan N processes, each of which ends at once, then as run
//	probe lines N [DELAY]        print the numbers 1 to N, DELAY apart, then as run
//	probe seq                    print a number every millisecond
//	probe seqfile FILE           do that into a file of its own, opened anew at SIGUSR1
//	probe http ADDRESS           serve "hello" there, and say so to the notify socket if there is one
//	probe get URL                print what URL answers
//	probe listen PATH            say "hello" to who connects to that Unix socket
//	probe dial PATH              print what it says
//	probe datagrams PATH         print what is sent to that Unix socket
//	probe passed                 print what was passed by sd_listen_fds(3), then as run
//	probe where                  print host name, pid and namespaces, then as run
//	probe descriptors            print what is open, then as run
//	probe attack                 try to get at PID 1, print how each attempt ended
//	probe overwrite FILE         at SIGHUP try to change PID 1's program, write how that ended to FILE, then as run
//	probe hold PROGRAM ARG...    as PID 1: hold what the manager keeps, run the manager
//	probe sigspam N              queue N signals for PID 1
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	modes := map[string]func(args []string) error{
		"run": func([]string) error { return wait() }, "exit": exit, "signal": endBySignal, "stubborn": stubborn,
		"notify": notify, "hell": hell, "mainpid": namesMain, "reloads": reloads, "watchdog": watchdog,
		"escape": escape, "zombies": zombies, "orphans": orphans,
		"lines": lines, "seq": sequence, "seqfile": sequenceFile, "http": serve, "get": get, "listen": listen, "dial": dial, "datagrams": datagrams, "passed": passed,
		"where": where, "descriptors": descriptors,
		"attack": attack, "sigspam": sigspam, "overwrite": overwrite, "hold": hold,
	}
	args := append(os.Args[1:], "", "", "") // every mode may look at three
	mode := modes[args[0]]
	if mode == nil {
		fmt.Fprintf(os.Stderr, "probe: no mode %q\n", args[0])
		os.Exit(2)
	}
	if err := mode(args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "probe: %v\n", err)
		os.Exit(1)
	}
}

// wait is what a daemon does when all is well.
func wait() error {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1)
	ready()
	for sig := range told {
		switch sig {
		case syscall.SIGHUP:
			fmt.Println("reloaded")
		case syscall.SIGUSR1:
			os.Exit(42)
		default:
			fmt.Println("stopping")
			return nil
		}
	}
	return nil
}

// tellsReady is the environment variable that names the descriptor to close
// when the probe is ready, for a probe that has started it.
const tellsReady = "PROBE_TELLS_READY"

// ready says that every signal is dealt with from now on.
func ready() {
	fmt.Println("ready")
	if fd := number(os.Getenv(tellsReady)); fd > 2 {
		os.NewFile(uintptr(fd), tellsReady).Close()
	}
}

func pause(text string) {
	d, err := time.ParseDuration(text)
	if err == nil {
		time.Sleep(d)
	}
}

// number reads a count; the tests write it, so that anything else is 0.
func number(text string) int {
	n, _ := strconv.Atoi(text)
	return n
}

func exit(args []string) error {
	pause(args[1])
	fmt.Println("exiting", args[0])
	os.Exit(number(args[0]))
	return nil
}

func endBySignal(args []string) error {
	pause(args[1])
	signal.Reset()
	if err := unix.Kill(os.Getpid(), unix.SignalNum(args[0])); err != nil {
		return err
	}
	select {}
}

func stubborn([]string) error {
	signal.Ignore(syscall.SIGTERM)
	ready()
	for {
		time.Sleep(time.Hour)
	}
}

// escape leaves a process whose parent is gone, in a session of its own.
func escape(args []string) error {
	if args[0] == "child" {
		cmd := exec.Command(os.Args[0], "stubborn")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			return err
		}
		fmt.Println("escaped", cmd.Process.Pid)
		return nil
	}
	cmd := exec.Command(os.Args[0], "escape", "child")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Run(); err != nil {
		return err
	}
	return wait()
}

func lines(args []string) error {
	for i := range number(args[0]) {
		fmt.Println(i + 1)
		pause(args[1])
	}
	return wait()
}

// sequence makes one write(2) a line.
func sequence([]string) error {
	for i, tick := 1, time.NewTicker(time.Millisecond); ; i++ {
		if _, err := os.Stdout.WriteString(strconv.Itoa(i) + "\n"); err != nil {
			return err
		}
		<-tick.C
	}
}

// sequenceFile does the same into a file, which it opens anew at SIGUSR1.
func sequenceFile(args []string) error {
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGUSR1)
	var file *os.File
	for i, tick := 1, time.NewTicker(time.Millisecond); ; i++ {
		select {
		case <-again:
			file.Close()
			file = nil
		case <-tick.C:
		}
		if file == nil {
			var err error
			if file, err = os.OpenFile(args[0], os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644); err != nil {
				return err
			}
		}
		if _, err := file.WriteString(strconv.Itoa(i) + "\n"); err != nil {
			return err
		}
	}
}

func serve(args []string) error {
	listener, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	fmt.Println("listening on", args[0])
	if os.Getenv("NOTIFY_SOCKET") != "" { // else it is no service
		if err := tell("READY=1"); err != nil {
			return err
		}
	}
	return http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") }))
}

func get(args []string) error {
	client := http.Client{Timeout: 5 * time.Second}
	answer, err := client.Get(args[0])
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(os.Stdout, answer.Body)
	return err
}

func where([]string) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	fmt.Printf("hostname=%s pid=%d uid=%d\n", host, os.Getpid(), os.Getuid())
	for _, kind := range []string{"mnt", "pid", "net", "ipc", "uts", "cgroup"} {
		link, err := os.Readlink("/proc/self/ns/" + kind)
		if err != nil {
			return err
		}
		fmt.Println(link)
	}
	return wait()
}

func descriptors([]string) error {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return err
	}
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	own := strconv.Itoa(int(dir.Fd()))
	dir.Close()
	for _, name := range names {
		target, err := os.Readlink("/proc/self/fd/" + name)
		if name != own && err == nil && !strings.HasPrefix(target, "anon_inode:[event") { // Go's own poller
			fmt.Println("open", name, strings.TrimRight(target, "0123456789[]"))
		}
	}
	return wait()
}
