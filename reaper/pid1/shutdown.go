package pid1

import (
	"os"
	"slices"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

const (
	termTime   = 2 * time.Second  // between SIGTERM and SIGKILL for what the manager left
	killTime   = time.Second      // for the dead to be reaped; more only helps who waits for a disk
	finishTime = 15 * time.Second // for sync and unmount: a file system may never answer
)

// stop ends all processes: the manager first, which stops its units in order
// within the deadline, then whatever is left.
func (p *pid1) stop() {
	p.say.info("%v: stopping everything, for at most %v", p.asked, p.cmd.stopTimeout)
	if pid := p.manager.pid; pid != 0 {
		unix.Kill(pid, unix.SIGTERM)
		unix.Kill(pid, unix.SIGCONT)
		if !p.await(p.cmd.stopTimeout, func() bool { return p.manager.pid == 0 }) {
			p.say.warn("the manager has not stopped everything in %v; killing what is left", p.cmd.stopTimeout)
			unix.Kill(pid, unix.SIGKILL) // it must not restart what is killed now
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
	clean := make(chan struct{})
	go func() { // not waited for where a system call in it does not return
		defer close(clean)
		p.cleanUp()
	}()
	select {
	case <-clean:
	case <-time.After(finishTime):
		p.say.warn("cannot unmount everything in %v; going on without", finishTime)
	}
	for {
		p.end(p.asked)
		p.asked = halt // unless even that was refused, this is not reached
		time.Sleep(time.Second)
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
	unix.Sync()
	p.swapOff()
	// A loop device's file is on a file system that can be unmounted only when the
	// device is free, which its own file system must be before.
	for range 3 {
		left := p.unmountAll()
		if detached := p.detachLoops(); left == 0 || !detached {
			break
		}
	}
	p.remountReadOnly()
	unix.Sync()
}

func (p *pid1) swapOff() {
	b, _ := os.ReadFile("/proc/swaps")
	for i, line := range strings.Split(string(b), "\n") {
		if i == 0 || line == "" {
			continue
		}
		path := unescape(strings.Fields(line)[0])
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
// in use and has nothing to lose. It returns how many were left.
func (p *pid1) unmountAll() (left int) {
	mounts, err := mountsToClean()
	if err != nil {
		p.say.warn("cannot list what is mounted: %v; going on without unmounting", err)
	}
	for _, m := range mounts {
		if m.Mountpoint == "/" || m.FSType == "tmpfs" {
			continue
		}
		if unix.Unmount(m.Mountpoint, unix.UMOUNT_NOFOLLOW) != nil {
			left++
		}
	}
	return left
}

// remountReadOnly is for what could not be unmounted, the root among them.
func (p *pid1) remountReadOnly() {
	mounts, _ := mountsToClean()
	for _, m := range mounts {
		if m.FSType == "tmpfs" || m.FSType == "overlay" || slices.Contains(strings.Split(m.VFSOptions, ","), "ro") {
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
