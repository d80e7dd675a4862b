package boot

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Units are read once the machine has its ID and users, and Run waits for that.
func TestNamed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root: owners cannot be given")
	}
	root := t.TempDir()
	for name, text := range map[string]string{"usr/lib/sysusers.d/a.conf": "u daemon2 901\n", "run/x": ""} {
		os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755)
		os.WriteFile(filepath.Join(root, name), []byte(text), 0o644)
	}
	os.Mkdir(filepath.Join(root, "etc"), 0o755)
	calls := 0
	ended := make(chan struct{})
	go func() { // its thread, whose network is not the machine's, ends with it
		defer close(ended)
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		for range 2 {
			for _, err := range Run(root, func() {
				calls++
				users, _ := os.ReadFile(filepath.Join(root, "etc/passwd"))
				id, _ := os.ReadFile(filepath.Join(root, "etc/machine-id"))
				if !strings.Contains(string(users), "daemon2:x:901:") || !validID(strings.TrimSpace(string(id))) {
					t.Errorf("too early: users %q, ID %q", users, id)
				}
			}) {
				t.Error(err)
			}
		}
	}()
	<-ended
	if calls != 1 {
		t.Errorf("called %d times; want once, where the machine is prepared", calls)
	}
}
