package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nsinit/nsinit/supervisor/control"
)

func catCmd(a *app) *cobra.Command {
	var resolved bool
	cmd := &cobra.Command{
		Use: "cat UNIT...", Short: "Print a unit's files", Args: someUnits, ValidArgsFunction: a.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			a.page()
			first := true
			return a.each(cmd.Context(), args, func(unit string) error {
				text, err := a.api().Cat(cmd.Context(), unit)
				if err != nil {
					return err
				}
				if !first && !a.json {
					fmt.Fprintln(a.out)
				}
				first = false
				return a.cat(text, resolved)
			})
		},
	}
	cmd.Flags().BoolVar(&resolved, "resolved", false, "the unit as it is in force, with every default")
	return cmd
}

func (a *app) cat(u control.UnitText, resolved bool) error {
	if a.json {
		return a.printJSON(u)
	}
	v := a.view()
	show := func(s string) string { return strings.TrimRight(s, "\n") }
	if v.Terminal {
		show = func(s string) string { return cleanLines(strings.TrimRight(s, "\n")) }
	}
	if resolved {
		if u.Resolved == "" {
			return fmt.Errorf("cannot print %s resolved: the manager does not give it", u.Unit)
		}
		fmt.Fprintln(a.out, show(u.Resolved))
		return nil
	}
	for i, f := range u.Files {
		if i > 0 {
			fmt.Fprintln(a.out)
		}
		fmt.Fprintf(a.out, "%s\n%s\n", v.paint(bold, "# "+clean(f.Path)), show(f.Text))
	}
	return nil
}

func enableCmd(a *app) *cobra.Command {
	cmd := changeCmd(a, "enable", "Make units wanted at boot", func(ctx context.Context, r control.EnableRequest) (control.EnableReply, error) {
		return a.api().Enable(ctx, r)
	})
	cmd.Aliases = []string{"reenable"} // there are no links that could be out of date
	return cmd
}

func disableCmd(a *app) *cobra.Command {
	return changeCmd(a, "disable", "Undo enable", func(ctx context.Context, r control.EnableRequest) (control.EnableReply, error) {
		return a.api().Disable(ctx, r)
	})
}

func maskCmd(a *app) *cobra.Command {
	return changeCmd(a, "mask", "Hide units, so that nothing starts them", func(ctx context.Context, r control.EnableRequest) (control.EnableReply, error) {
		return a.api().Mask(ctx, r)
	})
}

func unmaskCmd(a *app) *cobra.Command {
	return changeCmd(a, "unmask", "Undo mask", func(ctx context.Context, r control.EnableRequest) (control.EnableReply, error) {
		return a.api().Unmask(ctx, r)
	})
}

func changeCmd(a *app, verb, short string, call func(context.Context, control.EnableRequest) (control.EnableReply, error)) *cobra.Command {
	var now bool
	cmd := &cobra.Command{
		Use: verb + " UNIT...", Short: short, Args: someUnits, ValidArgsFunction: a.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := call(cmd.Context(), control.EnableRequest{Units: args, Now: now})
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(r)
			}
			for _, c := range r.Changes {
				if !a.quiet {
					fmt.Fprintln(a.out, clean(changeText(c)))
				}
			}
			worst := 0
			for _, p := range r.Results {
				worst = max(worst, a.progress(p, false))
			}
			return codeError(worst)
		},
	}
	cmd.Flags().BoolVar(&now, "now", false, "start (stop) them too")
	return cmd
}

func changeText(c control.Change) string {
	text := c.Unit + ": " + c.Action
	if c.Path != "" {
		text += " " + c.Path
	}
	if c.Text != "" {
		text += "; " + c.Text
	}
	return text
}

func reloadCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "daemon-reload", Short: "Read the unit files again", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.daemonReload(cmd.Context()) },
	}
}

func (a *app) daemonReload(ctx context.Context) error {
	r, err := a.api().Reload(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(r)
	}
	for _, p := range r.Problems {
		fmt.Fprintln(a.err, cleanLines(p))
	}
	if !a.quiet {
		fmt.Fprintln(a.out, reloadText(r))
	}
	return nil
}

func reloadText(r control.ReloadResult) string {
	parts := []string{plural(r.Loaded, "unit", "units")}
	if r.Added > 0 {
		parts = append(parts, fmt.Sprintf("%d new", r.Added))
	}
	if r.Removed > 0 {
		parts = append(parts, fmt.Sprintf("%d gone", r.Removed))
	}
	if len(r.Changed) > 0 {
		parts = append(parts, "changed, restart to apply: "+clean(strings.Join(r.Changed, ", ")))
	}
	return strings.Join(parts, " · ")
}

func dependenciesCmd(a *app) *cobra.Command {
	var q control.DependencyQuery
	cmd := &cobra.Command{
		Use: "list-dependencies [UNIT...]", Short: "Show what a unit pulls in", ValidArgsFunction: a.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"default"}
			}
			v := a.view()
			a.page()
			return a.each(cmd.Context(), args, func(unit string) error {
				q.Unit = unit
				d, err := a.api().Dependencies(cmd.Context(), q)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(d)
				}
				renderDependencies(a.out, v, d)
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&q.Reverse, "reverse", false, "what pulls the unit in")
	cmd.Flags().BoolVarP(&q.All, "all", "a", false, "order beside requirements")
	return cmd
}

func versionCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the versions of nsctl and of the manager", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			server, err := a.api().Version(cmd.Context())
			if a.json {
				return a.printJSON(map[string]any{"client": version, "server": server.Version, "protocol": server.Protocol})
			}
			fmt.Fprintln(a.out, "nsctl "+version)
			if err != nil {
				report(a, a.err, err)
				return nil
			}
			fmt.Fprintf(a.out, "nsinit %s, instance %s, protocol %d\n", clean(server.Version), clean(server.Instance), server.Protocol)
			return nil
		},
	}
}
