package supervisor

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// watchdogDevice resets the machine unless it hears something in time
// (Documentation/watchdog/watchdog-api.rst).
const watchdogDevice = "/dev/watchdog"

// watchdog is the machine's. The loop feeds it, so that it tells a manager that
// hangs from one that works. After a crash it runs on, and the next manager has
// what is left of the time to take it up.
type watchdog struct {
	fd    int
	timer int
	limit time.Duration // as the device rounds it
}

// openWatchdog starts the watchdog, if one is asked for.
func (m *Manager) openWatchdog(limit time.Duration) {
	if limit <= 0 || !m.cfg.Boot {
		return
	}
	w, err := newWatchdog(watchdogDevice, limit)
	if err == nil {
		err = m.feedOnTime(w)
	}
	if err != nil {
		m.problem(fmt.Errorf("%w; going on without a watchdog", err))
		return
	}
	m.watchdog = w
	m.log.Info().Stringer("limit", w.limit).Msg("the hardware watchdog is fed")
}

// feedOnTime has the loop feed w. Where it cannot, w is stopped: running and never
// fed, it would reset the machine.
func (m *Manager) feedOnTime(w *watchdog) error {
	err := m.poller.Add(w.timer, unix.EPOLLIN, func(uint32) {
		var b [8]byte
		unix.Read(w.timer, b[:])
		if err := w.feed(); err != nil {
			m.problem(err)
		}
	})
	if err != nil {
		w.close()
		return fmt.Errorf("cannot feed the watchdog: %w", err)
	}
	return nil
}

// watchdogLimit is the kernel command line's, or else that of nsinit.toml.
func (m *Manager) watchdogLimit() time.Duration {
	if m.cfg.Watchdog > 0 {
		return m.cfg.Watchdog
	}
	return m.instance.WatchdogSec
}

// newWatchdog opens the device, which starts it, and a timer at a third of its
// limit.
func newWatchdog(device string, limit time.Duration) (*watchdog, error) {
	fd, err := unix.Open(device, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", device, err)
	}
	w := &watchdog{fd: fd, limit: limit}
	seconds := max(int(limit/time.Second), 1)
	if err := unix.IoctlSetPointerInt(fd, unix.WDIOC_SETTIMEOUT, seconds); err != nil {
		w.close()
		return nil, fmt.Errorf("cannot set the limit of %s to %d s: %w", device, seconds, err)
	}
	if n, err := unix.IoctlGetInt(fd, unix.WDIOC_GETTIMEOUT); err == nil && n > 0 {
		w.limit = time.Duration(n) * time.Second
	}
	if w.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		w.close()
		return nil, fmt.Errorf("cannot make a timer: %w", os.NewSyscallError("timerfd_create", err))
	}
	every := unix.NsecToTimespec(int64(w.limit / 3))
	if err := unix.TimerfdSettime(w.timer, 0, &unix.ItimerSpec{Interval: every, Value: every}, nil); err != nil {
		w.close()
		return nil, fmt.Errorf("cannot set the watchdog's timer: %w", os.NewSyscallError("timerfd_settime", err))
	}
	return w, nil
}

// feed tells the device that all is well: it starts counting anew.
func (w *watchdog) feed() error {
	if _, err := unix.Write(w.fd, []byte{0}); err != nil {
		return fmt.Errorf("cannot feed the watchdog: %w", err)
	}
	return nil
}

// close stops the device: 'V' says that its end is meant. From here on process
// 1's own deadline bounds the shutdown. (A driver with nowayout runs on.)
func (w *watchdog) close() {
	if w == nil {
		return
	}
	unix.Write(w.fd, []byte{'V'})
	unix.Close(w.fd)
	if w.timer > 0 {
		unix.Close(w.timer)
	}
}
