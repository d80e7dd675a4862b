package launch_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/isolate/launch"
)

// staged is a strict service that can have a stage (its network is the host's)
// and prints what script does.
func staged(script string) isolate.Spec {
	spec := strict()
	spec.Namespaces &^= isolate.Net
	spec.Execs[0].Path, spec.Execs[0].Argv = "/bin/sh", []string{"sh", "-c", script}
	spec.Execs[0].Stdin = isolate.Stdio{Kind: isolate.StdioNull}
	return spec
}

func print(t *testing.T, script string) string {
	t.Helper()
	s := launchSpec(t, staged(script))
	defer s.release()
	r, out := s.finish()
	s.checkSetup(r)
	return out
}

// awaitStages returns once stages are there, with their names.
func awaitStages(t *testing.T, l *launch.Launcher) []string {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if names := l.StagesReady(); len(names) > 0 {
			return names
		}
		if time.Now().After(deadline) {
			t.Fatal("no stage is ever made")
		}
	}
}

func sorted(out string) string {
	lines := strings.Split(out, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// line takes the first line of out away.
func line(out string) (first, rest string) {
	first, rest, _ = strings.Cut(out, "\n")
	return first, rest
}

// A service that entered a stage finds what one finds that made every step itself.
func TestStageIsNoDifference(t *testing.T) {
	l := needRoot(t)
	const look = `readlink /proc/self/ns/ipc; cut -d' ' -f3- /proc/self/mountinfo; hostname; ipcs -q; ls -la /run /tmp /dev; echo mine >/tmp/there; cat /tmp/there
		touch /usr/there 2>&1; umask; cat /proc/sys/fs/mqueue/msg_max`
	// Device numbers and times are each mount's own.
	own := regexp.MustCompile(`(?m)^0:\d+|\d\d:\d\d`)
	l.DropTemplates()
	_, without := line(own.ReplaceAllString(print(t, look), ""))
	ready := awaitStages(t, l)
	used, with := line(own.ReplaceAllString(print(t, look), ""))
	if !slices.Contains(ready, used) {
		t.Fatalf("no stage of %v was used, but %s", ready, used)
	}
	if sorted(with) != sorted(without) { // the mounts come in another order
		t.Errorf("with a stage:\n%s\nwithout:\n%s", with, without)
	}
	if !strings.Contains(with, "tmpfs") || !strings.Contains(with, "mine") {
		t.Errorf("it has no mounts of its own:\n%s", with)
	}
}

// No two services share a stage's namespaces, or anything in them.
func TestStageIsUsedOnce(t *testing.T) {
	l := needRoot(t)
	const look = `readlink /proc/self/ns/ipc; readlink /proc/self/ns/mnt; readlink /proc/self/ns/uts; ls /tmp; echo >/tmp/there`
	print(t, look)
	ready, seen := awaitStages(t, l), map[string]bool{}
	for range 3 {
		s := launchSpec(t, staged(look))
		defer s.release() // and not before: the kernel gives numbers away again
		r, out := s.finish()
		s.checkSetup(r)
		if used, _ := line(out); !slices.Contains(ready, used) && len(seen) == 0 {
			t.Errorf("no stage of %v was used, but %s", ready, used)
		}
		if strings.Contains(out, "there") {
			t.Error("a file of another service is in /tmp")
		}
		for _, ns := range strings.Fields(out) {
			if seen[ns] {
				t.Errorf("%s is another service's too", ns)
			}
			seen[ns] = true
		}
	}
}

// Stages go with the template that they were made of.
func TestStagesAreDropped(t *testing.T) {
	l := needRoot(t)
	print(t, "exit 0")
	awaitStages(t, l)
	l.DropTemplates()
	if left := l.StagesReady(); len(left) > 0 {
		t.Errorf("of a dropped template %v are left", left)
	}
}

// A service begins with the name that the host has by then.
func TestStageHasTheHostsName(t *testing.T) {
	l := needRoot(t)
	if os.Getenv("OWN_NAME") == "" {
		again(t, "OWN_NAME=1", unix.CLONE_NEWUTS)
		return
	}
	spec := staged("hostname")
	spec.Hostname = ""
	name := func() string {
		s := launchSpec(t, spec)
		defer s.release()
		r, out := s.finish()
		s.checkSetup(r)
		return strings.TrimSpace(out)
	}
	for _, want := range []string{"before", "after"} {
		if err := unix.Sethostname([]byte(want)); err != nil {
			t.Fatal(err)
		}
		if got := name(); got != want {
			t.Errorf("it begins with the name %q, the host's is %q", got, want)
		}
		awaitStages(t, l)
	}
}
