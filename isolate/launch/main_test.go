package launch_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/nsinit/nsinit/isolate/launch"
)

// TestMain runs the tests in a binary that may launch. One with cgo, -race or
// -cover may not, so it builds another, static, and becomes that; the service's
// side of the tests is the same binary under the name "probe".
func TestMain(m *testing.M) {
	if os.Args[0] == "probe" {
		os.Exit(probe(os.Args[1:]))
	}
	if launch.CheckBuild() == nil {
		os.Exit(m.Run())
	}
	os.Exit(runStatic())
}

func runStatic() int {
	dir, err := os.MkdirTemp("", "launch")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "launch.test")
	build := exec.Command("go", "test", "-c", "-o", bin, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "cannot build the launching tests: %v\n%s", err, out)
		return 1
	}
	run := exec.Command(bin, os.Args[1:]...)
	run.Stdout, run.Stderr = os.Stdout, os.Stderr
	if err := run.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// launcher is the one that a process needs.
var launcher = sync.OnceValues(func() (*launch.Launcher, error) { return launch.New(func() {}) })

// needRoot skips, and says why, where nothing can be launched.
func needRoot(t *testing.T) *launch.Launcher {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("launching needs root")
	}
	if _, _, err := launch.CgroupMount(); err != nil {
		t.Skip(err)
	}
	l, err := launcher()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// again runs the calling test in a process of its own that can be spoilt, with the
// variable set and in new namespaces. Its descriptor 3, where a child has the
// record, is /dev/null.
func again(t *testing.T, variable string, namespaces uintptr) {
	t.Helper()
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	run := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	run.Env, run.ExtraFiles = append(os.Environ(), variable), []*os.File{null}
	run.SysProcAttr = &syscall.SysProcAttr{Unshareflags: namespaces}
	if out, err := run.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}
