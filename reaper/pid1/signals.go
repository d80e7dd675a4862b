package pid1

import (
	"os"
	"os/signal"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// orders has every signal but SIGCHLD, children that one: one that waits stands
// for any number, and must not crowd out an order.
var orders, children = takeSignals()

// takeSignals catches all signals as soon as the runtime can: one that Go is not
// asked to catch would end the program, and process 1 must not end.
func takeSignals() (orders, children chan os.Signal) {
	if os.Getpid() != 1 {
		return nil, nil
	}
	orders, children = make(chan os.Signal, 128), make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	signal.Notify(make(chan os.Signal), unix.SIGURG) // Go's scheduler sends itself any number: taken, and dropped
	for n := syscall.Signal(1); n <= signals; n++ {
		if n != unix.SIGCHLD && n != unix.SIGURG {
			signal.Notify(orders, n)
		}
	}
	for _, n := range leftToDefault {
		ignore(n)
	}
	return orders, children
}

// leftToDefault are signals that Go never handles, because C libraries keep them
// for themselves. The kernel drops what would end process 1 by default, but not
// one that arrives while the main thread blocks it, in a handler, and another
// thread does not: complete_signal() of Linux 6.1 ends the whole group then.
var leftToDefault = []syscall.Signal{32, 34}

// ignore has the kernel drop a signal, which package signal does not for these
// two. It is inherited; launch undoes it for services.
func ignore(n syscall.Signal) {
	const sigIgn, setSize = 1, 8
	action := [8]uintptr{sigIgn} // struct sigaction of the kernel: the handler, then flags, restorer and mask
	unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(n), uintptr(unsafe.Pointer(&action)), 0, setSize, 0, 0)
}

// Decline gives the signals back, where process 1 is to be something else.
func Decline() {
	if orders != nil {
		signal.Stop(orders)
		signal.Stop(children)
	}
}

// signals is the highest signal's number (signal(7)).
const signals = 64

// ending is how the machine is to end.
type ending uint8

const (
	stay ending = iota
	halt
	powerOff
	reboot
	kexec
)

func (e ending) String() string {
	return [...]string{"stay", "halt", "poweroff", "reboot", "kexec"}[e]
}

// sigRTMin is SIGRTMIN of glibc, which keeps two of the kernel's for itself;
// container managers mean this one.
const sigRTMin = 34

// orderOf gives what a signal asks process 1 for, in the conventions of systemd
// (SIGINT, SIGRTMIN+3 to +6, SIGPWR) and of busybox (SIGUSR1, SIGUSR2, SIGTERM).
// In a container SIGTERM and SIGINT are "docker stop" and ctrl-c: the end of it.
func orderOf(s syscall.Signal, container bool) ending {
	switch s {
	case sigRTMin + 3, unix.SIGUSR1:
		return halt
	case sigRTMin + 4, unix.SIGUSR2, unix.SIGPWR:
		return powerOff
	case sigRTMin + 5:
		return reboot
	case sigRTMin + 6:
		return kexec
	case unix.SIGINT, unix.SIGTERM:
		if container {
			return powerOff
		}
		return reboot
	}
	return stay
}
