package main

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// The kernel shows records as they are: nothing in one may change the terminal,
// or look like a record of its own.
func TestKmsgIsPlainText(t *testing.T) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	log := zerolog.New(newKmsg(fds[1]))
	log.Warn().Str("unit", "web\x1b[2J").Msg("bad\x1b[2J\n<1>record\u009b1m " + strings.Repeat("ä", kmsgMax))
	b := make([]byte, 4096)
	n, err := unix.Read(fds[0], b)
	if err != nil {
		t.Fatal(err)
	}
	record := string(b[:n])
	if want := "<4>nsinit: bad?[2J <1>record?1m "; !strings.HasPrefix(record, want) {
		t.Errorf("got %q; want %q...", record, want)
	}
	if len(record) > 1024 || strings.ContainsRune(record, '\x1b') || strings.Count(record, "\n") != 1 || !utf8.ValidString(record) {
		t.Errorf("%d bytes: %q", len(record), record)
	}
}
