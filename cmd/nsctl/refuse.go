package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// noSuchCommand refuses what is no verb, and names those that it may stand for.
func noSuchCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if near := root.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("cannot %s: there is no such command; did you mean %s?", args[0], strings.Join(near, ", "))
	}
	return fmt.Errorf("cannot %s: there is no such command (nsctl help lists them)", args[0])
}

// noSuchFlag refuses a flag. Of a verb that does not exist no flag is known, and
// it is the verb that is wrong.
func noSuchFlag(cmd *cobra.Command, err error) error {
	if args := cmd.Flags().Args(); !cmd.HasParent() && len(args) > 0 {
		return noSuchCommand(cmd, args)
	}
	return fmt.Errorf("%w (%s --help lists them)", err, cmd.CommandPath())
}

// someUnits is for verbs that need a unit at least.
func someUnits(cmd *cobra.Command, args []string) error { return someOf(cmd, args, "unit") }

func someFiles(cmd *cobra.Command, args []string) error { return someOf(cmd, args, "file") }

func someOf(cmd *cobra.Command, args []string, what string) error {
	if len(args) > 0 {
		return nil
	}
	return fmt.Errorf("cannot %s: no %s is named (%s %s)", cmd.Name(), what, cmd.Parent().CommandPath(), cmd.Use)
}
