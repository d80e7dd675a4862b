package main

import (
	"context"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nsinit/nsinit/supervisor/control"
)

// completeDeadline is how long a Tab may take.
const completeDeadline = 100 * time.Millisecond

// completeUnits completes unit names: the manager's, or if it does not answer
// in time, those of the files on disk.
func (a *app) completeUnits(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if cmd.Name() == "exec" && len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	ctx, cancel := context.WithTimeout(context.Background(), completeDeadline)
	defer cancel()
	var names []string
	if list, err := a.api().List(ctx, control.ListQuery{}); err == nil {
		for _, e := range list {
			names = append(names, e.Name+"\t"+clean(e.Description))
		}
	} else {
		names = a.unitsOnDisk()
	}
	names = slices.DeleteFunc(names, func(n string) bool {
		name, _, _ := strings.Cut(n, "\t")
		return !strings.HasPrefix(name, prefix) || clean(name) != name
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) unitsOnDisk() []string {
	var names []string
	for _, dir := range a.unitDirs() {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if name, ok := strings.CutSuffix(e.Name(), ".toml"); ok {
				names = append(names, name)
			}
		}
	}
	return names
}
