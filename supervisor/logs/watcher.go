package logs

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/supervisor/inotify"
)

// watcher hears of changes to the followed files of all units, by one inotify(7)
// descriptor. It belongs to the Pump's goroutine. Units may share a directory, or a
// file, which has one watch then.
type watcher struct {
	fd    int
	users map[int]map[*tail]int
}

// add has t hear of events of what fd (O_PATH does) is open on.
func (p *Pump) addWatch(t *tail, fd int, events uint32) (int, error) {
	w := &p.watch
	if w.fd < 0 {
		if err := p.openWatcher(); err != nil {
			return -1, err
		}
	}
	wd, err := unix.InotifyAddWatch(w.fd, fmt.Sprintf("/proc/self/fd/%d", fd), events|unix.IN_MASK_ADD)
	if err != nil {
		return -1, fmt.Errorf("inotify_add_watch: %w", err)
	}
	if w.users[wd] == nil {
		w.users[wd] = map[*tail]int{}
	}
	w.users[wd][t]++
	return wd, nil
}

func (p *Pump) openWatcher() error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("inotify_init1: %w", err)
	}
	if err := p.poller.Add(fd, unix.EPOLLIN, func(uint32) { p.onWatch() }); err != nil {
		unix.Close(fd)
		return err
	}
	p.watch = watcher{fd: fd, users: map[int]map[*tail]int{}}
	return nil
}

func (p *Pump) dropWatch(t *tail, wd int) {
	users := p.watch.users[wd]
	if users == nil {
		return
	}
	if users[t]--; users[t] <= 0 {
		delete(users, t)
	}
	if len(users) == 0 {
		delete(p.watch.users, wd)
		_, _ = unix.InotifyRmWatch(p.watch.fd, uint32(wd)) // EINVAL: the kernel was first
	}
}

// onWatch takes the events of one read, and has each unit look once.
func (p *Pump) onWatch() {
	var buf [16 << 10]byte
	n, err := unix.Read(p.watch.fd, buf[:])
	if err != nil {
		return
	}
	woken := map[*tail]bool{}
	for e := range inotify.Events(buf[:n]) {
		p.event(e.Watch, e.Mask, e.Name, woken)
	}
	for t := range woken {
		t.look()
	}
}

func (p *Pump) event(wd int, mask uint32, name string, woken map[*tail]bool) {
	if mask&unix.IN_Q_OVERFLOW != 0 {
		for l := range p.logs {
			l.tail.stale()
			woken[&l.tail] = true
		}
		return
	}
	for t := range p.watch.users[wd] {
		if t.event(wd, mask, name) {
			woken[t] = true
		}
	}
	if mask&unix.IN_IGNORED != 0 {
		delete(p.watch.users, wd)
	}
}
