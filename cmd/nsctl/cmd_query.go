package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/nsinit/nsinit/supervisor/control"
)

// question is an is-... verb: a word for each unit, and whether it is a yes. One
// yes is enough for exit code 0, as with systemctl.
type question struct {
	use, short string
	word       func(control.UnitStatus) string
	yes        []string
	no         int // the exit code without a yes
}

func isActiveCmd(a *app) *cobra.Command {
	return questionCmd(a, question{use: "is-active UNIT...", short: "Ask whether a unit is active",
		word: func(st control.UnitStatus) string { return st.ActiveState }, yes: []string{"active", "reloading"}, no: exitNotActive})
}

func isFailedCmd(a *app) *cobra.Command {
	return questionCmd(a, question{use: "is-failed UNIT...", short: "Ask whether a unit has failed",
		word: func(st control.UnitStatus) string { return st.ActiveState }, yes: []string{"failed"}, no: exitFailure})
}

func isEnabledCmd(a *app) *cobra.Command {
	return questionCmd(a, question{use: "is-enabled UNIT...", short: "Ask whether a unit is enabled",
		word: func(st control.UnitStatus) string { return orElse(st.Enabled, st.LoadState) },
		yes:  []string{"enabled", "static"}, no: exitFailure})
}

func questionCmd(a *app, q question) *cobra.Command {
	return &cobra.Command{
		Use: q.use, Short: q.short, Args: someUnits, ValidArgsFunction: a.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			args, err := a.expand(cmd.Context(), args)
			if err != nil {
				return err
			}
			words := make([]string, len(args))
			for i, unit := range args {
				st, err := a.api().Status(cmd.Context(), unit)
				if err != nil && !isNoUnit(err) {
					return err
				}
				words[i] = "not-found"
				if err == nil {
					words[i] = q.word(st)
				}
			}
			return a.answer(q, args, words)
		},
	}
}

func (a *app) answer(q question, units, words []string) error {
	if a.json {
		m := map[string]string{}
		for i, u := range units {
			m[u] = words[i]
		}
		if err := a.printJSON(m); err != nil {
			return err
		}
	} else if !a.quiet {
		for _, w := range words {
			fmt.Fprintln(a.out, clean(w))
		}
	}
	unknown := true
	for _, w := range words {
		if slices.Contains(q.yes, w) {
			return nil
		}
		unknown = unknown && w == "not-found"
	}
	if unknown {
		return exitCode(exitNoUnit)
	}
	return exitCode(q.no)
}

func isNoUnit(err error) bool {
	var e *control.Error
	return errors.As(err, &e) && e.Code == control.CodeNoSuchUnit
}
