package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/nsinit/nsinit/unit"
	"github.com/nsinit/nsinit/unit/systemd"
)

func exportCmd(a *app) *cobra.Command {
	var dirs []string
	cmd := &cobra.Command{
		Use: "export UNIT", Short: "Print a unit as one of systemd", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeUnits,
		RunE: func(_ *cobra.Command, args []string) error {
			options, err := a.unitOptions()
			if err != nil {
				return err
			}
			if len(dirs) == 0 {
				dirs = a.unitDirs()
			}
			u, err := unit.LoadSet(dirs, options).Resolve(args[0])
			if err != nil {
				return fmt.Errorf("cannot export %s: %w", args[0], err)
			}
			text, cannot, err := systemd.Export(u)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{"unit": u.Name, "text": text, "not_carried_over": append([]string{}, cannot...)})
			}
			fmt.Fprint(a.out, text)
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&dirs, "unit-path", nil, "look for units here")
	return cmd
}
