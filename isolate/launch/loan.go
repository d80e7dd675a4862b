package launch

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
)

// A manager of 500 units has thousands of descriptors. A child with a table of
// its own would get a copy of each and have to close them all, a third of what a
// start costs then. So the child begins in the manager's table, where what it
// needs lies below lowest, and its first act is a table of its own without the
// rest (close_range(2), CLOSE_RANGE_UNSHARE, Linux 5.9; ownTable). The manager waits for that
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

// loanTime is how long a child may take to its own table. It runs at once, unless
// its cgroup is frozen or gets no processor time; then it must not keep a desk,
// and the worker that launches it, for good. A test makes it shorter.
var loanTime = 10 * time.Second

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

// await returns once the child has a table of its own. One that has ended before,
// or has to be ended, is an error, and is gone.
func (o *loan) await(p *Process) error {
	fds := []unix.PollFd{{Fd: int32(o.desk.ready), Events: unix.POLLIN}, {Fd: int32(p.PIDFD), Events: unix.POLLIN}}
	late, deadline := false, time.Now().Add(loanTime)
	for fds[1].Revents == 0 {
		left := -1
		if !late {
			left = int(max(time.Until(deadline), 0).Milliseconds())
		}
		n, err := unix.Poll(fds, left)
		var b [8]byte
		if _, err := unix.Read(o.desk.ready, b[:]); err == nil { // it does not block
			return nil
		}
		if late = late || n == 0 && err == nil; late {
			p.Signal(syscall.SIGKILL) // which reaches one in a frozen cgroup too (cgroup-v2.rst)
		}
	}
	status, err := p.Wait()
	switch {
	case err != nil:
		return err
	case late:
		return fmt.Errorf("the child has not run for %v and was killed: is a cgroup above it frozen (cgroup.freeze), or without processor time (cpu.max)?", loanTime)
	case status.Signaled():
		return fmt.Errorf("the child was killed by signal %d before it had begun", status.Signal())
	}
	return fmt.Errorf("close_range, to a descriptor table of its own: %w", syscall.Errno(status.ExitStatus()))
}

// takeBack leaves the numbers to nobody.
func (o *loan) takeBack() {
	for n := o.desk.first; n < o.next; n++ {
		unix.Dup3(o.l.null, n, unix.O_CLOEXEC)
	}
	o.l.desks <- o.desk
}
