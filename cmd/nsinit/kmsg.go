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
	k := &kmsg{fd: fd}
	k.console = zerolog.ConsoleWriter{Out: &k.text, NoColor: true, PartsExclude: []string{zerolog.TimestampFieldName, zerolog.LevelFieldName}}
	return zerolog.SyncWriter(k).(zerolog.LevelWriter), nil
}

func (k *kmsg) Write(b []byte) (int, error) { return k.WriteLevel(zerolog.InfoLevel, b) }

// kmsgMax is less than the 1024 bytes above which the kernel refuses a record.
const kmsgMax = 960

// WriteLevel writes one record with the priority of its level (syslog(3)).
func (k *kmsg) WriteLevel(level zerolog.Level, b []byte) (int, error) {
	prio := map[zerolog.Level]int{zerolog.DebugLevel: 7, zerolog.InfoLevel: 6, zerolog.WarnLevel: 4, zerolog.ErrorLevel: 3, zerolog.FatalLevel: 2}[level]
	k.text.Reset()
	fmt.Fprintf(&k.text, "<%d>nsinit: ", prio)
	if _, err := k.console.Write(b); err != nil {
		return 0, err
	}
	line := bytes.TrimSpace(k.text.Bytes())
	line = append(bytes.ReplaceAll(line[:min(len(line), kmsgMax)], []byte{'\n'}, []byte{' '}), '\n')
	if _, err := unix.Write(k.fd, line); err != nil {
		return 0, err
	}
	return len(b), nil
}
