package pid1

import (
	"os"
	"slices"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/reaper"
)

const (
	termTime   = 2 * time.Second  // between SIGTERM and SIGKILL for what the manager left
	killTime   = time.Second      // for the dead to be reaped; more only helps who waits for a disk
	finishTime = 20 * time.Second // for sync and unmount: a file system may never answer
	syncTime   = 8 * time.Second  // of these for sync, which waits for all of them
	mountTime  = 2 * time.Second  // and for one mount: the others have data too
)

// stop ends all processes: a manager first, which stops its units in order
// within the deadline, then whatever is left.
func (p *pid1) stop() {
	p.say.info("%v: stopping everything, for at most %v", p.asked, p.cmd.stopTimeout)
	deadline := time.Now().Add(p.cmd.stopTimeout)
	m := &p.manager
	if m.pid != 0 {
		unix.Kill(m.pid, unix.SIGTERM)
		unix.Kill(m.pid, unix.SIGCONT)
		p.awaitManager(deadline)
	}
	// None ran, or it did not come to the end: units have an order all the same.
	if m.served && !m.clean && time.Now().Before(deadline) {
		p.say.warn("no manager stops the services; starting one that does")
		if err := m.start(append([]string{"nsinit", "--" + reaper.OptionStop}, p.managerArgs()...)); err != nil {
			p.say.warn("cannot start the manager (%s): %v; killing what is left", m.path, err)
		} else {
			p.awaitManager(deadline)
		}
	}
	for _, round := range []struct {
		signal unix.Signal
		wait   time.Duration
	}{{unix.SIGTERM, termTime}, {unix.SIGKILL, killTime}} {
		if p.await(0, p.childless) {
			return
		}
		unix.Kill(-1, round.signal)
		unix.Kill(-1, unix.SIGCONT)
		p.await(round.wait, p.childless)
	}
}

// awaitManager waits for the manager's end, and kills it when the time is over:
// it must not restart what is killed then.
func (p *pid1) awaitManager(deadline time.Time) {
	if !p.await(time.Until(deadline), func() bool { return p.manager.pid == 0 }) {
		p.say.warn("the manager has not stopped everything in %v; killing what is left", p.cmd.stopTimeout)
		unix.Kill(p.manager.pid, unix.SIGKILL)
	}
}

// await reaps until done or the time is over, deaf to orders. It reports done.
func (p *pid1) await(limit time.Duration, done func() bool) bool {
	deadline := time.Now().Add(limit)
	for {
		more := p.reap()
		if done() {
			return true
		}
		left := time.Until(deadline)
		if left <= 0 {
			return false
		}
		if more {
			continue
		}
		p.timer.Reset(left)
		select {
		case <-children:
		case <-p.signals:
		case <-p.timer.C:
		}
	}
}

// childless tells that nothing runs any more: all processes descend from this
// one, and what loses its parent becomes its child.
func (p *pid1) childless() bool {
	err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err == unix.ECHILD
}

// finish leaves the file systems clean, and ends the machine even if they do not
// let it.
func (p *pid1) finish() int {
	if p.container {
		if p.exitCode == 0 && p.asked == reboot {
			return containerReboot
		}
		return p.exitCode
	}
	if !p.within(finishTime, p.cleanUp) {
		p.say.warn("cannot unmount everything in %v; going on without", finishTime)
	}
	for {
		p.end(p.asked)
		p.asked = halt // unless even that was refused, this is not reached
		time.Sleep(time.Second)
	}
}

// within runs f, and gives up on it when the time is over: a file system that
// has lost its server or its disk never answers, and its thread stays there. It
// reports whether f came to its end.
func (p *pid1) within(limit time.Duration, f func()) bool {
	done := make(chan struct{})
	go func() { // joined unless it hangs
		defer close(done)
		p.survive(f)
	}()
	select {
	case <-done:
		return true
	case <-time.After(limit):
		return false
	}
}

// containerReboot is the exit code with which systemd's containers ask to be
// started again (systemd-nspawn(1)).
const containerReboot = 133

// end is reboot(2).
func (p *pid1) end(e ending) {
	p.say.info("%v", e)
	cmd := map[ending]int{halt: unix.LINUX_REBOOT_CMD_HALT, powerOff: unix.LINUX_REBOOT_CMD_POWER_OFF,
		reboot: unix.LINUX_REBOOT_CMD_RESTART, kexec: unix.LINUX_REBOOT_CMD_KEXEC}[e]
	err := unix.Reboot(cmd)
	if e == kexec {
		p.say.warn("cannot kexec: %v (no kernel is loaded?); rebooting", err)
		err = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	}
	p.say.warn("cannot %v: %v", e, err)
}

// cleanUp writes everything back and takes file systems and what lies below
// them apart, as far as it goes.
func (p *pid1) cleanUp() {
	if !p.within(syncTime, unix.Sync) {
		p.say.warn("cannot write everything back in %v: some file system does not answer; going on", syncTime)
	}
	p.swapOff()
	// A loop device's file is on a file system that can be unmounted only when the
	// device is free, which its own file system must be before.
	dead := map[string]bool{} // mount points that do not answer
	for range 3 {
		left := p.unmountAll(dead)
		if detached := p.detachLoops(); left == 0 || !detached {
			break
		}
	}
	p.remountReadOnly(dead)
	if len(dead) == 0 {
		unix.Sync()
	}
}

func (p *pid1) swapOff() {
	b, _ := os.ReadFile("/proc/swaps")
	for i, line := range strings.Split(string(b), "\n") {
		name, _, ok := strings.Cut(line, " ")
		if i == 0 || !ok {
			continue
		}
		path := unescape(name)
		if err := swapoff(path); err != nil {
			p.say.warn("cannot turn swap off on %s: %v; going on without", path, err)
		}
	}
}

// virtual are file systems that have nothing to lose.
var virtual = []string{"proc", "sysfs", "devtmpfs", "devpts", "cgroup2", "mqueue", "rootfs", "ramfs", "securityfs", "tracefs", "debugfs", "bpf", "pstore", "efivarfs", "nsfs"}

// mountsToClean lists the mounts that matter, the latest first.
func mountsToClean() ([]*mountinfo.Info, error) {
	all, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return slices.Contains(virtual, m.FSType), false
	})
	slices.Reverse(all)
	return all, err
}

// unmountAll unmounts what it can, but neither the root nor tmpfs, which may be
// in use and has nothing to lose. It returns how many were left. What does not
// answer joins the dead, which are not asked.
func (p *pid1) unmountAll(dead map[string]bool) (left int) {
	mounts, err := mountsToClean()
	if err != nil {
		p.say.warn("cannot list what is mounted: %v; going on without unmounting", err)
	}
	for _, m := range mounts {
		if m.Mountpoint == "/" || m.FSType == "tmpfs" || dead[m.Mountpoint] {
			continue
		}
		err := error(unix.ETIMEDOUT)
		if !p.within(mountTime, func() { err = unix.Unmount(m.Mountpoint, unix.UMOUNT_NOFOLLOW) }) {
			p.say.warn("cannot unmount %s: it does not answer in %v; going on without", m.Mountpoint, mountTime)
			dead[m.Mountpoint] = true
			continue
		}
		if err != nil {
			left++
		}
	}
	return left
}

// remountReadOnly is for what could not be unmounted, the root among them.
func (p *pid1) remountReadOnly(dead map[string]bool) {
	mounts, _ := mountsToClean()
	for _, m := range mounts {
		if m.FSType == "tmpfs" || m.FSType == "overlay" || dead[m.Mountpoint] || slices.Contains(strings.Split(m.VFSOptions, ","), "ro") {
			continue
		}
		if err := unix.Mount("", m.Mountpoint, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			p.say.warn("cannot unmount %s or have it read-only: %v; going on without", m.Mountpoint, err)
		}
	}
}

// detachLoops frees loop devices (loop(4)) and reports whether there was one.
func (p *pid1) detachLoops() (any bool) {
	names, _ := os.ReadDir("/sys/block")
	for _, n := range names {
		if _, err := os.Stat("/sys/block/" + n.Name() + "/loop/backing_file"); err != nil {
			continue
		}
		fd, err := unix.Open("/dev/"+n.Name(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.IoctlSetInt(fd, unix.LOOP_CLR_FD, 0)
			unix.Close(fd)
		}
		if err != nil {
			p.say.warn("cannot detach /dev/%s: %v; going on without", n.Name(), err)
			continue
		}
		any = true
	}
	return any
}
