package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nsinit/nsinit/supervisor/control"
)

func statusCmd(a *app) *cobra.Command {
	var lines int
	var states []string
	var failed, all bool
	cmd := &cobra.Command{
		Use: "status [UNIT|PID...]", Short: "Show units, or the whole instance", ValidArgsFunction: a.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			if failed {
				states = append(states, troubled...)
			}
			if len(args) == 0 {
				return a.overview(cmd.Context(), states, all)
			}
			return a.status(cmd.Context(), args, lines)
		},
	}
	cmd.Flags().IntVarP(&lines, "lines", "n", 10, "how many log lines")
	cmd.Flags().StringSliceVar(&states, "state", nil, "only units in these states")
	cmd.Flags().BoolVar(&failed, "failed", false, "only failed units, and bad files")
	cmd.Flags().BoolVarP(&all, "all", "a", false, "without a unit: the built-in targets too")
	return cmd
}

// overview is status without a unit.
func (a *app) overview(ctx context.Context, states []string, all bool) error {
	m, err := a.api().Manager(ctx)
	if err != nil {
		return err
	}
	list, err := a.api().List(ctx, control.ListQuery{States: states})
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(struct {
			Manager control.ManagerStatus   `json:"manager"`
			Units   []control.UnitListEntry `json:"units"`
		}{m, list})
	}
	if !all {
		list = withoutBuiltIn(list)
	}
	v := a.view()
	a.page()
	renderManager(a.out, v, m)
	fmt.Fprintln(a.out)
	renderList(a.out, v, list, true)
	return nil
}

// status shows each unit; the exit code is that of the worst. Globs match units
// that are loaded, and matching nothing is no error.
func (a *app) status(ctx context.Context, args []string, lines int) error {
	names, err := a.expand(ctx, args)
	if err != nil {
		return err
	}
	v := a.view()
	a.page()
	var all []control.UnitStatus
	worst := 0
	for i, name := range names {
		st, err := a.api().Status(ctx, name)
		if isNoUnit(err) {
			if owner, ok := a.ownerOf(ctx, name); ok {
				st, err = owner, nil
			}
		}
		if code, reported := a.statusError(name, err); reported {
			worst = max(worst, code)
			continue
		} else if err != nil {
			return err
		}
		if st.ActiveState != "active" && st.ActiveState != "reloading" {
			worst = max(worst, exitNotActive)
		}
		if a.json {
			all = append(all, st)
			continue
		}
		if i > 0 {
			fmt.Fprintln(a.out)
		}
		logs, why := a.tail(ctx, st.Name, lines)
		renderStatus(a.out, v, st, logs, why)
	}
	if a.json {
		if err := a.printJSON(all); err != nil {
			return err
		}
	}
	return codeError(worst)
}

// ownerOf gives the unit that a process belongs to, by its cgroup:
// .../UNIT/GENERATION/{init,main} (cgroups(7), proc_pid_cgroup(5)).
func (a *app) ownerOf(ctx context.Context, pid string) (control.UnitStatus, bool) {
	n, err := strconv.Atoi(pid)
	if err != nil || n < 1 {
		return control.UnitStatus{}, false
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", n))
	if err != nil {
		return control.UnitStatus{}, false
	}
	_, at, _ := strings.Cut(string(data), "0::/")
	at, _, _ = strings.Cut(at, "\n")
	for name := range strings.SplitSeq(at, "/") {
		st, err := a.api().Status(ctx, name)
		if err == nil && st.ControlGroup != "" && strings.HasPrefix(at+"/", path.Dir(path.Dir(st.ControlGroup))+"/") {
			return st, true
		}
	}
	return control.UnitStatus{}, false
}

// statusError reports a unit that does not exist and goes on with the next.
func (a *app) statusError(name string, err error) (code int, reported bool) {
	var e *control.Error
	if !errors.As(err, &e) || e.Code != control.CodeNoSuchUnit {
		return 0, false
	}
	fmt.Fprintf(a.err, "%s: no such unit\n", clean(name))
	return exitNoUnit, true
}

// codeError is nil for 0.
func codeError(code int) error {
	if code == 0 {
		return nil
	}
	return exitCode(code)
}

// tail gives the last log records, or why there are none to see.
func (a *app) tail(ctx context.Context, unit string, n int) ([]control.LogRecord, string) {
	var out []control.LogRecord
	if n <= 0 {
		return nil, ""
	}
	for rec, err := range a.api().Logs(ctx, control.LogQuery{Units: []string{unit}, Last: n}) {
		var e *control.Error
		if errors.As(err, &e) && e.Code == control.CodeForbidden {
			return nil, "the log is for root and group nsinit"
		}
		if err != nil {
			return out, "cannot read the log: " + err.Error()
		}
		out = append(out, rec)
	}
	return out, ""
}

// expand replaces globs by the names that they match.
func (a *app) expand(ctx context.Context, args []string) ([]string, error) {
	var out []string
	for _, arg := range args {
		if !strings.ContainsAny(arg, "*?[") {
			out = append(out, arg)
			continue
		}
		list, err := a.api().List(ctx, control.ListQuery{Patterns: []string{arg}})
		if err != nil {
			return nil, err
		}
		for _, e := range list {
			out = append(out, e.Name)
		}
	}
	return out, nil
}

// bareName takes off the suffixes that people type out of habit.
func bareName(unit string) string {
	return strings.TrimSuffix(strings.TrimSuffix(unit, ".service"), ".target")
}
