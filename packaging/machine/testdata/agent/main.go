// Command agent runs in the machine under test, as root and outside all
// isolation, and does what comes over the virtio port of its name: a request a
// line, an answer a line, both JSON. Requests run side by side.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// request and answer are the other ends of those in the tests.
type request struct {
	ID      int
	Script  string        // for /bin/sh
	Timeout time.Duration // then its process group is killed
}

type answer struct {
	ID       int
	Code     int // 128 and the signal's number where one ended it, -1: not started
	Out, Err string
}

func main() {
	port, err := openPort("agent")
	if err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
	var mu sync.Mutex // one line at a time
	send := func(a answer) {
		line, _ := json.Marshal(a)
		mu.Lock()
		defer mu.Unlock()
		port.Write(append(line, '\n'))
	}
	send(answer{}) // I am here
	lines := bufio.NewReader(port)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			continue // nobody is at the other end now
		}
		var r request
		if json.Unmarshal(line, &r) == nil {
			go func() { send(r.run()) }()
		}
	}
}

// openPort finds a virtio port by the name that the machine's maker gave it.
// The host announces ports after their driver is there.
func openPort(name string) (*os.File, error) {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		found, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
		for _, file := range found {
			if text, _ := os.ReadFile(file); strings.TrimSpace(string(text)) == name {
				return os.OpenFile(filepath.Join("/dev", filepath.Base(filepath.Dir(file))), os.O_RDWR, 0)
			}
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("there is no virtio port %s among %v", name, found)
		}
	}
}

func (r request) run() answer {
	ctx, cancel := context.WithTimeout(context.Background(), r.Timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", r.Script)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=dumb", "NO_COLOR=1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // what it left in the background may hold its pipes
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	a := answer{ID: r.ID, Code: -1, Out: out.String(), Err: errs.String()}
	if cmd.ProcessState == nil {
		a.Err = err.Error()
		return a
	}
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if a.Code = status.ExitStatus(); status.Signaled() {
		a.Code = 128 + int(status.Signal())
	}
	return a
}
