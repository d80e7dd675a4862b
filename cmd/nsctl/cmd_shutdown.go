package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nsinit/nsinit/supervisor/control"
)

// byName gives the command line of a program that is a link to nsctl: poweroff,
// reboot, halt and shutdown are verbs of the same name.
func byName(argv0 string, args []string) []string {
	switch name := filepath.Base(argv0); name {
	case "poweroff", "reboot", "halt":
		return append([]string{"__" + name}, args...)
	case "shutdown":
		return append([]string{name}, args...)
	}
	return args
}

// linkCmds are halt(8), poweroff(8) and reboot(8): each can be told to be another.
func linkCmds(a *app) []*cobra.Command {
	var out []*cobra.Command
	for _, name := range []string{control.MachinePoweroff, control.MachineReboot, control.MachineHalt} {
		out = append(out, linkCmd(a, name))
	}
	return out
}

func linkCmd(a *app, name string) *cobra.Command {
	var f endFlags
	var halt, off, reboot, only bool
	cmd := &cobra.Command{Use: "__" + name, Hidden: true, Args: cobra.NoArgs, Short: "halt(8) and its like"}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		action := name
		switch {
		case only:
			return nil // it would only write wtmp
		case halt:
			action = control.MachineHalt
		case off:
			action = control.MachinePoweroff
		case reboot:
			action = control.MachineReboot
		}
		return a.endMachine(cmd.Context(), action, f)
	}
	f.add(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&halt, "halt", false, "halt the machine")
	flags.BoolVarP(&off, "poweroff", "p", false, "switch the machine off")
	flags.BoolVar(&reboot, "reboot", false, "start the machine again")
	flags.BoolVarP(&only, "wtmp-only", "w", false, "do nothing")
	flags.BoolP("no-wtmp", "d", false, "accepted for habit's sake")
	flags.BoolP("no-sync", "n", false, "accepted for habit's sake")
	return cmd
}

// shutdownCmd is shutdown(8). The manager keeps the schedule.
func shutdownCmd(a *app) *cobra.Command {
	var s shutdown
	cmd := &cobra.Command{Use: "shutdown [TIME] [MESSAGE...]", Short: "End the machine at a time: now, +MINUTES or HH:MM",
		RunE: func(cmd *cobra.Command, args []string) error { return s.run(cmd.Context(), a, args) }}
	flags := cmd.Flags()
	flags.BoolVarP(&s.off, "poweroff", "P", false, "switch it off (the default)")
	flags.BoolVarP(&s.reboot, "reboot", "r", false, "start it again")
	flags.BoolVarP(&s.halt, "halt", "H", false, "stop the processor")
	flags.BoolVarP(&s.h, "h", "h", false, "switch it off; with --halt, halt it")
	flags.BoolVarP(&s.only, "k", "k", false, "only write the message")
	flags.BoolVarP(&s.cancel, "cancel", "c", false, "take back what is scheduled")
	flags.BoolVar(&s.show, "show", false, "print what is scheduled")
	flags.BoolVar(&s.noWall, "no-wall", false, "write no message to who is logged in")
	flags.Bool("help", false, "show this")
	return cmd
}

// shutdown is a command line of shutdown(8).
type shutdown struct {
	off, reboot, halt, h, only, cancel, show, noWall bool
}

func (s shutdown) action() string {
	switch {
	case s.reboot:
		return control.MachineReboot
	case s.halt:
		return control.MachineHalt
	}
	return control.MachinePoweroff
}

func (s shutdown) run(ctx context.Context, a *app, args []string) error {
	switch {
	case s.show:
		return showShutdown(ctx, a)
	case s.cancel:
		return s.takeBack(ctx, a, strings.Join(args, " "))
	}
	when := "+1"
	if len(args) > 0 {
		when, args = args[0], args[1:]
	}
	at, err := shutdownTime(when, time.Now())
	if err != nil {
		return err
	}
	message := strings.Join(args, " ")
	if s.only {
		s.wall(message, fmt.Sprintf("The system will %s at %s!", s.action(), clockText(at.UnixMicro())))
		return nil
	}
	req := control.MachineRequest{Message: message}
	if !at.IsZero() {
		req.AtUsec = at.UnixMicro()
	}
	reply, err := a.api().Machine(ctx, s.action(), req)
	if err != nil {
		return err
	}
	if a.json {
		err = a.printJSON(reply)
	}
	if at.IsZero() {
		return err
	}
	text := fmt.Sprintf("The system will %s at %s!", s.action(), clockText(req.AtUsec))
	s.wall(message, text)
	if !a.quiet && !a.json {
		fmt.Fprintf(a.out, "%s scheduled for %s, use 'shutdown -c' to cancel.\n", capital(s.action()), clockText(req.AtUsec))
	}
	return err
}

func (s shutdown) takeBack(ctx context.Context, a *app, message string) error {
	reply, err := a.api().Machine(ctx, control.MachineCancel, control.MachineRequest{})
	if err != nil {
		return err
	}
	if a.json {
		err = a.printJSON(reply)
	}
	if reply.Shutdown == nil {
		return err // as shutdown(8): nothing is scheduled now either
	}
	s.wall(message, "The system shutdown has been cancelled.")
	if !a.quiet && !a.json {
		fmt.Fprintf(a.out, "%s of %s taken back.\n", capital(reply.Shutdown.Action), clockText(reply.Shutdown.AtUsec))
	}
	return err
}

func showShutdown(ctx context.Context, a *app) error {
	st, err := a.api().Manager(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(control.MachineReply{Shutdown: st.Shutdown})
	}
	if st.Shutdown == nil {
		fmt.Fprintln(a.err, "nsctl: no shutdown is scheduled")
		return exitCode(exitFailure)
	}
	text := fmt.Sprintf("%s scheduled for %s", capital(st.Shutdown.Action), clockText(st.Shutdown.AtUsec))
	if st.Shutdown.Message != "" {
		text += ": " + st.Shutdown.Message
	}
	_, err = fmt.Fprintln(a.out, clean(text))
	return err
}

func (s shutdown) wall(message, text string) {
	if s.noWall {
		return
	}
	if message != "" {
		text = message + "\n" + text
	}
	wall(text)
}

// shutdownTime reads "now", "+m" and "hh:mm", which is the next time that clocks
// show it. The zero time is at once.
func shutdownTime(text string, now time.Time) (time.Time, error) {
	if text == "now" {
		return time.Time{}, nil
	}
	if minutes, err := strconv.ParseUint(strings.TrimPrefix(text, "+"), 10, 20); err == nil {
		if minutes == 0 {
			return time.Time{}, nil
		}
		return now.Add(time.Duration(minutes) * time.Minute), nil
	}
	if clock, err := time.Parse("15:04", text); err == nil {
		at := time.Date(now.Year(), now.Month(), now.Day(), clock.Hour(), clock.Minute(), 0, 0, now.Location())
		if !at.After(now) {
			at = time.Date(now.Year(), now.Month(), now.Day()+1, clock.Hour(), clock.Minute(), 0, 0, now.Location())
		}
		return at, nil
	}
	return time.Time{}, fmt.Errorf(`cannot shut down at %q: a time is "now", "+5" (minutes) or "23:30"`, text)
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
