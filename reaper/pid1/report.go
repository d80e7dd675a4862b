package pid1

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// reporter says what happens, in the kernel's log and on the console. Neither
// blocks: a console that was stopped by ctrl-s must not stop process 1.
type reporter struct {
	kmsg    int // /dev/kmsg, -1 for none
	console int // -1 for none
	quiet   bool
	lines   [signals + 1][]byte // "ignoring signal N", made ahead
}

// Priorities of syslog(3).
const (
	prioWarning = 4
	prioInfo    = 6
)

// open (re)opens both ways out and has the standard descriptors on the console,
// or on /dev/null where there is none.
func (r *reporter) open(container bool) {
	for i := range r.lines {
		r.lines[i] = []byte("nsinit: ignoring signal " + strconv.Itoa(i) + "\n")
	}
	r.kmsg, r.console = reopen(r.kmsg, "/dev/kmsg"), reopen(r.console, "/dev/console")
	if container {
		// Its standard descriptors are its console; the kernel's log is not its own.
		if r.kmsg > 2 {
			unix.Close(r.kmsg)
		}
		if r.console > 2 {
			unix.Close(r.console)
		}
		r.kmsg, r.console = -1, nonblocking(2)
		return
	}
	stdio, err := unix.Open("/dev/console", unix.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		stdio, err = unix.Open("/dev/null", unix.O_RDWR, 0)
	}
	if err != nil {
		return // what the kernel or the runtime opened stays
	}
	for fd := range 3 {
		unix.Dup3(stdio, fd, 0)
	}
	if stdio > 2 {
		unix.Close(stdio)
	}
}

// nonblocking opens the pipe or terminal behind a descriptor anew, where writing
// does not wait for who reads: a container's log may be read by nobody. What
// others have with the descriptor stays as it is. Of other files it is itself.
func nonblocking(fd int) int {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO && st.Mode&unix.S_IFMT != unix.S_IFCHR {
		return fd
	}
	if own := reopen(-1, "/proc/self/fd/"+strconv.Itoa(fd)); own >= 0 {
		return own
	}
	return fd
}

func reopen(old int, path string) int {
	if old > 2 {
		unix.Close(old)
	}
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	if fd > 2 {
		return fd
	}
	defer unix.Close(fd) // a standard descriptor was closed: keep out of there
	if fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3); err != nil {
		return -1
	}
	return fd
}

func (r *reporter) warn(format string, args ...any) { r.line(prioWarning, format, args...) }
func (r *reporter) info(format string, args ...any) { r.line(prioInfo, format, args...) }

// line says one line. /dev/kmsg refuses more than 1024 bytes.
func (r *reporter) line(prio int, format string, args ...any) {
	text := fmt.Appendf(nil, "nsinit: "+format, args...)
	text = append(bytes.ReplaceAll(text[:min(len(text), 900)], []byte{'\n'}, []byte{' '}), '\n')
	if r.kmsg > 2 {
		unix.Write(r.kmsg, append([]byte{'<', byte('0' + prio), '>'}, text...))
	}
	if r.console >= 2 && !(r.quiet && prio >= prioInfo) && !(r.kmsg > 2 && kernelPrints(prio)) {
		unix.Write(r.console, text)
	}
}

// ignored is for signals, which anybody with the right may send in any number.
func (r *reporter) ignored(s syscall.Signal) {
	if r.kmsg > 2 && int(s) < len(r.lines) {
		unix.Write(r.kmsg, r.lines[s])
	}
}

// kernelPrints tells whether the kernel puts what is logged with prio on the
// console itself (proc_sys_kernel(5), printk).
func kernelPrints(prio int) bool {
	b, err := os.ReadFile("/proc/sys/kernel/printk")
	if err != nil {
		return false
	}
	level, _, _ := bytes.Cut(b, []byte{'\t'})
	n, err := strconv.Atoi(string(bytes.TrimSpace(level)))
	return err == nil && prio < n
}
