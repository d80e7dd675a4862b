package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nsinit/nsinit/supervisor/control"
)

// editMark ends what is written; below it stands, for reading, what is in force.
const editMark = "### What stands below this line is for reading, and is thrown away."

func editCmd(a *app) *cobra.Command {
	var full, stdin bool
	dropIn := "override.toml"
	cmd := &cobra.Command{
		Use: "edit UNIT...", Short: "Write a drop-in of units, or with --full the whole file", Args: someUnits, ValidArgsFunction: a.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			if filepath.Base(dropIn) != dropIn || !strings.HasSuffix(dropIn, ".toml") {
				return fmt.Errorf("cannot take %q as the name of a drop-in: it ends in .toml and has no slash", dropIn)
			}
			edited := false
			err := a.each(cmd.Context(), args, func(unit string) error {
				e, err := a.startEdit(cmd.Context(), unit, dropIn, full)
				if err != nil {
					return err
				}
				changed, err := a.edit(e, stdin)
				edited = edited || changed
				return err
			})
			if !edited {
				return err
			}
			return errors.Join(err, a.daemonReload(cmd.Context()))
		},
	}
	f := cmd.Flags()
	f.BoolVar(&full, "full", false, "the whole file, copied to the first directory if it is not there")
	f.BoolVar(&stdin, "stdin", false, "take the text from the standard input, without an editor")
	f.StringVar(&dropIn, "drop-in", dropIn, "name of the drop-in")
	return cmd
}

// edit is a file to be written: its text up to now, and what to show beside.
type edit struct {
	unit, path string
	before     string
	beside     []control.FileText
}

// startEdit finds what is to be edited. A unit that does not exist is refused.
func (a *app) startEdit(ctx context.Context, unit, dropIn string, full bool) (edit, error) {
	text, err := a.api().Cat(ctx, unit)
	if err != nil {
		return edit{}, err
	}
	dir, err := a.adminDir(ctx)
	if err != nil {
		return edit{}, err
	}
	e := edit{unit: text.Unit, path: filepath.Join(dir, text.Unit+".toml.d", dropIn), beside: text.Files}
	if full {
		e.path, e.beside = filepath.Join(dir, text.Unit+".toml"), nil
		if len(text.Files) > 0 {
			e.before = text.Files[0].Text
		}
	}
	there, err := os.ReadFile(e.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return edit{}, unitError(text.Unit, "cannot edit: %v", err)
	}
	if err == nil {
		e.before = string(there)
	}
	return e, nil
}

// adminDir is where the manager writes too: the first directory of unit files
// below /etc, else the first.
func (a *app) adminDir(ctx context.Context) (string, error) {
	m, err := a.api().Manager(ctx)
	if err != nil {
		return "", err
	}
	for _, dir := range m.UnitPath {
		if strings.HasPrefix(dir, "/etc/") {
			return dir, nil
		}
	}
	if len(m.UnitPath) == 0 {
		return "", errors.New("cannot tell where unit files are: the manager does not say")
	}
	return m.UnitPath[0], nil
}

// edit lets somebody write the text, and puts it in place.
func (a *app) edit(e edit, stdin bool) (changed bool, err error) {
	var after string
	if stdin {
		var data []byte
		data, err = io.ReadAll(a.stdin)
		after = string(data)
	} else {
		after, err = a.runEditor(e)
	}
	if err != nil {
		return false, unitError(e.unit, "cannot edit: %v", err)
	}
	if after == e.before || strings.TrimSpace(after) == "" {
		fmt.Fprintf(a.out, "%s: unchanged\n", clean(e.unit))
		return false, nil
	}
	if err := replaceFile(e.path, after); err != nil {
		return false, unitError(e.unit, "cannot edit: %v", err)
	}
	if !a.quiet {
		fmt.Fprintf(a.out, "%s: wrote %s\n", clean(e.unit), clean(e.path))
	}
	return true, nil
}

// unitError is an error that is printed behind the unit's name.
func unitError(unit, format string, args ...any) error {
	return &control.Error{Code: control.CodeConflict, Unit: unit, Message: fmt.Sprintf(format, args...)}
}

// runEditor gives the text as the editor left it, up to the mark.
func (a *app) runEditor(e edit) (string, error) {
	dir, err := os.MkdirTemp("", "nsctl-edit-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, filepath.Base(e.path))
	if err := os.WriteFile(path, []byte(e.before+e.shown()), 0o600); err != nil {
		return "", err
	}
	words := a.editor()
	cmd := exec.Command(words[0], append(words[1:], path)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.stdin, a.stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w; nothing was changed (NSCTL_EDITOR, VISUAL or EDITOR name another one)", words[0], err)
	}
	data, err := os.ReadFile(path)
	text, _, _ := strings.Cut(string(data), "\n"+editMark)
	return strings.TrimRight(text, "\n") + "\n", err
}

// shown is what stands below the mark, every line a comment.
func (e edit) shown() string {
	if len(e.beside) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\n" + editMark + "\n")
	for _, f := range e.beside {
		fmt.Fprintf(&b, "\n# %s\n", f.Path)
		for line := range strings.Lines(f.Text) {
			b.WriteString("# " + strings.TrimRight(line, "\n") + "\n")
		}
	}
	return b.String()
}

func (a *app) editor() []string {
	for _, name := range []string{"NSCTL_EDITOR", "VISUAL", "EDITOR"} {
		if words := strings.Fields(a.env(name)); len(words) > 0 {
			return words
		}
	}
	for _, name := range []string{"editor", "nano", "vim"} {
		if path, err := exec.LookPath(name); err == nil {
			return []string{path}
		}
	}
	return []string{"vi"}
}

// replaceFile puts a whole file in place, or none.
func replaceFile(path, text string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, ".edit-*") // no unit file: no .toml at its end
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = io.WriteString(temp, text)
	if err = errors.Join(err, temp.Chmod(0o644), temp.Sync(), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}
