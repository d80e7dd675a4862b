package launch_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
)

// What is mounted on the host after a template was assembled is seen by the
// next start; what is mounted in the supervisor's own directory is no reason to
// assemble it again.
func TestNewMountsAreSeen(t *testing.T) {
	l := needRoot(t)
	own, other := t.TempDir(), t.TempDir()
	stop, err := l.WatchMounts(own)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	sees := func() bool {
		spec := strict("exit", "0")
		spec.Tree.PrivateTmp = false
		spec.Execs[0].Path, spec.Execs[0].Argv = "/bin/sh", []string{"sh", "-c", "test -e $0/there", other}
		spec.Execs[0].Stdin = isolate.Stdio{Kind: isolate.StdioNull}
		s := launchSpec(t, spec)
		defer s.release()
		r, _ := s.finish()
		m, _ := r.Main()
		return m.Status == 0
	}
	if sees() {
		t.Fatal("a mount is seen before it is made")
	}
	if err := unix.Mount("tmpfs", other, "tmpfs", 0, "size=4k"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(other, 0)
	if err := os.WriteFile(filepath.Join(other, "there"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); !sees(); {
		if time.Now().After(deadline) {
			t.Fatal("a new mount of the host is never seen")
		}
	}
}
