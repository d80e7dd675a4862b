package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nsinit/nsinit/unit"
	"github.com/nsinit/nsinit/unit/systemd"
)

// exitSecurityLoss says that a unit was written, but less protected than it was.
const exitSecurityLoss = 2

// importing is what the flags of import say.
type importing struct {
	output  string
	profile string
	name    string
	force   bool
}

func importCmd(a *app) *cobra.Command {
	var i importing
	cmd := &cobra.Command{
		Use: "import FILE|NAME...", Short: "Turn units of systemd, init scripts and supervisord programs into unit files",
		Args: someFiles,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return systemdUnits(), cobra.ShellCompDirectiveDefault
		},
		RunE: func(_ *cobra.Command, args []string) error { return a.importAll(args, i) },
	}
	f := cmd.Flags()
	f.StringVarP(&i.output, "output", "o", "", "write NAME.toml into this directory instead of printing")
	f.StringVar(&i.profile, "profile", "", "strict, daemon or host, instead of the one that fits by rule")
	f.StringVar(&i.name, "name", "", "name of the unit that is read from standard input (-)")
	cmd.RegisterFlagCompletionFunc("profile", cobra.FixedCompletions([]string{unit.ProfileStrict, unit.ProfileDaemon, unit.ProfileHost}, cobra.ShellCompDirectiveNoFileComp))
	f.BoolVar(&i.force, "force", false, "replace files that are there already")
	return cmd
}

// systemdUnits are the services of systemd, for completion.
func systemdUnits() []string {
	var names []string
	for _, dir := range systemd.UnitPath() {
		files, _ := filepath.Glob(filepath.Join(dir, "*.service"))
		for _, f := range files {
			names = append(names, strings.TrimSuffix(filepath.Base(f), ".service"))
		}
	}
	return names
}

// importAll converts every argument; what cannot be is said, and the others go
// on.
func (a *app) importAll(args []string, i importing) error {
	switch i.profile {
	case "", unit.ProfileStrict, unit.ProfileDaemon, unit.ProfileHost:
	default:
		return fmt.Errorf("cannot take profile %q: one of strict, daemon, host", i.profile)
	}
	together := map[string]bool{}
	for _, arg := range args {
		together[unit.BareName(filepath.Base(arg))] = true
	}
	onDisk := map[string]bool{}
	for _, name := range a.unitsOnDisk() {
		onDisk[name] = true
	}
	host := systemd.Host{Units: func(name string) bool { return together[name] || onDisk[name] }}
	var errs []error
	loss := false
	var summary []importJSON
	for n, arg := range args {
		results, err := a.importOne(arg, i, host)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for m, r := range results {
			if r.SecurityLoss() {
				loss = true
				fmt.Fprintf(a.err, "nsctl: %s: protection was lost; the comments at the end of the unit say which\n", clean(r.Name))
			}
			path, err := a.writeImport(r, i, n+m > 0)
			errs = append(errs, err)
			summary = append(summary, summaryOf(r, path))
		}
	}
	if a.json {
		errs = append(errs, a.printJSON(summary))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if loss {
		return exitCode(exitSecurityLoss)
	}
	return nil
}

func (a *app) importOne(arg string, i importing, host systemd.Host) ([]*systemd.Result, error) {
	if arg != "-" {
		return systemd.ImportAny(arg, i.profile, host)
	}
	if i.name == "" {
		return nil, errors.New("cannot import from standard input: name the unit with --name")
	}
	data, err := io.ReadAll(io.LimitReader(a.stdin, systemd.MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read standard input: %w", err)
	}
	r, err := systemd.ImportText(unit.BareName(i.name), data, i.profile, host)
	return []*systemd.Result{r}, err
}

// writeImport prints the unit, or writes its file and one line about it.
func (a *app) writeImport(r *systemd.Result, i importing, again bool) (string, error) {
	if i.output == "" {
		if a.json {
			return "", nil
		}
		if again {
			fmt.Fprintln(a.out)
		}
		fmt.Fprint(a.out, r.TOML)
		return "", nil
	}
	path := filepath.Join(i.output, r.Name+".toml")
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if i.force {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(path, flags, 0o644)
	if errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("cannot write %s: it is there already; --force replaces it", path)
	}
	if err != nil {
		return "", fmt.Errorf("cannot write %s: %w", path, err)
	}
	_, err = f.WriteString(r.TOML)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("cannot write %s: %w", path, err)
	}
	if !a.json && !a.quiet {
		fmt.Fprintf(a.out, "%s: %d mapped, %d skipped, %d not supported\n", clean(path), r.Count(systemd.Mapped),
			r.Count(systemd.Skipped), r.Count(systemd.Unsupported))
	}
	return path, nil
}

// importJSON is the summary of one unit.
type importJSON struct {
	Unit         string         `json:"unit"`
	File         string         `json:"file,omitempty"`
	Mapped       int            `json:"mapped"`
	Skipped      int            `json:"skipped"`
	Unsupported  int            `json:"unsupported"`
	SecurityLoss bool           `json:"security_loss"`
	Notes        []systemd.Note `json:"notes"`
	TOML         string         `json:"toml"`
}

func summaryOf(r *systemd.Result, path string) importJSON {
	notes := []systemd.Note{}
	for _, n := range r.Notes {
		if n.Reason != "" {
			notes = append(notes, n)
		}
	}
	return importJSON{r.Name, path, r.Count(systemd.Mapped), r.Count(systemd.Skipped), r.Count(systemd.Unsupported), r.SecurityLoss(), notes, r.TOML}
}
