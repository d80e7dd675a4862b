package supervisor

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/reaper"
	"github.com/nsinit/nsinit/supervisor/logs"
	"github.com/nsinit/nsinit/supervisor/machine"
)

// observe reads what the engine wants to know of a generation that was found.
// What it reads counts as reported.
func (m *Manager) observe(g *generation) machine.Observed {
	o := machine.Observed{Generation: g.number, Reaper: !g.gone, Populated: g.populated()}
	r, err := readRecord(g.record)
	if err != nil && !g.gone {
		r, err = g.askRecord()
	}
	if err != nil {
		m.services[g.unit].notice(logs.Warning, "the reaper's record is lost until its next entry: %v", err)
		return o
	}
	g.last = r
	g.matchCommands(int(r.Count))
	if r.Phase == reaper.SetupFailed {
		g.setup = true
		o.Setup = m.setupFailure(g, r)
		return o
	}
	for i := range min(int(r.Count), len(g.commands)) {
		m.observeProgram(g, r, i, &o)
	}
	g.observeNamed(r, &o)
	if g.named != 0 {
		m.watchNamed(g)
	}
	m.tellMain(g)
	return o
}

// matchCommands has as many commands as the reaper has programs. Where the
// definition that it was started with is lost they are guessed: the last is
// main, which is what matters for its supervision.
func (g *generation) matchCommands(count int) {
	if len(g.commands) == count {
		return
	}
	g.stepsLost, g.commands = true, make([]command, count)
	for i := range g.commands {
		g.commands[i] = command{machine.KindStartPre, i}
	}
	if count > 0 {
		g.commands[count-1] = command{machine.KindStart, 0}
	}
}

// firstWrite bounds how long a launch that was under way when the manager was
// killed may take to its first entry in the record.
const firstWrite = 2 * time.Second

// waitWritten waits for a reaper that is still in its first steps: until it has
// written, its descriptors may not be where they belong. The record is whole
// zeros then, as it was allocated.
func (g *generation) waitWritten() error {
	path := filepath.Join(g.dir, "record")
	events, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("cannot watch the record: %w", os.NewSyscallError("inotify_init1", err))
	}
	defer unix.Close(events)
	if _, err := unix.InotifyAddWatch(events, path, unix.IN_MODIFY); err != nil {
		return nil // it has lost its name, so it was there for long
	}
	deadline := time.Now().Add(firstWrite)
	for unwritten(path) {
		if !waitFD(events, unix.POLLIN, deadline) {
			return fmt.Errorf("reaper %d has written nothing for %v: a step of its set-up hangs", g.reaper.PID, firstWrite)
		}
		var b [4096]byte
		unix.Read(events, b[:])
	}
	return nil
}

// unwritten reports whether a record is as it was allocated: of full size, and
// empty.
func unwritten(path string) bool {
	b, err := os.ReadFile(path)
	return err == nil && len(b) >= reaper.NamedOffset && len(bytes.Trim(b, "\x00")) == 0
}

// askRecord has the reaper write its record again, after somebody has damaged
// the file: a SIGCHLD from outside its namespace is the one thing that it
// listens to.
func (g *generation) askRecord() (*reaper.Record, error) {
	for range 3 { // one that was pending already hides ours
		if err := g.reaper.Signal(syscall.SIGCHLD); err != nil {
			return nil, err
		}
		waitFD(g.doorbell, unix.POLLIN, time.Now().Add(time.Second))
		if r, err := readRecord(g.record); err == nil {
			return r, nil
		}
	}
	return readRecord(g.record)
}

// observeNamed looks after a main process that the service named itself
// (MAINPID=): its number stands beside the record.
func (g *generation) observeNamed(r *reaper.Record, o *machine.Observed) {
	var b [4]byte
	if n, err := unix.Pread(g.record, b[:], reaper.NamedOffset); err != nil || n != len(b) || len(o.Mains) == 0 && !g.forks() {
		return
	}
	named := int32(binary.NativeEndian.Uint32(b[:]))
	if named == 0 {
		return
	}
	main := &o.Named
	if !g.forks() {
		main = &o.Mains[len(o.Mains)-1]
	}
	if r.Named.PID == named {
		main.PID, main.Status = 0, waitStatus(r.Named.Status)
		return
	}
	if fd, pid := g.findInside(int(named)); pid != 0 {
		g.dropMain()
		g.main, g.mainPID, g.named = fd, pid, named
		main.PID, main.Status = pid, machine.Status{}
		return
	}
	if e, ok := g.exitOf(r, named); ok {
		main.PID, main.Status = 0, waitStatus(e.Status)
	} else if g.forks() {
		main.Status = machine.Status{Code: machine.CodeUnknown}
	}
}

// exitOf looks for the end of a process that the reaper has taken, or is about
// to take.
func (g *generation) exitOf(r *reaper.Record, pid int32) (reaper.Exit, bool) {
	e, ok := r.ExitOf(pid)
	if ok || g.gone {
		return e, ok
	}
	if r, err := g.askRecord(); err == nil {
		return r.ExitOf(pid)
	}
	return e, false
}

func (m *Manager) observeProgram(g *generation, r *reaper.Record, i int, o *machine.Observed) {
	p, c := r.Programs[i], g.commands[i]
	g.seen = append(g.seen, p.State)
	switch p.State {
	case reaper.NotStarted:
		return
	case reaper.CloneFailed, reaper.NotExecuted:
		o.Setup = m.programFailure(g, r, i)
		return
	case reaper.Executed, reaper.Ended:
	}
	seen := machine.Program{Kind: c.kind, Index: c.index}
	if p.State == reaper.Executed {
		seen.PID = g.fetchMain(p.PID)
	} else {
		seen.Status = waitStatus(p.Status)
	}
	if c.kind == machine.KindStart && !g.forks() {
		o.Mains = append(o.Mains, seen)
	} else {
		o.Programs = append(o.Programs, seen)
	}
}
