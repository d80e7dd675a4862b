package isolate

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// exec compiles the steps of one program. What needs privilege comes first;
// user, capabilities and no_new_privs are last, then only the working
// directory, which is entered with the user's own rights.
func (c *compiler) exec(e Exec) ExecProgram {
	x := &execCompiler{e: e, host: c.host, join: c.join, steps: make([]Step, 0, 64)}
	x.session()
	x.stdio()
	x.cgroup(c.spec.Namespaces.Has(Cgroup))
	if e.Privileged && e.Kind != ExecCommand && c.prog.Namespaces.Has(Mount) {
		x.writableTree()
	}
	x.scheduling()
	x.limits()
	x.privileges()
	x.directory()
	x.passed()
	x.add(Step{Call: CallExecve, Args: []Arg{Str(e.Path), Vector(e.Argv), Vector(e.Env)}, Class: ClassExec, What: e.Path})
	return ExecProgram{Kind: e.Kind, Index: e.Index, Path: e.Path, Argv: e.Argv, IgnoreFailure: e.IgnoreFailure,
		Success: e.Success, Steps: x.steps}
}

type execCompiler struct {
	e     Exec
	join  bool // into a service that runs
	host  Host
	steps []Step
}

func (x *execCompiler) add(s ...Step) { x.steps = append(x.steps, s...) }

// session undoes what the program would inherit: the signal mask and ignored
// signals; and starts a session, so that no terminal outside can be reached.
func (x *execCompiler) session() {
	x.add(sigmask(0, "nothing blocked"))
	for n := range 64 {
		if x.host.Ignored>>n&1 != 0 {
			x.add(Step{Call: CallSigaction, Args: []Arg{Int(n + 1), Bytes(words(0 /* SIG_DFL */, 0, 0, 0)), Int(0), Int(8)},
				Class: ClassSignalMask, What: fmt.Sprintf("signal %d not ignored", n+1)})
		}
	}
	if x.e.IgnoreSIGPIPE {
		ignore := words(1 /* SIG_IGN */, 0, 0, 0)
		x.add(Step{Call: CallSigaction, Args: []Arg{Int(int(syscall.SIGPIPE)), Bytes(ignore), Int(0), Int(8)},
			Class: ClassSignalMask, What: "SIGPIPE ignored"})
	}
	x.add(Step{Call: CallSetsid, Class: ClassSetsid})
}

// stdio connects descriptors 0 to 2. The reaper holds /dev/null there.
func (x *execCompiler) stdio() {
	x.stdioFD(0, x.e.Stdin, DescStdin, ClassStdin)
	x.stdioFD(1, x.e.Stdout, DescStdout, ClassStdout)
	x.stdioFD(2, x.e.Stderr, DescStderr, ClassStderr)
}

func (x *execCompiler) stdioFD(n int, s Stdio, d Desc, class Class) {
	dup := func(from Arg, what string) Step {
		return Step{Call: CallDup3, Args: []Arg{from, Int(n), Int(0)}, Class: class, What: what}
	}
	switch s.Kind {
	case StdioNull:
	case StdioSame:
		x.add(dup(Int(1), "stdout as stderr"))
	case StdioInput:
		x.add(dup(Int(0), "stdin"))
	case StdioTTY:
		x.terminal(s, class)
	case StdioFile:
		x.add(Step{Call: CallOpen, Args: []Arg{Int(atFDCWD), Str(s.Path), Int(s.Flags | unix.O_CLOEXEC | unix.O_NOCTTY),
			Int(uint32(0o644))}, Class: class, What: s.Path, Save: true}, dup(Saved(), s.Path))
	case StdioLog, StdioDesc:
		x.add(dup(FD(d), string(d)))
		if s.Kind == StdioLog && x.e.Cred.SetIDs {
			// So that the program can open /dev/stderr again under its own user.
			x.add(Step{Call: CallFchown, Args: []Arg{Int(n), Int(x.e.Cred.UID), Int(x.e.Cred.GID)}, Class: class, What: string(d)})
		}
	}
	if s.TTY {
		x.add(Step{Call: CallIoctl, Args: []Arg{Int(n), Int(unix.TIOCSCTTY), Int(0)}, Class: class, What: "controlling terminal"})
	}
}

// passed leaves the program its standard descriptors and what it is passed.
// Those are at higher numbers than they go to, so that none is overwritten
// before its turn.
func (x *execCompiler) passed() {
	what := "everything but stdio"
	for i := range x.e.Passed {
		x.add(Step{Call: CallDup3, Args: []Arg{FD(DescPassed(i)), Int(3 + i), Int(0)}, Class: ClassFDs,
			What: fmt.Sprintf("%s as %d", DescPassed(i), 3+i)})
		what = "everything but stdio and what is passed"
	}
	if x.e.Passed > 0 {
		x.add(Step{Call: CallTellPID, Args: []Arg{{Kind: ArgListenPID}}, Class: ClassFDs, What: "into LISTEN_PID"})
	}
	x.add(Step{Call: CallCloseRange, Args: []Arg{Int(3 + x.e.Passed), Int(uint64(^uint32(0))), Int(0)}, Class: ClassFDs, What: what})
}

// terminalRetry is how long to wait between two looks at a terminal that
// another session has: no event says when its leader has let go of it.
const terminalRetry = 100 * time.Millisecond

// terminal makes a terminal standard input and the controlling one of the
// session (tty_ioctl(4), TIOCSCTTY). A service of a user of its own gets it, so
// that /dev/tty and its like can be opened again.
func (x *execCompiler) terminal(s Stdio, class Class) {
	x.add(Step{Call: CallOpen, Args: []Arg{Int(atFDCWD), Str(s.Path), Int(unix.O_RDWR | unix.O_CLOEXEC | unix.O_NOCTTY),
		Int(0)}, Class: class, What: s.Path, Save: true},
		Step{Call: CallDup3, Args: []Arg{Saved(), Int(0), Int(0)}, Class: class, What: s.Path})
	take := Step{Call: CallIoctl, Args: []Arg{Int(0), Int(unix.TIOCSCTTY), Int(0)}, Class: class, What: s.Path + " as controlling terminal"}
	switch s.Acquire {
	case AcquireFail:
		x.add(take)
	case AcquireForce:
		take.Args[2] = Int(1)
		x.add(take)
	case AcquireWait:
		take.Tolerate, take.SkipDone = [2]syscall.Errno{syscall.EPERM}, 1
		x.add(take, Step{Call: CallNanosleep, Args: []Arg{Bytes(words(0, uint64(terminalRetry))), Int(0)}, Class: class,
			What: "until " + s.Path + " is free", Back: 1})
	}
	if x.e.Cred.SetIDs {
		// The node in a private /dev is the machine's, and read-only.
		x.add(tolerate(Step{Call: CallFchown, Args: []Arg{Int(0), Int(x.e.Cred.UID), Int(^uint32(0))}, Class: class, What: s.Path}, syscall.EROFS))
	}
}

// cgroup starts the cgroup namespace where the program stands.
func (x *execCompiler) cgroup(own bool) {
	if !own {
		return
	}
	if x.join {
		// Main's, if it lives still; the reaper has none to join.
		x.add(Step{Call: CallSetns, Args: []Arg{FD(DescMain), Int(unix.CLONE_NEWCGROUP)}, Class: ClassCgroup, What: "into main's [cgroup]",
			Tolerate: [2]syscall.Errno{syscall.ESRCH}, SkipDone: 1, If: Need{Desc: DescMain}})
	}
	x.add(Step{Call: CallUnshare, Args: []Arg{Int(unix.CLONE_NEWCGROUP)}, Class: ClassCgroup, What: "[cgroup]"})
}

// writableTree lifts the read-only tree from a '+' command, in a mount namespace
// of its own: the service's stays as it is. (nsctl exec stays in that of the service.)
func (x *execCompiler) writableTree() {
	x.add(Step{Call: CallUnshare, Args: []Arg{Int(unix.CLONE_NEWNS)}, Class: ClassNamespace, What: "[mount]"},
		setattr("/", 0, unix.MOUNT_ATTR_RDONLY, true))
}

// scheduling applies what differs from the manager's.
func (x *execCompiler) scheduling() {
	s := x.e.Sched
	nice := s.Nice
	if nice == nil && x.host.Nice != 0 {
		nice = new(int)
	}
	if nice != nil {
		x.add(Step{Call: CallSetpriority, Args: []Arg{Int(0), Int(0), Int(*nice)}, Class: ClassNice, What: strconv.Itoa(*nice)})
	}
	if s.Policy != nil {
		param := []byte{byte(s.Priority), 0, 0, 0}
		x.add(Step{Call: CallSetscheduler, Args: []Arg{Int(0), Int(*s.Policy), Bytes(param)}, Class: ClassSetScheduler})
	}
	if s.IOClass != nil {
		x.add(Step{Call: CallIoprioSet, Args: []Arg{Int(1 /* IOPRIO_WHO_PROCESS */), Int(0), Int(*s.IOClass<<13 | s.IOPriority)},
			Class: ClassIOPrio})
	}
	if len(s.Affinity) > 0 {
		mask := make([]uint64, 16) // 1024 CPUs, as glibc's cpu_set_t
		for _, cpu := range s.Affinity {
			if cpu < 1024 {
				mask[cpu/64] |= 1 << (cpu % 64)
			}
		}
		x.add(Step{Call: CallSetaffinity, Args: []Arg{Int(0), Int(128), Bytes(words(mask...))}, Class: ClassCPUAffinity})
	}
	if s.TimerSlack != nil {
		x.add(prctl(ClassTimerSlack, "timer slack", unix.PR_SET_TIMERSLACK, uint64(*s.TimerSlack)))
	}
}

// limits sets resource limits, the OOM score, the umask and the core filter.
func (x *execCompiler) limits() {
	for _, l := range x.e.Rlimits {
		x.add(Step{Call: CallPrlimit, Args: []Arg{Int(0), Int(l.Resource), Bytes(words(l.Soft, l.Hard)), Int(0)},
			Class: ClassLimits, What: fmt.Sprintf("%s %s:%s", RlimitName(l.Resource), limit(l.Soft), limit(l.Hard))})
	}
	adj := x.e.OOMScoreAdj
	if adj == nil && x.host.OOMScoreAdj != 0 {
		adj = new(int)
	}
	if adj != nil {
		x.add(writeFile("/proc/self/oom_score_adj", strconv.Itoa(*adj), ClassOOMAdjust)...)
	}
	if x.e.CoredumpMask != nil {
		x.add(writeFile("/proc/self/coredump_filter", fmt.Sprintf("%#x", *x.e.CoredumpMask), ClassLimits)...)
	}
	x.add(Step{Call: CallUmask, Args: []Arg{Int(x.e.Umask)}, What: fmt.Sprintf("%04o", x.e.Umask)})
}

// rlimitNames are the keys of [service] without "limit_", by RLIMIT_ number
// (getrlimit(2); the numbers are those of amd64 and arm64).
var rlimitNames = [...]string{"cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile", "memlock", "as",
	"locks", "sigpending", "msgqueue", "nice", "rtprio", "rttime"}

// RlimitName gives the name of a RLIMIT_ number as unit files write it after "limit_".
func RlimitName(resource int) string { return rlimitNames[resource] }

func limit(v uint64) string {
	if v == Unlimited {
		return "infinity"
	}
	return strconv.FormatUint(v, 10)
}

// privileges drops what the program may not have (capabilities(7)).
func (x *execCompiler) privileges() {
	cr := x.e.Cred
	if !cr.KeepAll {
		for bit := 0; bit <= x.host.LastCap; bit++ {
			if cr.Bounding>>bit&1 == 0 {
				x.add(dropCapability(bit))
			}
		}
	}
	if cr.SecureBits != 0 {
		x.add(prctl(ClassSecureBits, "secure bits", unix.PR_SET_SECUREBITS, uint64(cr.SecureBits)))
	}
	if cr.SetIDs {
		x.ids(cr)
	}
	have := x.host.Caps
	if cr.SetIDs && cr.UID != 0 {
		have = cr.Ambient
	}
	if !cr.KeepAll || cr.Ambient != 0 {
		if !cr.KeepAll {
			have &= cr.Bounding
		}
		x.add(capset(have, have, cr.Ambient))
	}
	for bit := 0; bit <= x.host.LastCap; bit++ {
		if cr.Ambient>>bit&1 != 0 {
			x.add(prctl(ClassCapabilities, "ambient "+CapabilityName(bit), unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uint64(bit)))
		}
	}
	if cr.SetIDs || !cr.KeepAll || cr.Ambient != 0 {
		// The program shares the reaper's memory until its execve, and a change of
		// credentials makes that traceable where fs.suid_dumpable is 1 (proc(5)).
		x.add(prctl(ClassNamespace, "no dump", unix.PR_SET_DUMPABLE, 0))
	}
	if cr.NoNewPrivs {
		x.add(prctl(ClassNoNewPrivs, "no new privileges", unix.PR_SET_NO_NEW_PRIVS, 1))
	}
}

// ids changes user and groups; where capabilities are to survive, they are kept
// over the change.
func (x *execCompiler) ids(cr Credentials) {
	if cr.Ambient != 0 {
		x.add(prctl(ClassCapabilities, "keep capabilities", unix.PR_SET_KEEPCAPS, 1))
	}
	groups := make([]byte, 0, 4*len(cr.Groups))
	for _, g := range cr.Groups {
		groups = binary.LittleEndian.AppendUint32(groups, g)
	}
	x.add(Step{Call: CallSetgroups, Args: []Arg{Int(len(cr.Groups)), Bytes(groups)}, Class: ClassGroup, What: fmt.Sprint(cr.Groups)})
	x.add(Step{Call: CallSetresgid, Args: []Arg{Int(cr.GID), Int(cr.GID), Int(cr.GID)}, Class: ClassGroup, What: fmt.Sprint(cr.GID)})
	x.add(Step{Call: CallSetresuid, Args: []Arg{Int(cr.UID), Int(cr.UID), Int(cr.UID)}, Class: ClassUser, What: fmt.Sprint(cr.UID)})
}

// capset sets the three sets of the calling thread (capset(2), version 3).
func capset(effective, permitted, inheritable uint64) Step {
	var data []byte
	for _, shift := range []int{0, 32} {
		for _, set := range []uint64{effective, permitted, inheritable} {
			data = binary.LittleEndian.AppendUint32(data, uint32(set>>shift))
		}
	}
	header := []byte{0x22, 0x05, 0x08, 0x20, 0, 0, 0, 0}
	return Step{Call: CallCapset, Args: []Arg{Bytes(header), Bytes(data)}, Class: ClassCapabilities,
		What: fmt.Sprintf("%d kept", bits.OnesCount64(permitted))}
}

// directory enters the working directory and makes sure that it is inside: a
// directory outside the root reads as "(unreachable)" (CVE-2024-21626).
func (x *execCompiler) directory() {
	dir := x.e.Dir
	if dir == "" {
		dir = "/"
	}
	s := Step{Call: CallChdir, Args: []Arg{Str(dir)}, Class: ClassChdir, What: dir}
	if x.e.DirMaybe {
		s.Tolerate = [2]syscall.Errno{syscall.ENOENT, syscall.ENOTDIR}
		x.add(Step{Call: CallChdir, Args: []Arg{Str("/")}, Class: ClassChdir, What: "/"})
	}
	x.add(s, Step{Call: CallVerifyDir, Class: ClassChdir, What: dir})
}

var capabilityNames = [...]string{"chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid",
	"setuid", "setpcap", "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock",
	"ipc_owner", "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot",
	"sys_nice", "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control",
	"setfcap", "mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf",
	"checkpoint_restore"}

// capabilityDrops are the most numerous steps of a start, and always the same.
var capabilityDrops = sync.OnceValue(func() []Step {
	steps := make([]Step, len(capabilityNames))
	for bit := range steps {
		steps[bit] = newDrop(bit)
	}
	return steps
})

// dropCapability takes a capability out of the bounding set (capabilities(7)).
func dropCapability(bit int) Step {
	if bit < len(capabilityNames) {
		return capabilityDrops()[bit]
	}
	return newDrop(bit)
}

func newDrop(bit int) Step {
	return prctl(ClassCapabilities, "drop "+CapabilityName(bit), unix.PR_CAPBSET_DROP, uint64(bit))
}

// CapabilityName gives the name of a capability without "cap_", or its number
// where the kernel is newer than this table.
func CapabilityName(bit int) string {
	if bit < len(capabilityNames) {
		return capabilityNames[bit]
	}
	return strconv.Itoa(bit)
}
