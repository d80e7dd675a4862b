package compile

import (
	"os"
	"path"
	"slices"
	"strings"

	"github.com/nsinit/nsinit/isolate"
)

// terminalDevice puts the terminal into a private /dev.
func (c *compiler) terminalDevice(list []isolate.Device) ([]isolate.Device, error) {
	if !c.unit.UsesTerminal() || !c.unit.Filesystem.PrivateDevices {
		return list, nil
	}
	tty := c.unit.Service.TtyPath
	if strings.HasPrefix(tty, "/dev/pts/") {
		return nil, c.fail("service.tty_path", isolate.ClassNamespace,
			"tty_path = %q: a private /dev has pseudo-terminals of its own; write private_devices = false in [filesystem]", tty)
	}
	list = slices.DeleteFunc(list, func(d isolate.Device) bool { return d.Path == tty })
	return append(list, isolate.Device{Path: tty}), nil
}

// terminalType is what TERM should be on a terminal: "linux" on a virtual one,
// and "vt220", which everything on the other end of a serial line can do, as
// systemd has it. /dev/console is the terminal that the kernel names, and of
// the type that its command line names.
func terminalType(tty, console, consoleTerm string) string {
	name := strings.TrimPrefix(tty, "/dev/")
	if name == "console" {
		if consoleTerm != "" {
			return consoleTerm
		}
		name = console
	}
	number, virtual := strings.CutPrefix(name, "tty")
	if virtual && strings.Trim(number, "0123456789") == "" {
		return "linux"
	}
	return "vt220"
}

// readConsole asks the kernel what /dev/console is, and of what type. What it
// does not say is "".
func readConsole() (name, term string) {
	active, _ := os.ReadFile("/sys/class/tty/console/active")
	if list := strings.Fields(string(active)); len(list) > 0 {
		name = path.Base(list[len(list)-1]) // the last one is /dev/console (console(4))
	}
	line, _ := os.ReadFile("/proc/cmdline")
	return name, commandLineTerm(string(line))
}

// commandLineTerm finds TERM= on the kernel's command line; what follows "--"
// is not the kernel's (kernel-parameters).
func commandLineTerm(line string) (term string) {
	for _, word := range strings.Fields(line) {
		if word == "--" {
			break
		}
		if value, found := strings.CutPrefix(word, "TERM="); found {
			term = value
		}
	}
	return term
}
