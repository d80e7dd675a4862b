package unit

import (
	"os"
	"runtime"
	"strconv"
	"strings"
)

// ReadMachine reads what specifiers and host names need to know of the
// machine, from below /proc and /etc. What cannot be read is "", and a unit
// that names it is refused.
func ReadMachine() SpecifierContext {
	line := func(path string) string {
		data, _ := os.ReadFile(path)
		return strings.TrimSpace(string(data))
	}
	return SpecifierContext{
		Host:          line("/proc/sys/kernel/hostname"),
		MachineID:     line("/etc/machine-id"),
		BootID:        strings.ReplaceAll(line("/proc/sys/kernel/random/boot_id"), "-", ""),
		KernelRelease: line("/proc/sys/kernel/osrelease"),
		Architecture:  architecture(runtime.GOARCH),
		OSRelease:     readOSRelease(),
		RuntimeDir:    "/run", StateDir: "/var/lib", CacheDir: "/var/cache", LogsDir: "/var/log", ConfigDir: "/etc",
		TmpDir: "/tmp", VarTmpDir: "/var/tmp",
	}
}

// architecture is systemd's name of a Go architecture.
func architecture(goarch string) string {
	names := map[string]string{"amd64": "x86-64", "386": "x86", "ppc64le": "ppc64-le"}
	if name := names[goarch]; name != "" {
		return name
	}
	return goarch
}

// readOSRelease reads /etc/os-release, or its copy, os-release(5).
func readOSRelease() map[string]string {
	data, err := os.ReadFile("/etc/os-release")
	if err != nil {
		data, _ = os.ReadFile("/usr/lib/os-release")
	}
	out := map[string]string{}
	list, _ := ParseEnvironmentFile(data)
	for _, a := range list {
		out[a.Name] = a.Value
	}
	return out
}

// userTable finds users and groups of passwd(5) and group(5).
type userTable struct {
	passwd, group map[string][]string // by name and by id
}

// readUsers reads the tables of a root directory; "" is the machine's.
func readUsers(root string) userTable {
	return userTable{colonFile(root + "/etc/passwd"), colonFile(root + "/etc/group")}
}

func colonFile(path string) map[string][]string {
	out := map[string][]string{}
	data, _ := os.ReadFile(path)
	for _, line := range strings.Split(string(data), "\n") {
		fields := strings.Split(line, ":")
		if len(fields) < 3 {
			continue
		}
		if out[fields[2]] == nil {
			out[fields[2]] = fields
		}
		out[fields[0]] = fields
	}
	return out
}

// setUser fills in the user's specifiers; unknown users leave them empty.
func (ctx *SpecifierContext) setUser(t userTable, user, group string) {
	if user == "" {
		user = "root"
	}
	ctx.User = user
	if isNumber(user) {
		ctx.UID = user
	}
	if f := t.passwd[user]; len(f) >= 7 {
		ctx.User, ctx.UID, ctx.GID, ctx.Home, ctx.Shell = f[0], f[2], f[3], f[5], f[6]
	} else if user == "root" || user == "0" {
		ctx.User, ctx.UID, ctx.GID, ctx.Home, ctx.Shell = "root", "0", "0", "/root", "/bin/sh"
	}
	if group == "" {
		group = ctx.GID
	}
	ctx.Group = group
	if f := t.group[group]; f != nil {
		ctx.Group, ctx.GID = f[0], f[2]
	} else if isNumber(group) {
		ctx.GID = group
	}
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 32)
	return err == nil
}
