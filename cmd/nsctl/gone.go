package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// explainDial says in words why the manager could not be asked, or gives "" if
// the error is another one.
func (a *app) explainDial(err error) string {
	socket := a.socketPath()
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("nsctl: cannot connect to %s: permission denied\n"+
			"  The socket is open to everybody (mode 0666); a directory above it, or a security module, is not.\n", clean(socket))
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return a.gone(socket, errors.Is(err, unix.ECONNREFUSED))
	case errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Sprintf("nsctl: the manager went away while it was asked (%s); services are not touched by that\n", clean(socket))
	}
	return ""
}

// gone says what is known without a manager: whether it has been there, who
// restarts it, and which services run on.
func (a *app) gone(socket string, stale bool) string {
	dir := filepath.Dir(socket)
	why := "nothing answers on " + socket
	if _, err := os.Stat(dir); err != nil {
		why = "there is no " + dir
	} else if !stale {
		why = "there is no " + socket
	}
	if comm, err := os.ReadFile("/proc/1/comm"); err == nil && strings.TrimSpace(string(comm)) == "nsinit" {
		why += "; PID 1 restarts it"
	}
	text := "nsctl: the manager is not running (" + clean(why) + ")"
	running := runningUnits(dir, filepath.Base(dir), cgroupMount())
	if len(running) > 0 {
		text += fmt.Sprintf("; %s on: %s", plural(len(running), "service runs", "services run"), strings.Join(running, ", "))
	}
	text += "\n"
	if a.instance == "nsinit" && a.socket == "" && a.env("NSCTL_SOCKET") == "" {
		text += "  Another instance: nsctl --instance NAME, or --socket PATH.\n"
	}
	return text
}

// runningUnits gives "name pid" of each unit of the runtime directory whose
// payload's cgroup has a process: <mount>/<instance>/<unit>/<generation>/main, or
// in a slice below the mount, as nsinit.service has it.
func runningUnits(runtimeDir, instance, mount string) []string {
	units, err := os.ReadDir(filepath.Join(runtimeDir, "units"))
	if err != nil || mount == "" {
		return nil
	}
	root := filepath.Join(mount, instance)
	if _, err := os.Stat(root); err != nil {
		if inSlice, _ := filepath.Glob(filepath.Join(mount, "*.slice", instance)); len(inSlice) > 0 {
			root = inSlice[0]
		}
	}
	var out []string
	for _, u := range units {
		generations, err := os.ReadDir(filepath.Join(root, u.Name()))
		if err != nil {
			continue
		}
		for _, g := range generations {
			procs, err := os.ReadFile(filepath.Join(root, u.Name(), g.Name(), "main", "cgroup.procs"))
			if pid, _, ok := strings.Cut(string(procs), "\n"); err == nil && ok {
				out = append(out, clean(u.Name())+" "+pid)
				break
			}
		}
	}
	return out
}

// cgroupMount finds where cgroup2 is mounted (proc_pid_mountinfo(5): the field
// after " - " is the type).
func cgroupMount() string {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		head, tail, ok := strings.Cut(line, " - ")
		fields := strings.Fields(head)
		if ok && len(fields) > 4 && strings.HasPrefix(tail, "cgroup2 ") {
			return fields[4]
		}
	}
	return ""
}
