package control

// ManagerStatus is the manager and its machine at a glance.
type ManagerStatus struct {
	Instance string `json:"instance"`
	Version  string `json:"version"`
	// State is "starting", "running", "degraded" (a unit failed), "maintenance"
	// (the target rescue or emergency is reached) or "stopping".
	State string `json:"state"`
	PID   int    `json:"pid"`
	// SinceUsec is when this manager started, BootUsec when the first manager
	// of this instance did; ManagerRestarts counts those between, and
	// LastEnd says how the one before ended ("killed by SIGKILL"). LostUnits
	// had lost their reaper when this one came; the others it found running.
	SinceUsec       int64  `json:"since_usec"`
	BootUsec        int64  `json:"boot_usec,omitempty"`
	ManagerRestarts int    `json:"manager_restarts,omitempty"`
	LastEnd         string `json:"last_end,omitempty"`

	LostUnits []string `json:"lost_units,omitempty"`
	// OwnsMachine says that process 1 is nsinit's, and /v1/machine works;
	// Shutdown is the one that waits for its time.
	OwnsMachine bool      `json:"owns_machine,omitempty"`
	Shutdown    *Shutdown `json:"shutdown,omitempty"`
	// Target is the unit that start-up aims at, reached TargetNsec after the
	// start (0: not yet).
	Target     string `json:"target,omitempty"`
	TargetNsec int64  `json:"target_nsec,omitempty"`
	// Counts is units by active state, "bad-file" and "not-found" beside them.
	Counts      map[string]int `json:"counts"`
	Load1       float64        `json:"load1,omitempty"`
	MemoryUsed  uint64         `json:"memory_used,omitempty"`
	MemoryTotal uint64         `json:"memory_total,omitempty"`
	// KernelVersion is uname -r; Problems what the manager lacks here
	// ("the memory controller is not in the v2 hierarchy").
	KernelVersion string   `json:"kernel_version,omitempty"`
	Problems      []string `json:"problems,omitempty"`
	UnitPath      []string `json:"unit_path,omitempty"`
	RuntimeDir    string   `json:"runtime_dir,omitempty"`
	LogDir        string   `json:"log_dir,omitempty"`
}

// ListQuery narrows a list. The zero value asks for everything.
type ListQuery struct {
	// Patterns are unit names or globs as of path.Match; one must match.
	Patterns []string `json:"patterns,omitempty"`
	// States are active, sub or load states; one must match.
	States []string `json:"states,omitempty"`
}

// UnitListEntry is one line of list-units: cheap to make, no process is looked at.
type UnitListEntry struct {
	Name    string   `json:"name"`
	Aliases []string `json:"aliases,omitempty"`
	Kind    string   `json:"kind"`
	// BuiltIn is a target that no file defines: a point in the order of a boot.
	BuiltIn        bool   `json:"built_in,omitempty"`
	Description    string `json:"description"`
	LoadState      string `json:"load_state"`
	ActiveState    string `json:"active_state"`
	SubState       string `json:"sub_state"`
	Result         string `json:"result,omitempty"`
	StateSinceUsec int64  `json:"state_since_usec,omitempty"`
	MainPID        int    `json:"main_pid,omitempty"`
	Restarts       int    `json:"restarts,omitempty"`
	Tasks          uint64 `json:"tasks,omitempty"`
	MemoryCurrent  uint64 `json:"memory_current,omitempty"`
	CPUUsageNsec   uint64 `json:"cpu_usage_nsec,omitempty"`
	// Network is the NETWORK column: "host", "private", an address, "host tcp/22".
	Network string `json:"network,omitempty"`
	// The counters of all links of the unit, seen from it.
	NetworkReceiveBytes  uint64 `json:"network_receive_bytes,omitempty"`
	NetworkTransmitBytes uint64 `json:"network_transmit_bytes,omitempty"`
	// Note replaces the description where something is wrong
	// ("/etc/nsinit/units/redis.toml:7:1 unknown key").
	Note string `json:"note,omitempty"`
}

// UnitFileEntry is one line of list-unit-files: every unit found on the search
// path, loaded or not.
type UnitFileEntry struct {
	Name    string `json:"name"`
	Path    string `json:"path"`
	Enabled string `json:"enabled"`
	Profile string `json:"profile,omitempty"`
	Error   string `json:"error,omitempty"`
}

// Verbs of ActRequest.
const (
	VerbStart           = "start"
	VerbStop            = "stop"
	VerbRestart         = "restart"
	VerbTryRestart      = "try-restart"
	VerbReload          = "reload"
	VerbReloadOrRestart = "reload-or-restart"
	VerbIsolate         = "isolate"
)

// ActRequest asks for a change of state.
type ActRequest struct {
	Verb  string   `json:"verb"`
	Units []string `json:"units"`
	// NoBlock ends the stream as soon as the requests are accepted.
	NoBlock bool `json:"no_block,omitempty"`
	// Wait, for start, lasts until the units are inactive again.
	Wait bool `json:"wait,omitempty"`
	// KeepTriggers leaves sockets, timers and paths armed on stop.
	KeepTriggers bool `json:"keep_triggers,omitempty"`
}

// Progress is one line of the stream that answers an action. For each unit of
// the request the stream has exactly one line with Done (with NoBlock, at
// most one); it carries the resulting status, and the error if the unit failed.
// Unit is the name as requested, without its suffix.
type Progress struct {
	Unit string `json:"unit"`
	Verb string `json:"verb"`
	// ActiveState and SubState are the unit's at this moment.
	ActiveState string `json:"active_state,omitempty"`
	SubState    string `json:"sub_state,omitempty"`
	// Text says what happened in one line, without the unit's name
	// ("restarted in 41 ms, main pid 8127 -> 9031"); on a line that is not
	// Done, what is being waited for ("waiting for db: exec_start_pre").
	Text   string      `json:"text,omitempty"`
	Done   bool        `json:"done,omitempty"`
	Status *UnitStatus `json:"status,omitempty"`
	Error  *Error      `json:"error,omitempty"`
}

// Job is something that was asked for and is not done.
type Job struct {
	Unit string `json:"unit"`
	// Type is "start", "stop", "restart" or "reload".
	Type    string `json:"type"`
	Running bool   `json:"running"`
	// Text says what it does or waits for ("waiting for db: exec_start_pre").
	Text string `json:"text,omitempty"`
}

// Startup is how long the units' last starts took.
type Startup struct {
	// OriginUsec is where the count begins: the start of process 1 on a machine
	// that is nsinit's, otherwise that of the instance's first manager. Before it
	// the kernel took KernelNsec (0 where that is not ours to say).
	OriginUsec int64 `json:"origin_usec"`
	KernelNsec int64 `json:"kernel_nsec,omitempty"`
	// Target is what the first start aims at, TargetUsec when it was reached, 0
	// if it is not.
	Target     string        `json:"target"`
	TargetUsec int64         `json:"target_usec,omitempty"`
	Units      []StartupUnit `json:"units"`
}

// StartupUnit is one unit of Startup.
type StartupUnit struct {
	Name    string `json:"name"`
	Target  bool   `json:"target,omitempty"`
	BuiltIn bool   `json:"built_in,omitempty"`
	// ActivatingUsec is when its last start began, ActiveUsec when that was good,
	// 0 if it never was, and EndedUsec when the unit came to rest after that.
	ActivatingUsec int64 `json:"activating_usec"`
	ActiveUsec     int64 `json:"active_usec,omitempty"`
	EndedUsec      int64 `json:"ended_usec,omitempty"`
	Failed         bool  `json:"failed,omitempty"`
	// After are the units that it waited for.
	After []string `json:"after,omitempty"`
}

// KillRequest sends a signal to processes of a unit.
type KillRequest struct {
	Unit string `json:"unit"`
	// Signal is a number, 1 to 64.
	Signal int `json:"signal"`
	// Whom is "main", "control" or "all" (also when empty).
	Whom string `json:"whom,omitempty"`
}

// UnitsRequest names units.
type UnitsRequest struct {
	Units []string `json:"units"`
}

// EnableRequest enables, disables, masks or unmasks units.
type EnableRequest struct {
	Units []string `json:"units"`
	// Now also starts (stops) them; the server does that by Backend.Act.
	Now bool `json:"now,omitempty"`
}

// Change is one file that enable, disable, mask or unmask wrote or removed.
type Change struct {
	Unit string `json:"unit"`
	// Action is "wrote", "removed" or "unchanged".
	Action string `json:"action"`
	Path   string `json:"path,omitempty"`
	Text   string `json:"text,omitempty"`
}

// ReloadResult is what daemon-reload found.
type ReloadResult struct {
	Loaded  int `json:"loaded"`
	Added   int `json:"added,omitempty"`
	Removed int `json:"removed,omitempty"`
	// Changed are running units that keep their old definition until restarted.
	Changed []string `json:"changed,omitempty"`
	// Problems are the loader's errors and warnings, file:line:column first.
	Problems []string `json:"problems,omitempty"`
}

// UnitText is what a unit is made of, in the order in which it is merged.
type UnitText struct {
	Unit  string     `json:"unit"`
	Files []FileText `json:"files"`
	// Resolved is the merged unit with every default written out, as TOML.
	Resolved string `json:"resolved,omitempty"`
}

// FileText is one file of a unit.
type FileText struct {
	Path string `json:"path"`
	Text string `json:"text"`
}

// Plan is what a start would do.
type Plan struct {
	Unit    string `json:"unit"`
	Path    string `json:"path,omitempty"`
	DropIns int    `json:"drop_ins,omitempty"`
	Profile string `json:"profile,omitempty"`
	// Host says which kernel the plan was made for ("this host, Linux 6.18",
	// "Linux 6.1, no manager asked").
	Host  string     `json:"host,omitempty"`
	Steps []PlanStep `json:"steps"`
	// Relaxed and Needs are the two lines below the steps.
	Relaxed []string `json:"relaxed,omitempty"`
	Needs   []string `json:"needs,omitempty"`
}

// PlanStep is one step: who makes it ("manager", "child", "exec_start"), the
// system call or action, and its arguments as one line.
type PlanStep struct {
	By   string `json:"by"`
	Call string `json:"call"`
	Args string `json:"args,omitempty"`
}

// DependencyQuery asks for the units that a unit pulls in, or with Reverse for
// those that pull it in.
type DependencyQuery struct {
	Unit    string `json:"unit"`
	Reverse bool   `json:"reverse,omitempty"`
	// All includes After and Before beside the requirements.
	All bool `json:"all,omitempty"`
}

// Dependency is a node of the tree. A unit that was shown before has no
// Children again and Seen set.
type Dependency struct {
	Unit        string       `json:"unit"`
	ActiveState string       `json:"active_state,omitempty"`
	LoadState   string       `json:"load_state,omitempty"`
	Kinds       []string     `json:"kinds,omitempty"`
	Seen        bool         `json:"seen,omitempty"`
	Children    []Dependency `json:"children,omitempty"`
}

// LogQuery asks for log records, oldest first.
type LogQuery struct {
	// Units are those to merge by time; none means all.
	Units []string `json:"units,omitempty"`
	// Last limits the records before Follow begins; 0 means all of them.
	Last   int  `json:"last,omitempty"`
	Follow bool `json:"follow,omitempty"`
	// SinceUsec and UntilUsec are inclusive; 0 is open.
	SinceUsec int64 `json:"since_usec,omitempty"`
	UntilUsec int64 `json:"until_usec,omitempty"`
	// Grep is an RE2 expression on the text.
	Grep string `json:"grep,omitempty"`
	// MaxPriority shows records up to this syslog level, "0" to "7"; empty
	// shows all (a string, since 0 is emerg).
	MaxPriority string `json:"max_priority,omitempty"`
	// MinPriority leaves out records that are more urgent than this level.
	MinPriority string `json:"min_priority,omitempty"`
	// Identifiers are those to show; none means all.
	Identifiers []string `json:"identifiers,omitempty"`
}

// LogRecord is one line of a log.
type LogRecord struct {
	Unit string `json:"unit"`
	// TimeUsec is when the manager's pipe was read.
	TimeUsec int64 `json:"time_usec"`
	// Stream is "stdout", "stderr", "syslog", "journal", "nsinit" (the manager's
	// own), or the path of the file that the service wrote it to, inside it.
	Stream   string `json:"stream"`
	Priority int    `json:"priority"`
	PID      int    `json:"pid,omitempty"`
	// Identifier is the syslog identifier, or the unit's name.
	Identifier string `json:"identifier,omitempty"`
	Generation uint64 `json:"generation,omitempty"`
	// Text is without the newline. Bytes that are no UTF-8 are replaced by
	// U+FFFD in transport.
	Text string `json:"text"`
	// Fields are what else the sender said: of the journal's protocol by name, of
	// RFC 5424's structured data by "ID.NAME".
	Fields map[string]string `json:"fields,omitempty"`
	// Truncated marks a line that was cut at the size limit.
	Truncated bool `json:"truncated,omitempty"`
}

// Event is one change that the manager made or saw.
type Event struct {
	Seq      uint64 `json:"seq"`
	TimeUsec int64  `json:"time_usec"`
	Unit     string `json:"unit,omitempty"`
	// Type is "state", or "network" where links and addresses were made or given up.
	Type        string `json:"type"`
	ActiveState string `json:"active_state,omitempty"`
	SubState    string `json:"sub_state,omitempty"`
	Result      string `json:"result,omitempty"`
	MainPID     int    `json:"main_pid,omitempty"`
	Generation  uint64 `json:"generation,omitempty"`
	Text        string `json:"text,omitempty"`
}

// EventQuery narrows the event stream; it begins now.
type EventQuery struct {
	Units []string `json:"units,omitempty"`
}

// ExecRequest runs a command inside a running service.
type ExecRequest struct {
	Unit string `json:"unit"`
	// Argv is run as it is; Argv[0] without a slash is looked up in the
	// service's PATH, inside.
	Argv []string `json:"argv"`
	// Environment is added to the service's own ("KEY=value").
	Environment []string `json:"environment,omitempty"`
	// User is a name or number of the service's root; empty is the service's own.
	User string `json:"user,omitempty"`
	// Directory is the working directory, the service's when empty.
	Directory string `json:"directory,omitempty"`
	// Terminal asks for a pty of Rows x Columns; stderr is then stdout.
	Terminal bool   `json:"terminal,omitempty"`
	Rows     uint16 `json:"rows,omitempty"`
	Columns  uint16 `json:"columns,omitempty"`
	// Privileged keeps all of the manager's capabilities; admin only.
	Privileged bool `json:"privileged,omitempty"`

	// AllowRoot is set by the server from the peer's role: without it, a
	// command that would run as uid 0 inside must be refused.
	AllowRoot bool `json:"-"`
}

// ExecExit is how a command that was run by exec ended.
type ExecExit struct {
	// Code is the exit status, or 128+Signal.
	Code   int `json:"code"`
	Signal int `json:"signal,omitempty"`
	// Error says what went wrong if the command could not be run at all.
	Error *Error `json:"error,omitempty"`
}

// Version is what the server speaks.
type Version struct {
	Version  string `json:"version"`
	Protocol int    `json:"protocol"`
	Instance string `json:"instance"`
}

// EnableReply is what enable, disable, mask and unmask did; Results are those of Now.
type EnableReply struct {
	Changes []Change   `json:"changes"`
	Results []Progress `json:"results,omitempty"`
}

// Empty is the reply where success says everything.
type Empty struct{}
