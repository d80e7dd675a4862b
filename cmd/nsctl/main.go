// Command nsctl is how people talk to nsinit: it asks the manager over the
// control socket and prints text, or JSON. It has no state and no privilege of
// its own; the manager decides by the caller's credentials.
//
// Exit codes are systemctl's: 0, 1 for a failure, 3 when a unit asked about is
// not active, 4 when there is no such unit; 2 is import's, for protection that
// was lost. exec gives the command's own, or
// 125 (nsctl failed), 126 (cannot be run) and 127 (not found).
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/nsinit/nsinit/supervisor/control"
)

// version is set by the linker.
var version = "devel"

// Exit codes.
const (
	exitFailure   = 1
	exitNotActive = 3
	exitNoUnit    = 4
	exitExecOwn   = 125
	exitExecPerm  = 126
	exitExecNone  = 127
)

// exitCode is an error that has been reported already, or needs no words.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit %d", int(e)) }

func main() {
	a := &app{stdin: os.Stdin, stdout: os.Stdout, out: os.Stdout, err: os.Stderr, env: os.Getenv}
	os.Exit(run(a, byName(os.Args[0], os.Args[1:])))
}

// run executes one command line and gives the exit code.
func run(a *app, args []string) int {
	root := newRoot(a)
	root.SetArgs(args)
	root.SetOut(a.out)
	root.SetErr(a.err)
	err := root.Execute()
	a.closePager()
	if a.client != nil {
		a.client.Close()
	}
	return report(a, a.err, err)
}

// report prints an error in the way of the mock-ups, and gives its exit code.
func report(a *app, w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	var code exitCode
	if errors.As(err, &code) {
		return int(code)
	}
	var e *control.Error
	if errors.As(err, &e) {
		printError(w, e)
		if e.Code == control.CodeNoSuchUnit {
			return exitNoUnit
		}
		return exitFailure
	}
	if text := a.explainDial(err); text != "" {
		fmt.Fprint(w, text)
		return exitFailure
	}
	fmt.Fprintf(w, "nsctl: %s\n", clean(err.Error()))
	return exitFailure
}
