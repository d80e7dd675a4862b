package supervisor

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/supervisor/logs"
	"github.com/nsinit/nsinit/supervisor/machine"
)

// keptName is under which a descriptor is kept that belongs to a command around
// main, of which no reaper knows:
//
//	pipe/web/4/stdout/81923      the read end of what it writes to; the number is
//	                             the pipe's inode, which no other that exists has
//	hook/web/4/exec_start_post/0 its pidfd; the number is its place in the list
//
// Without the first the command would die of SIGPIPE when the manager does,
// without the second nobody could tell that it still runs.
type keptName struct {
	class  string
	ref    machine.Ref
	what   string
	number uint64
}

const (
	keptPipe = "pipe"
	keptHook = "hook"
)

func (n keptName) String() string {
	return fmt.Sprintf("%s/%s/%d/%s/%d", n.class, n.ref.Unit, n.ref.Generation, n.what, n.number)
}

// parseKeptName reads what String has written; whatever else is kept is none.
func parseKeptName(name string) (n keptName, ok bool) {
	parts := strings.Split(name, "/")
	if len(parts) != 5 || parts[0] != keptPipe && parts[0] != keptHook {
		return n, false
	}
	n.class, n.ref.Unit, n.what = parts[0], parts[1], parts[3]
	var err [2]error
	n.ref.Generation, err[0] = strconv.ParseUint(parts[2], 10, 64)
	n.number, err[1] = strconv.ParseUint(parts[4], 10, 64)
	return n, err == [2]error{} && n.String() == name
}

// stream is the one that a pipe is of.
func (n keptName) stream() logs.Stream {
	if n.what == logs.Stderr.String() {
		return logs.Stderr
	}
	return logs.Stdout
}

func hookName(r machine.Ref, kind machine.Kind, index int) keptName {
	return keptName{keptHook, r, string(kind), uint64(index)}
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
	name := keptName{keptPipe, g.ref(), stream.String(), st.Ino}
	m.keep(name, r)
	m.readKept(name, r)
	return w, nil
}

// keep keeps what the command does without while this manager lives.
func (m *Manager) keep(name keptName, fd int) {
	if err := m.keeper.Keep(name.String(), fd); err != nil {
		m.log.Warn().Str("unit", name.ref.Unit).Err(err).Msg("a command that runs would not survive the manager")
	}
}

// readKept has the unit's log read a kept pipe to its end. The descriptor is the
// log's from here on.
func (m *Manager) readKept(name keptName, r int) {
	drop := func() { m.dropKept(name) }
	if s := m.services[name.ref.Unit]; s == nil || s.log == nil || s.log.AttachUntil(name.stream(), r, drop) != nil {
		unix.Close(r)
		drop()
	}
}

// dropKept discards what is kept under the names; from any goroutine.
func (m *Manager) dropKept(names ...keptName) {
	var texts []string
	for _, n := range names {
		texts = append(texts, n.String())
	}
	if err := m.keeper.Drop(texts...); err != nil {
		m.log.Warn().Strs("names", texts).Err(err).Msg("the keeper keeps what nobody needs any more")
	}
}

// kept is what an earlier manager has kept, by the start that it is of.
type kept map[machine.Ref]map[keptName]int

// takeKept takes it back.
func (m *Manager) takeKept() kept {
	all := kept{}
	taken, err := m.keeper.Take()
	if err != nil {
		m.problem(err)
	}
	for text, fds := range taken {
		name, ok := parseKeptName(text)
		if !ok || len(fds) != 1 {
			for _, fd := range fds { // a later version's, which stays for it
				unix.Close(fd)
			}
			continue
		}
		if all[name.ref] == nil {
			all[name.ref] = map[keptName]int{}
		}
		all[name.ref][name] = fds[0]
	}
	return all
}

// adoptKept reads on what commands of the generation write, or have written, and
// has the commands themselves ready for the engine to ask for.
func (m *Manager) adoptKept(all kept, g *generation) {
	for name, fd := range all[g.ref()] {
		if name.class == keptPipe {
			m.readKept(name, fd)
		} else {
			g.inherited[name] = fd
		}
	}
	delete(all, g.ref())
}

// drop discards what belongs to generations that are gone: their logs had been
// drained, and their processes ended, before they went.
func (m *Manager) drop(all kept) {
	for _, of := range all {
		m.disinherit(of)
	}
}

// disinherit lets go of what nobody asks for.
func (m *Manager) disinherit(of map[keptName]int) {
	var names []keptName
	for name, fd := range of {
		unix.Close(fd)
		names = append(names, name)
	}
	clear(of)
	if len(names) > 0 {
		m.dropKept(names...)
	}
}
