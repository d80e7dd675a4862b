package main

import (
	"bytes"
	"fmt"
	"os"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// kmsg writes to the kernel's log, a record a line.
type kmsg struct {
	fd      int
	text    bytes.Buffer
	console zerolog.ConsoleWriter
}

// openKmsg opens /dev/kmsg (Documentation/ABI/testing/dev-kmsg).
func openKmsg() (zerolog.LevelWriter, error) {
	fd, err := unix.Open("/dev/kmsg", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open /dev/kmsg: %w", os.NewSyscallError("open", err))
	}
	return newKmsg(fd), nil
}

func newKmsg(fd int) zerolog.LevelWriter {
	k := &kmsg{fd: fd}
	k.console = zerolog.ConsoleWriter{Out: &k.text, NoColor: true, PartsExclude: []string{zerolog.TimestampFieldName, zerolog.LevelFieldName}}
	return zerolog.SyncWriter(k).(zerolog.LevelWriter)
}

func (k *kmsg) Write(b []byte) (int, error) { return k.WriteLevel(zerolog.InfoLevel, b) }

// kmsgMax is less than the 1024 bytes above which the kernel refuses a record.
const kmsgMax = 960

// printable cuts a record to size and replaces what would change the terminal
// that the kernel shows it on: a unit's file or program may have said it.
func printable(text []byte) []byte {
	text = bytes.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r < ' ' || r >= 0x7f && r < 0xa0:
			return '?'
		}
		return r
	}, text)
	return bytes.ToValidUTF8(text[:min(len(text), kmsgMax)], nil)
}

// WriteLevel writes one record with the priority of its level (syslog(3)).
func (k *kmsg) WriteLevel(level zerolog.Level, b []byte) (int, error) {
	prio := map[zerolog.Level]int{zerolog.DebugLevel: 7, zerolog.InfoLevel: 6, zerolog.WarnLevel: 4, zerolog.ErrorLevel: 3, zerolog.FatalLevel: 2}[level]
	k.text.Reset()
	fmt.Fprintf(&k.text, "<%d>nsinit: ", prio)
	if _, err := k.console.Write(b); err != nil {
		return 0, err
	}
	line := append(printable(bytes.TrimSpace(k.text.Bytes())), '\n')
	if _, err := unix.Write(k.fd, line); err != nil {
		return 0, err
	}
	return len(b), nil
}
