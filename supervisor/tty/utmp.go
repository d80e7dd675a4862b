package tty

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Login is the entry of a service in utmp and wtmp (utmp(5)): what getty(8)
// turns into a login and login(1) into a user.
type Login struct {
	ID   string // ut_id, utmp_identifier
	Mode string // init, login or user: the last record that is written
	Line string // of the terminal, without /dev/; "" for none
	User string // of mode user
	PID  int    // of main, on the host
}

// UtmpFiles are where the machine keeps its entries. As with utmpname(3), a
// file that is not there is not made: its absence says that nobody wants it.
type UtmpFiles struct{ Utmp, Wtmp string }

// MachineUtmp are the files of utmp(5).
func MachineUtmp() UtmpFiles { return UtmpFiles{"/run/utmp", "/var/log/wtmp"} }

// The values of ut_type.
const (
	initProcess  = 5
	loginProcess = 6
	userProcess  = 7
	deadProcess  = 8
)

// Begin enters a service whose main process has been started, unless that
// process is entered already: a getty may have been quicker, and a manager that
// takes a session over must not make it one that waits for a login.
func (l Login) Begin(f UtmpFiles) error {
	types := map[string][]int16{"login": {initProcess, loginProcess}, "user": {initProcess, loginProcess, userProcess}}[l.Mode]
	if types == nil {
		types = []int16{initProcess}
	}
	var records [][]byte
	for _, t := range types {
		records = append(records, l.record(t, time.Now()))
	}
	return l.write(f, records, func(old []byte) bool { return old == nil || pidOf(old) != l.PID })
}

// End notes that the process is gone, if the entry is still its own.
func (l Login) End(f UtmpFiles) error {
	return l.write(f, [][]byte{l.record(deadProcess, time.Now())}, func(old []byte) bool {
		return old != nil && pidOf(old) == l.PID && binary.NativeEndian.Uint16(old) != deadProcess
	})
}

// write puts the last record into utmp, where may allows it in view of what
// stands there, and appends all of them to wtmp.
func (l Login) write(f UtmpFiles, records [][]byte, may func(old []byte) bool) error {
	utmp, err := os.OpenFile(f.Utmp, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot write utmp: %w", err)
	}
	defer utmp.Close()
	// The lock is the one that utmp's library takes; it goes with the file.
	if err := unix.FcntlFlock(utmp.Fd(), unix.F_OFD_SETLKW, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		return fmt.Errorf("cannot lock %s: %w", f.Utmp, err)
	}
	old, at, err := l.find(utmp)
	if err != nil || !may(old) {
		return err
	}
	if _, err := utmp.WriteAt(records[len(records)-1], at); err != nil {
		return fmt.Errorf("cannot write utmp: %w", err)
	}
	return appendWtmp(f.Wtmp, bytes.Join(records, nil))
}

// find gives the entry with the ID, or the place for a new one: the end of the
// last whole record.
func (l Login) find(utmp *os.File) (old []byte, at int64, err error) {
	for buffer := make([]byte, layout.size); ; at += int64(layout.size) {
		if _, err := utmp.ReadAt(buffer, at); errors.Is(err, io.EOF) {
			return nil, at, nil
		} else if err != nil {
			return nil, 0, fmt.Errorf("cannot read utmp: %w", err)
		}
		t := binary.NativeEndian.Uint16(buffer)
		if t >= initProcess && t <= deadProcess && field(buffer, 40, 4) == l.ID {
			return buffer, at, nil
		}
	}
}

func appendWtmp(path string, records []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		_, err = file.Write(records)
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		return fmt.Errorf("cannot write wtmp: %w", err)
	}
	return nil
}

// layout is what differs in struct utmp between architectures: amd64 keeps the
// 32-bit times of its forerunner (bits/utmp.h, __WORDSIZE_TIME64_COMPAT32).
var layout = map[bool]struct {
	size, seconds int
	wide          bool
}{true: {384, 340, false}, false: {400, 344, true}}[runtime.GOARCH == "amd64"]

// record is one struct utmp.
func (l Login) record(t int16, now time.Time) []byte {
	b := make([]byte, layout.size)
	order := binary.NativeEndian
	order.PutUint16(b[0:], uint16(t))
	order.PutUint32(b[4:], uint32(l.PID))
	copy(b[40:44], l.ID)
	order.PutUint32(b[336:], uint32(l.PID)) // ut_session: main leads its own
	if t != initProcess {
		copy(b[8:40], strings.TrimPrefix(l.Line, "/dev/"))
	}
	switch t {
	case loginProcess:
		copy(b[44:76], "LOGIN")
	case userProcess:
		copy(b[44:76], l.User)
	}
	if layout.wide {
		order.PutUint64(b[layout.seconds:], uint64(now.Unix()))
		order.PutUint64(b[layout.seconds+8:], uint64(now.Nanosecond()/1000))
	} else {
		order.PutUint32(b[layout.seconds:], uint32(now.Unix()))
		order.PutUint32(b[layout.seconds+4:], uint32(now.Nanosecond()/1000))
	}
	return b
}

func pidOf(record []byte) int { return int(int32(binary.NativeEndian.Uint32(record[4:]))) }

func field(record []byte, at, size int) string {
	return strings.TrimRight(string(record[at:at+size]), "\x00")
}
