package main

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/nsinit/nsinit/supervisor/control"
)

func eventsCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "events [UNIT...]", Short: "Follow what happens", ValidArgsFunction: a.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			v := a.view()
			for e, err := range a.api().Events(cmd.Context(), control.EventQuery{Units: args}) {
				if err != nil {
					return err
				}
				if a.json {
					err = a.printLine(e)
				} else {
					_, err = fmt.Fprintln(a.out, eventLine(v, e))
				}
				if err != nil {
					return nil
				}
			}
			return nil
		},
	}
}

// printLine prints JSON on one line, also on a terminal.
func (a *app) printLine(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("cannot encode: %w", err)
	}
	_, err = fmt.Fprintln(a.out, escapeJSON(string(data)))
	return err
}

func eventLine(v view, e control.Event) string {
	line := v.at(e.TimeUsec).Format("15:04:05.000") + " " + clean(orElse(e.Unit, "nsinit")) + " " + clean(e.Type)
	if e.ActiveState != "" {
		_, colour := mark("", e.ActiveState)
		line += " " + v.paint(colour, clean(e.ActiveState)+parenthesised(nonEmpty(clean(e.SubState)), ""))
	}
	if e.Result != "" && e.Result != "success" {
		line += " " + clean(e.Result)
	}
	if e.MainPID > 0 {
		line += " main pid " + strconv.Itoa(e.MainPID)
	}
	if e.Text != "" {
		line += ": " + clean(e.Text)
	}
	return line
}
