package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/nsinit/nsinit/unit"
)

func verifyCmd(a *app) *cobra.Command {
	var dirs []string
	cmd := &cobra.Command{
		Use: "verify FILE|UNIT...", Short: "Check unit files, and say how they relax the isolation", Args: someFiles,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"toml"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			options, err := a.unitOptions()
			if err != nil {
				return err
			}
			if len(dirs) == 0 {
				dirs = a.unitDirs()
				if m, err := a.api().Manager(cmd.Context()); slices.ContainsFunc(args, isUnitName) && err == nil {
					dirs = m.UnitPath
				}
			}
			var files []string
			for _, arg := range args {
				found, err := filesOf(arg, dirs)
				if err != nil {
					return err
				}
				files = append(files, found...)
			}
			return a.verify(unit.Verify(files, dirs, options))
		},
	}
	cmd.Flags().StringArrayVar(&dirs, "unit-path", nil, "look for the other units here")
	return cmd
}

func isUnitName(arg string) bool {
	return !strings.Contains(arg, "/") && !strings.HasSuffix(arg, ".toml")
}

// filesOf gives the file of a unit that is named, and its drop-ins; a file stays
// what it is.
func filesOf(arg string, dirs []string) ([]string, error) {
	if !isUnitName(arg) {
		return []string{arg}, nil
	}
	name, files := bareName(arg), []string{}
	template, _, isInstance := strings.Cut(name, "@")
	for _, dir := range dirs {
		for _, base := range []string{name, template + "@"} {
			path := filepath.Join(dir, base+".toml")
			if _, err := os.Stat(path); err == nil && len(files) == 0 {
				files = append(files, path)
			}
			if !isInstance {
				break
			}
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("cannot verify %s: no such unit in %s; a file is written with its path", name, strings.Join(dirs, ", "))
	}
	for _, dir := range dirs {
		dropIns, _ := filepath.Glob(filepath.Join(dir, globQuote(name)+".toml.d", "*.toml"))
		files = append(files, dropIns...)
	}
	return files, nil
}

// globQuote makes a name match itself alone (path/filepath.Match).
func globQuote(name string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(name)
}

// verify prints reports; any error makes the exit code 1.
func (a *app) verify(reports []unit.Report) error {
	var errs, warnings int
	for _, r := range reports {
		errs += len(r.Errors)
		warnings += len(r.Warnings)
	}
	if a.json {
		if err := a.printJSON(reportsJSON(reports)); err != nil {
			return err
		}
	} else {
		renderReports(a.out, a.view(), reports, a.quiet)
		if !a.quiet {
			fmt.Fprintf(a.out, "%s, %s\n", plural(errs, "error", "errors"), plural(warnings, "warning", "warnings"))
		}
	}
	if errs > 0 {
		return exitCode(exitFailure)
	}
	return nil
}

func renderReports(w io.Writer, v view, reports []unit.Report, quiet bool) {
	for _, r := range reports {
		for _, e := range r.Errors {
			renderUnitError(w, v, e)
		}
		if quiet {
			continue
		}
		for _, e := range r.Warnings {
			renderUnitError(w, v, e)
		}
		if r.Preset != "" {
			fmt.Fprintf(w, "%s: preset: %s\n", clean(r.File), clean(r.Preset))
		}
		if len(r.Relaxes) > 0 {
			fmt.Fprintf(w, "%s: relaxes: %s\n", clean(r.File), clean(strings.Join(r.Relaxes, " · ")))
		}
	}
}

// renderUnitError prints a compiler's message, with the line of the file and a
// mark under what is meant.
func renderUnitError(w io.Writer, v view, e *unit.Error) {
	kind, colour := "error", red
	if e.Warning {
		kind, colour = "warning", yellow
	}
	place := e.File
	if e.Line > 0 {
		place = fmt.Sprintf("%s:%d:%d", e.File, e.Line, e.Col)
	}
	if place != "" {
		place = clean(place) + ": "
	}
	msg := e.Msg
	if e.Source == "" && e.Hint != "" {
		msg += "; " + e.Hint
	}
	fmt.Fprintf(w, "%s%s: %s\n", place, v.paint(colour, kind), clean(msg))
	if e.Source == "" {
		return
	}
	number := strconv.Itoa(e.Line)
	before, marked := splitSource(e)
	fmt.Fprintf(w, "  %s | %s\n", number, clean(e.Source))
	mark := "^" + strings.Repeat("~", max(0, utf8.RuneCountInString(clean(marked))-1))
	line := strings.Repeat(" ", utf8.RuneCountInString(clean(before))) + v.paint(colour, mark)
	if e.Hint != "" {
		line += " " + clean(e.Hint)
	}
	fmt.Fprintf(w, "  %s | %s\n", strings.Repeat(" ", len(number)), line)
}

// splitSource gives what stands before the mark, and what is marked.
func splitSource(e *unit.Error) (before, marked string) {
	start := min(max(e.Col-1, 0), len(e.Source))
	end := min(start+max(e.Len, 1), len(e.Source))
	return e.Source[:start], e.Source[start:end]
}

// reportJSON gives unit.Report snake_case names.
type reportJSON struct {
	File     string      `json:"file"`
	Errors   []errorJSON `json:"errors"`
	Warnings []errorJSON `json:"warnings"`
	Relaxes  []string    `json:"relaxes"`
	Preset   string      `json:"preset,omitempty"`
}

type errorJSON struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Key     string `json:"key,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

func reportsJSON(reports []unit.Report) []reportJSON {
	out := make([]reportJSON, len(reports))
	for i, r := range reports {
		out[i] = reportJSON{r.File, errorsJSON(r.Errors), errorsJSON(r.Warnings), append([]string{}, r.Relaxes...), r.Preset}
	}
	return out
}

func errorsJSON(list unit.List) []errorJSON {
	out := make([]errorJSON, len(list))
	for i, e := range list {
		out[i] = errorJSON{e.File, e.Line, e.Col, e.Key, e.Msg, e.Hint}
	}
	return out
}
