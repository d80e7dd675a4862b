package supervisor

import (
	"testing"

	"github.com/nsinit/nsinit/supervisor/control"
	"github.com/nsinit/nsinit/unit"
)

func TestServiceOf(t *testing.T) {
	for _, tt := range []struct {
		cgroup, root, name string
		inside             bool
	}{
		{"/nsinit/web/4/main", "nsinit", "web", true},
		{"/nsinit/web/4/main/sub/init", "nsinit", "web", true},
		{"/nsinit/_cpu.x/4/main", "nsinit", "cpu.x", true},
		{"/nsinit/batch.slice/web/4/main", "nsinit", "web", true},
		{"/nsinit/_x.slice/4/main", "nsinit", "x.slice", true},
		{"/system.slice/nsinit.service/nsinit/web/4/main", "system.slice/nsinit.service/nsinit", "web", true},
		{"/docker/1/nsinit/web/4/main", "nsinit", "web", true},
		{"/nsinit/5/1/main", "nsinit", "5", true},
		{"/nsinit/web/4/init", "nsinit", "", true}, // the reaper asks nobody
		{"/nsinit", "nsinit", "", true},
		{"/nsinit/web", "nsinit", "", true},
		{"/nsinit/web/x/main", "nsinit", "", true},
		{"/nsinit-manager", "nsinit", "", false},
		{"/nsinit2/web/4/main", "nsinit", "", false},
		{"/user.slice/user-0.slice", "nsinit", "", false},
		{"/", "nsinit", "", false},
		{"/../nsinit/web/4/main", "nsinit", "web", true}, // seen from a cgroup namespace of its own
	} {
		name, inside := serviceOf(tt.cgroup, tt.root)
		if name != tt.name || inside != tt.inside {
			t.Errorf("serviceOf(%q, %q) = %q, %v; want %q, %v", tt.cgroup, tt.root, name, inside, tt.name, tt.inside)
		}
	}
}

func TestHostUnits(t *testing.T) {
	var h hostUnits
	h.note(&unit.Unit{Name: "ssh", Profile: unit.ProfileHost})
	h.note(&unit.Unit{Name: "web", Profile: unit.ProfileStrict})
	if !h.has("ssh") || h.has("web") || h.has("") {
		t.Error("only ssh is of profile host")
	}
	h.note(&unit.Unit{Name: "ssh", Profile: unit.ProfileDaemon})
	if h.has("ssh") {
		t.Error("ssh is not of profile host any more")
	}
}

func TestInGroup(t *testing.T) {
	groups := []int{77}
	for _, tt := range []struct {
		p    control.Peer
		want bool
	}{{control.Peer{GID: 77}, true}, {control.Peer{GID: 5, Groups: []uint32{5, 77}}, true}, {control.Peer{GID: 5, Groups: []uint32{5}}, false}, {control.Peer{}, false}} {
		if got := inGroup(tt.p, groups); got != tt.want {
			t.Errorf("inGroup(%+v) = %v", tt.p, got)
		}
	}
	if inGroup(control.Peer{GID: 77}, nil) {
		t.Error("a group that does not exist has members")
	}
}
