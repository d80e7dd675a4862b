package launch

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
)

// What reaches a template's tree, as mounts of a host that propagates them do, is
// noticed: stages made before lack it.
func TestTemplateTellsOfChanges(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	tpl, err := buildTemplate(isolate.Tree{System: isolate.SystemStrictReadOnly})
	if err != nil {
		t.Fatal(err)
	}
	defer tpl.close()
	if tpl.changed() {
		t.Error("it has changed before anything did")
	}
	done := make(chan error)
	onLostThread(func() {
		err := unix.Unshare(unix.CLONE_FS)
		if err == nil {
			err = unix.Setns(tpl.fd, unix.CLONE_NEWNS)
		}
		if err == nil {
			err = unix.Mount("tmpfs", "/tmp", "tmpfs", 0, "size=4k")
		}
		done <- err
	})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if !tpl.changed() {
		t.Error("a mount in it is not noticed")
	}
	if tpl.changed() {
		t.Error("one change is told twice")
	}
}
