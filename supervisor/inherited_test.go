package supervisor

import (
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// How a process ended that somebody else waits for is known before that wait,
// and after it where the kernel tells (Linux 6.15).
func TestStatusOf(t *testing.T) {
	for script, want := range map[string]uint32{"exit 0": 0, "exit 3": 3 << 8, "kill -KILL $$": 9} {
		cmd := exec.Command("/bin/sh", "-c", script)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if !waitFD(fd, unix.POLLIN, time.Now().Add(time.Minute)) {
			t.Fatalf("%s: it does not end", script)
		}
		if got := statusOf(fd); got != want && (want != 0 || mayTrace()) {
			t.Errorf("%s: status %#x before it was waited for, want %#x", script, got, want)
		}
		cmd.Wait() // its status is asked of the pidfd
		_, told := exitOf(fd)
		if got := statusOf(fd); told == known && got != want || told != known && got != unknownStatus {
			t.Errorf("%s: status %#x after it was waited for, want %#x", script, got, want)
		}
	}
}
