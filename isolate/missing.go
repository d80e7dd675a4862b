package isolate

import (
	"fmt"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// Missing is a place to mount on that the service's root lacks. It is made in
// the assembled tree: a small file system covers the nearest directory above it
// that is there, shows everything that the directory holds, and has the missing
// path besides. It is read-only, and what the host makes, removes or renames
// directly in that directory later is not seen in it; below, everything is live.
//
// An overlayfs would be one mount in place of many, but sockets on its lower
// layer refuse connections, mounts below it are gone, and what the host renames
// at any depth stays as it was (Documentation/filesystems/overlayfs.rst,
// "Changes to underlying filesystems").
type Missing struct {
	Path     string // absolute inside the root, with no link in the part that is there
	Dir      string // the nearest directory above that is there
	Mode     uint32 // Dir's permissions
	UID, GID uint32 // and owner
	Entries  []DirEntry
}

// DirEntry is what Missing.Dir holds under Name; the missing path's own name is
// not among them.
type DirEntry struct {
	Name string
	Link string // where a symbolic link leads; "" for what is none
	Dir  bool
}

// scratch is where a covering file system is filled before it is moved to its
// place: a directory that every root has, and nothing looks into meanwhile.
const scratch = "/proc"

// checkMissing refuses what cannot be made: a directory that the unit may write
// would turn read-only, or the host's would get a new entry.
func checkMissing(s Spec) error {
	c := &compiler{spec: s}
	for _, m := range s.Missing {
		for _, r := range slices.Backward(c.rules()) {
			if !below(m.Path, r.Path) || r.Action > PathReadOnly {
				continue
			}
			if r.Action == PathReadWrite || r.Action == PathBind && !r.ReadOnly && !r.SourceInside {
				return fmt.Errorf("%s is missing in %s, which the service may write: it is not made there; make it on the host", m.Path, r.Path)
			}
			break
		}
	}
	return nil
}

// coverRoot covers / where something directly below it is missing. The new root
// takes the old one's place before anything else is mounted (pivot_root(2)).
func (c *compiler) coverRoot() {
	i := slices.IndexFunc(c.spec.Missing, func(m Missing) bool { return m.Dir == "/" })
	if i < 0 {
		return
	}
	c.fill(c.spec.Missing[i])
	c.add(
		Step{Call: CallChdir, Args: []Arg{Str(scratch)}, Class: ClassNamespace, What: scratch},
		Step{Call: CallPivotRoot, Args: []Arg{Str("."), Str(".")}, Class: ClassNamespace, What: "to the tree with " + c.spec.Missing[i].Path},
		Step{Call: CallUmount2, Args: []Arg{Str("."), Int(unix.MNT_DETACH)}, Class: ClassNamespace, What: "the tree without"},
		Step{Call: CallChdir, Args: []Arg{Str("/")}, Class: ClassChdir, What: "/"},
	)
}

// room covers the directory in which target is missing, so that it can be made.
func (c *compiler) room(target string) {
	i := slices.IndexFunc(c.spec.Missing, func(m Missing) bool { return m.Path == target })
	if i < 0 || c.private(target) || c.closed(target) {
		return
	}
	m := c.spec.Missing[i]
	c.fill(m)
	c.add(Step{Call: CallMount, Args: []Arg{Str(scratch), Str(m.Dir), Int(0), Int(unix.MS_MOVE), Int(0)},
		Class: ClassNamespace, What: "moved from " + scratch + " to " + m.Dir})
}

// closed reports whether target lies in what the service may not see into: a
// cover would show the names of it.
func (c *compiler) closed(target string) bool {
	return c.spec.Tree.Modules == Hidden && below(target, "/usr/lib/modules") ||
		slices.ContainsFunc(c.spec.Paths, func(r PathRule) bool { return r.Action == PathInaccessible && below(target, r.Path) })
}

// fill makes the file system that covers m.Dir, at scratch.
func (c *compiler) fill(m Missing) {
	flags := uint64(tmpFlags)
	if c.noExec(m.Dir) {
		flags |= unix.MS_NOEXEC
	}
	mount := mountFS("tmpfs", scratch, "tmpfs", flags, fmt.Sprintf("mode=%04o,uid=%d,gid=%d,size=1m", m.Mode, m.UID, m.GID))
	mount.What = fmt.Sprintf("tmpfs on %s, to cover %s: %s is missing", scratch, m.Dir, m.Path)
	c.add(mount)
	for _, e := range m.Entries {
		from, to := path.Join(m.Dir, e.Name), path.Join(scratch, e.Name)
		if _, known := c.made[from]; !known {
			c.made[from] = false
		}
		if e.Link != "" {
			c.add(symlink(Link{Path: to, Target: e.Link}))
			continue
		}
		node := mknodFile(to, 0)
		if e.Dir {
			node = mkdir(to, 0o755)
		}
		c.add(node)
		if from != scratch {
			c.add(optional(bindStep(from, to, true), true)) // what has gone meanwhile is not there
		}
	}
	c.made[m.Dir] = true
	c.late = append(c.late, setattr(m.Dir, unix.MOUNT_ATTR_RDONLY, 0, false))
}
