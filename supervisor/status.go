package supervisor

import (
	"context"
	"fmt"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate/launch"
	"github.com/nsinit/nsinit/reaper"
	"github.com/nsinit/nsinit/supervisor/compile"
	"github.com/nsinit/nsinit/supervisor/control"
	"github.com/nsinit/nsinit/supervisor/machine"
	"github.com/nsinit/nsinit/unit"
)

// Status gives one unit.
func (b backend) Status(ctx context.Context, name string) (control.UnitStatus, error) {
	s, err := b.seen(ctx, name)
	if err != nil {
		return control.UnitStatus{}, err
	}
	return b.m.describe(ctx, s), nil
}

// describe looks up what the kernel and the log know of a unit, and puts it
// all together. It must not run on the loop.
func (m *Manager) describe(ctx context.Context, s *sight) control.UnitStatus {
	st := control.UnitStatus{Name: s.name, Description: s.name, Kind: "service"}
	s.loadState(&st)
	s.definition(&st, m)
	s.state(&st)
	s.times(&st)
	s.ends(&st)
	s.commandsNow(&st)
	m.kernelSide(s, &st)
	m.networkSide(s, &st)
	if failing(s.snap.Result) {
		st.Failure = s.outcome(m.failureLines(ctx, s)).failure()
	}
	s.remarks(&st)
	st.ChangedUsec = changedOnDisk(s, m.cfg.UnitPath)
	st.ChangedOnDisk = s.snap.Changed || st.ChangedUsec != 0
	return st
}

// loadState says whether there is a definition. What runs, and whose newer file
// is bad, is loaded, with the errors beside.
func (s *sight) loadState(st *control.UnitStatus) {
	if s.enabled != "bad" {
		st.Enabled = s.enabled
	}
	if s.unit != nil {
		st.Preset = s.unit.Preset
	}
	if len(s.problems) > 0 {
		st.LoadError = s.problems.Error()
	}
	running := s.ran != nil && !s.snap.State.Down()
	switch {
	case s.unit != nil, running && len(s.problems) > 0:
		st.LoadState = "loaded"
	case s.masked:
		st.LoadState, st.Enabled = "masked", "masked"
	case len(s.problems) > 0:
		st.LoadState, st.Path = "bad-file", s.problems[0].File
	default:
		st.LoadState = "not-found"
	}
}

// definition is what the unit file says.
func (s *sight) definition(st *control.UnitStatus, m *Manager) {
	u := s.def()
	if u == nil {
		return
	}
	st.Aliases, st.Description, st.Documentation = u.Aliases, u.Description, u.Documentation
	st.Path, st.DropIns = u.Path, u.DropIns
	if s.unit != nil { // what was adopted has the path of the copy that it was adopted from
		st.Path, st.DropIns = s.unit.Path, s.unit.DropIns
	}
	if u.IsTarget() {
		st.Kind = kindOf(u)
		return
	}
	st.Profile, st.Relaxations = u.Profile, u.Relaxations
	kept := u.Security.CapabilityBoundingSet & (1<<(m.launcher.Host().LastCap+1) - 1)
	st.CapabilityCount, st.NoNewPrivileges = bits.OnesCount64(kept), u.Security.NoNewPrivileges
	st.Hostname = u.Isolation.Hostname
	st.Network = networkOf(u)
}

// kindOf is what nsctl calls the unit.
func kindOf(u *unit.Unit) string {
	switch {
	case u.IsSlice():
		return "slice"
	case u.IsTarget():
		return "target"
	}
	return "service"
}

// state is what the state machine says.
func (s *sight) state(st *control.UnitStatus) {
	v := s.snap
	st.ActiveState, st.SubState = string(v.State.Active()), v.State.Sub()
	if v.Result != machine.Success || v.Generation > 0 {
		st.Result = v.Result.String()
	}
	st.StatusText = v.StatusText
	st.Generation, st.StartCount, st.Restarts = v.Generation, int(v.Generation), v.Restarts
	if v.MainAlive {
		st.MainPID = v.MainPID
		st.MainPIDSource = mainSource(v.MainFrom, s.ran)
	}
	st.ReaperPID = s.reaperPID
}

// mainSource says how main was found, where it was not simply started.
func mainSource(from machine.MainFrom, u *unit.Unit) string {
	switch {
	case from == machine.FromNotify:
		return "MAINPID= of sd_notify"
	case from == machine.FromGuess:
		return "guess: the one process that exec_start left"
	case from == machine.FromPidFile && u != nil:
		return "pid_file " + u.Service.PidFile
	}
	return ""
}

// times converts the engine's instants.
func (s *sight) times(st *control.UnitStatus) {
	v, c := s.snap, s.clock
	st.StateSinceUsec, st.ActiveSinceUsec, st.InactiveSinceUsec = c.usec(v.Since), c.usec(v.ActiveSince), c.usec(v.EndedAt)
	st.StartRequestedUsec = c.usec(v.StartedAt)
	st.LaunchNsec = s.start.LaunchNsec
	if v.ActiveSince >= v.StartedAt && v.StartedAt > 0 {
		st.ReadyNsec = int64(v.ActiveSince - v.StartedAt)
	}
	if r := s.record; r != nil {
		for i, cmd := range s.commands {
			if p := r.Programs[min(i, len(r.Programs)-1)]; cmd.kind == machine.KindStartPre && p.Ended > p.Started {
				st.PreNsec += p.Ended - p.Started
			}
		}
	}
	for _, d := range []struct {
		name string
		at   machine.Instant
	}{{deadlineKey(v.State), v.Deadline}, {"watchdog_sec", v.Watchdog}, {"job_timeout_sec", v.JobDeadline}} {
		if d.at != 0 {
			st.Deadlines = append(st.Deadlines, control.Deadline{Name: d.name, AtUsec: c.usec(d.at)})
		}
	}
}

// deadlineKey is the key that sets the deadline of a state.
func deadlineKey(s machine.State) string {
	switch s {
	case machine.Running:
		return "runtime_max_sec"
	case machine.AutoRestart:
		return "restart_sec"
	case machine.StopWatchdog:
		return "timeout_abort_sec"
	case machine.Stop, machine.StopSigterm, machine.StopSigkill, machine.StopPost, machine.FinalSigterm, machine.FinalSigkill:
		return "timeout_stop_sec"
	default:
		return "timeout_start_sec"
	}
}

// ends is how main ended last.
func (s *sight) ends(st *control.UnitStatus) {
	v := s.snap
	if v.MainAlive || v.MainStatus == (machine.Status{}) {
		return
	}
	e := &control.Exit{PID: v.MainPID, Code: string(v.MainStatus.Code), Status: v.MainStatus.Value, AtUsec: s.clock.usec(v.EndedAt)}
	if v.MainStatus.Code == machine.CodeKilled || v.MainStatus.Code == machine.CodeDumped {
		e.Name = signalText(v.MainStatus.Value)
	}
	if r := s.record; r != nil && r.Generation == v.Generation {
		if p, ok := r.Main(); ok && p.State == reaper.Ended && v.MainFrom == machine.FromExec {
			e.AtUsec = s.clock.usec(machine.Instant(p.Ended))
		}
	}
	st.LastExit = e
}

// commandsNow names what runs beside or before main.
func (s *sight) commandsNow(st *control.UnitStatus) {
	u, v := s.def(), s.snap
	kind, index := v.HookKind, v.HookIndex
	switch {
	case u == nil:
		return
	case s.hookPID != 0:
		st.ControlPID = s.hookPID
	case beforeMain(v, u):
		st.ControlPID, kind, index = s.mainPID, v.Kind, v.Index
	}
	if st.ControlPID == 0 {
		return
	}
	for k, name := range execKinds() {
		if list := compile.Commands(u, k); name == kind && index < len(list) {
			st.ControlCommand = string(kind) + ": " + strings.Join(list[index].Argv, " ")
		}
	}
}

// kernelSide is what cgroup and /proc tell of a unit that has a generation, by
// a handle of its own: no descriptor is shared with the loop.
func (m *Manager) kernelSide(s *sight, st *control.UnitStatus) {
	for _, o := range s.older {
		if pids := m.pidsOf(s.name, o); len(pids) > 0 {
			st.LeftOvers = append(st.LeftOvers, control.LeftOver{Generation: o.number, PIDs: pids})
		}
	}
	if u := s.def(); u != nil && u.IsSlice() && s.snap.State.Up() {
		st.ControlGroup = m.cgroups.SlicePath(u.SliceName())
		stat, err := m.cgroups.SliceStat(u.SliceName())
		usage(stat, err, st)
	}
	if !s.live {
		return
	}
	c, err := m.cgroups.Open(s.name, s.slice, s.number)
	if err != nil {
		return // it has ended meanwhile
	}
	defer c.Close()
	st.ControlGroup = filepath.Join(c.Path(), "main")
	stat, err := c.Stat()
	usage(stat, err, st)
	var more int
	if st.Processes, more, err = processesOf(c); err != nil {
		st.Problems = append(st.Problems, err.Error())
	}
	if more > 0 {
		st.Problems = append(st.Problems, fmt.Sprintf("%d more processes are not listed", more))
	}
	s.insides(c, st)
}

// usage is what the payload takes, or all in a slice.
func usage(stat launch.Stat, err error, st *control.UnitStatus) {
	if err != nil {
		st.Problems = append(st.Problems, err.Error())
		return
	}
	st.Tasks, st.TasksLimit = stat.Tasks, limited(stat.TasksMax)
	st.MemoryCurrent, st.MemoryPeak, st.MemoryMax = stat.Memory, stat.MemoryPeak, limited(stat.MemoryMax)
	st.CPUUsageNsec, st.IOReadBytes, st.IOWriteBytes = stat.CPUNsec, stat.IORead, stat.IOWrite
}

func limited(n uint64) uint64 {
	if n == math.MaxUint64 {
		return 0
	}
	return n
}

// insides looks at main, or at the reaper where there is no main: its numbers
// inside, its namespaces and its sockets.
func (s *sight) insides(c *launch.Generation, st *control.UnitStatus) {
	pid := 0
	for _, p := range st.Processes {
		if p.PID == st.MainPID && pid == 0 {
			pid, st.MainPIDInside, st.MainCommand = p.PID, p.PIDInside, p.Name
		}
	}
	if pid == 0 {
		pid = s.reaperPID
	}
	if pid == 0 {
		return
	}
	namespaces := namespacesOf(pid)
	sockets := s.listening(pid)
	if pid == s.reaperPID {
		if list, err := c.InitProcs(); err != nil || !slices.Contains(list, pid) {
			return // the number may be another's by now
		}
	} else if list, err := c.Procs(); err != nil || !slices.Contains(list, pid) {
		return
	}
	st.Namespaces, st.Listening = namespaces, sockets
}

// pidsOf lists the processes of an older generation.
func (m *Manager) pidsOf(name string, o leftover) []int {
	c, err := m.cgroups.Open(name, o.slice, o.number)
	if err != nil {
		return nil
	}
	defer c.Close()
	pids, err := c.Procs()
	if err != nil {
		return nil
	}
	slices.Sort(pids)
	return pids
}

// remarks are the manager's notices, and what is wrong beside the last run.
func (s *sight) remarks(st *control.UnitStatus) {
	v := s.snap
	st.Log = s.log
	if v.MainMissing != "" && (v.State.Up() || v.State == machine.Start || v.State == machine.StartPost) {
		st.Notices = append(st.Notices, control.Notice{AtUsec: s.clock.usec(v.Since), Text: "main is not known: " + v.MainMissing})
	}
	for _, n := range s.notices {
		st.Notices = append(st.Notices, control.Notice{AtUsec: n.at, Text: n.text})
	}
	if v.State.Down() && (v.Result == machine.ConditionFailed || v.Result == machine.ExecCondition) {
		st.Notices = append(st.Notices, control.Notice{AtUsec: s.clock.usec(v.EndedAt), Text: "skipped: " + explainResult(v)})
	}
	if v.Cycle != "" {
		st.Problems = append(st.Problems, "cannot start: ordering cycle: "+v.Cycle)
	}
	if v.Missing && s.masked {
		st.Problems = append(st.Problems, "its unit file is masked; it runs on as it was started")
	} else if v.Missing {
		st.Problems = append(st.Problems, "its unit file is gone; it runs on as it was started")
	}
	if v.ReloadResult != machine.Success {
		st.Problems = append(st.Problems, "the last reload failed ("+string(v.ReloadResult)+"); it runs on as it was")
	}
	if v.Unkillable {
		st.Problems = append(st.Problems, "some of its processes cannot be killed")
	}
	if v.Job != machine.NoVerb && !v.JobRunning {
		st.Problems = append(st.Problems, "a "+string(v.Job)+" is waiting for other units")
	}
}

// changedOnDisk tells, in Unix microseconds, when a file of the unit was changed
// after the files were read; 0 if none was. The time of change (ctime, inode(7))
// also tells of a file that was moved into place with an old date.
func changedOnDisk(s *sight, dirs []string) int64 {
	u := s.def()
	names := []string{s.name}
	if u != nil && u.Template != "" {
		names = append(names, u.Template)
	}
	var paths []string
	if u != nil {
		paths = append(append(paths, u.Path), u.DropIns...)
	}
	for _, dir := range dirs {
		for _, n := range names {
			paths = append(paths, filepath.Join(dir, n+".toml"), filepath.Join(dir, n+".toml.d"))
		}
	}
	newest := time.Time{}
	gone := false
	for i, path := range paths {
		if path == "" {
			continue // a built-in target
		}
		info, err := os.Stat(path)
		if err != nil {
			gone = gone || i == 0 && u != nil
			continue
		}
		st := info.Sys().(*syscall.Stat_t)
		if t := time.Unix(st.Ctim.Unix()); t.After(s.loaded) && t.After(newest) {
			newest = t
		}
	}
	switch {
	case !newest.IsZero():
		return newest.UnixMicro()
	case gone && !s.snap.Missing:
		return s.clock.wall.UnixMicro()
	}
	return 0
}

// kernelRelease is uname -r.
func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
