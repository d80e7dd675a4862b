package compile

import (
	"path"
	"strings"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/unit"
)

// Commands returns the commands of u of one kind.
func Commands(u *unit.Unit, kind isolate.ExecKind) []unit.Command {
	s := &u.Service
	return map[isolate.ExecKind][]unit.Command{
		isolate.ExecCondition: s.ExecCondition, isolate.ExecStartPre: s.ExecStartPre, isolate.ExecStart: s.ExecStart,
		isolate.ExecStartPost: s.ExecStartPost, isolate.ExecReload: s.ExecReload, isolate.ExecStop: s.ExecStop,
		isolate.ExecStopPost: s.ExecStopPost,
	}[kind]
}

// RunHook compiles command index of kind (exec_start_post, exec_reload,
// exec_stop, exec_stop_post) to run in the namespaces of the live service.
func RunHook(u *unit.Unit, h isolate.Host, f Facts, kind isolate.ExecKind, index int, hook Hook) (isolate.JoinSpec, error) {
	c, err := newCompiler(u, h, f)
	if err != nil {
		return isolate.JoinSpec{}, err
	}
	commands := Commands(u, kind)
	if index < 0 || index >= len(commands) {
		return isolate.JoinSpec{}, c.fail("service."+kind.String(), 0, "%s has no command %d", kind, index)
	}
	exec, err := c.exec(kind, index, commands[index], &hook)
	return c.join(exec), err
}

// ExecRequest is what `nsctl exec` asks for.
type ExecRequest struct {
	Path       string   // of the program, absolute, inside the service's root
	Argv       []string // with argv[0]
	User       string   // name or number; "" is the service's
	Dir        string   // absolute; "" is the service's
	Env        []string // "NAME=value", over the service's environment: TERM and its like
	TTY        bool     // standard input becomes the controlling terminal
	Privileged bool     // every capability, and no_new_privileges lifted
}

// RunCommand compiles a command that a person runs in the service: its
// environment, limits, user and capabilities, with stdio of the caller.
func RunCommand(u *unit.Unit, h isolate.Host, f Facts, r ExecRequest, hook Hook) (isolate.JoinSpec, error) {
	c, err := newCompiler(u, h, f)
	if err != nil {
		return isolate.JoinSpec{}, err
	}
	if len(r.Argv) == 0 || !path.IsAbs(r.Path) {
		return isolate.JoinSpec{}, c.fail("", isolate.ClassExec, "the command %q has no absolute path", r.Path)
	}
	if r.User != "" {
		if c.account, err = c.resolveAccount(r.User, "", nil); err != nil {
			return isolate.JoinSpec{}, err
		}
	}
	cred := c.credentials(unit.Command{})
	if r.User != "" && r.User != u.Service.User {
		cred.Ambient = 0 // they are the service's user's
	}
	if r.Privileged {
		cred.KeepAll, cred.Ambient, cred.NoNewPrivs, cred.SecureBits = true, 0, false, 0
	}
	exec := c.surroundings()
	exec.Kind, exec.Path, exec.Argv = isolate.ExecCommand, r.Path, r.Argv
	exec.Env = c.requestEnvironment(r, hook)
	exec.Cred, exec.Privileged, exec.IgnoreSIGPIPE = cred, r.Privileged, false
	exec.Success.AddCode(0)
	if r.Dir != "" {
		exec.Dir, exec.DirMaybe = r.Dir, false
	}
	exec.Stdin = isolate.Stdio{Kind: isolate.StdioDesc, TTY: r.TTY}
	exec.Stdout, exec.Stderr = isolate.Stdio{Kind: isolate.StdioDesc}, isolate.Stdio{Kind: isolate.StdioDesc}
	return c.join(exec), nil
}

func (c *compiler) requestEnvironment(r ExecRequest, hook Hook) []string {
	env := c.environment(isolate.ExecCommand, &hook)
	for _, assignment := range r.Env {
		if name, value, found := strings.Cut(assignment, "="); found {
			env[name] = value
		}
	}
	return environList(env)
}

// join puts a command into the namespaces that the service has of its own. The
// reaper has no cgroup namespace; the command starts one where it stands.
func (c *compiler) join(exec isolate.Exec) isolate.JoinSpec {
	return isolate.JoinSpec{
		Unit:       c.unit.Name,
		Namespaces: c.namespaces &^ isolate.Cgroup,
		OwnCgroup:  c.namespaces.Has(isolate.Cgroup),
		Exec:       exec,
	}
}

// SearchPath returns PATH as a command in the service has it, for a program
// that is named without a path.
func SearchPath(u *unit.Unit, h isolate.Host, f Facts) (string, error) {
	c, err := newCompiler(u, h, f)
	if err != nil {
		return "", err
	}
	return c.environment(isolate.ExecCommand, nil)["PATH"], nil
}
