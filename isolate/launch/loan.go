package launch

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
)

// A manager of 500 units has thousands of descriptors. A child with a table of
// its own would get a copy of each and have to close them all, a third of what a
// start costs then. So the child begins in the manager's table, where what it
// needs lies below lowest, and its first act is a table of its own without the
// rest (close_range(2), CLOSE_RANGE_UNSHARE, Linux 5.9). The manager waits for that
// before it takes the numbers back. There are several ranges, so that other
// launches need not wait meanwhile, as a busy machine may not run a child at once.
//
//	3 ... slotEnd | ... | lending ... lowest  | the manager's own
//	the child's numbers | desk | desk | ...   |

// desks is how many children can be lent something at a time, deskSize how many
// descriptors each.
const (
	desks    = 4
	deskSize = 28
)

// desk is one range of numbers.
type desk struct {
	first int
	ready int // an eventfd that the child rings once it has a table of its own
}

// openDesks gives those that are free.
func openDesks() (chan desk, error) {
	free := make(chan desk, desks)
	for i := range desks {
		ready, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			return nil, fmt.Errorf("cannot make an eventfd: %w", os.NewSyscallError("eventfd2", err))
		}
		free <- desk{lending + i*deskSize, ready}
	}
	return free, nil
}

// handed is what a child gets besides its program.
type handed struct {
	from  map[int]int             // descriptors, by the numbers that it is to find them at
	files map[isolate.Desc]opened // that its steps name
	stage *stage                  // nil: none
	loan  *loan                   // where from and the others lie, unless they are the manager's own numbers
}

// loan is what is lent to one child.
type loan struct {
	l      *Launcher
	desk   desk
	next   int // the first number that is free
	null   int
	ready  int
	failed error
}

// lend puts h in place. Where there is more than there are numbers, as for a unit
// with many binds, it lends nothing: that child gets a table the usual way.
func (l *Launcher) lend(h handed) (handed, error) {
	count := len(h.from) + len(h.files) + 2
	if h.stage != nil {
		count += len(h.stage.fds)
	}
	if !l.lends || count > deskSize {
		return h, nil
	}
	d := <-l.desks
	o := &loan{l: l, desk: d, next: d.first}
	lent := handed{from: map[int]int{}, files: map[isolate.Desc]opened{}, loan: o}
	for to, fd := range h.from {
		lent.from[to] = o.add(fd)
	}
	for name, f := range h.files {
		if f.fd >= lowest { // else a number of the child's
			f.fd = o.add(f.fd)
		}
		lent.files[name] = f
	}
	if h.stage != nil {
		lent.stage = &stage{}
		for _, n := range h.stage.fds {
			lent.stage.fds = append(lent.stage.fds, namespace{o.add(n.fd), n.flag})
		}
	}
	o.null, o.ready = o.add(l.null), o.add(d.ready)
	if o.failed != nil {
		o.takeBack()
		return h, o.failed
	}
	return lent, nil
}

func (o *loan) add(fd int) (at int) {
	at = o.next
	o.next++
	if err := unix.Dup3(fd, at, unix.O_CLOEXEC); err != nil {
		o.failed = fmt.Errorf("cannot hand descriptor %d to the child: %w", fd, os.NewSyscallError("dup3", err))
	}
	return at
}

// steps are the child's first: its own table, and in that its own numbers.
func (o *loan) steps(one uintptr, from map[int]int) []rawStep {
	return append([]rawStep{
		raw(unix.SYS_CLOSE_RANGE, uintptr(o.next), uintptr(^uint32(0)), unix.CLOSE_RANGE_UNSHARE),
		raw(unix.SYS_WRITE, uintptr(o.ready), one, 8),
	}, place(o.null, o.desk.first, from)...)
}

// await returns once the child has a table of its own, or has ended.
func (o *loan) await(pidfd int) {
	fds := []unix.PollFd{{Fd: int32(o.desk.ready), Events: unix.POLLIN}, {Fd: int32(pidfd), Events: unix.POLLIN}}
	retry(func() (int, error) { return unix.Poll(fds, -1) })
	var b [8]byte
	unix.Read(o.desk.ready, b[:]) // it does not block
}

// takeBack leaves the numbers to nobody.
func (o *loan) takeBack() {
	for n := o.desk.first; n < o.next; n++ {
		unix.Dup3(o.l.null, n, unix.O_CLOEXEC)
	}
	o.l.desks <- o.desk
}
