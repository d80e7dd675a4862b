package pid1

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// coverRootfs makes "/" a mount with a parent, where the machine stays in its
// initramfs: the kernel's first file system has none, and pivot_root(2) refuses
// to leave it (EINVAL), which every service with a root_directory has to. What
// is mounted already is seen there too.
func coverRootfs() error {
	if err := os.MkdirAll(newRoot, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("/", newRoot, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("cannot bind / to %s: %w", newRoot, err)
	}
	if err := os.Chdir(newRoot); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("cannot move %s to /: %w", newRoot, err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("cannot change the root: %w", err)
	}
	return os.Chdir("/")
}
