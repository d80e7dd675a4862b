package unit

import (
	"path"
	"strings"
)

// What device_policy and device_allow say holds because of the service's tree:
// its own /dev, and no device file anywhere else. These capabilities undo that.
const (
	capSysAdmin    = 1 << 21 // mounts, and remounts
	capMknod       = 1 << 27
	capDacOverride = 1 << 1 // passes by the permissions of a node
)

// checkDevices refuses rules about devices that nothing would enforce.
func (b *builder) checkDevices() {
	sec, f := &b.unit.Security, &b.unit.Filesystem
	const policy, allow = "security.device_policy", "security.device_allow"
	if sec.DevicePolicy == "strict" {
		b.needNoCapability(policy, "device_policy = \"strict\"", capSysAdmin|capMknod)
		if !f.PrivateDevices {
			b.failKey(policy, "device_policy = \"strict\" needs private_devices = true in [filesystem]: the service's own /dev is what enforces it")
		}
		for _, bind := range append(append([]Bind{}, f.BindPaths...), f.BindReadOnlyPaths...) {
			if leadsToDevices(bind.Destination) {
				b.failKey(policy, "device_policy = \"strict\" and a bind on %s: name the devices in device_allow", bind.Destination)
			}
		}
	}
	for _, r := range sec.DeviceAllow {
		if !(r.Read && r.Write) && !ownTerminal(r.Path) {
			b.needNoCapability(allow, "device_allow = \""+r.Path+"\" in one way", capSysAdmin|capDacOverride)
		}
	}
}

// needNoCapability refuses what the capabilities of a unit would undo.
func (b *builder) needNoCapability(id, what string, mask uint64) {
	sec := &b.unit.Security
	have := sec.CapabilityBoundingSet & mask
	if b.givesUpRoot() && sec.NoNewPrivileges {
		return
	}
	if have != 0 {
		b.failKey(id, "%s cannot be enforced for a service with %s; take it away in capability_bounding_set, or give user", what,
			strings.Join(namesOfCapabilities(have), " and "))
	}
}

func ownTerminal(p string) bool {
	return p == "char-pts" || p == "/dev/ptmx" || p == "/dev/pts" || path.Dir(p) == "/dev/pts"
}

// leadsToDevices reports whether p is where a service's own /dev has devices.
func leadsToDevices(p string) bool {
	rest, below := strings.CutPrefix(p, "/dev/")
	first, _, _ := strings.Cut(rest, "/")
	return p == "/dev" || below && first != "shm" && first != "mqueue" && first != "log"
}
