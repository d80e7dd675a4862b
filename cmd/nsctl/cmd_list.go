package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/nsinit/nsinit/supervisor/control"
)

func listUnitsCmd(a *app) *cobra.Command {
	var q control.ListQuery
	var failed, noLegend, all, plain bool
	var types []string
	cmd := &cobra.Command{
		Use: "list-units [PATTERN...]", Aliases: []string{"list"}, Short: "List units", ValidArgsFunction: a.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			q.Patterns = args
			if failed {
				q.States = append(q.States, troubled...)
			}
			list, err := a.api().List(cmd.Context(), q)
			if err != nil {
				return err
			}
			if len(types) > 0 {
				list = slices.DeleteFunc(list, func(e control.UnitListEntry) bool { return !slices.Contains(types, e.Kind) })
			}
			if a.json {
				return a.printJSON(list)
			}
			if !all && len(args) == 0 {
				list = withoutBuiltIn(list)
			}
			v := a.view()
			a.page()
			v.Plain = plain
			renderList(a.out, v, list, !noLegend)
			if !noLegend {
				fmt.Fprintf(a.out, "\n%s\n", plural(len(list), "unit", "units"))
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&q.States, "state", nil, "only units in these states")
	f.BoolVar(&failed, "failed", false, "only failed units, and bad files")
	f.StringSliceVarP(&types, "type", "t", nil, "only service or only target")
	f.BoolVar(&plain, "plain", false, "print no dots")
	f.BoolVar(&noLegend, "no-legend", false, "print no heading and no count")
	f.BoolVarP(&all, "all", "a", false, "the built-in targets too")
	return cmd
}

// troubled are the states for which the manager calls itself degraded.
var troubled = []string{"failed", "bad-file"}

// withoutBuiltIn leaves out the targets that no file defines: points in the
// order of a boot, of interest to who follows dependencies.
func withoutBuiltIn(list []control.UnitListEntry) []control.UnitListEntry {
	return slices.DeleteFunc(list, func(e control.UnitListEntry) bool { return e.BuiltIn })
}

func listUnitFilesCmd(a *app) *cobra.Command {
	var noLegend bool
	cmd := &cobra.Command{
		Use: "list-unit-files", Short: "List the unit files on the search path", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := a.api().UnitFiles(cmd.Context())
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(list)
			}
			v := a.view()
			a.page()
			renderUnitFiles(a.out, v, list, !noLegend)
			return nil
		},
	}
	cmd.Flags().BoolVar(&noLegend, "no-legend", false, "print no heading")
	return cmd
}
