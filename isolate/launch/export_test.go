package launch

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Lendable is how many descriptors can be lent to all children together.
const Lendable = desks * deskSize

// SetLoanTime sets for how long, until undo is called.
func SetLoanTime(d time.Duration) (undo func()) {
	before := loanTime
	loanTime = d
	return func() { loanTime = before }
}

// StagesReady names the ipc namespaces of the stages that wait to be taken, as
// /proc/self/ns/ipc does.
func (l *Launcher) StagesReady() (names []string) {
	l.stages.mu.Lock()
	defer l.stages.mu.Unlock()
	for _, st := range l.stages.ready {
		for _, n := range st.fds {
			var s unix.Stat_t
			if n.flag == unix.CLONE_NEWIPC && unix.Fstat(n.fd, &s) == nil {
				names = append(names, fmt.Sprintf("ipc:[%d]", s.Ino))
			}
		}
	}
	return names
}
