package compile

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/unit"
)

// Without a program in the cgroup, what devices a service can use is decided by
// its tree: the private /dev holds what it may use, device files work nowhere
// else, and none can be made without CAP_MKNOD. The loader refuses units for
// which that would not hold.

// Device is a device of the machine, with its node in /dev.
type Device struct {
	Path    string
	Drivers []string // names of /proc/devices for its major number: "mem", or "tty" and "ttyS"
	Node    isolate.DeviceNode
}

// devices fills the private /dev of spec: all that device_allow names.
func (c *compiler) devices(spec *isolate.Spec) error {
	s := &c.unit.Security
	const key = "security.device_allow"
	if !c.unit.Filesystem.PrivateDevices {
		if c.written("security.device_policy") && s.DevicePolicy != "auto" || c.written(key) && len(s.DeviceAllow) > 0 {
			return c.fail(key, isolate.ClassNamespace, "device_allow and device_policy need private_devices = true in [filesystem]")
		}
		return nil
	}
	spec.OnlyThese = s.DevicePolicy == "strict"
	spec.NoPTS = spec.OnlyThese && !slices.ContainsFunc(s.DeviceAllow, ownTerminals)
	for _, a := range c.access() {
		if !spec.OnlyThese && slices.Contains(isolate.BaseDevices, a.Path) || path.Dir(a.Path) == "/dev/pts" || a.Path == "/dev/ptmx" {
			continue // every private /dev has its own
		}
		device, err := a.device()
		if err != nil {
			return c.fail(key, isolate.ClassNamespace, "%w", err)
		}
		spec.Devices = append(spec.Devices, device)
	}
	return nil
}

// access is what the rules together allow of one device.
type access struct {
	Device
	read, write bool
}

func (c *compiler) access() (list []access) {
	for _, r := range c.unit.Security.DeviceAllow {
		for _, d := range c.devicesOf(r) {
			i := slices.IndexFunc(list, func(a access) bool { return a.Path == d.Path })
			if i < 0 {
				i, list = len(list), append(list, access{Device: d})
			}
			list[i].read, list[i].write = list[i].read || r.Read, list[i].write || r.Write
		}
	}
	return list
}

// ownTerminals reports whether a rule is met by the service's own devpts.
func ownTerminals(r unit.DeviceRule) bool {
	if !r.Class {
		return r.Path == "/dev/ptmx" || r.Path == "/dev/pts" || path.Dir(r.Path) == "/dev/pts"
	}
	return r.MatchesClass("char", []string{"pts"}, 136) || r.MatchesClass("char", []string{"ptmx"}, 5)
}

// devicesOf gives the devices of a rule, as far as the machine has them; a node
// that is named and missing is left to the start to complain about.
func (c *compiler) devicesOf(r unit.DeviceRule) (list []Device) {
	if !r.Class {
		for _, d := range c.facts.Devices {
			if d.Path == r.Path {
				return []Device{d}
			}
		}
		return []Device{{Path: r.Path}}
	}
	for _, d := range c.facts.Devices {
		if r.MatchesClass(kindOf(d.Node), d.Drivers, d.Node.Major) {
			list = append(list, d)
		}
	}
	return list
}

func kindOf(n isolate.DeviceNode) string {
	if n.Block {
		return "block"
	}
	return "char"
}

// device is the node that the service gets: the machine's, or where only one
// way is allowed one without the permissions for the other.
func (a access) device() (isolate.Device, error) {
	if a.read && a.write {
		return isolate.Device{Path: a.Path}, nil
	}
	if a.Node == (isolate.DeviceNode{}) {
		return isolate.Device{}, fmt.Errorf("device_allow %s: there is no such device", a.Path)
	}
	node := a.Node
	if !a.write {
		node.Mode &^= 0o222
	}
	if !a.read {
		node.Mode &^= 0o444
	}
	return isolate.Device{Path: a.Path, Own: &node}, nil
}

// gatherDevices finds the machine's devices that the rules could mean.
func gatherDevices(rules []unit.DeviceRule) ([]Device, error) {
	var list []Device
	if slices.ContainsFunc(rules, func(r unit.DeviceRule) bool { return r.Class && r.Path != "char-pts" }) {
		drivers, err := readDrivers("/proc/devices")
		if err != nil {
			return nil, err
		}
		for _, kind := range []string{"char", "block"} {
			if list, err = appendDevices(list, kind, drivers); err != nil {
				return nil, err
			}
		}
	}
	for _, r := range rules {
		named := func(d Device) bool { return d.Path == r.Path }
		if r.Class || slices.ContainsFunc(list, named) {
			continue
		}
		if node, ok := nodeAt(r.Path); ok {
			list = append(list, Device{Path: r.Path, Node: node})
		}
	}
	return list, nil
}

// appendDevices lists those of a kind by /sys/dev, which has them by number.
func appendDevices(list []Device, kind string, drivers map[string][]string) ([]Device, error) {
	dir := "/sys/dev/" + kind
	numbers, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot list the machine's devices: %w", err)
	}
	for _, n := range numbers {
		uevent, err := os.ReadFile(filepath.Join(dir, n.Name(), "uevent"))
		if err != nil {
			continue // gone
		}
		name := ""
		for line := range strings.Lines(string(uevent)) {
			if v, ok := strings.CutPrefix(line, "DEVNAME="); ok {
				name = "/dev/" + strings.TrimSpace(v)
			}
		}
		major, _, _ := strings.Cut(n.Name(), ":")
		if node, ok := nodeAt(name); ok && kindOf(node) == kind && strconv.Itoa(int(node.Major)) == major {
			list = append(list, Device{Path: name, Drivers: drivers[kind+" "+major], Node: node})
		}
	}
	return list, nil
}

// nodeAt gives the device at p.
func nodeAt(p string) (isolate.DeviceNode, bool) {
	var st unix.Stat_t
	if p == "" || unix.Stat(p, &st) != nil {
		return isolate.DeviceNode{}, false
	}
	kind := st.Mode & unix.S_IFMT
	return isolate.DeviceNode{Block: kind == unix.S_IFBLK, Major: unix.Major(uint64(st.Rdev)), Minor: unix.Minor(uint64(st.Rdev)),
		Mode: st.Mode & 0o777, UID: st.Uid, GID: st.Gid}, kind == unix.S_IFBLK || kind == unix.S_IFCHR
}

// readDrivers reads proc(5) /proc/devices: names by "char 1" and the like.
func readDrivers(name string) (map[string][]string, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("cannot read the classes of devices: %w", err)
	}
	defer file.Close()
	drivers, kind := map[string][]string{}, ""
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		switch f := strings.Fields(lines.Text()); {
		case len(f) == 2 && f[1] == "devices:":
			kind = map[string]string{"Character": "char", "Block": "block"}[f[0]]
		case len(f) == 2:
			drivers[kind+" "+f[0]] = append(drivers[kind+" "+f[0]], strings.TrimPrefix(f[1], "/dev/"))
		}
	}
	return drivers, errors.Join(lines.Err())
}
