package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/nsinit/nsinit/supervisor/control"
)

// machineCmds are the verbs about the machine as a whole.
func machineCmds(a *app) []*cobra.Command {
	var out []*cobra.Command
	for _, verb := range []struct{ name, short string }{
		{control.MachinePoweroff, "Stop everything and switch the machine off"},
		{control.MachineReboot, "Stop everything and start the machine again"},
		{control.MachineHalt, "Stop everything and the processor"},
		{control.MachineKexec, "Stop everything and run the kernel that is loaded"},
	} {
		out = append(out, endCmd(a, verb.name, verb.short))
	}
	for _, target := range []string{"default", "rescue", "emergency"} {
		out = append(out, isolateTargetCmd(a, target))
	}
	isolate := &cobra.Command{Use: "isolate TARGET", Short: "Start a target and stop what it does not pull in", Args: cobra.ExactArgs(1),
		ValidArgsFunction: a.completeUnits,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.isolate(cmd.Context(), bareName(args[0])) }}
	return append(out, isolate, isSystemRunningCmd(a))
}

func isolateTargetCmd(a *app, target string) *cobra.Command {
	return &cobra.Command{Use: target, Short: "Isolate the target " + target, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.isolate(cmd.Context(), target) }}
}

func (a *app) isolate(ctx context.Context, target string) error {
	return a.act(ctx, control.ActRequest{Verb: control.VerbIsolate, Units: []string{target}})
}

// endFlags are those of poweroff, reboot, halt and kexec.
type endFlags struct {
	force int
	when  string
}

func (f *endFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.CountVarP(&f.force, "force", "f", "do without the manager if it does not answer; twice: do without it")
	flags.StringVar(&f.when, "when", "", "not supported: shutdown +5")
	flags.Bool("no-wall", false, "accepted for habit's sake")
	flags.BoolP("no-block", "", false, "accepted for habit's sake")
	for _, name := range []string{"when", "no-wall", "no-block"} {
		flags.MarkHidden(name)
	}
}

func endCmd(a *app, action, short string) *cobra.Command {
	var f endFlags
	cmd := &cobra.Command{Use: action, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.endMachine(cmd.Context(), action, f) }}
	f.add(cmd)
	return cmd
}

// endMachine has the manager end the machine, or with force process 1 itself.
func (a *app) endMachine(ctx context.Context, action string, f endFlags) error {
	if f.when != "" {
		return fmt.Errorf("cannot %s at %q: --when is not supported; shutdown takes a time: shutdown +5, shutdown 23:00", action, f.when)
	}
	if f.force > 1 {
		return signalInit(action)
	}
	reply, err := a.api().Machine(ctx, action, control.MachineRequest{})
	if err == nil && a.json {
		return a.printJSON(reply)
	}
	var dial *net.OpError
	if !errors.As(err, &dial) {
		return err
	}
	if f.force == 0 && os.Geteuid() != 0 {
		return err
	}
	if direct := signalInit(action); direct != nil {
		if f.force > 0 {
			return direct
		}
		return err // the manager of an ordinary host is not there
	}
	fmt.Fprintf(a.err, "nsctl: the manager does not answer; process 1 has the order to %s\n", action)
	return nil
}

// initProgram is the line in the build information of what process 1 must be to
// be sent an order: another init would carry it out too, and be another's. (The
// package debug/buildinfo would be 0.4 MB of nsctl.)
const initProgram = "path\tgithub.com/nsinit/nsinit/cmd/nsinit\n"

func signalInit(action string) error {
	program, err := os.ReadFile("/proc/1/exe")
	if err != nil || !bytes.Contains(program, []byte(initProgram)) {
		return fmt.Errorf("cannot %s: process 1 of this machine is not nsinit%s", action, because(err))
	}
	if err := syscall.Kill(1, control.EndSignals()[action]); err != nil {
		return fmt.Errorf("cannot %s: cannot signal process 1: %w", action, err)
	}
	return nil
}

func because(err error) string {
	if errors.Is(err, os.ErrPermission) {
		return ", as far as can be seen: try as root"
	}
	return ""
}

// isSystemRunningCmd prints a word, and its exit status is 0 if all is well.
func isSystemRunningCmd(a *app) *cobra.Command {
	var wait bool
	cmd := &cobra.Command{Use: "is-system-running", Short: "Ask whether everything is up", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			word, err := a.systemState(cmd.Context(), wait)
			if err != nil {
				return err
			}
			if a.json {
				err = a.printJSON(map[string]string{"state": word})
			} else if !a.quiet {
				_, err = fmt.Fprintln(a.out, clean(word))
			}
			if err == nil && word != "running" {
				err = exitCode(exitFailure)
			}
			return err
		}}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until the start is over")
	return cmd
}

func (a *app) systemState(ctx context.Context, wait bool) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	st, err := a.api().Manager(ctx)
	var dial *net.OpError
	if errors.As(err, &dial) {
		return "offline", nil
	}
	if err != nil || !wait || st.State != "starting" {
		return st.State, err
	}
	for _, err := range a.api().Events(ctx, control.EventQuery{}) {
		if err != nil {
			return "", err
		}
		if st, err = a.api().Manager(ctx); err != nil || st.State != "starting" {
			return st.State, err
		}
	}
	return st.State, nil
}

// wall tells everybody who is logged in, where the machine has a program for it.
func wall(text string) {
	if path, err := exec.LookPath("wall"); err == nil {
		cmd := exec.Command(path)
		cmd.Stdin = strings.NewReader(text + "\n")
		cmd.Run() // nobody may be there, or want to know
	}
}

func clockText(usec int64) string { return time.UnixMicro(usec).Format("Mon 2006-01-02 15:04:05 MST") }
