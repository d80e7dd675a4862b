package unit

import (
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/BurntSushi/toml"
)

// The profiles: what holds for everything about isolation that a unit does
// not write.
const (
	ProfileStrict = "strict" // everything of its own
	ProfileDaemon = "daemon" // strict with the machine's host name and the instance's network
	ProfileHost   = "host"   // nothing but a cgroup and a log of its own
)

// strictCapabilities is Docker's default set less NET_RAW, MKNOD, SETFCAP and
// AUDIT_WRITE; numbers of linux/capability.h: CHOWN DAC_OVERRIDE FOWNER
// FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE SYS_CHROOT.
const strictCapabilities uint64 = 1<<0 | 1<<1 | 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<18

func profileCapabilities(profile string) uint64 {
	if profile == ProfileHost {
		return AllCapabilities
	}
	return strictCapabilities
}

func profileNamespaces(profile string) Namespaces {
	if profile == ProfileHost {
		return Namespaces{}
	}
	return Namespaces{Mount: true, Pid: true, Ipc: true, Uts: true, Cgroup: true}
}

// profilePreset is the default that depends on the profile, as a TOML value,
// or nil for keys that no profile speaks of.
func profilePreset(profile string, k *Key) any {
	host := profile == ProfileHost
	switch k.ID() {
	case "filesystem.protect_system":
		return pick[any](host, "false", nil)
	case "filesystem.protect_home", "filesystem.private_tmp", "filesystem.private_devices", "filesystem.private_run",
		"security.no_new_privileges", "security.protect_kernel_tunables", "security.protect_kernel_modules",
		"security.protect_kernel_logs", "security.protect_control_groups", "security.protect_clock":
		return !host
	case "security.protect_proc":
		return pick[any](host, "default", "invisible")
	case "security.device_policy":
		return pick[any](host, "auto", "closed")
	}
	return nil
}

func pick[T any](yes bool, a, b T) T {
	if yes {
		return a
	}
	return b
}

// presets returns the TOML values of every Key.preset by key ID. They are
// parsed once and never changed.
var presets = sync.OnceValue(func() map[string]any {
	out := map[string]any{}
	for _, k := range keyTable().all {
		if k.preset == "" {
			continue
		}
		if v, ok := plainValue(k.preset); ok {
			out[k.ID()] = v
			continue
		}
		var doc map[string]any
		if _, err := toml.Decode("v = "+k.preset, &doc); err != nil {
			panic(fmt.Sprintf("default of %s: %v", k.ID(), err)) // a test reads every one
		}
		out[k.ID()] = doc["v"]
	}
	return out
})

// plainValue reads the TOML that most presets are: true, false, digits, or a
// string without escapes. The parser takes a hundred times as long.
func plainValue(text string) (v any, ok bool) {
	if text == "true" || text == "false" {
		return text == "true", true
	}
	if inner, found := strings.CutPrefix(text, `"`); found {
		inner, found = strings.CutSuffix(inner, `"`)
		return inner, found && !strings.ContainsFunc(inner, func(r rune) bool { return r < ' ' || r == '"' || r == '\\' || r == 0x7f })
	}
	if len(text) > 1 && text[0] == '0' {
		return nil, false
	}
	n, err := strconv.ParseUint(text, 10, 31)
	return int64(n), err == nil
}

// relaxations lists how far a service is from profile strict, one phrase
// each, for verify, plan and status.
func relaxations(u *Unit) []string {
	var out []string
	add := func(when bool, format string, args ...any) {
		if when {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	relaxedNamespaces(u, add)
	relaxedNetwork(&u.Network, add)
	relaxedFiles(u, add)
	relaxedSecurity(u, add)
	for _, f := range u.Service.OpenFile {
		add(true, "opened for it %s", f.Path)
	}
	for _, list := range u.Service.commandLists() {
		add(anyCommand(list.commands, func(c Command) bool { return c.FullPrivileges }), `%s "+" runs with full privileges`, list.key)
		add(anyCommand(list.commands, func(c Command) bool { return c.NoUser || c.NoUserIfAmbient }), `%s "!" runs as root`, list.key)
	}
	return out
}

type adder func(when bool, format string, args ...any)

func relaxedNamespaces(u *Unit, add adder) {
	n := u.Isolation.Namespaces
	var missing []string
	for _, ns := range []struct {
		has  bool
		name string
	}{{n.Mount, "mount"}, {n.Pid, "pid"}, {n.Ipc, "ipc"}, {n.Uts, "uts"}, {n.Cgroup, "cgroup"}} {
		if !ns.has {
			missing = append(missing, ns.name)
		}
	}
	add(len(missing) > 0, "the machine's %s namespaces", strings.Join(missing, " "))
}

func relaxedFiles(u *Unit, add adder) {
	f := u.Filesystem
	if !u.Isolation.Namespaces.Mount {
		return // nothing of it can hold, and that is said already
	}
	add(f.ProtectSystem != "strict", "protect_system %s", f.ProtectSystem)
	add(f.ProtectHome != "true", "protect_home %s", f.ProtectHome)
	add(!f.PrivateTmp, "the machine's /tmp")
	add(!f.PrivateDevices, "the machine's /dev")
	add(!f.PrivateRun, "the machine's /run")
	add(f.MountFlags != "private", "mount_flags %s", f.MountFlags)
	var writable []string
	for _, p := range f.ReadWritePaths {
		writable = append(writable, p.Path)
	}
	for _, b := range f.BindPaths {
		writable = append(writable, b.Destination)
	}
	for _, d := range f.directoryLists() {
		for _, entry := range *d.entries {
			writable = append(writable, d.base+"/"+entry.Path)
		}
	}
	add(len(writable) > 0, "writable %s", strings.Join(writable, " "))
}

func relaxedSecurity(u *Unit, add adder) {
	s, mounts := u.Security, u.Isolation.Namespaces.Mount
	add(!s.NoNewPrivileges, "can gain privileges")
	extra := s.CapabilityBoundingSet &^ strictCapabilities
	add(extra == AllCapabilities&^strictCapabilities, "all capabilities")
	for n := 0; n < 64 && extra != AllCapabilities&^strictCapabilities; n++ {
		if extra&(1<<n) != 0 {
			add(true, "capability %s", CapabilityName(n))
		}
	}
	for _, p := range []struct {
		on   bool
		name string
	}{
		{s.ProtectKernelTunables, "tunables"}, {s.ProtectKernelModules, "modules"}, {s.ProtectKernelLogs, "logs"},
	} {
		add(mounts && !p.on, "protect_kernel_%s false", p.name)
	}
	add(mounts && !s.ProtectControlGroups, "protect_control_groups false")
	add(!s.ProtectClock, "protect_clock false")
	add(mounts && (s.ProtectProc == "default" || s.ProtectProc == "ptraceable"), "protect_proc %s", s.ProtectProc)
	add(s.DevicePolicy == "auto", "every device")
	for _, d := range s.DeviceAllow {
		add(true, "device %s", d.Path)
	}
	add(u.Resources.Delegate.Enabled, "delegated cgroup")
}

func anyCommand(commands []Command, is func(Command) bool) bool {
	for _, c := range commands {
		if is(c) {
			return true
		}
	}
	return false
}

type commandList struct {
	key      string
	commands []Command
}

func (s *Service) commandLists() []commandList {
	return []commandList{
		{"exec_condition", s.ExecCondition}, {"exec_start_pre", s.ExecStartPre}, {"exec_start", s.ExecStart},
		{"exec_start_post", s.ExecStartPost}, {"exec_reload", s.ExecReload}, {"exec_stop", s.ExecStop},
		{"exec_stop_post", s.ExecStopPost},
	}
}

type directoryList struct {
	base    string
	entries *[]Directory
	mode    uint32
}

func (f *Filesystem) directoryLists() []directoryList {
	return []directoryList{
		{"/run", &f.RuntimeDirectory, f.RuntimeDirectoryMode},
		{"/var/lib", &f.StateDirectory, f.StateDirectoryMode},
		{"/var/cache", &f.CacheDirectory, f.CacheDirectoryMode},
		{"/var/log", &f.LogsDirectory, f.LogsDirectoryMode},
		{"/etc", &f.ConfigurationDirectory, f.ConfigurationDirectoryMode},
	}
}
