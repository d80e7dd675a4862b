package isolate

import (
	"encoding/binary"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// Compile turns what a service wants into the steps of its start. It is pure:
// equal arguments give equal programs. It fails, naming the unit and the key,
// where the host cannot give what was asked for.
func Compile(s Spec, h Host) (*Program, error) {
	if err := check(s, h); err != nil {
		return nil, fmt.Errorf("%s: cannot isolate: %w", s.Unit, err)
	}
	c := &compiler{spec: s, host: h, made: map[string]bool{}}
	c.prog = &Program{Unit: s.Unit, Namespaces: s.Namespaces, Setup: make([]Step, 0, 64)}
	if s.Namespaces.Has(Mount) {
		tree := s.Tree
		c.prog.Tree = &tree
	}
	if s.Namespaces.Has(Mount) && !c.ownDev() && !s.NoPTS && (s.NetNS || !s.Namespaces.Has(Net)) {
		c.prog.Stage = Stage{Tree: s.Tree, Namespaces: s.Namespaces & (Mount | IPC | UTS)}
	}
	c.safety()
	c.enter()
	if s.Namespaces.Has(Mount) {
		c.coverRoot()
		c.kernelFilesystems()
		c.pidMax()
		c.privateDirectories()
		c.paths()
		c.kernelMasks()
	} else {
		c.pidMax()
	}
	for _, e := range s.Execs {
		c.prog.Execs = append(c.prog.Execs, c.exec(e))
	}
	return c.prog, nil
}

// CompileJoin gives the steps by which a command enters the namespaces of a
// live service and becomes e (setns(2); Linux 5.8 for a pidfd). Setup is run
// by the joiner, which then clones the command.
func CompileJoin(j JoinSpec, h Host) (*Program, error) {
	if missing := j.Namespaces &^ h.Namespaces; missing != 0 {
		return nil, fmt.Errorf("%s: cannot join: this kernel has no %s namespace", j.Unit, missing.Names()[0])
	}
	c := &compiler{host: h, join: true, made: map[string]bool{}}
	c.spec = Spec{Unit: j.Unit}
	if j.OwnCgroup {
		c.spec.Namespaces = Cgroup
	}
	c.prog = &Program{Unit: j.Unit, Namespaces: j.Namespaces}
	c.add(prctl(ClassNamespace, "no dump", unix.PR_SET_DUMPABLE, 0))
	if flags := cloneFlags(j.Namespaces &^ (Cgroup | Time)); flags != 0 {
		c.add(Step{Call: CallSetns, Args: []Arg{FD(DescTarget), Int(flags)}, Class: ClassNamespace,
			What: "into the service's namespaces"})
	}
	c.prog.Execs = []ExecProgram{c.exec(j.Exec)}
	return c.prog, nil
}

// check refuses what this host cannot give, before anything is made.
func check(s Spec, h Host) error {
	if missing := s.Namespaces &^ h.Namespaces; missing != 0 {
		return fmt.Errorf("this kernel has no %s namespace; write namespaces = [\"~%[1]s\"] in [isolation] to do without",
			missing.Names()[0])
	}
	if !s.Namespaces.Has(Mount) && (len(s.Paths) > 0 || len(s.Files) > 0 || len(s.Devices) > 0) {
		return fmt.Errorf("the [filesystem] table needs the mount namespace; add it to namespaces in [isolation]")
	}
	if s.Hostname != "" && !s.Namespaces.Has(UTS) {
		return fmt.Errorf("hostname needs the uts namespace; add it to namespaces in [isolation]")
	}
	if len(s.Hostname) > 64 {
		return fmt.Errorf("hostname %q has %d bytes; the kernel takes 64 (sethostname(2))", s.Hostname, len(s.Hostname))
	}
	if s.Cgroup == CgroupWritable && s.Namespaces.Has(Mount|Cgroup) && !h.NSDelegate {
		return fmt.Errorf("delegate = true: the host's cgroup2 mount lacks nsdelegate, so the service could raise its own limits; mount it with nsdelegate (cgroups(7))")
	}
	if s.PIDMax != 0 && !(s.Namespaces.Has(PID) && h.PIDMaxPerNS) {
		return fmt.Errorf("pid_max needs the pid namespace and Linux 6.14")
	}
	return checkMissing(s)
}

// compiler collects a program.
type compiler struct {
	spec Spec
	host Host
	prog *Program
	join bool            // a command for a service that runs
	late []Step          // what must wait until everything below a directory is made
	last []Step          // what must wait for the masks
	made map[string]bool // directories whose content is this start's own (true) or bound from elsewhere (false)
}

func (c *compiler) add(s ...Step) { c.prog.Setup = append(c.prog.Setup, s...) }

// ahead adds what does not depend on the start, if this one can have a stage.
func (c *compiler) ahead(s ...Step) {
	for i := range s {
		s[i].Ahead = c.prog.Stage != Stage{}
	}
	c.add(s...)
}

// safety is what must hold before the first payload exists: nobody inside may
// trace the reaper, and no signal from inside may queue on it.
func (c *compiler) safety() {
	c.add(prctl(ClassNamespace, "no dump", unix.PR_SET_DUMPABLE, 0))
	c.add(sigmask(1<<(uint(syscall.SIGCHLD)-1), "all but SIGCHLD unblocked"), ownGroup())
	c.leaveGroup()
	// Not the manager's name: who kills that by name means the manager.
	c.add(Step{Call: CallPrctl, Args: []Arg{Int(unix.PR_SET_NAME), Str(reaperName(c.spec.Unit))}, Class: ClassNamespace,
		What: "named " + reaperName(c.spec.Unit)})
	if !c.spec.Namespaces.Has(Mount) {
		c.add(Step{Call: CallChdir, Args: []Arg{Str("/")}, Class: ClassChdir, What: "/"}) // holds no mount of the manager's
	}
	if !c.spec.Namespaces.Has(PID) {
		c.add(prctl(ClassNamespace, "child subreaper", unix.PR_SET_CHILD_SUBREAPER, 1))
	}
}

// leaveGroup takes the reaper out of the manager's process group, which somebody
// may kill as a whole. Signals of a terminal, which would reach it through the
// session, are nothing to the init of a PID namespace; any other leaves the
// session too, which is dearer: the scheduler makes a group of its tasks (sched(7),
// autogroup) that nobody but the reaper would ever be in.
func (c *compiler) leaveGroup() {
	if c.spec.Namespaces.Has(PID) {
		c.add(Step{Call: CallSetpgid, Args: []Arg{Int(0), Int(0)}, Class: ClassSetsid})
		return
	}
	c.add(Step{Call: CallSetsid, Class: ClassSetsid})
}

// ownGroup keeps root inside from setting the reaper's resource limits:
// prlimit(2) wants all user and group IDs of its target to be the caller's, and
// a saved group that nobody has never is. (With RLIMIT_FSIZE 64 on its reaper a
// service could end and nobody learn of it.) For ptrace(2) it is one refusal
// more. Programs lose it at execve, which copies the effective group
// (credentials(7)). A user namespace may not map the number.
func ownGroup() Step {
	const keep, nobodys = ^uint32(0), ^uint32(0) - 1
	return tolerate(Step{Call: CallSetresgid, Args: []Arg{Int(keep), Int(keep), Int(nobodys)}, Class: ClassGroup,
		What: "a saved group of its own"}, syscall.EINVAL)
}

// reaperName is what ps shows for the reaper of a unit; the kernel cuts it at
// 15 bytes (prctl(2), PR_SET_NAME).
func reaperName(unit string) string { return "reaper:" + unit }

// enter leaves the host's namespaces. The PID namespace was entered by the
// clone itself; all flags in clone3 would block the manager for 2 ms a start.
func (c *compiler) enter() {
	ns := c.spec.Namespaces
	if c.spec.NetNS {
		c.add(Step{Call: CallSetns, Args: []Arg{FD(DescNetNS), Int(unix.CLONE_NEWNET)}, Class: ClassNetwork,
			What: "into the network namespace"})
		ns &^= Net
	}
	if ns.Has(Mount) {
		c.ahead(Step{Call: CallSetns, Args: []Arg{FD(DescTemplate), Int(unix.CLONE_NEWNS)}, Class: ClassNamespace,
			What: "into the template's tree"})
	}
	if flags := cloneFlags(ns & (Mount | IPC | UTS | Net)); flags != 0 {
		c.ahead(Step{Call: CallUnshare, Args: []Arg{Int(flags)}, Class: ClassNamespace,
			What: fmt.Sprint((ns & (Mount | IPC | UTS | Net)).Names())})
	}
	if ns.Has(Net) {
		c.loopback()
	}
	if ns.Has(Mount) {
		flag, name := c.propagation()
		c.ahead(Step{Call: CallMount, Args: []Arg{Int(0), Str("/"), Int(0), Int(unix.MS_REC | flag), Int(0)},
			Class: ClassNamespace, What: "/ " + name})
		c.ahead(attributes(c.spec.Tree)...) // for mounts that reached the template after it was assembled
		if c.spec.Tree.PrivateDev {
			c.ahead(setattr("/dev", 0, unix.MOUNT_ATTR_NODEV, false))
		}
	}
	if c.spec.Hostname != "" {
		c.add(Step{Call: CallSethostname, Args: []Arg{Str(c.spec.Hostname), Int(len(c.spec.Hostname))},
			Class: ClassNamespace, What: c.spec.Hostname})
	}
}

// propagation is that of every mount in the tree: none of the service's mounts
// ever reaches the host; with mount_flags = "slave" the host's reach the service.
func (c *compiler) propagation() (flag uint64, name string) {
	if c.spec.Tree.Slave {
		return unix.MS_SLAVE, "slave"
	}
	return unix.MS_PRIVATE, "private"
}

// loopback brings lo up in a network namespace that this start made
// (netdevice(7)); it gets its addresses by that.
func (c *compiler) loopback() {
	ifreq := make([]byte, 40)
	copy(ifreq, "lo")
	ifreq[unix.IFNAMSIZ] = unix.IFF_UP
	c.add(
		Step{Call: CallSocket, Args: []Arg{Int(unix.AF_INET), Int(unix.SOCK_DGRAM | unix.SOCK_CLOEXEC), Int(0)},
			Class: ClassNetwork, Save: true},
		Step{Call: CallIoctl, Args: []Arg{Saved(), Int(unix.SIOCSIFFLAGS), Bytes(ifreq)}, Class: ClassNetwork, What: "lo up"},
		Step{Call: CallClose, Args: []Arg{Saved()}, Class: ClassNetwork},
	)
}

// pidMax limits the PID namespace's numbers (Linux 6.14: per namespace).
func (c *compiler) pidMax() {
	if c.spec.PIDMax != 0 {
		c.add(writeFile("/proc/sys/kernel/pid_max", fmt.Sprint(c.spec.PIDMax), ClassNamespace)...)
	}
}

var cloneFlag = [...]struct {
	ns   Namespaces
	flag uint64
}{{Mount, unix.CLONE_NEWNS}, {PID, unix.CLONE_NEWPID}, {IPC, unix.CLONE_NEWIPC}, {UTS, unix.CLONE_NEWUTS},
	{Cgroup, unix.CLONE_NEWCGROUP}, {Net, unix.CLONE_NEWNET}, {User, unix.CLONE_NEWUSER}, {Time, unix.CLONE_NEWTIME}}

func cloneFlags(n Namespaces) (flags uint64) {
	for _, c := range cloneFlag {
		if n.Has(c.ns) {
			flags |= c.flag
		}
	}
	return flags
}

func prctl(class Class, what string, args ...uint64) Step {
	s := Step{Call: CallPrctl, Class: class, What: what, Args: make([]Arg, len(args))}
	for i, a := range args {
		s.Args[i] = Int(a)
	}
	return s
}

func sigmask(mask uint64, what string) Step {
	return Step{Call: CallSigprocmask, Args: []Arg{Int(2 /* SIG_SETMASK */), Bytes(words(mask)), Int(0), Int(8)},
		Class: ClassSignalMask, What: what}
}

// writeFile opens, writes and closes a file of /proc or /sys.
func writeFile(path, content string, class Class) []Step {
	return []Step{
		{Call: CallOpen, Args: []Arg{Int(atFDCWD), Str(path), Int(unix.O_WRONLY | unix.O_CLOEXEC), Int(0)},
			Class: class, What: path, Save: true},
		{Call: CallWrite, Args: []Arg{Saved(), Str(content), Int(len(content))}, Class: class,
			What: content + " to " + path},
		{Call: CallClose, Args: []Arg{Saved()}, Class: class, What: path},
	}
}

// atFDCWD is AT_FDCWD as a register holds it.
const atFDCWD = ^uint64(99) // -100

// words lays numbers out as the kernel reads them: 64 bits each, little endian
// (every architecture that nsinit supports).
func words(v ...uint64) []byte {
	b := make([]byte, 0, 8*len(v))
	for _, w := range v {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}
