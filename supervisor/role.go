package supervisor

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/moby/sys/user"

	"github.com/nsinit/nsinit/supervisor/control"
	"github.com/nsinit/nsinit/unit"
)

// operators is the group whose members operate every instance; besides it, an
// instance has the group of its own name.
const operators = "nsinit"

// hostUnits is the set of units whose processes are not isolated, so that they
// have their user's role. The loop writes it, the accept loop of the control
// socket reads it.
type hostUnits struct{ m sync.Map }

// note says what profile u is launched with, before any process of it lives.
func (h *hostUnits) note(u *unit.Unit) {
	if u.Profile == unit.ProfileHost {
		h.m.Store(u.Name, true)
	} else {
		h.m.Delete(u.Name)
	}
}

func (h *hostUnits) has(name string) bool {
	_, ok := h.m.Load(name)
	return ok
}

// role decides what a process that has connected to the control socket may do.
// It is called in the accept loop and waits for nothing.
func (m *Manager) role(p control.Peer) control.Role {
	cgroup, err := cgroupOf(p.PID)
	if err != nil {
		return control.RoleNone
	}
	if name, inside := serviceOf(cgroup, m.cgroups.Root()); inside && !(m.hosts.has(name) && inOurNamespaces(p.PID)) {
		return control.RoleNone
	}
	switch {
	case p.UID == 0:
		return control.RoleAdmin
	case inGroup(p, operatorGroups(m.cfg.Instance)):
		return control.RoleOperator
	}
	return control.RoleReader
}

// cgroupOf gives the cgroup v2 of a process as this one sees it: "/nsinit/web/4/main"
// (cgroups(7), the line of hierarchy 0).
func cgroupOf(pid int) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return path, nil
		}
	}
	return "", fmt.Errorf("cannot tell the cgroup of process %d: no v2 hierarchy", pid)
}

// serviceOf tells whether a cgroup is one of an instance's services, and whose.
// root is the instance's cgroup relative to the mount; what the kernel shows
// may have more before it, where the mount is not the hierarchy's root. A place
// in the tree that is no service's has no name.
func serviceOf(cgroup, root string) (name string, inside bool) {
	_, rest, inside := strings.Cut(cgroup+"/", "/"+strings.Trim(root, "/")+"/")
	if !inside {
		return "", false
	}
	parts := strings.Split(rest, "/")
	if strings.HasSuffix(parts[0], ".slice") && parts[0][0] != '_' {
		parts = parts[1:]
	}
	if len(parts) < 3 || parts[2] != "main" {
		return "", true
	}
	if _, err := strconv.ParseUint(parts[1], 10, 64); err != nil {
		return "", true
	}
	return strings.TrimPrefix(parts[0], "_"), true
}

// inOurNamespaces is the second opinion on a unit of profile host: a process
// that was started under an older, isolating definition has namespaces of its
// own, and cannot get out of them.
func inOurNamespaces(pid int) bool {
	for _, ns := range []string{"mnt", "pid", "user"} {
		theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, ns))
		if err != nil {
			return false
		}
		ours, err := os.Readlink("/proc/self/ns/" + ns)
		if err != nil || ours != theirs {
			return false
		}
	}
	return true
}

// operatorGroups reads /etc/group each time: it is short, and a change counts
// at once. Groups that do not exist have no members.
func operatorGroups(instance string) []int {
	groups, err := user.ParseGroupFileFilter("/etc/group", func(g user.Group) bool {
		return g.Name == operators || g.Name == instance
	})
	if err != nil {
		return nil
	}
	var out []int
	for _, g := range groups {
		if g.Gid != 0 {
			out = append(out, g.Gid)
		}
	}
	return out
}

func inGroup(p control.Peer, groups []int) bool {
	return slices.ContainsFunc(groups, func(gid int) bool {
		return int(p.GID) == gid || slices.Contains(p.Groups, uint32(gid))
	})
}
