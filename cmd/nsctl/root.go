package main

import (
	"github.com/spf13/cobra"
)

// newRoot builds the whole command line.
func newRoot(a *app) *cobra.Command {
	var failed, all bool
	var states []string
	root := &cobra.Command{
		Use:           "nsctl",
		Short:         "Show and steer the units of nsinit",
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version, // no template of ours: it would link text/template, 1.7 MB
		Args:          noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if failed {
				states = append(states, troubled...)
			}
			return a.overview(cmd.Context(), states, all)
		},
	}
	// systemctl --failed, without a verb, is what hands type.
	root.Flags().BoolVar(&failed, "failed", false, "only failed units, and bad files")
	root.Flags().StringSliceVar(&states, "state", nil, "only units in these states")
	root.Flags().BoolVarP(&all, "all", "a", false, "the built-in targets too")
	f := root.PersistentFlags()
	f.StringVar(&a.instance, "instance", "nsinit", "the instance to talk to")
	f.StringVar(&a.socket, "socket", "", "its control socket (NSCTL_SOCKET; default /run/INSTANCE/control.sock)")
	f.BoolVar(&a.json, "json", false, "print JSON")
	f.BoolVar(&a.noPager, "no-pager", false, "do not page the output")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "print only errors")
	f.BoolVarP(&a.full, "full", "l", false, "cut no line to the width of the terminal")
	root.SuggestionsMinimumDistance = 2
	root.SetFlagErrorFunc(noSuchFlag)
	root.AddGroup(&cobra.Group{ID: "see", Title: "See:"}, &cobra.Group{ID: "do", Title: "Do:"},
		&cobra.Group{ID: "machine", Title: "The machine:"}, &cobra.Group{ID: "files", Title: "Unit files:"})
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("see", statusCmd(a), listUnitsCmd(a), listUnitFilesCmd(a), isActiveCmd(a), isFailedCmd(a), isEnabledCmd(a),
		showCmd(a), dependenciesCmd(a), listJobsCmd(a), networkCmd(a), analyzeCmd(a), logsCmd(a), eventsCmd(a))
	add("do", actionCmds(a)...)
	add("do", killCmd(a), resetFailedCmd(a), execCmd(a))
	add("machine", machineCmds(a)...)
	add("machine", shutdownCmd(a))
	root.AddCommand(linkCmds(a)...)
	add("files", catCmd(a), editCmd(a), revertCmd(a), planCmd(a), verifyCmd(a), importCmd(a), exportCmd(a), explainCmd(a), enableCmd(a), disableCmd(a), maskCmd(a), unmaskCmd(a), reloadCmd(a))
	root.AddCommand(versionCmd(a))
	for _, cmd := range root.Commands() {
		a.completeFlags(cmd)
	}
	return root
}
