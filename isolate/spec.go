package isolate

import (
	"strings"
	"time"
)

// A Namespaces value is a set of Linux namespaces (namespaces(7)).
type Namespaces uint16

// The namespaces that a service can have of its own.
const (
	Mount Namespaces = 1 << iota
	PID
	IPC
	UTS
	Cgroup
	Net
	User
	Time
)

// Has reports whether every namespace of want is in the set.
func (n Namespaces) Has(want Namespaces) bool { return n&want == want }

// Spec is what a service wants of the kernel: a value made from its unit
// alone, the same on every machine. Compile turns it into a Program.
type Spec struct {
	Unit       string     // the unit's name, for errors
	Namespaces Namespaces // made new for this start; Net means the one that NetNS names

	// NetNS says that the launcher hands in a prepared network namespace as the
	// descriptor DescNetNS. Without it, Net in Namespaces makes an empty one.
	NetNS bool

	Hostname string // needs UTS; "" leaves the name that the namespace copied
	PIDMax   uint64 // /proc/sys/kernel/pid_max of the PID namespace (Linux 6.14); 0 leaves it

	Tree      Tree        // the shared part of the mount tree
	Paths     []PathRule  // the unit's own part, in any order; Compile sorts it
	Missing   []Missing   // targets of Paths and Directory that the root lacks
	Devices   []Device    // nodes in the private /dev beyond the base set
	OnlyThese bool        // device_policy "strict": the private /dev has no base set
	NoPTS     bool        // nor terminals of its own (with OnlyThese)
	Links     []Link      // symbolic links made in the private parts of the tree
	Files     []File      // small files made in the private parts, bound over what is there
	Directory []Directory // directories made on the host before the launch

	Proc   ProcOptions
	Kernel KernelRules
	Cgroup CgroupView

	Execs []Exec // conditions, then exec_start_pre, then exec_start: run in this order
}

// Tree names the part of a mount tree that many services share. It is
// comparable: equal Trees share one template mount namespace.
type Tree struct {
	Root       string       // an absolute directory on the host; "" is the host's root
	System     SystemAccess // protect_system
	Home       Visibility   // protect_home: /home /root /run/user
	Boot       Visibility   // /boot and /efi
	Modules    Visibility   // /usr/lib/modules /lib/modules (protect_kernel_modules)
	PrivateTmp bool         // /tmp and /var/tmp are fresh for every start
	PrivateRun bool         // /run is fresh for every start
	PrivateDev bool         // /dev holds the base set only
	Slave      bool         // mount_flags = "slave": umounts of the host reach the running service
}

// SystemAccess is protect_system of systemd.exec(5).
type SystemAccess uint8

const (
	SystemWritable       SystemAccess = iota // false
	SystemUsrReadOnly                        // true: /usr and /boot
	SystemFullReadOnly                       // full: and /etc
	SystemStrictReadOnly                     // strict: everything but /dev /proc /sys and private parts
)

// Visibility says what a service sees of a directory of the host.
type Visibility uint8

const (
	Shown    Visibility = iota // as on the host
	ReadOnly                   // read-only
	Hidden                     // inaccessible: an empty directory, mode 000
	Empty                      // an empty read-only tmpfs that others can be bound into
)

// PathAction is what a PathRule does with its path.
type PathAction uint8

// Actions in the order in which they apply to one path.
const (
	PathTmpfs        PathAction = iota // a fresh tmpfs; Options as for tmpfs(5), e.g. "mode=0755,size=10M"
	PathBind                           // Source (on the host) appears at Path
	PathReadWrite                      // writable within a read-only tree
	PathReadOnly                       // read-only with everything below
	PathExec                           // noexec lifted
	PathNoExec                         // noexec set
	PathInaccessible                   // an empty node without permissions
)

// Entry is the directory's place in Base, "/var/lib/app" of "/var/lib/app/data".
// What lies above it is the operator's; what lies below may be a service's to write.
func (d Directory) Entry() string {
	rest, below := strings.CutPrefix(d.Path, d.Base+"/")
	if d.Base == "" || !below {
		return d.Path
	}
	name, _, _ := strings.Cut(rest, "/")
	return d.Base + "/" + name
}

// PathRule is one of the unit's own changes to its tree.
type PathRule struct {
	Action       PathAction
	Path         string // absolute, clean, inside the service's root
	Source       string // PathBind: absolute; on the host, or inside when SourceInside
	Within       string // PathBind: a directory above Source, below which no link is followed: a service may write there
	SourceInside bool   // PathBind: Source is the service's own, such as its private /tmp; a directory, or /dev/log
	Options      string // PathTmpfs
	Recursive    bool   // PathBind: with the mounts below Source
	ReadOnly     bool   // PathBind
	Optional     bool   // a missing source or target is no error
}

// Device is a node of the private /dev: the host's, or one of the service's own
// that permits less. (A read-only mount keeps nobody from writing to a device,
// only from changing its node.)
type Device struct {
	Path string      // absolute, below /dev
	Own  *DeviceNode // nil: the host's node
}

// DeviceNode is what mknod(2) makes a node of.
type DeviceNode struct {
	Block        bool
	Major, Minor uint32
	Mode         uint32 // permissions
	UID, GID     uint32
}

// Link is a symbolic link made inside the service's private /run, /dev or tmpfs.
type Link struct{ Path, Target string }

// File is a small file that the service sees at Path instead of what is there,
// for example /etc/hosts. It is read-only.
type File struct {
	Path    string
	Content string
	Mode    uint32
}

// DirectoryKind says which setting asked for a Directory.
type DirectoryKind uint8

const (
	RuntimeDirectory DirectoryKind = iota
	StateDirectory
	CacheDirectory
	LogsDirectory
	ConfigurationDirectory
)

// Directory is made on the host before the launch, and writable inside
// (ConfigurationDirectory: read-only). An existing tree is never re-owned.
type Directory struct {
	Kind     DirectoryKind
	Path     string // absolute on the host, for example /var/lib/nginx
	Base     string // where the machine keeps such directories, for example /var/lib; "" if Path is the operator's in whole
	Mode     uint32
	UID, GID uint32
	Preserve bool // RuntimeDirectory: kept when the service stops
}

// ProcOptions are the mount options of the private /proc (proc(5)).
type ProcOptions struct {
	HidePID string // protect_proc: "" (default), "invisible", "noaccess", "ptraceable"
	Subset  string // proc_subset: "" (all) or "pid"
}

// KernelRules are the protect_kernel_* settings and their like.
type KernelRules struct {
	Tunables bool // /proc/sys, /sys and their like read-only
	Logs     bool // /proc/kmsg and /dev/kmsg masked
	Clock    bool // rtc devices not in /dev; the capabilities are in Exec
	Masks    bool // the kernel paths that no service needs are masked (always, unless profile host)
}

// CgroupView says what of the cgroup file system a service sees.
type CgroupView uint8

const (
	CgroupHost     CgroupView = iota // the whole host's, read-only: there is no namespace of its own to bound it
	CgroupReadOnly                   // cgroup2 of its own namespace, read-only
	CgroupWritable                   // the same, writable: delegate = true
	CgroupAbsent                     // nothing at /sys/fs/cgroup
)

// ExecKind is the setting that a command comes from.
type ExecKind uint8

const (
	ExecCondition ExecKind = iota
	ExecStartPre
	ExecStart
	ExecStartPost
	ExecReload
	ExecStop
	ExecStopPost
	ExecCommand // nsctl exec
)

var execKindNames = [...]string{"exec_condition", "exec_start_pre", "exec_start", "exec_start_post",
	"exec_reload", "exec_stop", "exec_stop_post", "exec"}

// String gives the key of the unit file.
func (k ExecKind) String() string { return execKindNames[k] }

// Exec is one program with everything that is particular to it.
type Exec struct {
	Kind  ExecKind
	Index int // position in its setting, from 0

	Path string   // absolute, inside the service's root
	Argv []string // with argv[0]
	Env  []string // "NAME=value"

	IgnoreFailure bool      // the '-' prefix
	Success       StatusSet // exit statuses and signals that count as success
	Privileged    bool      // the '+' prefix: the tree is writable to it; Cred holds what else follows from it

	Cred     Credentials
	Rlimits  []Rlimit
	Umask    uint32
	Dir      string // working_directory, absolute; "" is /
	DirMaybe bool   // working_directory "-": missing is no error

	Stdin, Stdout, Stderr Stdio
	Passed                int // the launcher's DescPassed(0) and on become 3, 4, ... (sd_listen_fds(3))

	Sched         Scheduling
	OOMScoreAdj   *int // nil: 0 if the manager's differs
	IgnoreSIGPIPE bool
	CoredumpMask  *uint64 // /proc/self/coredump_filter
}

// StatusSet is a set of exit statuses and of signals (bit N-1 is signal N).
type StatusSet struct {
	Codes   [256 / 64]uint64
	Signals uint64
}

// AddCode adds exit status c.
func (s *StatusSet) AddCode(c uint8) { s.Codes[c/64] |= 1 << (c % 64) }

// Credentials are a program's user, groups and privileges.
type Credentials struct {
	UID, GID   uint32
	Groups     []uint32 // supplementary groups
	SetIDs     bool     // false leaves user and groups as the manager has them (root)
	Bounding   uint64   // capabilities kept in the bounding set, bit N is capability N
	Ambient    uint64   // raised in the ambient set, a subset of Bounding
	KeepAll    bool     // no capability is dropped (profile host, '+')
	NoNewPrivs bool
	SecureBits uint32 // prctl(PR_SET_SECUREBITS), 0 leaves it
}

// Rlimit is one limit of getrlimit(2).
type Rlimit struct {
	Resource   int // RLIMIT_*
	Soft, Hard uint64
}

// Unlimited is RLIM_INFINITY.
const Unlimited = ^uint64(0)

// StdioKind says where one of the three standard descriptors goes.
type StdioKind uint8

const (
	StdioNull  StdioKind = iota
	StdioLog             // the log pipe of the stream that it is
	StdioSame            // stderr: the same as stdout
	StdioFile            // Path, opened with Flags inside the service's root
	StdioDesc            // the launcher's descriptor of that name (exec: pty or pipe)
	StdioInput           // stdout, stderr: the same as stdin
	StdioTTY             // stdin: the terminal Path, which becomes the controlling one as Acquire says
)

// Stdio is one of the three standard descriptors.
type Stdio struct {
	Kind    StdioKind
	Path    string
	Flags   int  // open(2) flags
	TTY     bool // StdioDesc: becomes the controlling terminal
	Acquire Acquire
}

// Acquire says what becomes of a terminal that another session has as its
// controlling one (standard_input of systemd.exec(5)).
type Acquire uint8

const (
	AcquireWait  Acquire = iota // tty: wait until it is free
	AcquireForce                // tty-force: take it away
	AcquireFail                 // tty-fail: the start fails
)

// Scheduling holds what differs from the manager's; nil leaves it.
type Scheduling struct {
	Nice       *int
	Policy     *int // SCHED_*
	Priority   int
	IOClass    *int // IOPRIO_CLASS_*
	IOPriority int
	Affinity   []int // CPU numbers
	TimerSlack *time.Duration
}

// JoinSpec is a command in the namespaces of a running service (setns(2)).
type JoinSpec struct {
	Unit       string
	Namespaces Namespaces // those that the reaper has of its own
	OwnCgroup  bool       // unshare a cgroup namespace once in the payload's cgroup
	Exec       Exec
}
