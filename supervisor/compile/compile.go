// Package compile turns a resolved unit into what isolate and network are told
// to do. It is pure: everything that it needs to know besides the unit is in
// Facts and isolate.Host, and Gather reads the Facts.
package compile

import (
	"fmt"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/unit"
)

// Service is a unit, compiled.
type Service struct {
	Spec    isolate.Spec
	Network unit.Network // what mode and which namespace; network makes it
}

// Error is why a unit cannot be compiled. Class is the exit status of
// systemd.exec(5) that names the kind of failure, 0 if there is none.
type Error struct {
	Unit  string
	Key   string // "service.user", or "" where no key is to blame
	Class isolate.Class
	Err   error
}

// Error returns `web: cannot start: user "x" is not in /etc/passwd (status 217/USER)`.
func (e *Error) Error() string {
	text := e.Unit + ": cannot start: " + e.Err.Error()
	if e.Class != 0 {
		text += fmt.Sprintf(" (status %d/%s)", uint8(e.Class), e.Class)
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Start compiles the start of u: its conditions, exec_start_pre and exec_start
// in the namespaces, tree and privileges that the unit asks for. It returns an
// *Error where the unit asks for something that cannot be given, and never
// gives less.
func Start(u *unit.Unit, h isolate.Host, f Facts) (*Service, error) {
	c, err := newCompiler(u, h, f)
	if err != nil {
		return nil, err
	}
	spec := isolate.Spec{
		Unit:       u.Name,
		Namespaces: c.namespaces,
		NetNS:      c.namespaces.Has(isolate.Net) && (f.NetNS || u.Network.Mode != unit.NetworkPrivate),
		PIDMax:     uint64(u.Isolation.PidMax),
	}
	if c.namespaces.Has(isolate.UTS) {
		spec.Hostname = u.Isolation.Hostname
	}
	if err := c.fileSystem(&spec); err != nil {
		return nil, err
	}
	for _, list := range []struct {
		kind     isolate.ExecKind
		commands []unit.Command
	}{
		{isolate.ExecCondition, u.Service.ExecCondition},
		{isolate.ExecStartPre, u.Service.ExecStartPre},
		{isolate.ExecStart, u.Service.ExecStart},
	} {
		for i, command := range list.commands {
			exec, err := c.exec(list.kind, i, command, nil)
			if err != nil {
				return nil, err
			}
			spec.Execs = append(spec.Execs, exec)
		}
	}
	return &Service{Spec: spec, Network: u.Network}, nil
}

// compiler holds what several parts of one compilation share.
type compiler struct {
	unit       *unit.Unit
	host       isolate.Host
	facts      Facts
	namespaces isolate.Namespaces
	account    account // of user and group
}

func newCompiler(u *unit.Unit, h isolate.Host, f Facts) (*compiler, error) {
	c := &compiler{unit: u, host: h, facts: f, namespaces: namespaces(u)}
	if u.IsTarget() {
		return nil, c.fail("", 0, "it is a target and runs nothing")
	}
	if n := len(u.Service.OpenFile); n > isolate.MaxPassed {
		return nil, c.fail("service.open_file", isolate.ClassFDs, "open_file has %d entries; the most is %d", n, isolate.MaxPassed)
	}
	if u.Service.NotifyAccess == "none" {
		c.facts.NotifySocket = ""
	}
	var err error
	c.account, err = c.resolveAccount(u.Service.User, u.Service.Group, u.Service.SupplementaryGroups)
	return c, err
}

// fail makes an Error about key.
func (c *compiler) fail(key string, class isolate.Class, format string, args ...any) error {
	return &Error{Unit: c.unit.Name, Key: key, Class: class, Err: fmt.Errorf(format, args...)}
}

// written reports whether a file of the unit has the key, so that it is not
// the profile's.
func (c *compiler) written(key string) bool { return len(c.unit.Origins(key)) > 0 }

// namespaces returns those that the service gets of its own.
func namespaces(u *unit.Unit) isolate.Namespaces {
	var set isolate.Namespaces
	n := u.Isolation.Namespaces
	for _, ns := range []struct {
		own bool
		bit isolate.Namespaces
	}{
		{n.Mount, isolate.Mount}, {n.Pid, isolate.PID}, {n.Ipc, isolate.IPC}, {n.Uts, isolate.UTS}, {n.Cgroup, isolate.Cgroup},
		{u.Network.Mode != unit.NetworkHost, isolate.Net},
	} {
		if ns.own {
			set |= ns.bit
		}
	}
	return set
}
