package supervisor

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/supervisor/poll"
)

// A watchdog that nobody would feed is stopped by the 'V' that drivers take for a
// meant end. (A pipe stands for the device, and a timer that cannot be watched for
// descriptors having run out.)
func TestWatchdogIsNotLeftAlone(t *testing.T) {
	p, err := poll.New()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var device [2]int
	if err := unix.Pipe2(device[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(device[0])
	file, err := os.Create(filepath.Join(t.TempDir(), "timer"))
	if err != nil {
		t.Fatal(err)
	}
	timer, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	file.Close()
	if err != nil {
		t.Fatal(err)
	}
	m := &Manager{poller: p}
	if err := m.feedOnTime(&watchdog{fd: device[1], timer: timer}); err == nil {
		t.Fatal("a regular file was taken for a timer")
	}
	b := make([]byte, 8)
	if n, err := unix.Read(device[0], b); err != nil || string(b[:n]) != "V" {
		t.Errorf("the device heard %q, %v", b[:max(n, 0)], err)
	}
}
