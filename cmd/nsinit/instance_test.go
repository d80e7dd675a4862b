package main_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nsinit/nsinit/supervisor/control"
)

// patience bounds every wait: far above what anything takes on a busy machine.
const patience = 20 * time.Second

// instances numbers those of this run of the tests.
var instances atomic.Int32

// instance is one manager with places of its own, and what the tests do to it.
type instance struct {
	name    string // of the cgroup too
	bin     string
	dir     string // units/, log/, manager.log; the caller's
	runDir  string // short: a socket's path has 108 bytes at most
	client  *control.Client
	manager *exec.Cmd     // nil: none runs
	ended   chan struct{} // closed when it has been waited for
	began   time.Time
	starts  int
	net     *netHost // whose network managers run in; nil: this machine's
}

// newInstance makes the directories; nothing runs yet. destroy must follow.
func newInstance(bin, dir string) (*instance, error) {
	name := fmt.Sprintf("nst%d-%03d", os.Getpid(), instances.Add(1))
	in := &instance{name: name, bin: bin, dir: dir, runDir: filepath.Join("/run", name)}
	for _, d := range []string{in.units(), in.logs()} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	in.client = control.NewClient(in.socket())
	return in, nil
}

// testInstance is an instance for a test in Go, with unit files by name. What
// it leaves behind fails the test.
func testInstance(t *testing.T, units map[string]string) *instance {
	t.Helper()
	in := idleInstance(t, units)
	if err := in.start(); err != nil {
		t.Fatal(err)
	}
	return in
}

// idleInstance is testInstance before its manager runs.
func idleInstance(t *testing.T, units map[string]string) *instance {
	t.Helper()
	bin := needBinaries(t)
	dir, err := os.MkdirTemp(filepath.Dir(bin), "go-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	in, err := newInstance(bin, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(in.report())
		}
		for _, left := range in.destroy() {
			t.Errorf("left behind: %s", left)
		}
		os.RemoveAll(dir)
	})
	for name, text := range units {
		if err := os.WriteFile(filepath.Join(in.units(), name+".toml"), []byte(in.expand(text)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return in
}

func (in *instance) units() string  { return filepath.Join(in.dir, "units") }
func (in *instance) logs() string   { return filepath.Join(in.dir, "log") }
func (in *instance) said() string   { return filepath.Join(in.dir, "manager.log") }
func (in *instance) socket() string { return filepath.Join(in.runDir, "control.sock") }
func (in *instance) probe() string  { return filepath.Join(in.bin, "probe") }

// expand puts this instance's places into a unit file.
func (in *instance) expand(text string) string {
	return strings.NewReplacer("@PROBE@", in.probe(), "@NAME@", in.name, "@WORK@", in.dir, "@RUN@", in.runDir).Replace(text)
}

// start runs a manager and waits until it says that it is ready, in the way in
// which it tells systemd. The error has what it said.
func (in *instance) start(args ...string) error {
	if in.manager != nil {
		return errors.New("a manager runs already")
	}
	in.starts++
	socket := fmt.Sprintf("@%s-ready-%d", in.name, in.starts)
	if in.net != nil { // another network has other abstract sockets
		socket = filepath.Join(in.dir, "ready")
		os.Remove(socket)
	}
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer ready.Close()
	before, _ := os.ReadFile(in.said())
	// A file: a pipe would make the test wait for whoever holds its other end.
	out, err := os.OpenFile(in.said(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(filepath.Join(in.bin, "nsinit"), append([]string{"--instance", in.name, "--unit-path", in.units(),
		"--runtime-dir", in.runDir, "--log-dir", in.logs()}, args...)...)
	if in.net != nil {
		cmd = in.net.manager(cmd.Path, cmd.Args[1:]...)
	}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket)
	if err := cmd.Start(); err != nil {
		return err
	}
	in.manager, in.ended, in.began = cmd, make(chan struct{}), time.Now()
	ended := in.ended
	go func() {
		cmd.Wait() // its status is in cmd.ProcessState
		close(ended)
		ready.Close() // whoever waits for it need not any longer
	}()
	ready.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 4096)
	for {
		n, err := ready.Read(b)
		if err == nil && strings.Contains(string(b[:n]), "READY=1") {
			return nil
		}
		if err != nil {
			text, _ := os.ReadFile(in.said())
			return fmt.Errorf("the manager is not ready after %v (%v): %s", time.Since(in.began), err, text[min(len(before), len(text)):])
		}
	}
}

// signal sends the manager a signal.
func (in *instance) signal(sig syscall.Signal) error {
	if in.manager == nil {
		return errors.New("no manager runs")
	}
	return in.manager.Process.Signal(sig)
}

// wait waits for the manager's end and gives how it ended.
func (in *instance) wait() (*os.ProcessState, error) {
	select {
	case <-in.ended:
		state := in.manager.ProcessState
		in.manager = nil
		in.client.Close()
		return state, nil
	case <-time.After(2 * patience):
		return nil, fmt.Errorf("the manager has not ended within %v", 2*patience)
	}
}

// kill ends the manager as a crash would.
func (in *instance) kill() error {
	if err := in.signal(syscall.SIGKILL); err != nil {
		return err
	}
	_, err := in.wait()
	return err
}

// stop ends everything in an orderly way.
func (in *instance) stop() error {
	if err := in.signal(syscall.SIGTERM); err != nil {
		return err
	}
	state, err := in.wait()
	if err == nil && !state.Success() {
		err = fmt.Errorf("the manager ended with %v", state)
	}
	return err
}

// nsctl runs nsctl and gives both its outputs and the exit code.
func (in *instance) nsctl(args ...string) (stdout, stderr string, code int) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(in.bin, "nsctl"), append([]string{"--socket", in.socket()}, args...)...)
	var out, err strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &err
	cmd.Run() // the exit code says it
	return out.String(), err.String(), cmd.ProcessState.ExitCode()
}

// field gives one field of a unit's status as text: the name is that of the
// JSON, dots lead into structures, what is not there is empty.
func (in *instance) field(unit, name string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	status, err := in.client.Status(ctx, unit)
	if err != nil {
		return "", err
	}
	b, err := json.Marshal(status)
	if err != nil {
		return "", err
	}
	return jsonField(b, name)
}

// jsonField finds a value in JSON; a number in the name is an index.
func jsonField(text []byte, name string) (string, error) {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return "", err
	}
	for part := range strings.SplitSeq(name, ".") {
		switch in := v.(type) {
		case map[string]any:
			v = in[part]
		case []any:
			var i int
			if _, err := fmt.Sscan(part, &i); err != nil || i < 0 || i >= len(in) {
				return "", nil
			}
			v = in[i]
		default:
			return "", nil
		}
	}
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case float64:
		return fmt.Sprintf("%.0f", v), nil
	}
	b, err := json.Marshal(v)
	return string(b), err
}

// await polls until the unit's field matches.
func (in *instance) await(unit, field, pattern string) error {
	re, err := regexp.Compile("^(?:" + pattern + ")$")
	if err != nil {
		return err
	}
	return eventually(fmt.Sprintf("%s of %s to match %s", field, unit, re), func() (bool, string) {
		v, err := in.field(unit, field)
		if err != nil {
			return false, err.Error()
		}
		return re.MatchString(v), v
	})
}

// eventually asks again and again, and gives the last answer where time is up.
func eventually(what string, ask func() (ok bool, answer string)) error {
	deadline := time.Now().Add(patience)
	for {
		ok, answer := ask()
		if ok {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %v for %s; at last: %q", patience, what, answer)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
