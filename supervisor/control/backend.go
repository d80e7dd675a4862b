package control

import (
	"context"
	"io"
	"iter"
	"syscall"
)

// Backend is what the server needs of the manager. Methods are called from many
// goroutines at once and must not block on a slow client: the server does the
// writing. Unit names arrive checked for form only (non-empty, at most 255
// bytes, no '/' and no control character), with a suffix ".service" or ".target"
// removed. Errors are *Error where the client should know more than
// "internal". PeerFrom(ctx) tells who asks; the server has checked the role.
//
// The streams (Act, Logs, Events) end when ctx does, or when the consumer stops
// iterating; after a yielded error nothing more is read.
type Backend interface {
	// Manager gives the manager's own state.
	Manager(ctx context.Context) (ManagerStatus, error)
	// List gives the units known to the manager that match, sorted by name.
	List(ctx context.Context, q ListQuery) ([]UnitListEntry, error)
	// Jobs gives what is under way, sorted by unit.
	Jobs(ctx context.Context) ([]Job, error)
	// Startup gives the times of the units that have been started, sorted by name.
	Startup(ctx context.Context) (Startup, error)
	// Network gives the bridges, and who is on which network.
	Network(ctx context.Context) (NetworkStatus, error)
	// UnitFiles gives every unit file on the search path, sorted by name.
	UnitFiles(ctx context.Context) ([]UnitFileEntry, error)
	// Status gives one unit, or CodeNoSuchUnit. A unit with a bad file has a
	// status (LoadState "bad-file").
	Status(ctx context.Context, unit string) (UnitStatus, error)

	// Act starts, stops, restarts or reloads units. The request has been
	// accepted as a whole when the first element is yielded; ending the
	// iteration early does not undo it.
	Act(ctx context.Context, req ActRequest) iter.Seq2[Progress, error]
	// Kill sends a signal to processes of a unit.
	Kill(ctx context.Context, req KillRequest) error
	// ResetFailed forgets failures and start counters; no unit means all.
	ResetFailed(ctx context.Context, units []string) error
	// Machine ends the machine, now or later, or takes that back (MachineCancel).
	Machine(ctx context.Context, action string, req MachineRequest) (MachineReply, error)
	// Reload reads the unit files again.
	Reload(ctx context.Context) (ReloadResult, error)
	// Enable and Disable write and remove what makes a unit wanted, and take
	// it into account at once. The server handles EnableRequest.Now.
	Enable(ctx context.Context, units []string) ([]Change, error)
	Disable(ctx context.Context, units []string) ([]Change, error)
	// Mask and Unmask hide units from every start, and undo that; as Enable.
	Mask(ctx context.Context, units []string) ([]Change, error)
	Unmask(ctx context.Context, units []string) ([]Change, error)

	// Cat gives a unit's files, Resolved included.
	Cat(ctx context.Context, unit string) (UnitText, error)
	// Plan compiles a start of the unit for this host without doing it.
	Plan(ctx context.Context, unit string) (Plan, error)
	// Dependencies gives the tree whose root is the unit asked for.
	Dependencies(ctx context.Context, q DependencyQuery) (Dependency, error)

	// Logs gives records, and with Follow goes on until ctx ends.
	Logs(ctx context.Context, q LogQuery) iter.Seq2[LogRecord, error]
	// Events gives what happens from now on. A consumer too slow for the
	// manager's buffer gets an error.
	Events(ctx context.Context, q EventQuery) iter.Seq2[Event, error]

	// Exec starts a command inside a unit. It must refuse to run anything as
	// uid 0 inside when req.AllowRoot is false (CodeForbidden). The process
	// belongs to the caller, who always calls Close; ctx is for the start only.
	Exec(ctx context.Context, req ExecRequest) (ExecProcess, error)
}

// ExecProcess is a command that Backend.Exec started.
type ExecProcess interface {
	// Stdin is the command's input or the terminal. Closing it is the end of
	// input; on a terminal it does nothing.
	Stdin() io.WriteCloser
	// Stdout gives io.EOF at the end (on a pty EIO counts as one); Stderr is
	// nil when there is a terminal.
	Stdout() io.Reader
	Stderr() io.Reader
	// Resize sets the size of the terminal.
	Resize(rows, columns uint16) error
	// Signal signals the command; on a terminal its foreground process group.
	Signal(sig syscall.Signal) error
	// Wait returns once the command has ended. It does not wait for its output.
	Wait() (ExecExit, error)
	// Close hangs up: kills the command if it still runs, closes the
	// descriptors (so that reads end). Safe to call twice, and while others read.
	Close() error
}
