package unit

import (
	"fmt"
	"slices"
	"strings"
)

// finish computes the defaults that depend on other keys and checks what keys
// say together.
func (b *builder) finish() {
	u := b.unit
	b.finishUnit()
	if u.target {
		b.checkTarget()
		u.Service, u.Isolation, u.Filesystem, u.Network = Service{}, Isolation{}, Filesystem{}, Network{}
		u.Security, u.Log, u.Profile = Security{}, Log{}, ""
		if !isSliceName(u.Name) {
			u.Resources = Resources{}
		}
		return
	}
	if isSliceName(u.Name) {
		b.errs = append(b.errs, &Error{File: u.Path, Key: "service", Msg: "a slice has no [service], only [unit] and [resources]"})
	}
	b.finishService()
	b.finishEnvironment()
	b.finishIsolation()
	b.finishNetwork()
	b.finishDirectories()
	b.finishCapabilities()
	b.checkDevices()
	b.finishLog()
	b.checkService()
	b.checkHoles()
	u.Relaxations = relaxations(u)
}

func (b *builder) finishUnit() {
	u := b.unit
	if u.Description == "" {
		u.Description = u.Name
	}
	if u.target && isSliceName(u.Name) { // it is there as long as a unit is in it, also before basic
		u.DefaultDependencies = u.DefaultDependencies && b.says.written("unit.default_dependencies")
		u.StopWhenUnneeded = u.StopWhenUnneeded || !b.says.written("unit.stop_when_unneeded")
	}
	for _, list := range u.dependencyLists() {
		*list.names = unique(*list.names)
	}
}

// dependencyList is one dependency key of a unit.
type dependencyList struct {
	key   string
	names *[]string
	hard  bool // an unknown unit is an error
}

func (u *Unit) dependencyLists() []dependencyList {
	return []dependencyList{
		{"unit.requires", &u.Requires, true}, {"unit.requisite", &u.Requisite, true},
		{"unit.binds_to", &u.BindsTo, true}, {"unit.wants", &u.Wants, false},
		{"unit.part_of", &u.PartOf, false}, {"unit.upholds", &u.Upholds, false},
		{"unit.conflicts", &u.Conflicts, false}, {"unit.before", &u.Before, false},
		{"unit.after", &u.After, false}, {"unit.on_failure", &u.OnFailure, false},
		{"unit.on_success", &u.OnSuccess, false}, {"unit.propagates_reload_to", &u.PropagatesReloadTo, false},
		{"unit.reload_propagated_from", &u.ReloadPropagatedFrom, false},
		{"unit.propagates_stop_to", &u.PropagatesStopTo, false},
		{"unit.stop_propagated_from", &u.StopPropagatedFrom, false},
		{"install.wanted_by", &u.Install.WantedBy, false}, {"install.required_by", &u.Install.RequiredBy, false},
		{"install.also", &u.Install.Also, false},
	}
}

func unique(names []string) []string {
	seen := map[string]bool{}
	var out []string
	for _, n := range names {
		if !seen[n] {
			seen[n] = true
			out = append(out, n)
		}
	}
	return out
}

// ofTargets says whether a target has the key's table.
func (k *Key) ofTargets() bool { return k.Table == "unit" || k.Table == "install" }

// checkTarget refuses tables that only a service has.
func (b *builder) checkTarget() {
	for _, l := range b.says.links() {
		b.failKey(linkID(l.Name), "[%s]: a unit without [service] is a target, which has no [network]", linkID(l.Name))
	}
	for _, k := range keyTable().single {
		if k.ofTargets() || !b.says.written(k.ID()) {
			continue
		}
		slice := isSliceName(b.unit.Name)
		switch {
		case !slice:
			b.failKey(k.ID(), "%s: a unit without [service] is a target, which has no [%s]", k.Name, k.Table)
		case k.Table != "resources":
			b.failKey(k.ID(), "%s: a slice has only [unit] and [resources]", k.Name)
		case k.Name == "memory_min", k.Name == "memory_low":
			b.failKey(k.ID(), "%s: a slice has what its units ask for, summed", k.Name)
		case k.Name == "slice", k.Name == "delegate":
			b.failKey(k.ID(), "%s: is for a service; slices are not in slices", k.Name)
		}
	}
}

// failKey reports an error at the last place where a key was written.
func (b *builder) failKey(id, format string, args ...any) {
	e := &Error{File: b.unit.Path}
	if set := b.says[id]; set != nil {
		if last := set.at[len(set.at)-1]; last.doc != nil {
			e = last.doc.atKey(last.n)
		}
	}
	e.Key, e.Msg = id, fmt.Sprintf(format, args...)
	b.errs = append(b.errs, e)
}

func (b *builder) warnKey(id, format string, args ...any) {
	k := keyTable().byID[id]
	at := item{}
	if set := b.says[id]; set != nil {
		k, at = set.key, set.at[len(set.at)-1]
	}
	b.warn(k, at, format, args...)
}

// chosen says whether a key has a value from a file or from nsinit.toml.
func (b *builder) chosen(id string) bool { return b.says.written(id) || b.defaults.written(id) }

func (b *builder) finishService() {
	s := &b.unit.Service
	oneshot := s.Type == "oneshot"
	if !b.chosen("service.restart") || oneshot && !b.says.written("service.restart") {
		s.Restart = pick(oneshot, "no", "on-failure")
	}
	if oneshot && !b.says.written("service.timeout_start_sec") && !b.says.written("service.timeout_sec") {
		s.TimeoutStartSec = Infinity
	} else if s.TimeoutStartSec == 0 {
		s.TimeoutStartSec = 90e9
	}
	if !b.chosen("service.timeout_abort_sec") {
		s.TimeoutAbortSec = s.TimeoutStopSec
	}
	if !b.chosen("service.notify_access") {
		s.NotifyAccess = pick(s.Notifies() || s.WatchdogSec > 0, "main", "none")
	}
	if !b.chosen("service.restart_kill_signal") {
		s.RestartKillSignal = s.KillSignal
	}
	if s.WatchdogSec == Infinity {
		s.WatchdogSec = 0
	}
	if s.CpuSchedulingPriority == 0 && (s.CpuSchedulingPolicy == "fifo" || s.CpuSchedulingPolicy == "rr") {
		s.CpuSchedulingPriority = 1
	}
}

// finishEnvironment keeps the last assignment of each variable.
func (b *builder) finishEnvironment() {
	list := b.unit.Service.Environment
	last := map[string]int{}
	for i, a := range list {
		last[a.Name] = i
	}
	var out []EnvAssignment
	for i, a := range list {
		if last[a.Name] == i {
			out = append(out, a)
		}
	}
	b.unit.Service.Environment = out
}

func (b *builder) finishIsolation() {
	i := &b.unit.Isolation
	if !b.says.written("isolation.namespaces") {
		i.Namespaces = profileNamespaces(i.Profile)
	}
	switch {
	case !i.Namespaces.Uts:
		if b.says.written("isolation.hostname") {
			b.failKey("isolation.hostname", `hostname needs a UTS namespace; write namespaces = ["+uts"]`)
		}
		i.Hostname = ""
	case i.Hostname != "":
		if err := ValidateHostname(i.Hostname); err != nil {
			b.failKey("isolation.hostname", "hostname: %v", err)
		}
	case i.Profile == ProfileDaemon:
		i.Hostname = b.context.Host
	default:
		i.Hostname = DefaultHostname(b.unit.Name)
	}
	if i.PidMax != 0 && !i.Namespaces.Pid {
		b.failKey("isolation.pid_max", `pid_max needs a PID namespace; write namespaces = ["+pid"]`)
	}
	if !i.Namespaces.Mount {
		b.checkWithoutMounts()
	}
}

// checkWithoutMounts refuses what only a mount namespace could give: what was
// asked for is there, or the unit is bad.
func (b *builder) checkWithoutMounts() {
	for _, id := range []string{
		"filesystem.protect_system", "filesystem.protect_home", "filesystem.private_tmp", "filesystem.private_devices",
		"filesystem.private_run", "filesystem.read_only_paths", "filesystem.inaccessible_paths", "filesystem.exec_paths",
		"filesystem.no_exec_paths", "filesystem.bind_paths", "filesystem.bind_read_only_paths",
		"filesystem.temporary_file_system", "security.protect_kernel_tunables", "security.protect_kernel_modules",
		"security.protect_kernel_logs", "security.protect_control_groups", "security.protect_proc", "security.proc_subset",
	} {
		set := b.says[id]
		if set == nil || len(set.items) == 0 || b.isHostDefault(set) {
			continue
		}
		name := set.key.Name
		b.failKey(id, `%s needs a mount namespace, which profile %s has not; write namespaces = ["+mount"]`, name, b.unit.Profile)
	}
	f, s := &b.unit.Filesystem, &b.unit.Security
	f.ProtectSystem, f.ProtectHome = "false", "false"
	f.PrivateTmp, f.PrivateDevices, f.PrivateRun = false, false, false
	s.ProtectKernelTunables, s.ProtectKernelModules, s.ProtectKernelLogs, s.ProtectControlGroups = false, false, false, false
	s.ProtectProc, s.ProcSubset = "default", "all"
}

// isHostDefault says whether what is written is what profile host has anyway.
func (b *builder) isHostDefault(set *setting) bool {
	v := set.items[len(set.items)-1].v
	if v == any(false) || v == any("false") {
		return true
	}
	return v == any("default") || v == any("all")
}

// finishDirectories gives every directory its mode, owner and preservation.
func (b *builder) finishDirectories() {
	f, s := &b.unit.Filesystem, &b.unit.Service
	for _, list := range f.directoryLists() {
		entries := *list.entries
		for i := range entries {
			d := &entries[i]
			if d.Mode == modeUnset {
				d.Mode = list.mode
			}
			if d.User == "" && list.base != "/etc" {
				d.User, d.Group = s.User, pick(d.Group == "", s.Group, d.Group)
			}
			switch {
			case list.base != "/run" && d.Preserve != "":
				b.failKey(directoryKey(list.base), "preserve: only runtime_directory entries can be given up at a stop")
			case d.Preserve == "" && list.base == "/run":
				d.Preserve = f.RuntimeDirectoryPreserve
			}
		}
	}
}

func directoryKey(base string) string {
	names := map[string]string{"/run": "runtime", "/var/lib": "state", "/var/cache": "cache", "/var/log": "logs", "/etc": "configuration"}
	return "filesystem." + names[base] + "_directory"
}

// finishCapabilities applies the defaults of the bounding set: the profile's,
// or none for a service that gives up root and could not get it back.
func (b *builder) finishCapabilities() {
	sec, s := &b.unit.Security, &b.unit.Service
	written := b.says.written("security.capability_bounding_set")
	if !written {
		sec.CapabilityBoundingSet = profileCapabilities(b.unit.Profile)
		if b.givesUpRoot() && sec.NoNewPrivileges {
			sec.CapabilityBoundingSet = 0
		}
		sec.CapabilityBoundingSet |= sec.AmbientCapabilities
	}
	if extra := sec.AmbientCapabilities &^ sec.CapabilityBoundingSet; extra != 0 {
		b.failKey("security.ambient_capabilities", "ambient_capabilities: %s is not in capability_bounding_set", strings.Join(namesOfCapabilities(extra), " "))
	}
	if s.User == "" && sec.AmbientCapabilities != 0 {
		b.warnKey("security.ambient_capabilities", "ambient_capabilities without user has no effect: root has its bounding set anyway")
	}
	for id, mask := range protectedCapabilities {
		if b.saysTrue(id) {
			b.protectCapability(id, mask, written)
		}
	}
}

// protectedCapabilities are what a protection that is written takes away, as
// systemd.exec(5) has it. It is never written to.
var protectedCapabilities = map[string]uint64{
	"security.protect_kernel_modules": 1 << 16,       // SYS_MODULE
	"security.protect_kernel_logs":    1 << 34,       // SYSLOG
	"security.protect_clock":          1<<25 | 1<<35, // SYS_TIME WAKE_ALARM
	"filesystem.private_devices":      1<<27 | 1<<17, // MKNOD SYS_RAWIO
}

func (b *builder) protectCapability(id string, mask uint64, written bool) {
	sec := &b.unit.Security
	both := sec.CapabilityBoundingSet & mask
	if both != 0 && written {
		b.warnKey(id, "%s = true takes away %s", keyTable().byID[id].Name, strings.Join(namesOfCapabilities(both), " "))
	}
	sec.CapabilityBoundingSet &^= mask
	sec.AmbientCapabilities &^= mask
}

func (b *builder) saysTrue(id string) bool {
	set := b.says[id]
	return set != nil && len(set.items) == 1 && set.items[0].v == any(true)
}

// givesUpRoot says whether nothing of the service ever needs capabilities: it
// has a user, no ambient ones and no command that keeps root.
func (b *builder) givesUpRoot() bool {
	s := &b.unit.Service
	if s.User == "" || s.User == "root" || s.User == "0" || b.unit.Security.AmbientCapabilities != 0 {
		return false
	}
	for _, list := range s.commandLists() {
		if anyCommand(list.commands, func(c Command) bool { return c.FullPrivileges || c.NoUser || c.NoUserIfAmbient }) {
			return false
		}
	}
	return true
}

func namesOfCapabilities(mask uint64) []string {
	var names []string
	for n := range 64 {
		if mask&(1<<n) != 0 {
			names = append(names, CapabilityName(n))
		}
	}
	return names
}

func (b *builder) finishLog() {
	l := &b.unit.Log
	if l.StandardOutput.Kind == "inherit" {
		l.StandardOutput = inherited(b.unit.Service.StandardInput)
	}
	if l.StandardError.Kind == "inherit" {
		l.StandardError = l.StandardOutput
	}
	if l.SyslogIdentifier == "" {
		l.SyslogIdentifier = b.unit.Name
	}
	if l.ReopenSignal != 0 && len(l.Files) == 0 {
		b.warnKey("log.reopen_signal", "reopen_signal is of no use without files: name those that main opens anew")
	}
	l.Forward = slices.Compact(slices.Sorted(slices.Values(l.Forward)))
}

// inherited is where output goes that follows standard input, which is never a
// log: a file that is open for reading takes none.
func inherited(in Stream) Stream {
	switch {
	case in.Terminal():
		return Stream{Kind: "tty"}
	case in.Kind == "file":
		return Stream{Kind: "log"}
	}
	return Stream{Kind: "null"}
}

// checkService checks what only holds for some types.
func (b *builder) checkService() {
	s := &b.unit.Service
	switch starts := b.says["service.exec_start"]; {
	case b.misspelt("service."):
		// One of the keys that are not known may be the one that is missing.
	case s.Type != "oneshot" && (starts == nil || len(starts.items) == 0):
		b.failKey("service.exec_start", "exec_start is missing: a service of type %s needs one", s.Type)
	case s.Type == "oneshot" && len(s.ExecStart) == 0 && len(s.ExecStop) == 0 && (starts == nil || len(starts.items) == 0):
		b.failKey("service.exec_start", "exec_start is missing: a oneshot needs exec_start or exec_stop")
	case s.Type != "oneshot" && len(starts.items) > 1 && !b.failed("service.exec_start"):
		b.fail(starts.key, starts.items[1], fmt.Errorf("only a oneshot can have several; use exec_start_pre or exec_start_post"))
	}
	if s.Type == "oneshot" && (s.Restart == "always" || s.Restart == "on-success") {
		b.failKey("service.restart", "restart = %q: a oneshot would never end; use on-failure or no", s.Restart)
	}
	if s.RestartSteps > 0 && s.RestartMaxDelaySec == Infinity {
		b.warnKey("service.restart_steps", "restart_steps without restart_max_delay_sec has no effect")
	}
	if s.KillMode == "none" {
		b.warnKey("service.kill_mode", "kill_mode = \"none\": what exec_stop leaves behind runs on")
	}
	if s.CpuSchedulingPriority != 0 && s.CpuSchedulingPolicy != "fifo" && s.CpuSchedulingPolicy != "rr" {
		b.failKey("service.cpu_scheduling_priority", "cpu_scheduling_priority: only the policies fifo and rr have one")
	}
	if s.KillSignal == s.FinalKillSignal && b.says.written("service.final_kill_signal") {
		b.warnKey("service.final_kill_signal", "final_kill_signal is the same as kill_signal")
	}
}

// misspelt says whether a table has an unknown key.
func (b *builder) misspelt(table string) bool {
	for _, e := range b.errs {
		if strings.HasPrefix(e.Key, table) && keyTable().byID[e.Key] == nil {
			return true
		}
	}
	return false
}

// failed says whether a key has an error already.
func (b *builder) failed(id string) bool {
	return slices.ContainsFunc(b.errs, func(e *Error) bool { return e.Key == id })
}

// checkHoles marks what leaves the sandbox by design.
func (b *builder) checkHoles() {
	u := b.unit
	if !u.Isolation.Namespaces.Pid && u.Profile != ProfileHost {
		b.warnKey("isolation.namespaces", "without a PID namespace a service can kill its reaper, and what escapes is only found by its cgroup")
	}
	after, before := setOf(u.After), setOf(u.Before)
	for _, name := range u.After {
		if before[name] {
			b.warnKey("unit.before", "both before and after %s", name)
		}
	}
	for _, list := range []struct {
		key   string
		names []string
	}{{"requires", u.Requires}, {"binds_to", u.BindsTo}} {
		for _, name := range list.names {
			if !after[name] && !before[name] {
				b.warnElement("unit."+list.key, name, "%s = %q without after: both start at the same time", list.key, name)
			}
		}
	}
}

// warnElement warns at the array element that names a unit.
func (b *builder) warnElement(id, name, format string, args ...any) {
	b.warn(keyTable().byID[id], b.says.element(id, name), format, args...)
}

// element finds where a list names a unit; the key as a whole otherwise.
func (s settings) element(id, name string) item {
	set := s[id]
	if set == nil {
		return item{}
	}
	if set.names == nil {
		set.names = map[string]item{}
		for _, it := range set.items {
			text, _ := it.v.(string)
			for _, word := range strings.Fields(text) {
				set.names[BareName(word)] = it
			}
		}
	}
	if it, ok := set.names[name]; ok {
		return it
	}
	return set.at[len(set.at)-1]
}
