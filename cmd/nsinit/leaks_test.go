package main_test

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cgroup2 is where the v2 hierarchy is mounted, "" if nowhere.
func cgroup2() string {
	for _, fields := range mounts() {
		if i := len(fields) - 3; fields[i] == "cgroup2" {
			return fields[4]
		}
	}
	return ""
}

// mounts gives the fields of each line of mountinfo (proc_pid_mountinfo(5)).
func mounts() (list [][]string) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		list = append(list, strings.Fields(lines.Text()))
	}
	return list
}

// left lists what of the instance is on the machine: nothing, once it has
// stopped, but its directory.
func (in *instance) left() (list []string) {
	for _, dir := range in.cgroups() {
		list = append(list, "cgroup "+dir)
	}
	for _, fields := range mounts() {
		if strings.Contains(fields[4]+" ", in.name+"/") || strings.HasSuffix(fields[4], in.name) {
			list = append(list, "mount "+fields[4])
		}
	}
	for _, pid := range in.processes() {
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		list = append(list, fmt.Sprintf("process %d %s", pid, strings.TrimSpace(string(comm))))
	}
	for _, pattern := range []string{"/run/%s*", "/run/netns/%s*", "/etc/%s", "/usr/local/lib/%s", "/var/log/%s", "/tmp/%s*", "/var/tmp/%s*", "/dev/shm/%s*"} {
		files, _ := filepath.Glob(fmt.Sprintf(pattern, in.name))
		for _, f := range files {
			list = append(list, "file "+f)
		}
	}
	if in.net != nil {
		list = append(list, in.net.left()...)
	}
	return list
}

// cgroups lists the instance's, outermost first.
func (in *instance) cgroups() (list []string) {
	root := cgroup2()
	filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (d.Name() == in.name || len(list) > 0 && strings.HasPrefix(path, list[0]+"/")) {
			list = append(list, path)
		}
		return nil
	})
	return list
}

// processes lists those of the instance: of its cgroups, and those that have
// its name in their arguments, as the manager and its forks have.
func (in *instance) processes() (list []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if pid == os.Getpid() || zombie(dir) {
			continue
		}
		args, _ := os.ReadFile(dir + "/cmdline")
		groups, _ := os.ReadFile(dir + "/cgroup")
		if strings.Contains(string(args)+"\x00", "\x00"+in.name+"\x00") || strings.Contains(string(groups), "/"+in.name+"/") {
			list = append(list, pid)
		}
	}
	return list
}

// zombie: a reaper outlives the manager that was killed, and when it has ended
// itself it is for the machine's init to wait for.
func zombie(dir string) bool {
	stat, _ := os.ReadFile(dir + "/stat") // proc_pid_stat(5): the state follows the name in parentheses
	_, rest, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(rest, "Z")
}

// destroy ends the instance whatever state it is in, and gives what an orderly
// stop should not have left. Directories of state, logs and cache that units of
// the instance asked for stay by design; they begin with its name.
func (in *instance) destroy() (problems []string) {
	if in.manager != nil {
		if err := in.stop(); err != nil {
			problems = append(problems, err.Error())
			if in.manager != nil {
				in.kill()
			}
		}
	}
	problems = append(problems, in.left()...)
	if len(problems) > 0 {
		problems = append(problems, in.force()...)
	}
	if in.net != nil {
		in.net.destroy()
	}
	for _, dir := range []string{"/var/lib", "/var/log", "/var/cache", "/etc"} {
		files, _ := filepath.Glob(filepath.Join(dir, in.name+"*"))
		for _, f := range files {
			os.RemoveAll(f)
		}
	}
	return problems
}

// force ends and removes what is the instance's, and nothing else.
func (in *instance) force() (problems []string) {
	groups := in.cgroups()
	if len(groups) > 0 {
		os.WriteFile(filepath.Join(groups[0], "cgroup.kill"), []byte("1"), 0)
	}
	for _, pid := range in.processes() {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	for _, fields := range mounts() {
		if strings.HasPrefix(fields[4], in.runDir) {
			unix.Unmount(fields[4], unix.MNT_DETACH)
		}
	}
	deadline := time.Now().Add(patience)
	for i := len(groups) - 1; i >= 0; i-- { // innermost first
		for os.Remove(groups[i]) != nil && exists(groups[i]) {
			if time.Now().After(deadline) {
				return append(problems, "cannot remove "+groups[i])
			}
			time.Sleep(10 * time.Millisecond) // the kernel tells nobody when a killed process has left
		}
	}
	for _, pattern := range []string{"/run/%s*", "/tmp/%s*", "/var/tmp/%s*", "/dev/shm/%s*"} {
		files, _ := filepath.Glob(fmt.Sprintf(pattern, in.name))
		for _, f := range files {
			if err := os.RemoveAll(f); err != nil {
				problems = append(problems, err.Error())
			}
		}
	}
	return problems
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// report is what a failed test shows: what the manager said, and its view.
func (in *instance) report() string {
	said, _ := os.ReadFile(in.said())
	if len(said) > 6000 {
		said = append([]byte("[...]\n"), said[len(said)-6000:]...)
	}
	text := "--- the manager said:\n" + string(said)
	if in.manager != nil {
		status, _, _ := in.nsctl("status")
		text += "--- nsctl status:\n" + status
	}
	return text
}
