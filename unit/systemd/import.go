package systemd

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nsinit/nsinit/unit"
)

// Host is what import looks up on the machine. Its zero value knows no unit
// and looks at no directory.
type Host struct {
	UnitPath []string               // directories of systemd's units; nil is UnitPath()
	Units    func(name string) bool // whether a unit of nsinit has the name
	Root     string                 // in front of /var, /usr/lib/tmpfiles.d and so on; "" is the machine, "-" nothing
	Machine  *unit.SpecifierContext
}

func (h Host) known(name string) bool {
	return unit.BuiltinTarget(name) || h.Units != nil && h.Units(name)
}

func (h Host) unitPath() []string {
	if h.UnitPath == nil {
		return UnitPath()
	}
	return h.UnitPath
}

// Import converts the unit of systemd that FILE or NAME means: with its
// drop-ins, its socket, timer and path, and its package's tmpfiles.d. profile is
// "" to choose one by rule. What is no unit at all is an error; all else is in
// the notes.
func Import(arg, profile string, host Host) (*Result, error) {
	path, err := locate(arg, host.unitPath())
	if err != nil {
		return nil, err
	}
	s, err := readSource(path, host.unitPath())
	if err != nil {
		return nil, err
	}
	return convert(s, profile, host)
}

// ImportText converts the text of a service of that name, as from a pipe.
func ImportText(name string, data []byte, profile string, host Host) (*Result, error) {
	all, err := Parse(name+".service", data)
	if err != nil {
		return nil, err
	}
	return convert(&source{name: name, kind: "service", files: []string{name + ".service"}, all: all}, profile, host)
}

func convert(s *source, profile string, host Host) (*Result, error) {
	if err := unit.ValidateName(s.name); err != nil {
		return nil, fmt.Errorf("cannot import %s: %w", s.files[0], err)
	}
	c := &converter{name: s.name, host: host, service: s.kind == "service", lists: map[string][]string{}, notes: s.left}
	if c.service {
		if err := s.refused(); err != nil {
			return nil, err
		}
		c.chooseProfile(s, profile)
	}
	if c.directives(s.all, ""); c.fatal != nil {
		return nil, c.fatal
	}
	for _, kind := range triggerKinds {
		c.trigger(kind, s)
	}
	if c.service {
		c.defaults(s)
		c.directoriesOfPackage(s)
		c.mountNamespace()
		c.warnings(s)
	}
	text, err := c.settle(s)
	if err != nil {
		return nil, err
	}
	return &Result{Name: s.name, TOML: text, Notes: c.notes}, nil
}

// trigger converts the directives of a .socket, .timer or .path. Their [Unit]
// speaks of the trigger alone, which has no order of its own here.
func (c *converter) trigger(kind string, s *source) {
	var own []Assignment
	for _, a := range s.triggers[kind] {
		if strings.EqualFold(a.Section, kind) {
			if a.Name != "Unit" && a.Name != "Service" && a.Name != "FileDescriptorName" {
				own = append(own, a)
			}
		}
	}
	c.directives(own, socketName(s))
}

func socketName(s *source) string {
	for _, a := range s.triggers["socket"] {
		if a.Name == "FileDescriptorName" {
			return a.Value
		}
	}
	return strings.NewReplacer("@", "", `\`, "", ":", "-", ".", "-").Replace(s.name)
}

// value is the last assignment of a directive.
func (s *source) value(name string) string {
	v := ""
	for _, a := range s.all {
		if a.Name == name {
			v = a.Value
		}
	}
	return v
}

func (s *source) assignment(name string) (found Assignment, n int) {
	for _, a := range s.all {
		switch {
		case a.Name != name:
		case a.Value == "":
			n = 0
		default:
			found, n = a, n+1
		}
	}
	return found, n
}

// refused says why systemd itself would not load the service
// (service_verify of systemd).
func (s *source) refused() error {
	refuse := func(line int, format string, args ...any) error {
		return &SyntaxError{s.files[0], line, fmt.Sprintf(format, args...)}
	}
	start, starts := s.assignment("ExecStart")
	_, stops := s.assignment("ExecStop")
	kind := s.value("Type")
	remain, _ := boolean(s.value("RemainAfterExit"))
	hasService := slices.ContainsFunc(s.all, func(a Assignment) bool { return a.Section == "Service" })
	switch {
	case starts+stops == 0 && s.value("SuccessAction") != "":
		return refuse(0, "it has SuccessAction= alone and runs nothing, which has no counterpart")
	case !hasService:
		return refuse(0, "no [Service] section; systemd refuses it too")
	case starts == 0 && stops == 0:
		return refuse(0, "neither ExecStart= nor ExecStop=; systemd refuses it too")
	case starts == 0 && kind != "oneshot" && !(stops > 0 && remain):
		return refuse(0, "no ExecStart=, and Type= is not oneshot; systemd refuses it too")
	case starts > 1 && kind != "oneshot":
		return &SyntaxError{start.File, start.Line, "a second ExecStart=, which only Type=oneshot may have; systemd refuses it too"}
	case kind == "dbus" && s.value("BusName") == "":
		return refuse(0, "Type=dbus without BusName=; systemd refuses it too")
	}
	return nil
}

// machineTools change the machine itself, which nothing inside a sandbox can.
var machineTools = []string{"systemctl", "mount", "umount", "modprobe", "sysctl", "swapon", "swapoff", "nft", "iptables-restore",
	"ip", "ifup", "ifdown", "udevadm", "shutdown", "reboot", "poweroff", "hwclock", "fstrim", "quotaon", "quotacheck", "fsck", "journalctl"}

// chooseProfile takes daemon, and host where the unit is there to serve the
// machine itself.
func (c *converter) chooseProfile(s *source, profile string) {
	c.profile, c.why = unit.ProfileDaemon, ""
	host := func(when bool, why string) {
		if when && c.why == "" {
			c.profile, c.why = unit.ProfileHost, why
		}
	}
	delegated, isBool := boolean(s.value("Delegate"))
	early, ok := boolean(s.value("DefaultDependencies"))
	_, hasTimer := s.triggers["timer"]
	host(strings.HasPrefix(s.value("StandardInput"), "tty") || s.value("TTYPath") != "", "it serves a terminal of the machine")
	host(s.value("PAMName") != "", "it opens sessions (PAMName)")
	host(s.value("KillMode") == "process" || s.value("KillMode") == "none", "what it started outlives it (KillMode)")
	host(s.value("Delegate") != "" && (!isBool || delegated), "it manages containers or sessions (Delegate)")
	host(ok && !early, "it is a part of the machine's boot (DefaultDependencies=no)")
	host(s.value("Type") == "oneshot" && hasTimer && s.value("User") == "", "a job of the administrator's, on a timer")
	for _, a := range s.all {
		if strings.HasPrefix(a.Name, "Exec") {
			for _, line := range splitCommands(a.Value) {
				word, _, _ := strings.Cut(strings.TrimLeft(line, "-@:+!"), " ")
				host(slices.Contains(machineTools, filepath.Base(word)), "it runs "+filepath.Base(word)+" on the machine")
			}
		}
	}
	if profile != "" {
		c.profile, c.why = profile, "asked for"
	}
	e := c.set("isolation", "profile", unit.QuoteTOML(c.profile))
	e.added, e.comment = true, c.why
}

// defaults are systemd's where ours differ, written out.
func (c *converter) defaults(s *source) {
	if c.get("service", "restart") == nil && s.value("Type") != "oneshot" {
		e := c.set("service", "restart", `"no"`)
		e.added, e.comment = true, "systemd's default"
	}
}

// warnings are what would surprise whoever starts the unit.
func (c *converter) warnings(s *source) {
	lost := func(name string) bool {
		return slices.ContainsFunc(c.notes, func(n Note) bool {
			return strings.HasPrefix(n.Directive, name) && n.Status == Unsupported
		})
	}
	if dynamic, _ := boolean(s.value("DynamicUser")); dynamic && s.value("User") == "" && lost("DynamicUser=") {
		c.notices = append(c.notices, "It would run as root: DynamicUser is not supported yet. Make a user, and write it in [service]: user = \"NAME\"")
	}
	for kind, name := range map[string]string{"socket": "Listen", "timer": "On", "path": "Path"} {
		if s.triggers[kind] != nil && lost(name) && c.get("install", "wanted_by") == nil {
			c.notices = append(c.notices, "Nothing starts it by itself: its "+kind+" is not supported yet.")
		}
	}
}

// mountNamespace adds one to profile host where paths are to be protected.
func (c *converter) mountNamespace() {
	if c.profile != unit.ProfileHost {
		return
	}
	for _, e := range c.entries {
		private := e.table == "filesystem" && !strings.HasSuffix(e.key, "_directory") && !strings.Contains(e.key, "_directory_") && e.value != "false" ||
			e.table == "security" && (strings.HasPrefix(e.key, "protect_kernel_") || e.key == "protect_control_groups" || e.key == "protect_proc" || e.key == "proc_subset") && e.value != "false"
		if private {
			c.namespaces("+mount")
			return
		}
	}
}
