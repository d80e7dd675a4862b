package supervisor

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/supervisor/machine"
	"github.com/nsinit/nsinit/unit"
)

// hint says what to do about the outcome: from what the unit wrote, else from
// what went wrong. It may be empty, and may have several lines.
func (o outcome) hint() string {
	if o.unit != nil {
		for i := len(o.lines) - 1; i >= 0; i-- {
			if h := lineHint(o.unit, o.lines[i]); h != "" {
				return h
			}
		}
		if portForm().MatchString(strings.Join(o.lines, " ")) { // the call and its error on lines of their own, as in a traceback
			if h := portHint(o.unit, ""); h != "" {
				return h
			}
		}
	}
	name := o.snap.Unit
	switch o.snap.Result {
	case machine.Resources, machine.SetupFailure:
		return o.setupHint()
	case machine.StartLimitHit:
		return fmt.Sprintf("When the cause is removed: nsctl reset-failed %[1]s, then nsctl start %[1]s", name)
	case machine.OOMKill:
		return "Raise memory_max in [resources], or find what takes the memory: nsctl status " + name
	case machine.StatusUnknown:
		if o.snap.MainMissing != "" {
			return pidFileHint
		}
	case machine.Protocol:
		if o.unit != nil && o.unit.Service.Type == "forking" {
			return pidFileHint
		}
		return "If it does not speak sd_notify(3), write type = \"simple\" in [service]."
	case machine.TimedOut:
		return o.timeoutHint()
	case machine.WatchdogFailure:
		return "Raise watchdog_sec in [service]; 0 turns the watchdog off."
	case machine.AssertFailed:
		return "Make it hold, or write condition_ for assert_: the unit is then skipped and has not failed."
	}
	return ""
}

const pidFileHint = "Have the daemon write its process ID to a file of its own /run, and name that by pid_file in [service]; or have it stay in the foreground, with type = \"exec\"."

func (o outcome) setupHint() string {
	switch isolate.Class(o.snap.Setup.Class) {
	case isolate.ClassUser, isolate.ClassGroup:
		return "Users and groups are those of /etc/passwd and /etc/group in the service's root: add it there (useradd --system NAME), or write a number."
	}
	setup := readSetup(o.snap.Setup)
	if isolate.Class(o.snap.Setup.Class) == isolate.ClassNetwork && setup.hint == "" {
		return "nsctl network shows bridges, addresses, ports and whose they are; nsctl plan " + o.snap.Unit + " what this unit asks for."
	}
	if o.unit != nil && strings.Contains(setup.text, "execve ") {
		return orElse(unseenHint(o.unit, setup.text), setup.hint)
	}
	return setup.hint
}

// unseenHint is about a program that lies on the host where the service has a
// directory of its own.
func unseenHint(u *unit.Unit, line string) string {
	f, p := &u.Filesystem, pathIn(line)
	for _, own := range []struct {
		base, key string
		is        bool
	}{
		{"/tmp", "private_tmp", f.PrivateTmp}, {"/var/tmp", "private_tmp", f.PrivateTmp}, {"/run", "private_run", f.PrivateRun},
	} {
		if own.is && strings.HasPrefix(p, own.base+"/") {
			return fmt.Sprintf("The service has a %s of its own, without the host's files. Have the program elsewhere, such as /usr/local/bin, or write in [filesystem]:\n  %s = false",
				own.base, own.key)
		}
	}
	return hiddenHint(u, line)
}

func (o outcome) timeoutHint() string {
	s := o.snap
	started := s.ActiveSince != 0 && s.ActiveSince >= s.StartedAt
	switch {
	case started:
		return ""
	case s.MainMissing != "":
		return "pid_file is looked up in the service's own root, where /run is mostly its own: it must be the path that the daemon writes to. timeout_start_sec in [service] is how long that may take."
	case s.Kind == machine.KindStart && o.unit != nil && o.unit.Service.Type == "forking":
		return "exec_start of type \"forking\" must leave the daemon behind and end. With type = \"exec\" in [service] it stays in the foreground."
	case s.Kind == machine.KindStart && o.unit != nil && o.unit.Service.Notifies():
		return "It must send READY=1 (sd_notify(3)). With type = \"simple\" in [service] it counts as started at once; timeout_start_sec is how long it may take."
	}
	return "timeout_start_sec in [service] is how long it may take."
}

// advice is something that programs write, and what helps. The first that
// matches and has something to say wins.
type advice struct {
	form *regexp.Regexp
	give func(u *unit.Unit, line string) string
}

var portForm = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)(bind|listen|socket).*(permission denied|EACCES)|(permission denied|EACCES).*(bind|listen|socket)`)
})

// advices are compiled when a hint is first asked for: at a boot that goes well
// nobody does, and the patterns were a sixth of what all packages prepare.
var advices = sync.OnceValue(func() []advice {
	return []advice{
		{regexp.MustCompile(`(?i)read-only file ?system|EROFS`), readOnlyHint},
		{portForm(), portHint},
		{regexp.MustCompile(`(?i)permission denied|EACCES`), permissionHint},
		{regexp.MustCompile(`(?i)no such file or directory|ENOENT`), missingHint},
		{regexp.MustCompile(`(?i)address already in use|EADDRINUSE`), func(*unit.Unit, string) string {
			return "Something else has that address: ss -ltnup shows what."
		}},
		{regexp.MustCompile(`(?i)network is unreachable|name resolution|name or service not known|cannot assign requested address|no route to host`), networkHint},
		{regexp.MustCompile(`(?i)operation not permitted|EPERM`), capabilityHint},
		{regexp.MustCompile(`(?i)too many open files|EMFILE`), func(*unit.Unit, string) string {
			return "To allow more open files write in [service]:\n  limit_nofile = 65536"
		}},
	}
})

// lineHint is what helps against what a line complains of.
func lineHint(u *unit.Unit, line string) string {
	for _, a := range advices() {
		if a.form.MatchString(line) {
			if h := a.give(u, line); h != "" {
				return h
			}
		}
	}
	return ""
}

var pathForm = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile("(?:^|[\\s\"'`(=:])(/[^\\s\"'`:;,()]*[^\\s\"'`:;,().])")
})

// pathIn finds the path that a line is about: the last that lies in one of the
// places that units are given, else the last.
func pathIn(line string) string {
	last, placed := "", ""
	for _, m := range pathForm().FindAllStringSubmatch(line, -1) {
		last = path.Clean(m[1])
		if key, _, _ := placeOf(last); key != "" {
			placed = last
		}
	}
	return orElse(placed, last)
}

// places are the directories that have a key of their own in [filesystem].
var places = []struct{ base, key string }{
	{"/var/log", "logs_directory"}, {"/var/lib", "state_directory"}, {"/var/cache", "cache_directory"},
	{"/run", "runtime_directory"}, {"/var/run", "runtime_directory"},
}

// placeOf parts a path below one of the places: the key, the entry, and whether
// the entry is a directory. A name with a dot that nothing follows is a file's.
func placeOf(p string) (key, entry string, dir bool) {
	for _, pl := range places {
		rest, ok := strings.CutPrefix(p, pl.base+"/")
		if !ok {
			continue
		}
		entry, below, nested := strings.Cut(rest, "/")
		return pl.key, entry, nested && below != "" || !strings.Contains(entry, ".")
	}
	return "", "", false
}

func entriesOf(u *unit.Unit, key string) []unit.Directory {
	f := &u.Filesystem
	switch key {
	case "logs_directory":
		return f.LogsDirectory
	case "state_directory":
		return f.StateDirectory
	case "cache_directory":
		return f.CacheDirectory
	case "runtime_directory":
		return f.RuntimeDirectory
	}
	return nil
}

func hasEntry(u *unit.Unit, key, entry string) bool {
	return slices.ContainsFunc(entriesOf(u, key), func(d unit.Directory) bool { return d.Path == entry })
}

func readOnlyHint(u *unit.Unit, line string) string {
	const opening = "The file system is read-only for this service. To allow this path write in [filesystem]:\n  "
	p := pathIn(line)
	key, entry, _ := placeOf(p)
	switch {
	case p == "", strings.HasPrefix(p, "/proc/"), strings.HasPrefix(p, "/sys/"): // which no key makes writable
		return "The file system is read-only for this service. What it may write to stands in [filesystem]: state_directory and its like, or read_write_paths."
	case key == "":
		return fmt.Sprintf("%sread_write_paths = [%q]", opening, path.Dir(p))
	case hasEntry(u, key, entry):
		return "" // it has that; something else is wrong
	}
	return opening + placeLine(u, p)
}

// placeLine is what gives a unit a directory for p, which lies in one of the
// places. A file cannot be had alone: it has to move into a directory.
func placeLine(u *unit.Unit, p string) string {
	key, entry, dir := placeOf(p)
	if dir {
		return directoryLine(u, key, entry)
	}
	return fmt.Sprintf("%s\nand have it write below %s/%s.", directoryLine(u, key, u.Name), path.Dir(p), u.Name)
}

// directoryLine is the line to write, with the entries that are there already.
func directoryLine(u *unit.Unit, key, entry string) string {
	entries := entriesOf(u, key)
	if len(entries) == 0 {
		return fmt.Sprintf("%s = %q", key, entry)
	}
	words := make([]string, 0, len(entries)+1)
	for _, d := range entries {
		words = append(words, fmt.Sprintf("%q", d.Path))
	}
	return fmt.Sprintf("%s = [%s, %q]", key, strings.Join(words, ", "), entry)
}

// portHint is about ports below 1024, for those who are not root.
func portHint(u *unit.Unit, _ string) string {
	if isRoot(u.Service.User) {
		return ""
	}
	return "Ports below 1024 need a capability, which user " + u.Service.User + " is given by writing in [security]:\n  ambient_capabilities = [\"CAP_NET_BIND_SERVICE\"]"
}

func isRoot(user string) bool { return user == "" || user == "root" || user == "0" }

func permissionHint(u *unit.Unit, line string) string {
	p := pathIn(line)
	key, entry, _ := placeOf(p)
	switch {
	case p == "":
		return ""
	case hiddenHint(u, line) != "":
		return hiddenHint(u, line)
	case key != "" && !hasEntry(u, key, entry):
		return "To have a directory that the service may write to write in [filesystem]:\n  " + placeLine(u, p)
	case isRoot(u.Service.User):
		return "Root without every capability obeys the modes of files; nsctl cat --resolved " + u.Name + " shows capability_bounding_set."
	}
	return "It runs as user " + u.Service.User + ", who may not use " + p + ": change the owner or mode of it on the host."
}

// hiddenHint is about what the service does not see of the host.
func hiddenHint(u *unit.Unit, line string) string {
	p := pathIn(line)
	for _, home := range []string{"/home", "/root", "/run/user"} {
		if (p == home || strings.HasPrefix(p, home+"/")) && (u.Filesystem.ProtectHome == "true" || u.Filesystem.ProtectHome == "tmpfs") {
			return fmt.Sprintf("%s is hidden from this service. To show it write in [filesystem]:\n  protect_home = \"read-only\"", home)
		}
	}
	if strings.HasPrefix(p, "/dev/") && u.Filesystem.PrivateDevices {
		return fmt.Sprintf("The service has a /dev of its own. To have this device in it write in [security]:\n  device_allow = [\"%s rw\"]", p)
	}
	return ""
}

// missingHint is about what is not there: hidden, or not made yet.
func missingHint(u *unit.Unit, line string) string {
	p := pathIn(line)
	key, entry, dir := placeOf(p)
	switch h := hiddenHint(u, line); {
	case h != "":
		return h
	case key == "" || !dir || hasEntry(u, key, entry):
		return ""
	case key == "runtime_directory" && u.Filesystem.PrivateRun:
		return fmt.Sprintf("The service has a /run of its own. To have a directory of its own there write in [filesystem]:\n  %s\nand to see another unit's:\n  bind_paths = [\"/run/%s\"]",
			directoryLine(u, key, entry), entry)
	}
	return "To have this directory made, and writable for the service, write in [filesystem]:\n  " + directoryLine(u, key, entry)
}

func networkHint(u *unit.Unit, _ string) string {
	if u.Network.Mode != unit.NetworkPrivate {
		return ""
	}
	return "The network of this service is private: it has loopback only. To give it a link of its own write in [network]:\n  mode = \"veth\"\nand to give it the host's network:\n  mode = \"host\""
}

func capabilityHint(u *unit.Unit, _ string) string {
	if u.Security.CapabilityBoundingSet == unit.AllCapabilities {
		return ""
	}
	return "It may need a capability that it does not have: nsctl cat --resolved " + u.Name + " shows capability_bounding_set."
}
