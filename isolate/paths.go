package isolate

import (
	"cmp"
	"path"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// paths applies the unit's directories and path rules, parents before what is
// below them, so that the more exact rule wins whatever the order in the file.
func (c *compiler) paths() {
	for _, r := range c.rules() {
		c.rule(r)
	}
	for _, f := range c.spec.Files {
		file := f
		c.place(Opening{Desc: Desc("file " + f.Path), Path: f.Path, Content: &file}, f.Path,
			unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID)
	}
}

// rules sorts the unit's rules and adds those that follow from others: the
// directories of the unit, and a fresh tmpfs where a rule reaches into a
// directory that the template hides.
func (c *compiler) rules() []PathRule {
	rules := slices.Clone(c.spec.Paths)
	for _, d := range c.spec.Directory {
		rules = append(rules, PathRule{Action: PathBind, Path: d.Path, Source: d.Path, Recursive: true,
			ReadOnly: d.Kind == ConfigurationDirectory})
	}
	for i := range rules {
		rules[i].Path = canonical(rules[i].Path)
	}
	for _, dir := range c.hiddenDirs() {
		reached := slices.ContainsFunc(rules, func(r PathRule) bool { return below(r.Path, dir) && r.Action <= PathReadWrite })
		covered := slices.ContainsFunc(rules, func(r PathRule) bool { return r.Path == dir && r.Action <= PathReadWrite })
		if reached && !covered {
			rules = append(rules, PathRule{Action: PathTmpfs, Path: dir, Options: "mode=0755,size=4k"})
		}
	}
	slices.SortStableFunc(rules, func(a, b PathRule) int {
		return cmp.Or(strings.Compare(strings.ReplaceAll(a.Path, "/", "\x00"), strings.ReplaceAll(b.Path, "/", "\x00")),
			cmp.Compare(a.Action, b.Action))
	})
	return rules
}

func (c *compiler) hiddenDirs() (dirs []string) {
	t := c.spec.Tree
	if t.Home == Hidden || t.Home == Empty {
		dirs = append(dirs, "/home", "/root")
		if !t.PrivateRun {
			dirs = append(dirs, "/run/user")
		}
	}
	if t.Boot == Hidden {
		dirs = append(dirs, "/boot")
	}
	return dirs
}

// rule adds the steps of one rule.
func (c *compiler) rule(r PathRule) {
	switch r.Action {
	case PathTmpfs:
		c.parents(r.Path)
		if c.private(r.Path) {
			c.add(mkdir(r.Path, 0o755))
		}
		c.add(optional(mountFS("tmpfs", r.Path, "tmpfs", tmpFlags, r.Options), r.Optional))
		c.made[r.Path] = true
	case PathBind:
		o := Opening{Desc: Desc("bind " + r.Path), Path: r.Source, Recursive: r.Recursive, Optional: r.Optional}
		c.place(o, r.Path, attrIf(!within(r.Path, "/dev"), unix.MOUNT_ATTR_NODEV)|attrIf(r.ReadOnly, unix.MOUNT_ATTR_RDONLY))
	case PathReadWrite:
		if c.private(r.Path) {
			return // it is the service's own already
		}
		o := Opening{Desc: Desc("writable " + r.Path), Path: path.Join(c.spec.Tree.Root, r.Path), Recursive: true, Optional: r.Optional}
		c.place(o, r.Path, unix.MOUNT_ATTR_NODEV)
	case PathReadOnly:
		c.remount(r, unix.MOUNT_ATTR_RDONLY, 0)
	case PathExec:
		c.remount(r, 0, unix.MOUNT_ATTR_NOEXEC)
	case PathNoExec:
		c.remount(r, unix.MOUNT_ATTR_NOEXEC, 0)
	case PathInaccessible:
		c.hide(r)
	}
}

// remount gives what is at the path attributes of its own.
func (c *compiler) remount(r PathRule, set, clear uint64) {
	bind := optional(bindStep(r.Path, r.Path, true), r.Optional)
	bind.SkipFail = 1
	c.add(bind, setattr(r.Path, set, clear, true))
}

// hide covers a directory with an empty one that nobody may enter, and
// anything else with /dev/null.
func (c *compiler) hide(r PathRule) {
	dir := mountFS("tmpfs", r.Path, "tmpfs", unix.MS_RDONLY|fsFlags, hidden)
	dir.Tolerate = [2]syscall.Errno{syscall.ENOTDIR}
	if r.Optional {
		dir.Tolerate[1] = syscall.ENOENT
	}
	dir.SkipDone = 1
	c.add(dir, optional(bindStep("/dev/null", r.Path, false), r.Optional))
}

// place attaches an opened mount at target, which is made where it lies in a
// part of the tree that this start made. Elsewhere it must be there: nothing
// is ever made on the host.
func (c *compiler) place(o Opening, target string, attrs uint64) {
	c.prog.Open = append(c.prog.Open, o)
	if c.private(target) {
		c.parents(target)
		dir, file := mkdir(target, 0o755), mknodFile(target, 0o644)
		dir.If, file.If = Need{o.Desc, IsDirectory}, Need{o.Desc, IsOther}
		c.add(dir, file)
	}
	if attrs != 0 {
		c.add(Step{Call: CallMountSetattr, Args: []Arg{FD(o.Desc), Str(""), Int(unix.AT_EMPTY_PATH | atRecursive),
			Bytes(words(attrs, 0, 0, 0)), Int(32)}, Class: ClassNamespace, What: target + attrNames(attrs, 0), If: Need{Desc: o.Desc}})
	}
	what := target
	if o.Path != target && o.Content == nil {
		what = o.Path + " on " + target
	}
	c.add(Step{Call: CallMoveMount, Args: []Arg{FD(o.Desc), Str(""), Int(atFDCWD), Str(target),
		Int(unix.MOVE_MOUNT_F_EMPTY_PATH)}, Class: ClassNamespace, What: what, If: Need{Desc: o.Desc}})
}

// private reports whether path lies below a directory that this start mounts
// afresh.
func (c *compiler) private(p string) bool {
	for d := path.Dir(p); d != "/" && d != "."; d = path.Dir(d) {
		if c.made[d] {
			return true
		}
	}
	return false
}

// parents makes the directories between the fresh mount that path lies in and path.
func (c *compiler) parents(p string) {
	if !c.private(p) {
		return
	}
	var missing []string
	for d := path.Dir(p); !c.made[d]; d = path.Dir(d) {
		missing = append(missing, d)
	}
	for _, d := range slices.Backward(missing) {
		c.add(mkdir(d, 0o755))
		c.made[d] = true
	}
}

// canonical spells /var/run as /run, which it is on every distribution that
// nsinit runs on; rules are sorted by name.
func canonical(p string) string {
	if within(p, "/var/run") {
		return path.Clean("/run" + strings.TrimPrefix(p, "/var/run"))
	}
	return path.Clean(p)
}

func below(p, dir string) bool { return p != dir && within(p, dir) }

func optional(s Step, yes bool) Step {
	if yes {
		s.Tolerate[0] = syscall.ENOENT
	}
	return s
}
