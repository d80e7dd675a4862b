package isolate

import (
	"fmt"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	fsFlags     = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	tmpFlags    = unix.MS_NOSUID | unix.MS_NODEV
	tmpOptions  = "mode=1777,size=10%"
	runOptions  = "mode=0755,size=10%"
	devOptions  = "mode=0755,size=256k,nr_inodes=1024"
	ptsOptions  = "newinstance,ptmxmode=0666,mode=0620,gid=5"
	hidden      = "mode=000,size=4k,nr_inodes=4"
	atRecursive = unix.AT_RECURSIVE
)

// TemplateSteps gives the steps that assemble tree in a fresh mount namespace,
// which is a slave of the host's. submounts are the host's mount points.
// The launcher runs them on a thread of its own and keeps the namespace.
func TemplateSteps(tree Tree, submounts []string) []Step {
	c := &compiler{prog: &Program{}, made: map[string]bool{}}
	c.add(Step{Call: CallMount, Args: []Arg{Int(0), Str("/"), Int(0), Int(unix.MS_REC | unix.MS_SLAVE), Int(0)},
		Class: ClassNamespace, What: "/ slave"})
	if tree.Root != "" {
		c.enterRoot(tree.Root)
	} else {
		c.detach(tree, submounts)
	}
	c.protect(tree)
	if tree.PrivateDev {
		c.add(mountFS("tmpfs", "/dev", "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, devOptions))
		c.devNodes(devNode)
		c.add(setattr("/dev", unix.MOUNT_ATTR_RDONLY, 0, false))
	}
	return c.prog.Setup
}

// enterRoot makes a directory of the host the root and lets go of the host.
// The directory's own mounts come along, and a fresh /proc, /sys and /dev are
// the service's own affair.
func (c *compiler) enterRoot(root string) {
	c.add(
		bindStep(root, root, true),
		Step{Call: CallChdir, Args: []Arg{Str(root)}, Class: ClassChroot, What: root},
		Step{Call: CallPivotRoot, Args: []Arg{Str("."), Str(".")}, Class: ClassChroot, What: root},
		Step{Call: CallUmount2, Args: []Arg{Str("."), Int(unix.MNT_DETACH)}, Class: ClassChroot, What: "the host's tree"},
		Step{Call: CallChdir, Args: []Arg{Str("/")}, Class: ClassChroot, What: "/"},
	)
}

// detach lets go of the host's mounts that the tree replaces, so that no start
// copies them: with 500 mounts below /run that is the larger part of a start.
func (c *compiler) detach(tree Tree, submounts []string) {
	replaced := []string{"/proc", "/sys"}
	if tree.PrivateDev {
		replaced = append(replaced, "/dev")
	}
	if tree.PrivateRun {
		replaced = append(replaced, "/run")
	}
	if tree.PrivateTmp {
		replaced = append(replaced, "/tmp", "/var/tmp")
	}
	if tree.Home == Hidden || tree.Home == Empty {
		replaced = append(replaced, "/home", "/root", "/run/user")
	}
	var top []string
	for _, m := range submounts {
		if slices.ContainsFunc(replaced, func(r string) bool { return within(m, r) }) &&
			!slices.ContainsFunc(top, func(t string) bool { return within(m, t) && m != t }) {
			top = append(top, m)
		}
	}
	// The same mount point stands in the list once for every mount stacked on it.
	for _, m := range slices.Backward(top) {
		c.add(Step{Call: CallUmount2, Args: []Arg{Str(m), Int(unix.MNT_DETACH | unix.UMOUNT_NOFOLLOW)},
			Class: ClassNamespace, What: m, Tolerate: [2]syscall.Errno{syscall.EINVAL, syscall.ENOENT}})
	}
}

// protect applies protect_system, protect_home and their like.
func (c *compiler) protect(tree Tree) {
	c.add(attributes(tree)...)
	var readOnly []string
	switch tree.System {
	case SystemWritable, SystemStrictReadOnly:
	case SystemUsrReadOnly:
		readOnly = []string{"/usr", "/boot", "/efi"}
	case SystemFullReadOnly:
		readOnly = []string{"/usr", "/boot", "/efi", "/etc"}
	}
	for _, p := range readOnly {
		c.selfBind(p, unix.MOUNT_ATTR_RDONLY, 0, true)
	}
	c.show(tree.Home, "/home", "/root")
	if !tree.PrivateRun {
		c.show(tree.Home, "/run/user")
	}
	c.show(tree.Boot, "/boot", "/efi")
	c.show(tree.Modules, "/usr/lib/modules")
}

// attributes gives those to every mount that hold in the whole tree.
func attributes(tree Tree) []Step {
	all := uint64(unix.MOUNT_ATTR_NODEV)
	if !tree.PrivateDev {
		all = 0 // the host's /dev must go on working
	}
	if tree.System == SystemStrictReadOnly {
		all |= unix.MOUNT_ATTR_RDONLY
	}
	if all == 0 {
		return nil
	}
	return []Step{setattr("/", all, 0, true)}
}

// show makes directories as visible as v says; missing ones are nothing to hide.
func (c *compiler) show(v Visibility, dirs ...string) {
	for _, d := range dirs {
		switch v {
		case Shown:
		case ReadOnly:
			c.selfBind(d, unix.MOUNT_ATTR_RDONLY, 0, true)
		case Hidden:
			c.add(tolerate(mountFS("tmpfs", d, "tmpfs", unix.MS_RDONLY|fsFlags, hidden), syscall.ENOENT))
		case Empty:
			c.add(tolerate(mountFS("tmpfs", d, "tmpfs", unix.MS_RDONLY|fsFlags, "mode=0755,size=4k"), syscall.ENOENT))
		}
	}
}

type baseNode struct {
	path         string
	major, minor uint32
}

// devNode is the base set: path, minor and major number, all
// character devices of mode 0666 (null(4), random(4), tty(4)).
var devNode = []baseNode{{"/dev/null", 1, 3}, {"/dev/zero", 1, 5}, {"/dev/full", 1, 7}, {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0}}

var devLinks = []Link{{"/dev/fd", "/proc/self/fd"}, {"/dev/stdin", "/proc/self/fd/0"},
	{"/dev/stdout", "/proc/self/fd/1"}, {"/dev/stderr", "/proc/self/fd/2"}, {"/dev/ptmx", "pts/ptmx"}}

// devNodes fills a fresh /dev.
func (c *compiler) devNodes(nodes []baseNode) {
	for _, n := range nodes {
		c.mknod(n.path, DeviceNode{Major: n.major, Minor: n.minor, Mode: 0o666})
	}
	for _, l := range devLinks {
		if l.Path != "/dev/ptmx" || !c.spec.NoPTS {
			c.add(symlink(l))
		}
	}
	for _, d := range []string{"/dev/pts", "/dev/shm", "/dev/mqueue"} {
		c.add(mkdir(d, 0o755))
	}
	c.add(mknodFile("/dev/log", 0o666))
}

// kernelFilesystems mounts what depends on the service's own namespaces.
func (c *compiler) kernelFilesystems() {
	s := c.spec
	var opts []string
	if s.Proc.HidePID != "" {
		opts = append(opts, "hidepid="+s.Proc.HidePID)
	}
	if s.Proc.Subset != "" {
		opts = append(opts, "subset="+s.Proc.Subset)
	}
	c.add(mountFS("proc", "/proc", "proc", fsFlags, strings.Join(opts, ",")))
	sysFlags := uint64(fsFlags)
	if s.Kernel.Tunables {
		sysFlags |= unix.MS_RDONLY
	}
	c.add(mountFS("sysfs", "/sys", "sysfs", sysFlags, ""))
	c.cgroupTree()
	if !s.Tree.PrivateDev {
		return
	}
	if c.ownDev() {
		c.freshDev()
	}
	if !s.NoPTS {
		c.ahead(mountFS("devpts", "/dev/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, ptsOptions))
	}
	c.ahead(mountFS("tmpfs", "/dev/shm", "tmpfs", tmpFlags, "mode=1777"))
	c.made["/dev/shm"] = true
	if s.Namespaces.Has(IPC) {
		c.ahead(mountFS("mqueue", "/dev/mqueue", "mqueue", fsFlags, ""))
	}
}

// cgroupTree shows cgroup2. Where the service has a cgroup namespace it is the
// part below its own cgroup, of the host's mount: the very tree, root and
// superblock that mounting cgroup2 in the namespace gives (cgroup_namespaces(7)),
// which costs twice as much.
func (c *compiler) cgroupTree() {
	attrs := uint64(unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC)
	own := c.spec.Namespaces.Has(Cgroup)
	o := Opening{Desc: "cgroup", Path: c.host.CgroupMount}
	switch c.spec.Cgroup {
	case CgroupAbsent:
		return
	case CgroupHost:
		if own || c.host.CgroupMount == "" {
			return
		}
		attrs |= unix.MOUNT_ATTR_RDONLY
	case CgroupReadOnly, CgroupWritable:
		if !own {
			return
		}
		o = Opening{Desc: "cgroup", Cgroup: true}
		attrs |= attrIf(c.spec.Cgroup == CgroupReadOnly, unix.MOUNT_ATTR_RDONLY)
	}
	c.place(o, "/sys/fs/cgroup", attrs)
}

// ownDev reports whether the /dev of the template lacks what the unit puts there.
func (c *compiler) ownDev() bool {
	there := func(p string) bool {
		return p == "/dev/log" || within(p, "/dev/shm") || within(p, "/dev/pts") || within(p, "/dev/mqueue")
	}
	return c.spec.OnlyThese || len(c.spec.Devices) > 0 || slices.ContainsFunc(c.spec.Paths, func(r PathRule) bool {
		return r.Action <= PathBind && below(r.Path, "/dev") && !there(r.Path)
	})
}

// freshDev covers the /dev of the template with the unit's own. Where nothing
// but the unit's devices may be in it, /dev/null is there only until the masks
// that are made of it are in place.
func (c *compiler) freshDev() {
	c.add(mountFS("tmpfs", "/dev", "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, devOptions))
	c.made["/dev"] = true
	nodes := devNode
	if c.spec.OnlyThese {
		nodes = devNode[:1] // /dev/null
	}
	c.devNodes(nodes)
	if c.spec.OnlyThese {
		c.last = append(c.last, Step{Call: CallUnlink, Args: []Arg{Int(atFDCWD), Str("/dev/null"), Int(0)},
			Class: ClassNamespace, What: "/dev/null, which the unit does not have"})
	}
	for _, d := range c.spec.Devices {
		if d.Path == "/dev/null" {
			c.last = nil // it is the unit's
		}
		if d.Own == nil {
			c.place(Opening{Desc: Desc("device " + d.Path), Path: d.Path}, d.Path, unix.MOUNT_ATTR_RDONLY)
			continue
		}
		c.parents(d.Path)
		c.mknod(d.Path, *d.Own)
	}
	c.last = append(c.last, setattr("/dev", unix.MOUNT_ATTR_RDONLY, 0, false))
}

// mknod makes a device, with the permissions that n has whatever the umask.
func (c *compiler) mknod(p string, n DeviceNode) {
	kind := uint32(unix.S_IFCHR)
	if n.Block {
		kind = unix.S_IFBLK
	}
	at := func(call Call, args ...Arg) Step {
		return Step{Call: call, Args: append([]Arg{Int(atFDCWD), Str(p)}, args...), Class: ClassNamespace, What: p}
	}
	make := at(CallMknod, Int(kind|n.Mode), Int(unix.Mkdev(n.Major, n.Minor)))
	if c.spec.OnlyThese { // /dev/null may be there for the masks
		make = tolerate(make, syscall.EEXIST)
	}
	c.add(make)
	if n.UID != 0 || n.GID != 0 {
		c.add(at(CallChown, Int(n.UID), Int(n.GID), Int(unix.AT_SYMLINK_NOFOLLOW)))
	}
	c.add(at(CallChmod, Int(n.Mode)))
}

// privateDirectories mounts the fresh /tmp, /var/tmp and /run.
func (c *compiler) privateDirectories() {
	if c.spec.Tree.PrivateTmp {
		for _, d := range []string{"/tmp", "/var/tmp"} {
			c.ahead(tolerate(mountFS("tmpfs", d, "tmpfs", tmpFlags, tmpOptions), syscall.ENOENT))
			c.made[d] = true
		}
	}
	if c.spec.Tree.PrivateRun {
		c.ahead(mountFS("tmpfs", "/run", "tmpfs", tmpFlags, runOptions))
		c.made["/run"] = true
		c.ahead(mkdir("/run/lock", 0o1777), Step{Call: CallChmod, Args: []Arg{Int(atFDCWD), Str("/run/lock"),
			Int(uint32(0o1777))}, Class: ClassNamespace, What: "/run/lock"})
		c.ahead(symlink(Link{"/run/shm", "/dev/shm"}))
	}
	for _, l := range c.spec.Links {
		c.parents(l.Path)
		c.add(symlink(l))
	}
}

// kernelMasks closes the kernel's paths, last: nothing that the unit binds may
// open them again.
func (c *compiler) kernelMasks() {
	k := c.spec.Kernel
	have := func(list, of []string) (out []string) {
		for _, p := range list {
			if slices.Contains(of, p) {
				out = append(out, p)
			}
		}
		return out
	}
	if k.Tunables {
		for _, p := range append(have(TunableDirs, c.host.ProcDirs), have(TunableFiles, c.host.ProcFiles)...) {
			c.selfBind(p, unix.MOUNT_ATTR_RDONLY, 0, false)
		}
	}
	var files []string
	if k.Masks {
		files = have(MaskedFiles, c.host.ProcFiles)
		c.maskDirs(have(MaskedDirs, c.host.ProcDirs))
	}
	if k.Logs {
		files = append(files, have(LogFiles, c.host.ProcFiles)...)
	}
	for _, p := range files {
		c.add(tolerate(bindStep("/dev/null", p, false), syscall.ENOENT))
	}
	c.add(c.last...)
}

// maskDirs covers directories with one empty file system: a second would cost
// three times what showing the first once more does. Where that is not there,
// whatever the host has said of it, the directory gets its own.
func (c *compiler) maskDirs(dirs []string) {
	for i, p := range dirs {
		if i > 0 {
			again := tolerate(bindStep(dirs[0], p, false), syscall.ENOENT)
			again.SkipDone = 1
			c.add(again)
		}
		c.add(tolerate(mountFS("tmpfs", p, "tmpfs", unix.MS_RDONLY|fsFlags, hidden), syscall.ENOENT))
	}
}

// selfBind puts a mount on path so that it can have attributes of its own. A
// missing path needs none.
func (c *compiler) selfBind(path string, set, clear uint64, recursive bool) {
	bind := tolerate(bindStep(path, path, recursive), syscall.ENOENT)
	bind.SkipFail = 1
	c.add(bind, setattr(path, set, clear, recursive))
}

// within reports whether path is dir or below it.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

func mountFS(source, target, fstype string, flags uint64, options string) Step {
	return Step{Call: CallMount, Args: []Arg{Str(source), Str(target), Str(fstype), Int(flags), Str(options)},
		Class: ClassNamespace, What: fstype + " on " + target}
}

func bindStep(source, target string, recursive bool) Step {
	flags := uint64(unix.MS_BIND)
	if recursive {
		flags |= unix.MS_REC
	}
	what := source + " on " + target
	if source == target {
		what = target + " on itself"
	}
	return Step{Call: CallMount, Args: []Arg{Str(source), Str(target), Int(0), Int(flags), Int(0)},
		Class: ClassNamespace, What: what}
}

// setattr changes the attributes of the mount at path (mount_setattr(2), Linux 5.12).
func setattr(path string, set, clear uint64, recursive bool) Step {
	flags := uint64(0)
	if recursive {
		flags = atRecursive
	}
	return Step{Call: CallMountSetattr, Args: []Arg{Int(atFDCWD), Str(path), Int(flags), Bytes(words(set, clear, 0, 0)),
		Int(32)}, Class: ClassNamespace, What: path + attrNames(set, clear)}
}

func attrNames(set, clear uint64) string {
	var b strings.Builder
	for _, a := range []struct {
		bit  uint64
		name string
	}{{unix.MOUNT_ATTR_RDONLY, "read-only"}, {unix.MOUNT_ATTR_NOSUID, "nosuid"}, {unix.MOUNT_ATTR_NODEV, "nodev"}, {unix.MOUNT_ATTR_NOEXEC, "noexec"}} {
		if set&a.bit != 0 {
			b.WriteString(" " + a.name)
		}
		if clear&a.bit != 0 {
			b.WriteString(" not " + a.name)
		}
	}
	return b.String()
}

func attrIf(cond bool, attr uint64) uint64 {
	if cond {
		return attr
	}
	return 0
}

func mkdir(path string, mode uint32) Step {
	return tolerate(Step{Call: CallMkdir, Args: []Arg{Int(atFDCWD), Str(path), Int(mode)}, Class: ClassNamespace,
		What: path}, syscall.EEXIST)
}

// mknodFile makes an empty regular file, as a place to mount on.
func mknodFile(path string, mode uint32) Step {
	return tolerate(Step{Call: CallMknod, Args: []Arg{Int(atFDCWD), Str(path), Int(unix.S_IFREG | mode), Int(0)},
		Class: ClassNamespace, What: path}, syscall.EEXIST)
}

func symlink(l Link) Step {
	return tolerate(Step{Call: CallSymlink, Args: []Arg{Str(l.Target), Int(atFDCWD), Str(l.Path)}, Class: ClassNamespace,
		What: fmt.Sprintf("%s -> %s", l.Path, l.Target)}, syscall.EEXIST)
}

func tolerate(s Step, e ...syscall.Errno) Step {
	copy(s.Tolerate[:], e)
	return s
}
