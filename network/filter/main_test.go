package filter

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

const inside = "NSINIT_FILTER_TEST"

// TestMain runs the tests in a network namespace of their own: the tables, and
// all that the tests make, go with it.
func TestMain(m *testing.M) {
	if os.Getenv(inside) != "" || os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := cmd.Run(); err != nil {
		if cmd.ProcessState == nil {
			println("cannot run the tests in a network namespace:", err.Error())
		}
		os.Exit(1)
	}
}
