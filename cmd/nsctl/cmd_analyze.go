package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/nsinit/nsinit/supervisor/control"
)

// analyzeCmd is systemd-analyze(1), as far as it is about time.
func analyzeCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "analyze", Short: "Say where the time of a start went", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.analyze(cmd.Context(), renderStartTime) }}
	cmd.AddCommand(
		&cobra.Command{Use: "time", Short: "How long until the target", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return a.analyze(cmd.Context(), renderStartTime) }},
		&cobra.Command{Use: "blame", Short: "Units by the time that they took", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				a.page()
				return a.analyze(cmd.Context(), renderBlame)
			}},
		&cobra.Command{Use: "critical-chain [UNIT]", Short: "What a unit waited for, and that in turn", Args: cobra.MaximumNArgs(1),
			ValidArgsFunction: a.completeUnits,
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.analyze(cmd.Context(), func(w io.Writer, st control.Startup) error {
					unit := st.Target
					if len(args) > 0 {
						unit = bareName(args[0])
					}
					return renderChain(w, st, unit)
				})
			}},
		&cobra.Command{Use: "plot", Short: "A picture of it (SVG)", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return a.analyze(cmd.Context(), renderPlot) }},
	)
	return cmd
}

// analyze asks for the times and prints them; with --json, all of them.
func (a *app) analyze(ctx context.Context, render func(io.Writer, control.Startup) error) error {
	st, err := a.api().Startup(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(st)
	}
	return render(a.out, st)
}

func listJobsCmd(a *app) *cobra.Command {
	return &cobra.Command{Use: "list-jobs", Short: "List what was asked for and is not done", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := a.api().Jobs(cmd.Context())
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(list)
			}
			renderJobs(a.out, a.view(), list)
			return nil
		}}
}

func renderJobs(w io.Writer, v view, list []control.Job) {
	if len(list) == 0 {
		fmt.Fprintln(w, "No jobs running.")
		return
	}
	t := table{columns: []column{{name: "UNIT"}, {name: "TYPE"}, {name: "STATE"}, {name: "NOW"}}}
	for _, j := range list {
		state := "waiting"
		if j.Running {
			state = "running"
		}
		t.add("", "", j.Unit, j.Type, state, j.Text)
	}
	t.print(w, v, true)
}
