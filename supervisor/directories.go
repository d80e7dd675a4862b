package supervisor

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/unit"
)

// makeDirectories makes the *_directory entries of a unit on the host. What is
// there already is left as it is, but for another owner: then the start fails
// and names both, since giving a tree to another user is the operator's
// decision. Units may share directories, and start at once: one at a time makes
// its own, so that no other one meets a directory whose owner is yet to be set.
func (m *Manager) makeDirectories(list []isolate.Directory) error {
	m.placing.Lock()
	defer m.placing.Unlock()
	// Those above others come first: what they make on their way down is root's.
	list = slices.SortedFunc(slices.Values(list), func(a, b isolate.Directory) int { return strings.Compare(a.Path, b.Path) })
	for _, d := range list {
		if err := makeDirectory(d); err != nil {
			return err
		}
	}
	return nil
}

func makeDirectory(d isolate.Directory) error {
	if err := os.MkdirAll(d.Base, 0o755); err != nil {
		return fmt.Errorf("cannot make %s: %w", d.Base, err)
	}
	st, made, err := makePlace(d)
	if err != nil {
		return fmt.Errorf("cannot make %s: %w", d.Path, err)
	}
	if made {
		return nil
	}
	return checkOwner(d, st.Uid)
}

// checkOwner fails for a directory that is there and belongs to somebody else.
func checkOwner(d isolate.Directory, uid uint32) error {
	if uid == d.UID || d.Kind == isolate.ConfigurationDirectory || d.UID == 0 {
		return nil
	}
	return fmt.Errorf("cannot use %s: it belongs to uid %d, the unit's is %d; write owner in the entry, or chown the tree", d.Path, uid, d.UID)
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
		err = errors.Join(err, removePlace("/run", p))
	}
	return err
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
