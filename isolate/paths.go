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
// What becomes read-only does so last: places to mount on are made in it.
func (c *compiler) paths() {
	rules := c.rules()
	for _, r := range rules {
		c.rule(r, rules)
	}
	for _, f := range c.spec.Files {
		file := f
		c.place(Opening{Desc: Desc("file " + f.Path), Path: f.Path, Content: &file}, f.Path,
			unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID)
	}
	c.add(c.late...)
}

// rules sorts the unit's rules and adds those that follow from others: the
// directories of the unit, and a fresh tmpfs where a rule reaches into a
// directory that the template hides.
func (c *compiler) rules() []PathRule {
	rules := slices.Clone(c.spec.Paths)
	for _, d := range c.spec.Directory {
		rules = append(rules, PathRule{Action: PathBind, Path: d.Path, Source: d.Path, Within: d.Entry(), Recursive: true,
			ReadOnly: d.Kind == ConfigurationDirectory})
	}
	for i := range rules {
		rules[i].Path = canonical(rules[i].Path)
	}
	for _, dir := range c.hiddenDirs() {
		reached := slices.ContainsFunc(rules, func(r PathRule) bool { return below(r.Path, dir) && r.Action <= PathReadWrite })
		covered := slices.ContainsFunc(rules, func(r PathRule) bool { return r.Path == dir && r.Action <= PathReadWrite })
		if reached && !covered {
			rules = append(rules, PathRule{Action: PathTmpfs, Path: dir, Options: "mode=0755,size=64k"},
				PathRule{Action: PathReadOnly, Path: dir})
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

// rule adds the steps of one rule of rules.
func (c *compiler) rule(r PathRule, rules []PathRule) {
	switch r.Action {
	case PathTmpfs:
		c.room(r.Path)
		if c.private(r.Path) {
			c.parents(r.Path)
			c.add(mkdir(r.Path, 0o755))
		}
		flags := uint64(tmpFlags)
		if c.noExec(r.Path) {
			flags |= unix.MS_NOEXEC
		}
		c.add(optional(mountFS("tmpfs", r.Path, "tmpfs", flags, r.Options), r.Optional))
		c.made[r.Path] = true
	case PathBind:
		c.bind(r)
	case PathReadWrite:
		if c.private(r.Path) && !c.uncovers(r.Path) {
			return // it is the service's own already
		}
		c.place(c.original(r), r.Path, unix.MOUNT_ATTR_NODEV|attrIf(c.noExec(r.Path), unix.MOUNT_ATTR_NOEXEC))
	case PathReadOnly:
		c.readOnly(r, rules)
	case PathExec:
		c.remount(r, 0, unix.MOUNT_ATTR_NOEXEC)
	case PathNoExec:
		c.remount(r, unix.MOUNT_ATTR_NOEXEC, 0)
	case PathInaccessible:
		c.hide(r)
		c.made[r.Path] = false
	}
}

// readOnly makes a path read-only; one that this start made only once all that
// lies below it is in place.
func (c *compiler) readOnly(r PathRule, rules []PathRule) {
	later := optionalMount(setattr(r.Path, unix.MOUNT_ATTR_RDONLY, 0, false), r.Optional)
	has := func(f func(PathRule) bool) bool { return slices.ContainsFunc(rules, f) }
	if has(func(o PathRule) bool { return o.Action == PathTmpfs && o.Path == r.Path }) {
		c.late = append(c.late, later)
		return
	}
	c.remount(r, unix.MOUNT_ATTR_RDONLY, 0)
	own := c.made[r.Path] || c.private(r.Path)
	if own && has(func(o PathRule) bool { return o.Action <= PathReadWrite && below(o.Path, r.Path) }) {
		c.add(optionalMount(setattr(r.Path, 0, unix.MOUNT_ATTR_RDONLY, false), r.Optional))
		c.late = append(c.late, later)
	}
}

// noExec reports whether the innermost rule about executing, above p, forbids it:
// what is mounted at p must not lift that.
func (c *compiler) noExec(p string) (forbidden bool) {
	for _, r := range c.rules() {
		if (r.Action == PathExec || r.Action == PathNoExec) && below(p, r.Path) {
			forbidden = r.Action == PathNoExec
		}
	}
	return forbidden
}

// uncovers reports whether p lies in what the template hides, and not in a
// tmpfs that the unit asked for.
func (c *compiler) uncovers(p string) bool {
	return slices.ContainsFunc(c.hiddenDirs(), func(d string) bool { return below(p, d) }) &&
		!slices.ContainsFunc(c.spec.Paths, func(o PathRule) bool { return o.Action == PathTmpfs && within(p, o.Path) })
}

// bind makes a bind mount.
func (c *compiler) bind(r PathRule) {
	attrs := attrIf(!within(r.Path, "/dev"), unix.MOUNT_ATTR_NODEV) | attrIf(r.ReadOnly, unix.MOUNT_ATTR_RDONLY) |
		attrIf(c.noExec(r.Path), unix.MOUNT_ATTR_NOEXEC)
	c.room(r.Path)
	if !r.SourceInside {
		c.place(Opening{Desc: Desc("bind " + r.Path), Path: r.Source, Within: cmp.Or(r.Within, c.within(r.Source)),
			Recursive: r.Recursive, Optional: r.Optional}, r.Path, attrs)
		return
	}
	if c.private(r.Path) {
		c.parents(r.Path)
		if r.Source == "/dev/log" {
			c.add(mknodFile(r.Path, 0o644))
		} else {
			c.add(mkdir(r.Path, 0o755))
		}
	}
	mount := optional(bindStep(r.Source, r.Path, r.Recursive), r.Optional)
	mount.SkipFail = 1
	c.add(mount, setattr(r.Path, attrs, 0, true))
	c.made[r.Path] = false
}

// original is what lies at a path of the host's, or of what a rule has bound
// over it, before anything was made read-only or hidden.
func (c *compiler) original(r PathRule) Opening {
	o := Opening{Desc: Desc("writable " + r.Path), Root: c.spec.Tree.Root, Path: r.Path, Recursive: true, Optional: r.Optional}
	for _, b := range c.rules() { // sorted: the last that holds is the innermost
		if b.Action == PathBind && !b.SourceInside && below(r.Path, b.Path) {
			o.Root, o.Path = "", path.Join(b.Source, strings.TrimPrefix(r.Path, b.Path))
		}
	}
	if o.Root == "" {
		o.Within = c.within(o.Path)
	}
	return o
}

// within gives the outermost directory of the host above source that the unit
// may write, "" if there is none: what it put there at an earlier start must not
// choose what of the host it gets at this one.
func (c *compiler) within(source string) (dir string) {
	for _, r := range c.rules() {
		from := ""
		switch {
		case r.Action == PathBind && !r.ReadOnly && !r.SourceInside:
			from = r.Source
		case r.Action == PathReadWrite && c.spec.Tree.Root == "":
			from = r.Path
		}
		if from != "" && below(source, from) && (dir == "" || len(from) < len(dir)) {
			dir = from
		}
	}
	return dir
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
// part of the tree that this start made (room makes one for what is missing).
// Elsewhere it must be there: nothing is ever made on the host.
func (c *compiler) place(o Opening, target string, attrs uint64) {
	c.prog.Open = append(c.prog.Open, o)
	propagation, propagates := c.propagation()
	if c.private(target) {
		c.parents(target)
		dir, file := mkdir(target, 0o755), mknodFile(target, 0o644)
		dir.If, file.If = Need{o.Desc, IsDirectory}, Need{o.Desc, IsOther}
		c.add(dir, file)
	}
	// A copy of a mount that propagates does so too, whatever the tree it is put in.
	c.add(Step{Call: CallMountSetattr, Args: []Arg{FD(o.Desc), Str(""), Int(unix.AT_EMPTY_PATH | atRecursive),
		Bytes(words(attrs, 0, propagation, 0)), Int(32)}, Class: ClassNamespace,
		What: target + attrNames(attrs, 0) + " " + propagates, If: Need{Desc: o.Desc}})
	what := target
	switch {
	case o.Cgroup:
		what = "the service's cgroup on " + target
	case o.Path != target && o.Content == nil:
		what = o.Path + " on " + target
	}
	c.add(Step{Call: CallMoveMount, Args: []Arg{FD(o.Desc), Str(""), Int(atFDCWD), Str(target),
		Int(unix.MOVE_MOUNT_F_EMPTY_PATH)}, Class: ClassNamespace, What: what, If: Need{Desc: o.Desc}})
	c.made[target] = false
}

// private reports whether what directly holds p is this start's own: nothing
// is made in what was bound from the host, even below a fresh directory.
func (c *compiler) private(p string) bool {
	for d := path.Dir(p); ; d = path.Dir(d) {
		if own, known := c.made[d]; known || d == "/" || d == "." {
			return own
		}
	}
}

// parents makes the directories between the fresh mount that p lies in and p.
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

// optionalMount tolerates that a path is no mount point, or missing.
func optionalMount(s Step, yes bool) Step {
	if yes {
		s.Tolerate = [2]syscall.Errno{syscall.ENOENT, syscall.EINVAL}
	}
	return s
}
