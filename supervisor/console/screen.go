package console

import (
	"errors"
	"fmt"
	"os"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Screen is the console. All methods return at once: a terminal that takes
// nothing, because it was stopped by ctrl-s or has no other end, misses lines.
// It belongs to one goroutine.
type Screen struct {
	path   string
	quiet  bool
	fd     int // -1: not open
	colour bool
	tty    bool
	open   bool   // the last line has no end yet: it can be overwritten
	behind bool   // the last write was cut: the next one begins a new line
	last   string // what waits
}

// Open takes a console, or a file or pipe, in use; quiet keeps the lines that
// say that something went wrong. term is TERM.
func Open(path string, quiet bool, term string) (*Screen, error) {
	s := &Screen{path: path, quiet: quiet, fd: -1}
	if err := s.reopen(); err != nil {
		return nil, fmt.Errorf("cannot open the console %s: %w", path, err)
	}
	_, err := unix.IoctlGetTermios(s.fd, unix.TCGETS)
	s.tty = err == nil
	s.colour = s.tty && term != "dumb" && os.Getenv("NO_COLOR") == ""
	if s.tty && term != "dumb" {
		s.write(wrapLines)
	}
	return s, nil
}

// wrapLines has a terminal go on in the next line where one is full (DECAWM,
// console_codes(4)). SeaBIOS switches that off on a serial line, and all that is
// longer than the screen is cut.
const wrapLines = "\x1b[?7h"

func (s *Screen) reopen() error {
	s.Close()
	fd, err := unix.Open(s.path, unix.O_WRONLY|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_APPEND, 0)
	if err == nil {
		s.fd = fd
	}
	return err
}

// Close lets go of the console.
func (s *Screen) Close() {
	if s.fd >= 0 {
		unix.Close(s.fd)
		s.fd = -1
	}
}

// Print writes a line, in place of one that says what is waited for.
func (s *Screen) Print(l Line) {
	if s.quiet && !l.Tag.bad() {
		return
	}
	s.write(s.clear() + l.Render(s.colour) + "\n")
}

// Wait shows what is waited for until the next line. A terminal shows it in one
// line that changes; elsewhere it is written when it begins.
func (s *Screen) Wait(text string, step int) {
	text = printable(text)
	if !s.colour {
		if s.last == "" && !s.quiet {
			s.last = text
			s.write("[" + eye(0) + "] " + text + "\n")
		}
		return
	}
	s.write(s.clear() + "[\x1b[0;31m" + eye(step) + "\x1b[0m] " + cut(text, s.columns()-10))
	s.open = true
}

// Done says that nothing is waited for any more.
func (s *Screen) Done() {
	if s.open {
		s.write(s.clear())
	}
	s.last = ""
}

// clear is what removes the line that waits.
func (s *Screen) clear() string {
	if !s.open {
		return ""
	}
	s.open = false
	return "\r\x1b[K"
}

func (s *Screen) columns() int {
	if size, err := unix.IoctlGetWinsize(s.fd, unix.TIOCGWINSZ); err == nil && size.Col > 20 {
		return int(size.Col)
	}
	return 80
}

// cut shortens text to n characters.
func cut(text string, n int) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	return string([]rune(text)[:n-1]) + "…"
}

// write writes what there is room for. A console that was hung up, as a getty
// does before it takes it, is opened again.
func (s *Screen) write(text string) {
	if s.behind {
		text = "\n" + text
	}
	n, err := unix.Write(s.fd, []byte(text))
	if errors.Is(err, unix.EIO) || errors.Is(err, unix.EBADF) {
		if s.reopen() == nil {
			n, err = unix.Write(s.fd, []byte(text))
		}
	}
	s.behind = n > 0 && n < len(text) || s.behind && n <= 0
}
