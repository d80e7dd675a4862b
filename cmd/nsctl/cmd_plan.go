package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/supervisor/compile"
	"github.com/nsinit/nsinit/supervisor/control"
	"github.com/nsinit/nsinit/unit"
)

func planCmd(a *app) *cobra.Command {
	var dirs []string
	var offline bool
	cmd := &cobra.Command{
		Use: "plan UNIT|FILE", Short: "Show what a start would do, step by step", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeUnits,
		Long: "Show the steps of a start; nothing happens, and no privilege is needed. The plan is\n" +
			"made for this host if the manager gives it, else for the oldest kernel supported.",
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := a.plan(cmd.Context(), args[0], dirs, offline)
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
	cmd.Flags().StringArrayVar(&dirs, "unit-path", nil, "look for units here, without asking the manager")
	cmd.Flags().BoolVar(&offline, "offline", false, "do not ask the manager")
	return cmd
}

// plan asks the manager; where it is not there or does not want to say, the
// plan is made here, from the files.
func (a *app) plan(ctx context.Context, name string, dirs []string, offline bool) (control.Plan, error) {
	isFile := strings.HasSuffix(name, ".toml")
	if !isFile && !offline && len(dirs) == 0 {
		p, err := a.api().Plan(ctx, name)
		var e *control.Error
		if err == nil {
			p.Host = orElse(p.Host, "this host")
			return p, nil
		}
		if errors.As(err, &e) && e.Code != control.CodeForbidden && e.Code != control.CodeNotSupported {
			return p, err
		}
	}
	if len(dirs) == 0 {
		dirs = a.unitDirs()
	}
	if isFile {
		dirs = append([]string{filepath.Dir(name)}, dirs...)
		name = strings.TrimSuffix(filepath.Base(name), ".toml")
	}
	return a.planHere(name, dirs)
}

func (a *app) planHere(name string, dirs []string) (control.Plan, error) {
	options, err := a.unitOptions()
	if err != nil {
		return control.Plan{}, err
	}
	u, err := unit.LoadSet(dirs, options).Resolve(bareName(name))
	if err != nil {
		return control.Plan{}, fmt.Errorf("cannot plan %s: %w", name, err)
	}
	if u.IsTarget() {
		return control.Plan{}, fmt.Errorf("cannot plan %s: it is a target, and starts nothing itself", name)
	}
	facts, err := compile.Gather(u)
	if err != nil {
		return control.Plan{}, err
	}
	host := isolate.OldestHost()
	service, err := compile.Start(u, host, facts)
	if err != nil {
		return control.Plan{}, err
	}
	program, err := isolate.Compile(service.Spec, host)
	if err != nil {
		return control.Plan{}, fmt.Errorf("cannot plan %s: %w", name, err)
	}
	p := control.Plan{Unit: u.Name, Path: u.Path, DropIns: len(u.DropIns), Profile: u.Isolation.Profile,
		Host: fmt.Sprintf("Linux %d.%d: no manager was asked", host.Kernel[0], host.Kernel[1]), Relaxed: u.Relaxations}
	for _, line := range compile.NetworkLines(u) {
		p.Steps = append(p.Steps, control.PlanStep{By: "manager", Call: "network", Args: line})
	}
	for _, l := range program.Lines() {
		p.Steps = append(p.Steps, control.PlanStep(l))
	}
	return p, nil
}

// unitOptions is how unit files are read here: as the manager would, except
// that files of others than root are looked at too.
func (a *app) unitOptions() (unit.Options, error) {
	config, err := unit.LoadConfig(filepath.Join("/etc", a.instance, "nsinit.toml"))
	return unit.Options{Config: config, Presets: unit.PresetPath(a.instance), Vendor: unit.VendorPath(a.instance), Lax: true}, err
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
