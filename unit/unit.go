// Package unit turns TOML unit files into validated, immutable Units.
//
// A Unit that this package hands out is fully resolved: drop-ins merged,
// profile and defaults applied, specifiers expanded and every value parsed
// into a Go type, so no consumer needs to know a default. The package reads
// files; only Set.Enable and Set.Disable write any.
//
// Field names are the mechanical CamelCase of the key: limit_nofile is
// LimitNofile, io_weight is IoWeight.
package unit

import (
	"math"
	"strings"
	"syscall"
	"time"
)

// Infinity is the duration that "infinity" stands for: it never passes.
const Infinity time.Duration = math.MaxInt64

// Unlimited is the amount of bytes, tasks or of an rlimit that "infinity"
// stands for. It equals RLIM_INFINITY of setrlimit(2).
const Unlimited uint64 = math.MaxUint64

// Unit is one service or target as it is in force. It is never changed after
// loading; slices and maps in it must be treated as read only.
type Unit struct {
	Name     string   // "getty@tty1": bare, without .service or .target
	Template string   // "getty@" of an instance, otherwise ""
	Instance string   // "tty1" of an instance, still escaped, otherwise ""
	Path     string   // file that the unit came from; "" of a built-in target
	DropIns  []string // files merged over it, in the order of merging
	Aliases  []string // other names: [install] alias and the built-in ones
	Profile  string   // the profile in force: strict, daemon or host

	Preset   string   // what a preset file says of it: "enabled", "disabled" or ""
	PresetAt Position // and where

	Warnings    List     // what is odd but was accepted
	Relaxations []string // distance from profile strict, one phrase each

	// [unit]
	Description           string
	Documentation         []string
	Requires              []string
	Requisite             []string
	Wants                 []string
	BindsTo               []string
	PartOf                []string
	Upholds               []string
	Conflicts             []string
	Before                []string
	After                 []string
	OnFailure             []string
	OnSuccess             []string
	PropagatesReloadTo    []string
	ReloadPropagatedFrom  []string
	PropagatesStopTo      []string
	StopPropagatedFrom    []string
	RequiresMountsFor     []string // absolute paths, checked and not made
	DefaultDependencies   bool
	RefuseManualStart     bool
	RefuseManualStop      bool
	StopWhenUnneeded      bool
	Conditions            []Condition // condition_X, in the order of the file
	Asserts               []Condition // assert_X, likewise
	StartLimitIntervalSec time.Duration
	StartLimitBurst       int
	StartLimitAction      string // none, reboot, reboot-force, ..., of systemd.unit(5)
	FailureAction         string
	SuccessAction         string
	JobTimeoutSec         time.Duration // Infinity: none

	Service    Service // zero value in a target
	Isolation  Isolation
	Filesystem Filesystem
	Network    Network
	Resources  Resources
	Security   Security
	Log        Log
	Install    Install

	target  bool
	origins map[string][]Position
	offered Install // what a preset keeps out of force
}

// sliceSuffix ends the name of a slice.
const sliceSuffix = ".slice"

// IsSlice reports whether u is a group of units with limits of its own: a target
// "NAME.slice" that may have [resources].
func (u *Unit) IsSlice() bool { return u.target && isSliceName(u.Name) }

func isSliceName(name string) bool { return strings.HasSuffix(name, sliceSuffix) }

// SliceName is the name of a slice as [resources] slice has it, without ".slice".
func (u *Unit) SliceName() string { return strings.TrimSuffix(u.Name, sliceSuffix) }

// IsTarget reports whether u is a named group: a unit without [service].
func (u *Unit) IsTarget() bool { return u.target }

// Origins returns where the key was written, "service.exec_start" for
// exec_start in [service], in the order of merging. It is empty for a
// default.
func (u *Unit) Origins(key string) []Position { return u.origins[key] }

// Position is a place in a unit file; lines and columns count from 1, columns
// in bytes.
type Position struct {
	File      string
	Line, Col int
}

// Service is the [service] table.
type Service struct {
	Type       string // simple, exec, oneshot, notify, notify-reload, forking, idle
	Activation string // boot

	ExecCondition []Command
	ExecStartPre  []Command
	ExecStart     []Command
	ExecStartPost []Command
	ExecReload    []Command
	ExecStop      []Command
	ExecStopPost  []Command

	PidFile         string // clean and absolute; "": there is none
	GuessMainPid    bool
	ReloadSignal    syscall.Signal // of type notify-reload
	NotifyAccess    string         // none, main, exec, all
	RemainAfterExit bool
	ExitType        string // main, cgroup
	OomPolicy       string // continue, stop, kill
	OpenFile        []OpenFile

	Restart                   string // no, always, on-success, on-failure, on-abnormal, on-abort, on-watchdog
	RestartSec                time.Duration
	RestartSteps              int
	RestartMaxDelaySec        time.Duration
	RestartRandomizedDelaySec time.Duration

	SuccessExitStatus        ExitStatusSet // besides 0, SIGHUP, SIGINT, SIGTERM and SIGPIPE
	RestartPreventExitStatus ExitStatusSet
	RestartForceExitStatus   ExitStatusSet

	TimeoutStartSec time.Duration // Infinity: none
	TimeoutStopSec  time.Duration
	TimeoutAbortSec time.Duration
	RuntimeMaxSec   time.Duration
	WatchdogSec     time.Duration // 0: no watchdog

	KillMode          string // control-group, mixed, process, none
	KillSignal        syscall.Signal
	RestartKillSignal syscall.Signal
	FinalKillSignal   syscall.Signal
	WatchdogSignal    syscall.Signal
	SendSigkill       bool
	SendSighup        bool

	User                string // name or decimal id; "" is root
	Group               string // name or decimal id; "" is the user's
	SupplementaryGroups []string
	WorkingDirectory    WorkingDirectory
	Umask               uint32
	Environment         []EnvAssignment // later wins
	EnvironmentFile     []PathEntry     // read by the manager at each start
	UnsetEnvironment    []string        // "NAME" or "NAME=VALUE"
	PassEnvironment     []string

	Nice                  *int   // nil: the manager's, as for every pointer here
	OomScoreAdjust        *int   // -1000..1000
	CpuAffinity           []int  // processor numbers, ascending; nil: all
	CpuSchedulingPolicy   string // other, batch, idle, fifo, rr; "": the manager's
	CpuSchedulingPriority int    // 1..99 for fifo and rr
	IoSchedulingClass     string // realtime, best-effort, idle; "": the manager's
	IoSchedulingPriority  *int   // 0..7
	TimerSlackNsec        *uint64
	IgnoreSigpipe         bool
	CoredumpFilter        *uint32 // bits of /proc/PID/coredump_filter, core(5)

	LimitCpu        *Rlimit // seconds
	LimitFsize      *Rlimit
	LimitData       *Rlimit
	LimitStack      *Rlimit
	LimitCore       *Rlimit
	LimitRss        *Rlimit
	LimitNofile     *Rlimit
	LimitAs         *Rlimit
	LimitNproc      *Rlimit
	LimitMemlock    *Rlimit
	LimitLocks      *Rlimit
	LimitSigpending *Rlimit
	LimitMsgqueue   *Rlimit
	LimitNice       *Rlimit
	LimitRtprio     *Rlimit
	LimitRttime     *Rlimit // microseconds

	StandardInput       Stream // null, file, tty, tty-force or tty-fail
	SetLoginEnvironment *bool  // nil: where there is a user

	TtyPath          string // below /dev
	TtyReset         bool
	TtyVhangup       bool
	TtyVtDisallocate bool
	TtyRows          int // 0: as the terminal has them
	TtyColumns       int

	UtmpIdentifier string // at most four bytes; "": no entry
	UtmpMode       string // init, login, user
}

// Notifies reports whether the service counts as started when it says READY=1.
func (s *Service) Notifies() bool { return s.Type == "notify" || s.Type == "notify-reload" }

// Isolation is the [isolation] table.
type Isolation struct {
	Profile    string // strict, daemon, host
	Namespaces Namespaces
	Hostname   string // "" without a UTS namespace
	PidMax     int    // of the PID namespace; 0: the kernel's
}

// Namespaces says which namespaces of its own a service gets. The network is
// decided by Network.Mode alone.
type Namespaces struct {
	Mount, Pid, Ipc, Uts, Cgroup bool
}

// Filesystem is the [filesystem] table.
type Filesystem struct {
	ProtectSystem  string // strict, full, true, false
	ProtectHome    string // true, read-only, tmpfs, false
	PrivateTmp     bool
	PrivateDevices bool
	PrivateRun     bool

	ReadOnlyPaths       []PathEntry
	ReadWritePaths      []PathEntry
	InaccessiblePaths   []PathEntry
	ExecPaths           []PathEntry
	NoExecPaths         []PathEntry
	BindPaths           []Bind
	BindReadOnlyPaths   []Bind
	TemporaryFileSystem []Tmpfs

	RootDirectory string // "" is the host's root
	MountFlags    string // private, slave, shared

	// Entries below /run, /var/lib, /var/cache, /var/log and /etc. Their
	// modes, owners and preservation are resolved.
	RuntimeDirectory       []Directory
	StateDirectory         []Directory
	CacheDirectory         []Directory
	LogsDirectory          []Directory
	ConfigurationDirectory []Directory

	RuntimeDirectoryMode       uint32
	StateDirectoryMode         uint32
	CacheDirectoryMode         uint32
	LogsDirectoryMode          uint32
	ConfigurationDirectoryMode uint32
	RuntimeDirectoryPreserve   string // no, yes, restart
}

// Resources is the [resources] table.
type Resources struct {
	MemoryMin     Amount // share: of the machine's memory
	MemoryLow     Amount
	MemoryHigh    Amount
	MemoryMax     Amount
	MemorySwapMax Amount
	TasksMax      Amount // share: of the system's maximum of tasks
	CpuWeight     int    // 1..10000; 0: unset; CpuWeightIdle
	CpuQuota      uint64 // of one processor, in hundredths of a percent; 0: none
	AllowedCpus   []int  // ascending; nil: all
	IoWeight      int    // 1..10000; 0: unset

	IoReadBandwidthMax  []IoLimit // bytes a second
	IoWriteBandwidthMax []IoLimit
	IoReadIopsMax       []IoLimit // operations a second
	IoWriteIopsMax      []IoLimit

	Delegate   Delegation
	Slice      string // named group that the unit's cgroup is in; "" is the instance's
	BestEffort bool   // a missing controller is a warning
}

// CpuWeightIdle is the Resources.CpuWeight that "idle" stands for (cpu.idle,
// Linux 5.15).
const CpuWeightIdle = -1

// Security is the [security] table. Capability sets have bit n set for
// capability number n of capabilities(7).
type Security struct {
	CapabilityBoundingSet uint64
	AmbientCapabilities   uint64
	NoNewPrivileges       bool
	SecureBits            uint32 // SECBIT_* of prctl(2)

	ProtectKernelTunables bool
	ProtectKernelModules  bool
	ProtectKernelLogs     bool
	ProtectControlGroups  bool
	ProtectClock          bool
	ProtectProc           string // noaccess, invisible, ptraceable, default
	ProcSubset            string // all, pid
	DeviceAllow           []DeviceRule
	DevicePolicy          string // auto, closed, strict
}

// Log is the [log] table.
type Log struct {
	StandardOutput          Stream // log, null, file, append, truncate
	StandardError           Stream // the same, "inherit" resolved
	SyslogIdentifier        string
	LogLevelMax             int // 0 (emerg) to 7 (debug)
	LogRateLimitIntervalSec time.Duration
	LogRateLimitBurst       int    // 0: no limit
	MaxSize                 uint64 // bytes of one file
	MaxFiles                int
	Compress                bool
	Forward                 []string       // syslog, journal, udp:HOST:PORT, tcp:HOST:PORT
	Files                   []string       // inside the service; the last component may be a pattern of path.Match
	ReopenSignal            syscall.Signal // 0: the files are not renamed
}

// Install is the [install] table.
type Install struct {
	WantedBy        []string
	RequiredBy      []string
	Also            []string
	Alias           []string
	DefaultInstance string
}

// Command is one program to run, before expansion of its variables. The flags
// are systemd's prefixes.
type Command struct {
	Path  string   // absolute
	Argv  []string // with argv[0], unquoted; variables not yet expanded
	Exact bool     // from an argv array: $WORD is expanded and never split

	IgnoreFailure   bool // "-"
	Argv0           bool // "@": Argv[0] was given apart from Path
	NoExpand        bool // ":"
	FullPrivileges  bool // "+"
	NoUser          bool // "!"
	NoUserIfAmbient bool // "!!": "!" less what ambient capabilities give
}

// EnvAssignment is one variable of an environment.
type EnvAssignment struct {
	Name, Value string
}

// Condition is one condition_X or assert_X value.
type Condition struct {
	Kind    string // "path_exists": the key without condition_ or assert_
	Value   string // without the prefixes
	Negate  bool   // "!"
	Trigger bool   // "|": one of these must hold
}

// ExitStatusSet is a set of ways to end.
type ExitStatusSet struct {
	Codes   []int            // exit codes, ascending
	Signals []syscall.Signal // ascending
}

// Rlimit is a pair of setrlimit(2), in its units; Unlimited is none.
type Rlimit struct {
	Soft, Hard uint64
}

// Amount is bytes or a number, or a share of what the machine has. At most
// one of Value and Share counts: Share unless it is 0.
type Amount struct {
	Set   bool
	Value uint64 // Unlimited for "infinity"
	Share uint32 // hundredths of a percent
}

// PathEntry is an absolute path with systemd's prefixes.
type PathEntry struct {
	Path     string
	Optional bool // "-": no error when missing
	InRoot   bool // "+": below root_directory
}

// WorkingDirectory is where the service starts.
type WorkingDirectory struct {
	Path     string // absolute, "" with Home
	Home     bool   // "~": the user's home
	Optional bool   // "-": / when missing
}

// Bind is one entry of bind_paths or bind_read_only_paths.
type Bind struct {
	Source, Destination string
	Optional            bool // "-"
	Recursive           bool // rbind, the default
}

// Tmpfs is one entry of temporary_file_system.
type Tmpfs struct {
	Path    string
	Options string // of mount(8), as written
}

// Directory is one entry of a *_directory key.
type Directory struct {
	Path        string // relative to the kind's base
	Mode        uint32
	User, Group string // the unit's unless written; "" is root, or the user's group
	Preserve    string // no, yes, restart; only for runtime directories
}

// IoLimit is one entry of an io_*_max key.
type IoLimit struct {
	Device string // device node, or a path on the file system in question
	Value  uint64 // Unlimited for "infinity"
}

// Delegation says which controllers a service may manage below its cgroup.
type Delegation struct {
	Enabled     bool
	Controllers []string // nil with Enabled: all
}

// DeviceRule is one entry of device_allow.
type DeviceRule struct {
	Path  string // "/dev/null"; or "char-NAME", "block-NAME" of /proc/devices
	Class bool   // Path names a class
	Read  bool
	Write bool
	Mknod bool
}

// Stream is where a standard stream leads.
type Stream struct {
	Kind string // log, null, file, append, truncate, tty, tty-force, tty-fail
	Path string // absolute, of file, append and truncate
}

// Terminal reports whether the stream is the terminal of tty_path.
func (s Stream) Terminal() bool { return strings.HasPrefix(s.Kind, "tty") }

// UsesTerminal reports whether any standard descriptor is the terminal.
func (u *Unit) UsesTerminal() bool {
	return u.Service.StandardInput.Terminal() || u.Log.StandardOutput.Terminal() || u.Log.StandardError.Terminal()
}

// OpenFile is one entry of open_file.
type OpenFile struct {
	Path     string
	Name     string // in LISTEN_FDNAMES
	ReadOnly bool
	Append   bool
	Truncate bool
	Graceful bool // a failure to open is ignored
}

// SpecifierContext is what ExpandSpecifiers knows of the unit and the machine.
type SpecifierContext struct {
	Name         string // %n %N: bare unit name
	Prefix       string // %p: before "@", or the name; %P unescaped, %j %J its last part
	Instance     string // %i; %I unescaped
	FragmentPath string // %y; %Y its directory

	Host          string // %H; %l up to the first dot
	MachineID     string // %m
	BootID        string // %b
	KernelRelease string // %v
	Architecture  string // %a, systemd's name: x86-64, arm64

	OSRelease map[string]string // ID %o, VERSION_ID %w, VARIANT_ID %W, BUILD_ID %B, IMAGE_ID %M, IMAGE_VERSION %A

	RuntimeDir string // %t /run
	StateDir   string // %S /var/lib
	CacheDir   string // %C /var/cache
	LogsDir    string // %L /var/log
	ConfigDir  string // %E /etc
	TmpDir     string // %T /tmp
	VarTmpDir  string // %V /var/tmp

	User  string // %u; "" is root
	Group string // %g; "" is root
	UID   string // %U
	GID   string // %G
	Home  string // %h
	Shell string // %s
}
