package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/unit"
)

// What is passed read-only stays so, also for root who opens it again by its
// descriptor (proc_pid_fd(5)).
func TestOpenFileReadOnlyStaysSo(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a mount of its own needs root")
	}
	path := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(path, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, writable := range []string{"", filepath.Dir(path)} {
		fd, err := openFile(unit.OpenFile{Path: path, ReadOnly: true}, writable)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		again, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != unix.EROFS {
			t.Errorf("it can be opened for writing: %v", err)
			unix.Close(again)
		}
		b := make([]byte, 8)
		if n, err := unix.Read(fd, b); err != nil || string(b[:n]) != "text" {
			t.Errorf("it reads %q (%v)", b[:max(n, 0)], err)
		}
	}
}
