package main

import (
	"fmt"
	"io"

	"github.com/nsinit/nsinit/supervisor/control"
)

// printError prints a refusal or a failure: the cause in a line, what the
// program wrote, what to do, and where to look.
func printError(w io.Writer, e *control.Error) {
	name := orElse(e.Unit, "nsctl")
	fmt.Fprintf(w, "%s: %s\n", clean(name), clean(e.Message))
	hint := e.Hint
	var lines []string
	if e.Failure != nil {
		lines, hint = e.Failure.Lines, orElse(hint, e.Failure.Hint)
	}
	renderDetails(w, view{}, lines, hint)
	if e.Unit != "" && (e.Code == control.CodeFailed || e.Failure != nil) {
		fmt.Fprintf(w, "  More: nsctl status %[1]s · nsctl logs -u %[1]s · nsctl plan %[1]s\n", clean(e.Unit))
	}
}
