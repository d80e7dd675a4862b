package condition

import (
	"strings"
)

// virtualization compares with what systemd-detect-virt(1) prints: a kind ("vm",
// "container"), a name ("kvm", "docker"), "private-users", or true and false
// for any and none.
func virtualization(h Host, value string) (bool, string, error) {
	if value == "private-users" {
		return h.privateUsers()
	}
	container, err := h.container()
	if err != nil {
		return false, "", err
	}
	machine := h.virtualMachine()
	name, kind := container, "container"
	if name == "" {
		name, kind = machine, "vm"
	}
	if name == "" {
		kind = ""
	}
	reason := "the machine is not virtual"
	if name != "" {
		reason = "this is the " + kind + " " + name
	}
	if want, err := parseBool(value); err == nil {
		return want == (name != ""), reason, nil
	}
	return name != "" && (value == kind || value == name), reason, nil
}

// container names the container that nsinit runs in, "" if it is none. The
// variable "container" of PID 1 is the interface that managers agreed on.
func (h Host) container() (string, error) {
	for _, assignment := range h.Environ {
		if name, found := strings.CutPrefix(assignment, "container="); found && name != "" {
			return name, nil
		}
	}
	if environ, err := h.read("/proc/1/environ"); err == nil {
		for _, assignment := range strings.Split(environ, "\x00") {
			if name, found := strings.CutPrefix(assignment, "container="); found && name != "" {
				return name, nil
			}
		}
	}
	if name, err := h.read("/run/systemd/container"); err == nil && name != "" {
		return name, nil
	}
	for _, marker := range []struct{ file, name string }{{"/.dockerenv", "docker"}, {"/run/.containerenv", "podman"}} {
		info, err := h.stat(marker.file)
		if err != nil || info != nil {
			return marker.name, err
		}
	}
	return "", nil
}

// virtualMachine names the hypervisor below, "" if there is none. The names
// that firmware gives are those of systemd-detect-virt(1).
func (h Host) virtualMachine() string {
	if kind, _ := h.read("/sys/hypervisor/type"); kind == "xen" {
		return "xen"
	}
	for _, file := range []string{"product_name", "sys_vendor", "board_vendor", "bios_vendor", "product_version"} {
		text, err := h.read("/sys/class/dmi/id/" + file)
		if err != nil {
			continue
		}
		if name := firmwareName(text); name != "" {
			return name
		}
	}
	if compatible, _ := h.read("/proc/device-tree/hypervisor/compatible"); strings.Contains(compatible, "kvm") {
		return "kvm"
	}
	if info, _ := h.read("/proc/cpuinfo"); strings.Contains(info, " hypervisor") {
		return "vm-other"
	}
	return ""
}

// firmwareName recognises what hypervisors write into their firmware tables.
func firmwareName(text string) string {
	for _, known := range []struct{ text, name string }{
		{"KVM", "kvm"}, {"OpenStack", "kvm"}, {"KubeVirt", "kvm"}, {"Amazon EC2", "amazon"}, {"QEMU", "qemu"},
		{"VMware", "vmware"}, {"VMW", "vmware"}, {"innotek GmbH", "oracle"}, {"VirtualBox", "oracle"}, {"Oracle Corporation", "oracle"},
		{"Xen", "xen"}, {"Bochs", "bochs"}, {"Parallels", "parallels"}, {"BHYVE", "bhyve"}, {"Hyper-V", "microsoft"},
		{"Apple Virtualization", "apple"}, {"Google Compute Engine", "google"},
	} {
		if strings.HasPrefix(text, known.text) {
			return known.name
		}
	}
	return ""
}

// privateUsers holds in a user namespace other than the machine's, whose map
// alone covers every id.
func (h Host) privateUsers() (bool, string, error) {
	text, err := h.read("/proc/self/uid_map")
	if err != nil {
		return false, "", err
	}
	fields := strings.Fields(text)
	if len(fields) == 3 && fields[0] == "0" && fields[1] == "0" && fields[2] == "4294967295" {
		return false, "nsinit runs in the machine's user namespace", nil
	}
	return true, "nsinit runs in a user namespace", nil
}
