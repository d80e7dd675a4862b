// Package tty does to a terminal what has to be done before a service has
// it and after: hang up whoever is there, reset it, clear it, set its size.
// And it keeps the entries of utmp and wtmp that login programs expect.
package tty

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Settings are the tty_ keys of a unit. The zero value does nothing.
type Settings struct {
	Path          string // of the terminal, below /dev
	Reset         bool
	Hangup        bool
	Disallocate   bool
	Rows, Columns int // 0: as they are
}

// wanted reports whether there is anything to do before or after a service.
func (s Settings) wanted() bool {
	return s.Releases() || s.Rows != 0 || s.Columns != 0
}

// Prepare readies the terminal for a service: afterwards nobody has it but who
// opens it from then on. It fails, naming the step, where the terminal cannot
// be opened or hung up; what a kind of terminal cannot do (a serial line has no
// size of its own, a pseudo-terminal no keyboard) is left out.
func (s Settings) Prepare() error {
	if !s.wanted() {
		return nil
	}
	if err := s.clean(); err != nil {
		return err
	}
	if s.Rows == 0 && s.Columns == 0 {
		return nil
	}
	return s.with(s.resize)
}

// Releases reports whether there is anything for Release to do.
func (s Settings) Releases() bool { return s.Reset || s.Hangup || s.Disallocate }

// Release leaves the terminal as the next one would like to find it.
func (s Settings) Release() error {
	if !s.Releases() {
		return nil
	}
	return s.clean()
}

// clean resets first, so that a stopped terminal does not hold the hangup up,
// and again what the hangup has undone. Each opening is a new one: a hangup
// leaves nothing to be done with those before.
func (s Settings) clean() error {
	if s.Reset {
		if err := s.with(reset); err != nil {
			return err
		}
	}
	if s.Hangup {
		if err := s.with(hangUp); err != nil {
			return err
		}
	}
	if !s.Disallocate {
		return nil
	}
	if n, ok := s.virtual(); ok {
		if err := disallocate(n); err == nil {
			return nil
		}
	}
	return s.with(wipe)
}

// with opens the terminal for f. A serial line without a carrier does not stop
// the opener (O_NONBLOCK), and no terminal becomes the manager's own (O_NOCTTY).
func (s Settings) with(f func(fd int) error) error {
	fd, err := unix.Open(s.Path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("cannot open terminal %s: %w%s", s.Path, err, openHint(err))
	}
	defer unix.Close(fd)
	if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil { // a disk, for one, must not be written to
		return fmt.Errorf("cannot prepare terminal %s: it is none: %w", s.Path, err)
	}
	if err := f(fd); err != nil {
		return fmt.Errorf("cannot prepare terminal %s: %w", s.Path, err)
	}
	return nil
}

func openHint(err error) string {
	switch {
	case errors.Is(err, unix.ENOENT):
		return "; is the device there, and tty_path right?"
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.EIO), errors.Is(err, unix.ENODEV):
		return "; there is nothing behind that device"
	}
	return ""
}

// virtual gives the number of a virtual terminal (vt(4)).
func (s Settings) virtual() (int, bool) {
	number, found := strings.CutPrefix(s.Path, "/dev/tty")
	n, err := strconv.Atoi(number)
	return n, found && err == nil && n > 0
}

func hangUp(fd int) error {
	if err := unix.IoctlSetInt(fd, unix.TIOCVHANGUP, 0); err != nil {
		return fmt.Errorf("TIOCVHANGUP: %w", err)
	}
	return nil
}

func (s Settings) resize(fd int) error {
	size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
	if err != nil {
		return fmt.Errorf("TIOCGWINSZ: %w", err)
	}
	if s.Rows != 0 {
		size.Row = uint16(s.Rows)
	}
	if s.Columns != 0 {
		size.Col = uint16(s.Columns)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, size); err != nil {
		return fmt.Errorf("TIOCSWINSZ: %w", err)
	}
	return nil
}

// The ioctls of ioctl_console(2) that x/sys has no names for.
const (
	kdSetMode       = 0x4b3a
	kdText          = 0
	kdSetKeyMode    = 0x4b45
	keyModeUnicode  = 3
	vtDisallocate   = 0x5608
	tiocNotExcluded = 0x540d // TIOCNXCL
)

// reset gives the terminal the settings of a fresh one. Speed and size of the
// characters stay: they are the line's.
func reset(fd int) error {
	unix.IoctlSetInt(fd, tiocNotExcluded, 0)
	unix.IoctlSetInt(fd, kdSetMode, kdText) // of a virtual terminal only, as the next
	unix.IoctlSetInt(fd, kdSetKeyMode, keyModeUnicode)
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return fmt.Errorf("TCGETS: %w", err)
	}
	sane(t)
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, t); err != nil {
		return fmt.Errorf("TCSETS: %w", err)
	}
	if err := unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIOFLUSH); err != nil {
		return fmt.Errorf("TCFLSH: %w", err)
	}
	return nil
}

// sane is what stty(1) calls so (termios(3)).
func sane(t *unix.Termios) {
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.IUCLC
	t.Iflag |= unix.ICRNL | unix.IMAXBEL | unix.IUTF8
	t.Oflag |= unix.ONLCR | unix.OPOST
	t.Cflag |= unix.CREAD
	t.Lflag = unix.ISIG | unix.ICANON | unix.IEXTEN | unix.ECHO | unix.ECHOE | unix.ECHOK | unix.ECHOCTL | unix.ECHOKE
	for i, c := range map[int]uint8{unix.VINTR: 3, unix.VQUIT: 28, unix.VERASE: 127, unix.VKILL: 21, unix.VEOF: 4,
		unix.VSTART: 17, unix.VSTOP: 19, unix.VSUSP: 26, unix.VLNEXT: 22, unix.VWERASE: 23, unix.VREPRINT: 18,
		unix.VEOL: 0, unix.VEOL2: 0, unix.VTIME: 0, unix.VMIN: 1} {
		t.Cc[i] = c
	}
}

// disallocate lets the kernel forget a virtual terminal with its scrollback.
// One that is shown is not forgotten; EBUSY says so.
func disallocate(n int) error {
	fd, err := unix.Open("/dev/tty0", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.IoctlSetInt(fd, vtDisallocate, n)
}

// wipe clears the screen: default colours, home, erase what is shown and what
// was scrolled out (console_codes(4)). A terminal that takes nothing now, as a
// stopped one, is not waited for.
func wipe(fd int) error {
	_, err := unix.Write(fd, []byte("\x1b[r\x1b[H\x1b[3J\x1b[2J"))
	if err == unix.EAGAIN {
		return nil
	}
	return err
}
