package compile

import (
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/unit"
)

// exec compiles one command of the unit. hook is nil for what the start runs.
func (c *compiler) exec(kind isolate.ExecKind, index int, command unit.Command, hook *Hook) (isolate.Exec, error) {
	env := c.environment(kind, hook)
	argv, err := command.Expand(func(name string) (string, bool) {
		v, ok := env[name]
		return v, ok && !strings.HasPrefix(v, "\x00") // the process's own number, which only it knows
	})
	if err != nil {
		return isolate.Exec{}, c.fail("service."+kind.String(), isolate.ClassExec, "%s: %w", kind, err)
	}
	exec := c.surroundings()
	exec.Kind, exec.Index = kind, index
	exec.Path, exec.Argv, exec.Env = command.Path, argv, environList(env)
	exec.IgnoreFailure, exec.Privileged = command.IgnoreFailure, command.FullPrivileges
	exec.Success = c.success(kind)
	exec.Cred = c.credentials(command)
	if kind == isolate.ExecStart {
		exec.Passed = len(c.facts.Passed)
		exec.Stdin = stdin(c.unit.Service.StandardInput, c.unit.Service.TtyPath)
	}
	exec.Stdout, exec.Stderr = c.outputs(exec.Stdin)
	return exec, nil
}

// surroundings is what all programs of a unit have in common.
func (c *compiler) surroundings() isolate.Exec {
	s := &c.unit.Service
	exec := isolate.Exec{
		Rlimits:       c.rlimits(),
		Umask:         s.Umask,
		Dir:           s.WorkingDirectory.Path,
		DirMaybe:      s.WorkingDirectory.Optional,
		Sched:         scheduling(s),
		OOMScoreAdj:   s.OomScoreAdjust,
		IgnoreSIGPIPE: s.IgnoreSigpipe,
	}
	if s.WorkingDirectory.Home {
		exec.Dir = c.account.home
	}
	if s.CoredumpFilter != nil {
		mask := uint64(*s.CoredumpFilter)
		exec.CoredumpMask = &mask
	}
	return exec
}

// success returns what counts as success: 0, success_exit_status, and for a
// daemon the signals that it is usually stopped by (systemd.service(5)).
func (c *compiler) success(kind isolate.ExecKind) isolate.StatusSet {
	set := StatusSet(c.unit.Service.SuccessExitStatus)
	set.AddCode(0)
	if kind == isolate.ExecStart && c.unit.Service.Type != "oneshot" {
		for _, signal := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGPIPE} {
			set.Signals |= signalBit(signal)
		}
	}
	return set
}

// StatusSet returns a set of exit statuses as bitmaps.
func StatusSet(set unit.ExitStatusSet) isolate.StatusSet {
	var bits isolate.StatusSet
	for _, code := range set.Codes {
		bits.AddCode(uint8(code))
	}
	for _, signal := range set.Signals {
		bits.Signals |= signalBit(signal)
	}
	return bits
}

func signalBit(s syscall.Signal) uint64 { return 1 << (uint(s) - 1) }

// stdin returns descriptor 0: /dev/null, or a file or terminal, opened inside.
func stdin(s unit.Stream, terminal string) isolate.Stdio {
	tty := isolate.Stdio{Kind: isolate.StdioTTY, Path: terminal}
	switch s.Kind {
	case "file":
		return isolate.Stdio{Kind: isolate.StdioFile, Path: s.Path, Flags: unix.O_RDONLY}
	case "tty":
		return tty
	case "tty-force":
		tty.Acquire = isolate.AcquireForce
		return tty
	case "tty-fail":
		tty.Acquire = isolate.AcquireFail
		return tty
	}
	return isolate.Stdio{Kind: isolate.StdioNull}
}

// outputs returns descriptors 1 and 2. One file for both is opened once, so
// that they share an offset; and so is the terminal that is standard input.
// Commands around main, which have no standard input, open the terminal.
func (c *compiler) outputs(in isolate.Stdio) (stdout, stderr isolate.Stdio) {
	out, err := c.unit.Log.StandardOutput, c.unit.Log.StandardError
	stdout, stderr = c.output(out, in), c.output(err, in)
	if stdout.Kind == isolate.StdioFile && out == err {
		stderr = isolate.Stdio{Kind: isolate.StdioSame}
	}
	return stdout, stderr
}

func (c *compiler) output(s unit.Stream, in isolate.Stdio) isolate.Stdio {
	if s.Terminal() && in.Kind == isolate.StdioTTY {
		return isolate.Stdio{Kind: isolate.StdioInput}
	}
	if s.Terminal() {
		return isolate.Stdio{Kind: isolate.StdioFile, Path: c.unit.Service.TtyPath, Flags: unix.O_WRONLY}
	}
	file := isolate.Stdio{Kind: isolate.StdioFile, Path: s.Path, Flags: unix.O_WRONLY | unix.O_CREAT}
	switch s.Kind {
	case "log":
		return isolate.Stdio{Kind: isolate.StdioLog}
	case "file":
		return file
	case "append":
		file.Flags |= unix.O_APPEND
		return file
	case "truncate":
		file.Flags |= unix.O_TRUNC
		return file
	}
	return isolate.Stdio{Kind: isolate.StdioNull}
}
