package launch_test

import (
	"os"
	"path/filepath"
	"strings"
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

// The kernel tells a change of the mount table to the first poll of the open
// file. So nobody else may have it among what it waits for, as Go's own poller
// has every file of os.Open that can be polled: it would take one now and then.
func TestMountTableIsPolledByOne(t *testing.T) {
	l := needRoot(t)
	stop, err := l.WatchMounts(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	tables := 0
	for _, f := range files {
		if path, err := os.Readlink("/proc/self/fd/" + f.Name()); err != nil || filepath.Base(path) != "mountinfo" {
			continue
		}
		tables++
		for _, other := range files { // proc_pid_fdinfo(5): a line "tfd: NUMBER ..." for each descriptor in an epoll set
			info, _ := os.ReadFile("/proc/self/fdinfo/" + other.Name())
			for line := range strings.Lines(string(info)) {
				if n := strings.Fields(line); len(n) > 1 && n[0] == "tfd:" && n[1] == f.Name() {
					t.Errorf("descriptor %s, the mount table, is in the epoll set %s too", f.Name(), other.Name())
				}
			}
		}
	}
	if tables == 0 {
		t.Fatal("no mount table is open: nothing is watched")
	}
}

// A stage does not keep what was unmounted in use, where its template learns of
// that by itself.
func TestUnmountedIsLetGo(t *testing.T) {
	l := needRoot(t)
	if os.Getenv("SHARED_MOUNTS") == "" {
		again(t, "SHARED_MOUNTS=1", unix.CLONE_NEWNS) // and so its mounts are private
		return
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	if err := unix.Mount("tmpfs", other, "tmpfs", 0, "size=4k"); err != nil {
		t.Fatal(err)
	}
	stop, err := l.WatchMounts(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	print(t, "exit 0")
	awaitStages(t, l)
	if err := unix.Unmount(other, 0); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); len(l.StagesReady()) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("stages stay that have the file system mounted")
		}
	}
}
