package launch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// keeperDir is the leaf of the keeper's process, beside the units. It cannot be
// a unit's: dirName puts "_" before a name that begins with ".".
const keeperDir = ".keeper"

// MakeKeeper makes the keeper's cgroup, or takes the one that is there, and
// returns its directory for clone3(2), which is the caller's. RemoveRoot takes it
// away, once it is empty.
func (c *Cgroups) MakeKeeper() (int, error) {
	dir := c.keeper()
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return -1, fmt.Errorf("cannot make the keeper's cgroup: %w%s", err, mkdirHint(err))
	}
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_RDONLY, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot open the keeper's cgroup: %w", &os.PathError{Op: "open", Path: dir, Err: err})
	}
	return fd, nil
}

// KeeperProcs lists the keeper's process; nothing, if there is none.
func (c *Cgroups) KeeperProcs() ([]int, error) { return procsBelow(c.keeper()) }

// KillKeeper sends SIGKILL to the keeper's process, if there is one.
func (c *Cgroups) KillKeeper() error {
	if err := writeFile(c.keeper(), "cgroup.kill", "1"); err != nil && !isGone(err) {
		return fmt.Errorf("cannot end the keeper: %w", err)
	}
	return nil
}

func (c *Cgroups) keeper() string { return filepath.Join(c.abs(c.root), keeperDir) }
