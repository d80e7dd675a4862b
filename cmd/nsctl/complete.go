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
			if down := e.ActiveState == "inactive" || e.ActiveState == "failed"; down && wantsRunning(cmd.Name()) {
				continue
			}
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

// wantsRunning tells the verbs that do nothing to a unit that is down.
func wantsRunning(verb string) bool {
	return slices.Contains([]string{control.VerbStop, control.VerbTryRestart, control.VerbReload, "kill", "exec"}, verb)
}

// completeFlags completes what flags of a verb take; flags that it does not have
// are passed over.
func (a *app) completeFlags(cmd *cobra.Command) {
	words := map[string][]string{
		"output":    strings.Fields(strings.NewReplacer(",", "", " or ", " ").Replace(outputForms)),
		"priority":  {"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"},
		"signal":    {"SIGTERM", "SIGKILL", "SIGHUP", "SIGINT", "SIGQUIT", "SIGABRT", "SIGUSR1", "SIGUSR2", "SIGSTOP", "SIGCONT"},
		"kill-whom": {"main", "control", "all"},
		"type":      {"service", "slice", "target"},
		"state":     {"active", "inactive", "failed", "activating", "deactivating", "running", "exited", "dead", "bad-file", "masked"},
		"property":  fieldNames(control.UnitStatus{}),
		"value-of":  fieldNames(control.UnitStatus{}),
	}
	for name, list := range words {
		if cmd.Flags().Lookup(name) != nil {
			cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp))
		}
	}
	if cmd.Flags().Lookup("unit") != nil {
		cmd.RegisterFlagCompletionFunc("unit", a.completeUnits)
	}
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
