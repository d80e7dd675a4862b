package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/term"

	"github.com/nsinit/nsinit/supervisor/control"
	"github.com/nsinit/nsinit/unit"
)

// app is one invocation: where it writes, whom it asks, and the flags that all
// verbs share.
type app struct {
	stdin  *os.File
	stdout *os.File  // to ask whether it is a terminal; nil in tests
	out    io.Writer // stdout, or the pager
	err    io.Writer
	env    func(string) string

	instance string
	socket   string
	json     bool
	noPager  bool
	quiet    bool
	full     bool

	client *control.Client
	pager  *pager
	paging *exec.Cmd // the pager's command, while it runs
	fixed  *view     // in tests
}

// api gives the client, made at the first use.
func (a *app) api() *control.Client {
	if a.client == nil {
		a.client = control.NewClient(a.socketPath())
	}
	return a.client
}

func (a *app) socketPath() string {
	if a.socket != "" {
		return a.socket
	}
	if s := a.env("NSCTL_SOCKET"); s != "" {
		return s
	}
	return filepath.Join("/run", a.instance, "control.sock")
}

// unitDirs is where unit files lie, most important first.
func (a *app) unitDirs() []string { return unit.SearchPath(a.instance) }

func (a *app) onTerminal() bool {
	return a.stdout != nil && term.IsTerminal(int(a.stdout.Fd()))
}

// view is what the output looks like: a width only on a terminal, colour only
// there and where nobody objects.
func (a *app) view() view {
	if a.fixed != nil {
		return *a.fixed
	}
	v := view{Now: time.Now(), Local: time.Local}
	if !a.onTerminal() {
		return v
	}
	if w, _, err := term.GetSize(int(a.stdout.Fd())); err == nil {
		v.Width = w
	}
	if a.full {
		v.Width = 0
	}
	v.Terminal = true
	v.Colour = a.env("NO_COLOR") == "" && a.env("TERM") != "dumb"
	switch a.env("NSCTL_COLORS") {
	case "0", "no", "false":
		v.Colour = false
	}
	return v
}

// printJSON prints v, indented on a terminal.
func (a *app) printJSON(v any) error {
	if a.onTerminal() {
		return printPretty(a.out, v)
	}
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("cannot encode: %w", err)
	}
	_, err = fmt.Fprintln(a.out, escapeJSON(string(data)))
	return err
}

func printPretty(w io.Writer, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot encode: %w", err)
	}
	_, err = fmt.Fprintln(w, escapeJSON(string(data)))
	return err
}
