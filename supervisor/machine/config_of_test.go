package machine

import (
	"syscall"
	"testing"
	"time"

	"github.com/nsinit/nsinit/unit"
)

func TestConfigOf(t *testing.T) {
	u := &unit.Unit{Name: "web", Requires: []string{"db"}, After: []string{"db"}, Conditions: []unit.Condition{{}}}
	u.Service.Type, u.Service.Restart, u.Service.RestartSec = "notify", "on-failure", time.Second
	u.Service.ExecStartPre = []unit.Command{{Path: "/bin/true", IgnoreFailure: true}, {Path: "/bin/true"}}
	u.Service.SuccessExitStatus = unit.ExitStatusSet{Codes: []int{3}, Signals: []syscall.Signal{9}}
	c := ConfigOf(u)
	if c.Name != "web" || c.Deps.Requires[0] != "db" || c.Deps.After[0] != "db" || !c.Conditions || c.Type != "notify" || c.RestartSec != time.Second {
		t.Errorf("%+v", c)
	}
	if len(c.ExecStartPre) != 2 || !c.ExecStartPre[0].IgnoreFailure || c.ExecStartPre[1].IgnoreFailure {
		t.Errorf("%+v", c.ExecStartPre)
	}
	if !c.SuccessExit.has(Status{CodeExited, 3}) || !c.SuccessExit.has(Status{CodeKilled, 9}) || c.SuccessExit.has(Status{CodeExited, 9}) {
		t.Errorf("%+v", c.SuccessExit)
	}
	before := c.Digest
	u.Service.Environment = []unit.EnvAssignment{{Name: "A", Value: "1"}}
	if before == "" || ConfigOf(u).Digest == before {
		t.Error("the digest does not see the environment")
	}
	before = ConfigOf(u).Digest
	u.DropIns, u.Install.WantedBy = []string{"/etc/web.toml.d/50-disable.toml"}, []string{"default"}
	if ConfigOf(u).Digest != before {
		t.Error("the digest sees who wants the unit")
	}
}
