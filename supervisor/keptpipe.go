package supervisor

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/supervisor/logs"
	"github.com/nsinit/nsinit/supervisor/machine"
)

// pipeName is under which the read end of a pipe is kept that a command around
// main writes to: "pipe/web/4/stdout/81923". No reaper has it, and without it
// the command would die of SIGPIPE when the manager does.
type pipeName struct {
	ref    machine.Ref
	stream logs.Stream
	inode  uint64 // no two pipes that exist have the same
}

func (n pipeName) String() string {
	return fmt.Sprintf("pipe/%s/%d/%s/%d", n.ref.Unit, n.ref.Generation, n.stream, n.inode)
}

// parsePipeName reads what String has written; other kept names are none.
func parsePipeName(name string) (n pipeName, ok bool) {
	parts := strings.Split(name, "/")
	if len(parts) != 5 || parts[0] != "pipe" {
		return n, false
	}
	n.ref.Unit = parts[1]
	var err [2]error
	n.ref.Generation, err[0] = strconv.ParseUint(parts[2], 10, 64)
	n.inode, err[1] = strconv.ParseUint(parts[4], 10, 64)
	switch parts[3] {
	case logs.Stdout.String():
		n.stream = logs.Stdout
	case logs.Stderr.String():
		n.stream = logs.Stderr
	default:
		return n, false
	}
	return n, err == [2]error{} && n.String() == name
}

// keptPipe makes a pipe whose lines go to the unit's log, whichever manager
// reads them, and returns its write end, which is the caller's.
func (m *Manager) keptPipe(g *generation, stream logs.Stream) (w int, err error) {
	r, w, err := logs.Pipe()
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(r, &st); err != nil {
		unix.Close(r)
		unix.Close(w)
		return -1, fmt.Errorf("cannot tell a pipe from others: %w", err)
	}
	name := pipeName{g.ref(), stream, st.Ino}
	if err := m.keeper.Keep(name.String(), r); err != nil { // it still works while this manager lives
		m.log.Warn().Str("unit", g.unit).Err(err).Msg("the output of a command would end with the manager")
	}
	m.readKept(name, r)
	return w, nil
}

// readKept has the unit's log read a kept pipe to its end. The descriptor is the
// log's from here on.
func (m *Manager) readKept(name pipeName, r int) {
	drop := func() { m.dropKept(name.String()) }
	if s := m.services[name.ref.Unit]; s == nil || s.log == nil || s.log.AttachUntil(name.stream, r, drop) != nil {
		unix.Close(r)
		drop()
	}
}

// dropKept discards what is kept under the names; from any goroutine.
func (m *Manager) dropKept(names ...string) {
	if err := m.keeper.Drop(names...); err != nil {
		m.log.Warn().Strs("names", names).Err(err).Msg("the keeper keeps what nobody needs any more")
	}
}

// takeKept gives the pipes that an earlier manager kept, by what they are of.
func (m *Manager) takeKept() map[machine.Ref]map[pipeName]int {
	pipes := map[machine.Ref]map[pipeName]int{}
	taken, err := m.keeper.Take()
	if err != nil {
		m.problem(err)
	}
	for text, fds := range taken {
		name, ok := parsePipeName(text)
		if !ok || len(fds) != 1 {
			for _, fd := range fds { // a later version's, which stays for it
				unix.Close(fd)
			}
			continue
		}
		if pipes[name.ref] == nil {
			pipes[name.ref] = map[pipeName]int{}
		}
		pipes[name.ref][name] = fds[0]
	}
	return pipes
}

// adoptPipes reads on what commands of the generation write, or have written.
func (m *Manager) adoptPipes(pipes map[machine.Ref]map[pipeName]int, r machine.Ref) {
	for name, fd := range pipes[r] {
		m.readKept(name, fd)
	}
	delete(pipes, r)
}

// dropOthers discards pipes of generations that are gone: their logs had been
// drained before they went.
func (m *Manager) dropOthers(pipes map[machine.Ref]map[pipeName]int) {
	var names []string
	for _, of := range pipes {
		for name, fd := range of {
			unix.Close(fd)
			names = append(names, name.String())
		}
	}
	if len(names) > 0 {
		m.dropKept(names...)
	}
}
