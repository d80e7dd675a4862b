// Package keeper keeps descriptors that must outlive the manager and that no
// reaper has: they lie in flight in a socketpair whose two ends an idle process
// holds, PID 1 of the machine or a stub (isolate/launch).
//
// Every message there is a name, a serial number and the descriptors of that
// name (SCM_RIGHTS, unix(7)). The manager can be killed between any two system
// calls, so nothing is taken out that is not in the queue a second time: the
// new goes to the tail before the old is discarded, and what lies behind an old
// one is copied to the tail before it is discarded at the head. Whoever reads
// what such a death has left goes by the serial numbers.
package keeper

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/reaper"
)

// Keeper is the manager's access to what is kept. There is one at a time to a
// holder; that is for the instance's lock to see to. It is safe for concurrent
// use, and no method waits for anything but system calls.
type Keeper struct {
	mu      sync.Mutex
	queue   queue
	ends    pair
	live    map[string]uint64 // the serial of each name
	queued  int               // messages in flight
	stale   int               // those of them that do not count any more
	foreign int
	last    uint64 // the serial given last
	closed  bool
}

// New makes a keeper that has nothing yet, and which nobody holds but this
// process: its Ends are for a holder.
func New() (*Keeper, error) {
	p, err := newPair()
	if err != nil {
		return nil, err
	}
	return over(p), nil
}

func over(p pair) *Keeper { return &Keeper{queue: p, ends: p, live: map[string]uint64{}} }

// Open goes on with what the process behind pidfd holds at the numbers of
// package reaper (pidfd_getfd(2), Linux 5.6; it needs CAP_SYS_PTRACE). The
// error is for a process that is no holder, or out of reach.
func Open(pidfd int) (*Keeper, error) {
	p := pair{-1, -1}
	for n, fd := range map[int]*int{reaper.FDKeeperSend: &p.send, reaper.FDKeeperKeep: &p.keep} {
		got, err := unix.PidfdGetfd(pidfd, n, 0)
		if err == nil {
			*fd, err = got, checkEnd(got)
		}
		if err != nil {
			closeAll(present(p.send, p.keep))
			return nil, fmt.Errorf("cannot take the keeper's sockets back: descriptor %d: %w", n, err)
		}
	}
	p.enlarge()
	k := over(p)
	if err := k.read(); err != nil {
		p.close()
		return nil, err
	}
	return k, nil
}

func present(fds ...int) (list []int) {
	for _, fd := range fds {
		if fd >= 0 {
			list = append(list, fd)
		}
	}
	return list
}

// checkEnd refuses what is no end of such a socketpair.
func checkEnd(fd int) error {
	for option, want := range map[int]int{unix.SO_DOMAIN: unix.AF_UNIX, unix.SO_TYPE: unix.SOCK_SEQPACKET} {
		got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, option)
		if err != nil || got != want {
			return fmt.Errorf("no socket of a keeper: %w", unix.ENOTSOCK)
		}
	}
	_, err := unix.Getpeername(fd)
	return os.NewSyscallError("getpeername", err)
}

// read learns what is in flight, and ends what a manager that was killed has
// begun. What nobody can read is thrown away: see Foreign.
func (k *Keeper) read() error {
	err := k.ends.each(nil, func(s seen) {
		k.queued++
		m, err := decode(s.bytes)
		if err != nil {
			k.foreign++
			return
		}
		k.live[m.name] = max(k.live[m.name], m.serial)
		k.last = max(k.last, m.serial)
	})
	if err != nil {
		return err
	}
	k.stale = k.queued - len(k.live)
	_ = k.sweep() // whatever comes next tries again, and says so
	return nil
}

// Foreign is how many messages Open found that no keeper had made.
func (k *Keeper) Foreign() int { return k.foreign }

// Ends are the two sockets, for the numbers reaper.FDKeeperSend and
// reaper.FDKeeperKeep of a holder. They stay the keeper's.
func (k *Keeper) Ends() (send, keep int) { return k.ends.send, k.ends.keep }

// Keep keeps copies of the descriptors under name, in place of what that name
// had. On an error the name has what it had before, unless the error is that
// this could not be discarded.
func (k *Keeper) Keep(name string, fds ...int) error {
	if err := checkName(name); err != nil {
		return err
	}
	if err := checkCount(len(fds)); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return fmt.Errorf("cannot keep descriptors for %s: %w", name, os.ErrClosed)
	}
	if full, err := k.ends.full(); full || err != nil {
		return fmt.Errorf("cannot keep descriptors for %s: %d names fill the queue (%w)", name, len(k.live), orNoBufs(err))
	}
	m := message{serial: k.last + 1, count: len(fds), name: name}
	if err := k.queue.push(m.encode(), fds); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	k.last++
	k.queued++
	if k.live[name] != 0 {
		k.stale++
	}
	k.live[name] = m.serial
	return k.sweep()
}

func orNoBufs(err error) error {
	if err == nil {
		return unix.ENOBUFS
	}
	return err
}

// Take gives copies of all that is kept, by name and in the order of Keep. They
// are the caller's; what is kept stays so.
func (k *Keeper) Take() (map[string][]int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil, fmt.Errorf("cannot take back what is kept: %w", os.ErrClosed)
	}
	taken := map[string][]int{}
	err := k.ends.each(make([]byte, unix.CmsgSpace(4*FDsMax)), func(s seen) {
		m, err := decode(s.bytes)
		if err != nil || k.live[m.name] != m.serial || taken[m.name] != nil || len(s.fds) != m.count {
			closeAll(s.fds)
			return
		}
		taken[m.name] = s.fds
	})
	if err != nil {
		for _, fds := range taken {
			closeAll(fds)
		}
		return nil, err
	}
	return taken, nil
}

// Drop discards what is kept under the names; one that has nothing is no
// error. Several at once cost no more than one.
func (k *Keeper) Drop(names ...string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return fmt.Errorf("cannot discard what is kept: %w", os.ErrClosed)
	}
	// First what is left of names that were kept anew: with those gone, no death
	// from here on can bring back an older one in place of what is dropped.
	if err := k.sweep(); err != nil {
		return err
	}
	for _, name := range names {
		if k.live[name] != 0 {
			delete(k.live, name)
			k.stale++
		}
	}
	return k.sweep()
}

// sweep discards all that does not count any more, going round once at most.
func (k *Keeper) sweep() error {
	copied := map[string]bool{}
	for range k.queued { // copies go behind these
		if k.stale == 0 {
			break
		}
		if err := k.step(copied); err != nil {
			return fmt.Errorf("cannot discard what is not to be kept any longer: %w", err)
		}
	}
	return nil
}

// step discards the head, and copies it to the tail before that if it counts.
func (k *Keeper) step(copied map[string]bool) error {
	b, err := k.queue.head()
	if err != nil {
		return err
	}
	m, err := decode(b)
	if err == nil && k.live[m.name] == m.serial && !copied[m.name] {
		copied[m.name] = true
		fds, err := k.queue.headFDs()
		if err != nil {
			return err
		}
		err = k.queue.push(b, fds)
		closeAll(fds)
		if err != nil {
			return err
		}
		k.queued++
		k.stale++
	}
	if err := k.queue.pop(); err != nil {
		return err
	}
	k.queued--
	k.stale--
	return nil
}

// Names lists what is kept, in no order.
func (k *Keeper) Names() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Collect(maps.Keys(k.live))
}

// Close lets go of the sockets; all that comes later fails with os.ErrClosed.
// What is kept stays with the holder, and is gone where there is none.
func (k *Keeper) Close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.closed {
		k.ends.close()
	}
	k.closed = true
}
