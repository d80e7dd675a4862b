package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/nsinit/nsinit/supervisor/control"
)

// actionCmds are the verbs that change a unit's state.
func actionCmds(a *app) []*cobra.Command {
	var out []*cobra.Command
	for _, verb := range []struct{ name, short string }{
		{control.VerbStart, "Start units"},
		{control.VerbStop, "Stop units, and what triggers them"},
		{control.VerbRestart, "Stop units if they run, and start them"},
		{control.VerbTryRestart, "Restart units that run"},
		{control.VerbReload, "Have units read their configuration again"},
		{control.VerbReloadOrRestart, "Reload units that can, restart the others"},
	} {
		cmd := actionCmd(a, verb.name, verb.short)
		if verb.name == control.VerbTryRestart {
			cmd.Aliases = []string{"condrestart"}
		}
		out = append(out, cmd)
	}
	return out
}

func actionCmd(a *app, verb, short string) *cobra.Command {
	req := control.ActRequest{Verb: verb}
	cmd := &cobra.Command{
		Use: verb + " UNIT...", Short: short, Args: someUnits, ValidArgsFunction: a.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			units, err := a.expand(cmd.Context(), args)
			if err != nil || len(units) == 0 {
				return err
			}
			req.Units = nil
			for _, u := range units {
				if u = bareName(u); !slices.Contains(req.Units, u) {
					req.Units = append(req.Units, u)
				}
			}
			return a.act(cmd.Context(), req)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&req.NoBlock, "no-block", false, "do not wait until it is done")
	f.BoolVar(&req.Wait, "wait", false, "show the progress; with start, wait until the units have ended")
	f.Bool("now", false, "accepted for habit's sake")
	if verb == control.VerbStop {
		f.BoolVar(&req.KeepTriggers, "keep-triggers", false, "leave sockets, timers and paths armed")
	}
	return cmd
}

// act prints what happens to each unit. Results are data; failures are
// messages.
func (a *app) act(ctx context.Context, req control.ActRequest) error {
	worst, done := 0, 0
	for p, err := range a.api().Act(ctx, req) {
		if err != nil {
			return err
		}
		if p.Done {
			done++
		}
		if a.json {
			if err := a.printJSON(p); err != nil {
				return err
			}
		}
		worst = max(worst, a.progress(p, req.Wait))
	}
	if done < len(req.Units) && !req.NoBlock { // the manager was stopped meanwhile
		return fmt.Errorf("cannot tell how it ended: %d of %s answered for (nsctl status shows the others)",
			done, plural(len(req.Units), "unit was", "units were"))
	}
	return codeError(worst)
}

// progress prints one line of the stream, and gives the exit code of it.
func (a *app) progress(p control.Progress, all bool) int {
	a.warnChanged(p)
	if p.Error != nil {
		e := *p.Error
		e.Unit = orElse(e.Unit, p.Unit)
		if e.Failure == nil && p.Status != nil {
			e.Failure = p.Status.Failure
		}
		return report(a, a.err, &e)
	}
	if a.json || a.quiet || p.Text == "" || !p.Done && !all {
		return 0
	}
	fmt.Fprintf(a.out, "%s: %s\n", clean(p.Unit), clean(p.Text))
	return 0
}

// warnChanged tells that a verb has used the definition of an older file.
func (a *app) warnChanged(p control.Progress) {
	if p.Verb == control.VerbStop || !p.Done || p.Status == nil || p.Status.ChangedUsec == 0 {
		return
	}
	fmt.Fprintf(a.err, "%s: warning: its file changed on disk, and what is in force is the old one\n"+
		"  nsctl daemon-reload, then nsctl restart %[1]s\n", clean(p.Unit))
}

func killCmd(a *app) *cobra.Command {
	var signal, whom string
	cmd := &cobra.Command{
		Use: "kill UNIT...", Short: "Send a signal to processes of units", Args: someUnits, ValidArgsFunction: a.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := signalNumber(signal)
			if err != nil {
				return err
			}
			return a.each(cmd.Context(), args, func(unit string) error {
				st, err := a.api().Kill(cmd.Context(), control.KillRequest{Unit: unit, Signal: n, Whom: whom})
				if err == nil && a.json {
					return a.printJSON(st)
				}
				return err
			})
		},
	}
	f := cmd.Flags()
	f.StringVarP(&signal, "signal", "s", "SIGTERM", "the signal, by name or number")
	f.StringVar(&whom, "kill-whom", "all", "main, control or all")
	f.StringVar(&whom, "kill-who", "all", "")
	f.MarkHidden("kill-who")
	return cmd
}

// each does f for every unit, globs expanded, reports failures, and goes on.
func (a *app) each(ctx context.Context, args []string, f func(unit string) error) error {
	units, err := a.expand(ctx, args)
	if err != nil {
		return err
	}
	worst := 0
	for _, u := range units {
		if err := f(u); err != nil {
			worst = max(worst, report(a, a.err, err))
		}
	}
	return codeError(worst)
}

func resetFailedCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "reset-failed [UNIT...]", Short: "Forget failures and start limits", ValidArgsFunction: a.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			units, err := a.expand(cmd.Context(), args)
			if err != nil || len(args) > 0 && len(units) == 0 { // no unit would mean all
				return err
			}
			return a.api().ResetFailed(cmd.Context(), units)
		},
	}
}
