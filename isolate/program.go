package isolate

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
)

// A Call is a system call, or one of the few checks that the child makes itself.
type Call uint8

// The calls that programs are made of. Each is the system call of that name
// (man section 2), except where noted.
const (
	CallMount Call = iota
	CallUmount2
	CallMoveMount
	CallOpenTree
	CallMountSetattr
	CallPivotRoot
	CallMkdir
	CallSymlink
	CallChmod
	CallChown // fchownat(2)
	CallUnlink
	CallChroot
	CallUnshare
	CallSetns
	CallSethostname
	CallPrctl
	CallCapset
	CallSetresuid
	CallSetresgid
	CallSetgroups
	CallSetsid
	CallSetpgid
	CallIoctl
	CallUmask
	CallChdir
	CallOpen
	CallWrite
	CallClose
	CallDup3
	CallFchown
	CallPrlimit
	CallSigaction
	CallSigprocmask
	CallSetpriority
	CallSetscheduler
	CallSetaffinity
	CallIoprioSet
	CallExecve
	CallCloseRange
	CallMknod
	CallSocket
	CallNanosleep
	CallVerifyDir // getcwd(2), and the answer must be reachable from the root
	CallTellPID   // getpid(2), and the answer goes into the variable ListenPID
	CallCount     // the number of calls, not one of them
)

var callNames = [CallCount]string{"mount", "umount2", "move_mount", "open_tree", "mount_setattr", "pivot_root",
	"mkdir", "symlink", "chmod", "fchownat", "unlink", "chroot", "unshare", "setns", "sethostname", "prctl", "capset", "setresuid",
	"setresgid", "setgroups", "setsid", "setpgid", "ioctl", "umask", "chdir", "open", "write", "close", "dup3", "fchown",
	"prlimit64", "rt_sigaction", "rt_sigprocmask", "setpriority", "sched_setscheduler", "sched_setaffinity",
	"ioprio_set", "execve", "close_range", "mknod", "socket", "nanosleep", "getcwd", "getpid"}

// String gives the system call's name.
func (c Call) String() string { return callNames[c] }

// A Desc names a descriptor that exists only at launch.
type Desc string

// The descriptors that launchers provide. Mounts that a Program asks the
// launcher to open are named by Program.Open.
const (
	DescTemplate Desc = "template" // mount namespace holding the assembled tree
	DescNetNS    Desc = "netns"
	DescStdin    Desc = "stdin"
	DescStdout   Desc = "stdout"
	DescStderr   Desc = "stderr"
	DescTarget   Desc = "target" // the pidfd of the reaper that a join enters
	DescMain     Desc = "main"   // the pidfd of the service's main process, where it lives
)

// MaxPassed is how many descriptors a program can be passed besides its
// standard ones.
const MaxPassed = 32

// DescPassed is the i-th descriptor that is passed to main.
func DescPassed(i int) Desc { return Desc("passed " + strconv.Itoa(i)) }

// ListenPID is the variable of sd_listen_fds(3) that holds the number of the
// process that it is for: CallTellPID writes it, with room for 10 digits.
const ListenPID = "LISTEN_PID=\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// ArgKind says how an Arg becomes a register.
type ArgKind uint8

// The kinds of argument.
const (
	ArgInt       ArgKind = iota // N
	ArgString                   // the address of S, NUL-terminated
	ArgBytes                    // the address of B
	ArgDesc                     // the number of descriptor S
	ArgResult                   // what the step marked Save returned last
	ArgVector                   // the address of a NULL-terminated array of V
	ArgListenPID                // the address of the value of ListenPID in the environment
)

// Arg is one argument of a Step.
type Arg struct {
	Kind ArgKind
	N    uint64
	S    string
	B    []byte
	V    []string
}

// Int, Str, Bytes, FD and Vector make arguments; Saved is the result of the
// last step that was marked Save.
func Int[T ~int | ~int32 | ~uint32 | ~uint64 | ~uint16](n T) Arg { return Arg{N: uint64(n)} }

// Str is the address of s.
func Str(s string) Arg { return Arg{Kind: ArgString, S: s} }

// Bytes is the address of b.
func Bytes(b []byte) Arg { return Arg{Kind: ArgBytes, B: b} }

// FD is the number that the launcher gives to d.
func FD(d Desc) Arg { return Arg{Kind: ArgDesc, S: string(d)} }

// Vector is the address of a NULL-terminated array of strings, as execve(2) takes.
func Vector(v []string) Arg { return Arg{Kind: ArgVector, V: v} }

// Saved is the result of the last step that was marked Save.
func Saved() Arg { return Arg{Kind: ArgResult} }

// Class is an exit status of systemd.exec(5) "Process Exit Codes" that names
// the kind of a failure before execve.
type Class uint8

// The classes that steps fail with.
const (
	ClassChdir        Class = 200
	ClassNice         Class = 201
	ClassFDs          Class = 202
	ClassExec         Class = 203
	ClassLimits       Class = 205
	ClassOOMAdjust    Class = 206
	ClassSignalMask   Class = 207
	ClassStdin        Class = 208
	ClassStdout       Class = 209
	ClassChroot       Class = 210
	ClassIOPrio       Class = 211
	ClassTimerSlack   Class = 212
	ClassSecureBits   Class = 213
	ClassSetScheduler Class = 214
	ClassCPUAffinity  Class = 215
	ClassGroup        Class = 216
	ClassUser         Class = 217
	ClassCapabilities Class = 218
	ClassCgroup       Class = 219
	ClassSetsid       Class = 220
	ClassStderr       Class = 222
	ClassNetwork      Class = 225
	ClassNamespace    Class = 226
	ClassNoNewPrivs   Class = 227
	ClassDirectory    Class = 233
)

var classNames = map[Class]string{200: "CHDIR", 201: "NICE", 202: "FDS", 203: "EXEC", 205: "LIMITS",
	206: "OOM_ADJUST", 207: "SIGNAL_MASK", 208: "STDIN", 209: "STDOUT", 210: "CHROOT", 211: "IOPRIO",
	212: "TIMERSLACK", 213: "SECUREBITS", 214: "SETSCHEDULER", 215: "CPUAFFINITY", 216: "GROUP", 217: "USER",
	218: "CAPABILITIES", 219: "CGROUP", 220: "SETSID", 222: "STDERR", 225: "NETWORK", 226: "NAMESPACE",
	227: "NO_NEW_PRIVILEGES", 233: "RUNTIME_DIRECTORY"}

// String gives systemd's name, for example "NAMESPACE".
func (c Class) String() string {
	if n, ok := classNames[c]; ok {
		return n
	}
	return fmt.Sprintf("%d", uint8(c))
}

// A Step is one system call of a Program.
type Step struct {
	Call     Call
	Args     []Arg
	What     string // for people: "tmpfs on /dev/shm"
	Class    Class
	Tolerate [2]syscall.Errno // these errors are no failure
	SkipFail int              // after a tolerated error: how many following steps to leave out
	SkipDone int              // after success: the same
	Back     int              // after success: go on with the step that many before this one
	Save     bool             // the result is kept for ArgResult
	If       Need             // left out by the launcher unless this holds
	Ahead    bool             // the same for every start of a Stage, and independent of the steps that are not
}

// Stage tells the programs apart whose steps marked Ahead differ: a launcher may
// have done those before a start asks for them, in namespaces that nobody has
// used yet. The zero value has none.
type Stage struct {
	Tree       Tree
	Namespaces Namespaces // of mount, ipc and uts, those that are made
}

// A Need is a condition on a descriptor that only the launcher can know.
type Need struct {
	Desc Desc // "": no condition
	Node Node
}

// Node is the type of what a descriptor names.
type Node uint8

// AnyNode is met by whatever was opened, and not by an optional path that was missing.
const (
	AnyNode Node = iota
	IsDirectory
	IsOther
)

// String gives the step as plan and errors show it: "mount tmpfs on /dev/shm".
func (s Step) String() string {
	if s.What == "" {
		return s.Call.String()
	}
	return s.Call.String() + " " + s.What
}

// An Opening is a mount that the launcher opens in its own mount namespace with
// open_tree(2) OPEN_TREE_CLONE before the clone, so that no path is resolved
// twice, and that steps then place by move_mount(2).
type Opening struct {
	Desc      Desc
	Root      string // a directory of the host that no link in Path may lead out of; "" is /
	Path      string // absolute, inside Root
	Within    string // a directory above Path, below which no link is followed; "" if all of Path is the operator's
	Recursive bool
	Optional  bool  // a missing path leaves out the steps that use Desc
	Content   *File // not a path of the host: a read-only file with this content
	Cgroup    bool  // not a path of the host: the directory of the payload's cgroup
}

// ExecProgram is the part of a Program that one of the unit's programs runs
// between its clone and its execve.
type ExecProgram struct {
	Kind          ExecKind
	Index         int
	Path          string
	Argv          []string
	IgnoreFailure bool
	Success       StatusSet
	Steps         []Step // the last is execve
}

// Label names the program in errors: "exec_start_pre[1]".
func (e ExecProgram) Label() string {
	if e.Index == 0 {
		return e.Kind.String()
	}
	return fmt.Sprintf("%s[%d]", e.Kind, e.Index)
}

// A Program is a start as data: what the launcher opens, the steps of the
// child that becomes the reaper, and those of each of the unit's programs.
type Program struct {
	Unit       string
	Namespaces Namespaces
	Tree       *Tree // nil: no mount namespace
	Stage      Stage
	Open       []Opening
	Setup      []Step
	Execs      []ExecProgram
}

// Line is one step as plan shows it: who makes it ("manager", "reaper", or the
// Label of a program), the system call or action, and its arguments.
type Line struct{ By, Call, Args string }

// Lines gives everything that a start does, in order: first the len(p.Open)
// openings of the manager.
func (p *Program) Lines() []Line {
	var out []Line
	for _, o := range p.Open {
		call, args, _ := strings.Cut(o.String(), " ")
		out = append(out, Line{"manager", call, args})
	}
	add := func(by string, steps []Step) {
		for _, s := range steps {
			out = append(out, Line{by, s.Call.String(), s.What})
		}
	}
	add("reaper", p.Setup)
	for _, e := range p.Execs {
		add(e.Label(), e.Steps)
	}
	return out
}

// Steps counts every step.
func (p *Program) Steps() int {
	n := len(p.Setup)
	for _, e := range p.Execs {
		n += len(e.Steps)
	}
	return n
}

// String gives the opening as plan shows it.
func (o Opening) String() string {
	s := "open_tree " + o.Path
	if o.Root != "" {
		s += " in " + o.Root
	}
	switch {
	case o.Cgroup:
		s = "open_tree the service's cgroup"
	case o.Content != nil:
		s = "write a file for " + o.Content.Path
	case o.Recursive:
		s += " (recursive)"
	}
	if o.Optional {
		s += " (if there)"
	}
	return s
}

// Names lists the set in the order that status shows it.
func (n Namespaces) Names() []string {
	var out []string
	for i, name := range [...]string{"mount", "pid", "ipc", "uts", "cgroup", "net", "user", "time"} {
		if n&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return out
}
