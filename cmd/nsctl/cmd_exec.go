package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/nsinit/nsinit/supervisor/control"
)

func execCmd(a *app) *cobra.Command {
	var req control.ExecRequest
	var tty, noTTY bool
	cmd := &cobra.Command{
		Use: "exec UNIT COMMAND [ARG...]", Short: "Run a command inside a unit", ValidArgsFunction: a.completeUnits,
		Long: "Run a command in all namespaces and in the cgroup of a unit, with its limits and\n" +
			"capabilities. The exit code is the command's; 125 if nsctl or the manager failed,\n" +
			"126 if the command cannot be run, 127 if it was not found.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return a.execFailure(errors.New("cannot exec: needs a unit and a command"))
			}
			req.Unit, req.Argv = args[0], args[1:]
			if req.Argv[0] == "--" && len(req.Argv) > 1 {
				req.Argv = req.Argv[1:] // as podman and kubectl take it
			}
			req.Terminal = !noTTY && (tty || a.bothTerminals())
			return a.exec(cmd.Context(), req)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.BoolVarP(&tty, "tty", "t", false, "with a terminal (the default if stdin and stdout are one)")
	f.BoolVarP(&noTTY, "no-tty", "T", false, "without a terminal")
	f.BoolP("interactive", "i", false, "accepted for habit's sake: it always has the standard input")
	f.MarkHidden("interactive")
	f.StringVarP(&req.User, "user", "u", "", "run as this user of the service's root; needs root")
	f.BoolVar(&req.Privileged, "privileged", false, "with all capabilities; needs root")
	f.StringVarP(&req.Directory, "directory", "w", "", "the working directory")
	f.StringArrayVarP(&req.Environment, "env", "e", nil, "NAME=value")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return a.execFailure(err) })
	return cmd
}

func (a *app) bothTerminals() bool {
	return a.stdin != nil && term.IsTerminal(int(a.stdin.Fd())) && a.onTerminal()
}

// exec runs the command and gives its exit code as an error.
func (a *app) exec(ctx context.Context, req control.ExecRequest) error {
	std := control.ExecIO{Stdout: a.out, Stderr: a.err}
	if a.stdin != nil {
		std.Stdin = a.stdin
	}
	if req.Terminal {
		if t := a.env("TERM"); t != "" {
			req.Environment = append([]string{"TERM=" + t}, req.Environment...)
		}
		restore := a.rawTerminal(&req, &std)
		defer restore()
	}
	stop := forwardSignals(req.Terminal, &std)
	defer stop()
	exit, err := a.api().Exec(ctx, req, std)
	if err == nil && exit.Error != nil {
		exit.Error.Unit = orElse(exit.Error.Unit, req.Unit)
		err = exit.Error
	}
	if err != nil {
		return a.execFailure(err)
	}
	return codeError(exit.Code)
}

// rawTerminal makes our terminal pass on every key, and reports its size now
// and at each change.
func (a *app) rawTerminal(req *control.ExecRequest, std *control.ExecIO) (restore func()) {
	fd := int(a.stdin.Fd())
	if columns, rows, err := term.GetSize(fd); err == nil {
		req.Rows, req.Columns = uint16(rows), uint16(columns)
	}
	resized := make(chan os.Signal, 1)
	sizes := make(chan control.Size, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	go func() {
		for range resized {
			if columns, rows, err := term.GetSize(fd); err == nil {
				sizes <- control.Size{Rows: uint16(rows), Columns: uint16(columns)}
			}
		}
	}()
	std.Resize = sizes
	state, err := term.MakeRaw(fd)
	return func() {
		signal.Stop(resized)
		if err == nil {
			term.Restore(fd, state)
		}
	}
}

func forwardSignals(terminal bool, std *control.ExecIO) (stop func()) {
	in, out := make(chan os.Signal, 8), make(chan syscall.Signal, 8)
	for _, sig := range forwarded(terminal) {
		signal.Notify(in, sig)
	}
	go func() {
		for sig := range in {
			out <- sig.(syscall.Signal)
		}
	}()
	std.Signals = out
	return func() { signal.Stop(in) }
}

// execFailure reports an error that is not the command's, with the code that
// tells it apart.
func (a *app) execFailure(err error) error {
	report(a, a.err, err)
	var e *control.Error
	if errors.As(err, &e) {
		switch e.Code {
		case control.CodeNotFoundIn:
			return exitCode(exitExecNone)
		case control.CodeNotRunnable:
			return exitCode(exitExecPerm)
		}
	}
	return exitCode(exitExecOwn)
}
