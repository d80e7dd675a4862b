package compile

import (
	"slices"
	"strconv"
	"strings"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/unit"
)

// defaultPath is PATH of every service, systemd's on a system with separate
// /bin and /sbin; where they are links it costs nothing.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// notifyInside is where a service with a private /run finds its socket.
const notifyInside = "/run/nsinit/notify"

// environment returns the variables of a program. Later sources win: what
// nsinit gives, pass_environment, environment, environment_file, and last the
// variables of protocols, which no file may redirect. unset_environment has
// the final word.
func (c *compiler) environment(kind isolate.ExecKind, hook *Hook) map[string]string {
	env := map[string]string{"PATH": defaultPath}
	if login := c.unit.Service.SetLoginEnvironment; login == nil && c.account.userGiven || login != nil && *login {
		env["USER"], env["LOGNAME"] = c.account.name, c.account.name
		env["HOME"], env["SHELL"] = c.account.home, c.account.shell
	}
	if c.unit.Isolation.Profile != unit.ProfileHost {
		env["container"] = "nsinit"
	}
	if c.unit.UsesTerminal() && kind != isolate.ExecCommand {
		env["TERM"] = terminalType(c.unit.Service.TtyPath, c.facts.Console, c.facts.ConsoleTerm)
	}
	c.directoryVariables(env)
	for _, assignment := range c.facts.Environ {
		name, value, _ := strings.Cut(assignment, "=")
		if slices.Contains(c.unit.Service.PassEnvironment, name) {
			env[name] = value
		}
	}
	for _, list := range [][]unit.EnvAssignment{c.unit.Service.Environment, c.facts.EnvironmentFile} {
		for _, a := range list {
			env[a.Name] = a.Value
		}
	}
	c.protocolVariables(env, kind, hook)
	for _, unset := range c.unit.Service.UnsetEnvironment {
		name, value, exact := strings.Cut(unset, "=")
		if !exact || env[name] == value {
			delete(env, name)
		}
	}
	return env
}

// directoryVariables tells a service its directories: RUNTIME_DIRECTORY and its
// like, several joined by ":" (systemd.exec(5)).
func (c *compiler) directoryVariables(env map[string]string) {
	for _, kind := range directoryKinds(c.unit) {
		var paths []string
		for _, d := range kind.entries {
			paths = append(paths, kind.base+"/"+d.Path)
		}
		if len(paths) > 0 {
			env[kind.variable] = strings.Join(paths, ":")
		}
	}
}

// protocolVariables are those by which nsinit and the service talk.
func (c *compiler) protocolVariables(env map[string]string, kind isolate.ExecKind, hook *Hook) {
	set := func(name, value string) {
		if value != "" {
			env[name] = value
		}
	}
	set("INVOCATION_ID", c.facts.InvocationID)
	if kind != isolate.ExecCommand {
		set("NOTIFY_SOCKET", c.notifyPath())
	}
	if watchdog := c.unit.Service.WatchdogSec; watchdog > 0 && watchdog != unit.Infinity && kind == isolate.ExecStart {
		set("WATCHDOG_USEC", strconv.FormatInt(watchdog.Microseconds(), 10))
	}
	if passed := c.facts.Passed; len(passed) > 0 && kind == isolate.ExecStart {
		name, unknown, _ := strings.Cut(isolate.ListenPID, "=") // the process writes its number itself
		env[name], env["LISTEN_FDS"], env["LISTEN_FDNAMES"] = unknown, strconv.Itoa(len(passed)), strings.Join(passed, ":")
	}
	if hook == nil {
		return
	}
	if hook.MainPID > 0 {
		set("MAINPID", strconv.Itoa(hook.MainPID))
	}
	set("SERVICE_RESULT", hook.ServiceResult)
	set("EXIT_CODE", hook.ExitCode)
	set("EXIT_STATUS", hook.ExitStatus)
}

// notifyPath is where the service finds its notify socket: bound into a
// private /run, else where it is on the host.
func (c *compiler) notifyPath() string {
	if c.facts.NotifySocket != "" && c.namespaces.Has(isolate.Mount) && c.unit.Filesystem.PrivateRun {
		return notifyInside
	}
	return c.facts.NotifySocket
}

// environList returns env as execve(2) takes it, sorted, so that equal starts
// are equal programs.
func environList(env map[string]string) []string {
	list := make([]string, 0, len(env))
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}
