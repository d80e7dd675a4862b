package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/unit"
)

// makeDirectories makes the *_directory entries of a unit on the host. What is
// there already is left as it is, but for another owner: then the start fails
// and names both, since giving a tree to another user is the operator's
// decision.
func makeDirectories(list []isolate.Directory) error {
	for _, d := range list {
		if err := makeDirectory(d); err != nil {
			return err
		}
	}
	return nil
}

func makeDirectory(d isolate.Directory) error {
	if err := os.MkdirAll(filepath.Dir(d.Path), 0o755); err != nil {
		return fmt.Errorf("cannot make %s: %w", d.Path, err)
	}
	err := os.Mkdir(d.Path, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return checkOwner(d)
	}
	if err == nil {
		err = os.Chown(d.Path, int(d.UID), int(d.GID))
	}
	if err == nil {
		err = os.Chmod(d.Path, fileMode(d.Mode))
	}
	if err != nil {
		return fmt.Errorf("cannot make %s: %w", d.Path, err)
	}
	return nil
}

// checkOwner fails for a directory that is there and belongs to somebody else.
// Root's own is given away where the unit is the first to use it only if it is
// empty.
func checkOwner(d isolate.Directory) error {
	st, err := os.Stat(d.Path)
	if err != nil {
		return fmt.Errorf("cannot use %s: %w", d.Path, err)
	}
	if !st.IsDir() {
		return fmt.Errorf("cannot use %s: it is no directory", d.Path)
	}
	sys := st.Sys().(*syscall.Stat_t)
	if sys.Uid == d.UID || d.Kind == isolate.ConfigurationDirectory || d.UID == 0 {
		return nil
	}
	return fmt.Errorf("cannot use %s: it belongs to uid %d, the unit's is %d; write owner in the entry, or chown the tree", d.Path, sys.Uid, d.UID)
}

// fileMode turns the bits of chmod(2) into Go's.
func fileMode(mode uint32) os.FileMode {
	m := os.FileMode(mode & 0o777)
	for bit, flag := range map[uint32]os.FileMode{0o4000: os.ModeSetuid, 0o2000: os.ModeSetgid, 0o1000: os.ModeSticky} {
		if mode&bit != 0 {
			m |= flag
		}
	}
	return m
}

// passingDirectories gives the runtime directories of s that last only as long
// as upTo says ("no": until it stops; "restart": until it is at rest), less
// those that another unit that runs names too.
func (m *Manager) passingDirectories(s *service, upTo string) (paths []string) {
	if s.def == nil {
		return nil
	}
	for _, d := range s.def.Filesystem.RuntimeDirectory {
		if d.Preserve == "yes" || d.Preserve == "restart" && upTo == "no" || m.sharesDirectory(s, d.Path) {
			continue
		}
		paths = append(paths, d.Path)
	}
	return paths
}

// removeDirectories removes runtime directories. It may take long, since a
// service can fill them: it is not for the loop.
func removeDirectories(paths []string) (err error) {
	for _, p := range paths {
		err = errors.Join(err, os.RemoveAll(filepath.Join("/run", p)))
		removeEmptyParents(p)
	}
	return err
}

// removeEmptyParents removes what was made above a nested entry.
func removeEmptyParents(path string) {
	for p := filepath.Dir(path); p != "." && p != "/"; p = filepath.Dir(p) {
		if os.Remove(filepath.Join("/run", p)) != nil {
			return
		}
	}
}

func (m *Manager) sharesDirectory(s *service, path string) bool {
	for _, other := range m.services {
		if other == s || other.def == nil || other.gen == nil && !other.launching {
			continue
		}
		if slices.ContainsFunc(other.def.Filesystem.RuntimeDirectory, func(d unit.Directory) bool { return d.Path == path || strings.HasPrefix(d.Path, path+"/") }) {
			return true
		}
	}
	return false
}
