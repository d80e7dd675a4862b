package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

func revertCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "revert UNIT...", Short: "Undo edit: remove drop-ins, and the file that hides another one", Args: someUnits, ValidArgsFunction: a.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			removed := false
			err := a.each(cmd.Context(), args, func(unit string) error {
				paths, err := a.revert(cmd.Context(), unit)
				for _, p := range paths {
					removed = true
					if !a.quiet {
						fmt.Fprintf(a.out, "%s: removed %s\n", clean(unit), clean(p))
					}
				}
				if err == nil && len(paths) == 0 {
					fmt.Fprintf(a.out, "%s: unchanged\n", clean(unit))
				}
				return err
			})
			if !removed {
				return err
			}
			return errors.Join(err, a.daemonReload(cmd.Context()))
		},
	}
}

// revert takes a unit back to the file that it came with. What enable and
// disable wrote stays, and so does a file that is the only one.
func (a *app) revert(ctx context.Context, name string) (removed []string, err error) {
	text, err := a.api().Cat(ctx, name)
	if err != nil {
		return nil, err
	}
	dir, err := a.adminDir(ctx)
	if err != nil {
		return nil, err
	}
	m, err := a.api().Manager(ctx)
	if err != nil {
		return nil, err
	}
	own := filepath.Join(dir, text.Unit+".toml.d")
	paths, err := changedBy(own)
	if err != nil {
		return nil, unitError(text.Unit, "cannot revert: %v", err)
	}
	if file := filepath.Join(dir, text.Unit+".toml"); hidesAnother(file, m.UnitPath) {
		paths = append(paths, file)
	}
	for _, p := range paths {
		if err := os.Remove(p); err != nil {
			return removed, unitError(text.Unit, "cannot revert: %v", err)
		}
		removed = append(removed, p)
	}
	_ = os.Remove(own) // not empty: stays
	return removed, nil
}

// changedBy are the drop-ins of a directory but for those of enable and disable.
func changedBy(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		install := strings.HasPrefix(e.Name(), "50-disable") || strings.HasPrefix(e.Name(), "50-enable-")
		if strings.HasSuffix(e.Name(), ".toml") && !install {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, nil
}

// hidesAnother tells whether a file is there and a directory after its own has
// one of the same name.
func hidesAnother(file string, unitPath []string) bool {
	if _, err := os.Lstat(file); err != nil {
		return false
	}
	for _, dir := range unitPath {
		other := filepath.Join(dir, filepath.Base(file))
		if _, err := os.Lstat(other); err == nil && other != filepath.Clean(file) {
			return true
		}
	}
	return false
}
