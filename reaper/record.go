// Package reaper holds what PID 1 of a namespace and its manager agree on: the
// layout of the record that the reaper writes, and the numbers of the
// descriptors that it keeps.
//
// Both are an ABI. A reaper may be older than its manager by many upgrades:
// fields are only ever added at the end, numbers are never used again, and a
// reader looks at Version first.
//
// The reaper decides nothing. It runs the programs that it was given, in order,
// until one fails; it reaps everything, forever; it writes the record, then
// rings the doorbell. It ends when the manager kills it.
package reaper

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"
)

// The descriptors of a reaper. Descriptors 0 to 2 are /dev/null.
const (
	FDRecord   = 3 // the record file, written with pwrite(2)
	FDDoorbell = 4 // an eventfd(2), non-blocking
	FDStdout   = 5 // the read end of the service's stdout pipe
	FDStderr   = 6 // likewise stderr
	FDNotify   = 7 // the service's sd_notify socket
	FDSyslog   = 8 // the service's /dev/log socket
	FDMain     = 9 // the pidfd of the program that was started last

	// Of the process that holds what the manager keeps (supervisor/keeper): PID 1
	// of the machine, or a stub; no reaper of a namespace has them. They are the
	// two ends of a socketpair(2), AF_UNIX and SOCK_SEQPACKET, non-blocking: what
	// is kept was sent to the one and waits at the other, where the holder leaves
	// it alone.
	FDKeeperSend = 10
	FDKeeperKeep = 11

	FDLast = 15
)

const (
	// Magic begins every record.
	Magic = 0x31522d74696e736e // "nsinit-R1" less its first letters, little endian
	// Version is the layout that this package writes.
	Version = 1
	// RingSize is the number of exits that the record remembers.
	RingSize = 64
	// MaxPrograms is how many programs one start can run.
	MaxPrograms = 32
	// NamedOffset is where in the record's file the manager writes the process
	// ID, as seen by the reaper, of a main process that it named later
	// (sd_notify MAINPID=): an int32, 0 for none. The reaper only reads it.
	NamedOffset = 8192
)

// Phase says how far a start has come.
type Phase uint32

// The phases, in order.
const (
	SettingUp   Phase = iota // the namespaces are being made
	SetupFailed              // a step of the set-up failed: SetupStep, SetupErrno
	Running                  // programs before the last are being run
	Stopped                  // a program before the last failed; nothing more is started
	MainStarted              // the last program was started
)

// ProgramState says what became of one program.
type ProgramState uint32

// The states of a program.
const (
	NotStarted  ProgramState = iota
	CloneFailed              // Errno of clone3(2)
	NotExecuted              // its step Step failed with Errno; it has ended or is about to
	Executed                 // execve(2) succeeded
	Ended                    // Status is its wait status
)

// Program is what the record has of one program. Times are nanoseconds of
// CLOCK_BOOTTIME.
type Program struct {
	State   ProgramState
	PID     int32 // as seen by the reaper
	Status  uint32
	Step    int32 // the step that failed, -1 if none did
	Errno   uint32
	_       uint32
	Started int64
	Ended   int64
}

// Exit is one reaped process.
type Exit struct {
	PID    int32  // as seen by the reaper
	Status uint32 // wait status (wait(2))
	Time   int64  // nanoseconds of CLOCK_BOOTTIME
}

// Record is all that a reaper tells.
type Record struct {
	Magic      uint64
	Version    uint32
	Size       uint32
	Generation uint64
	Seq        uint64 // grows with every write; equals SeqEnd in a whole record
	Phase      Phase
	Count      uint32 // programs
	SetupStep  int32
	SetupErrno uint32
	Exits      uint64 // processes reaped so far; the newest is Ring[(Exits-1)%RingSize]
	Named      Exit   // the exit of the process that the manager named
	Ready      int64  // when the set-up was done
	Programs   [MaxPrograms]Program
	Ring       [RingSize]Exit
	SeqEnd     uint64
}

// Size is the number of bytes of a record.
const Size = int(unsafe.Sizeof(Record{}))

// ErrTorn is returned for a record that was read while it was written.
var ErrTorn = errors.New("record is being written")

// Decode reads a record. It fails with ErrTorn where reading again will help,
// and with another error where b is no record of a layout that it knows, for
// example after the file was truncated.
func Decode(b []byte) (*Record, error) {
	if len(b) < Size {
		return nil, fmt.Errorf("cannot read record: %d bytes of %d", len(b), Size)
	}
	var r Record
	if _, err := binary.Decode(b[:Size], binary.NativeEndian, &r); err != nil {
		return nil, fmt.Errorf("cannot read record: %w", err)
	}
	switch {
	case r.Magic != Magic:
		return nil, errors.New("cannot read record: not a record of a reaper")
	case r.Version != Version:
		return nil, fmt.Errorf("cannot read record: layout %d; this manager knows %d", r.Version, Version)
	case r.Seq != r.SeqEnd:
		return nil, ErrTorn
	}
	return &r, nil
}

// ExitOf finds the newest exit of pid in the ring.
func (r *Record) ExitOf(pid int32) (Exit, bool) {
	if r.Named.PID == pid && pid != 0 {
		return r.Named, true
	}
	for i := range min(r.Exits, RingSize) {
		if e := r.Ring[(r.Exits-1-i)%RingSize]; e.PID == pid {
			return e, true
		}
	}
	return Exit{}, false
}

// Main gives the program that was started last, and whether there is one.
func (r *Record) Main() (Program, bool) {
	if r.Phase != MainStarted || r.Count == 0 || r.Count > MaxPrograms {
		return Program{}, false
	}
	return r.Programs[r.Count-1], true
}
