package main

import (
	"github.com/spf13/cobra"
)

func networkCmd(a *app) *cobra.Command {
	return &cobra.Command{Use: "network", Short: "Show bridges, addresses, published ports and who is on which network", Args: cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			st, err := a.api().Network(cmd.Context())
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(st)
			}
			v := a.view()
			a.page()
			renderNetwork(a.out, v, st)
			return nil
		}}
}
