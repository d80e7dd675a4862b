package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nsinit/nsinit/supervisor/control"
)

func planCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "plan UNIT", Short: "Show what a start would do, step by step", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := a.api().Plan(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(p)
			}
			v := a.view()
			a.page()
			renderPlan(a.out, v, p)
			return nil
		},
	}
}

// renderPlan prints the steps, with who makes them at the first of each.
func renderPlan(w io.Writer, v view, p control.Plan) {
	from := orElse(p.Path, p.Unit)
	if p.DropIns > 0 {
		from += " and " + plural(p.DropIns, "drop-in", "drop-ins")
	}
	fmt.Fprintf(w, "%s: %s, from %s%s\n", clean(p.Unit), plural(len(p.Steps), "step", "steps"), clean(from),
		clean(parenthesised(nonEmpty(prefixed("profile ", p.Profile), prefixed("for ", p.Host)), "; ")))
	byWidth, callWidth := 0, 0
	for _, s := range p.Steps {
		byWidth, callWidth = max(byWidth, len(clean(s.By))), max(callWidth, min(len(clean(s.Call)), 18))
	}
	last := ""
	for i, s := range p.Steps {
		by := ""
		if s.By != last {
			by, last = s.By, s.By
		}
		line := fmt.Sprintf("%s %3d  %s  %s", pad(clean(by), byWidth, false), i+1, pad(clean(s.Call), callWidth, false), clean(s.Args))
		fmt.Fprintln(w, cut(strings.TrimRight(line, " "), v.Width))
	}
	planList(w, "Relaxed", p.Relaxed)
	planList(w, "Needs", p.Needs)
}

func planList(w io.Writer, label string, list []string) {
	if len(list) > 0 {
		fmt.Fprintf(w, "%s  %s\n", pad(label, 8, false), clean(strings.Join(list, " · ")))
	}
}
