// Package pid1 is what runs as process 1 of a machine, or of a container that
// was given nsinit as its init.
//
// It mounts what is missing, reaps, keeps the manager running, holds the
// keeper's socket pair, and brings the machine down. It reads no unit, opens no
// other socket and answers nobody: orders are signals. The manager may crash;
// this may not, because the kernel panics when process 1 ends. So its working
// state is one struct that one goroutine owns, nothing is allocated for a
// signal or a reaped process, and there is always an idle thread: a Go program
// that needs a thread and gets none (a fork bomb has all process numbers) dies.
package pid1

import (
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Options are what the program knows of itself.
type Options struct {
	Version string
	Built   time.Time // the clock is never before it
	Args    []string  // of the command line, for the manager

	// Protected gives a path at which this program cannot be changed by those whom
	// it is shown to, what the environment must have with it, and how to let go of
	// it (launch.Protected). Where that fails, as it does once the file is another,
	// the manager sees to it by itself.
	Protected func(path string) (shielded, env string, done func(), err error)
}

// pid1 is the state of process 1.
type pid1 struct {
	opt       Options
	say       reporter
	cmd       cmdline
	container bool
	began     time.Duration // of the kernel's time, when the first process 1 of this boot ran
	signals   <-chan os.Signal
	timer     *time.Timer

	manager  manager
	shell    int // process ID of the rescue shell, 0 for none
	asked    ending
	exitCode int // of a container whose manager gave up
}

// Main is process 1. It returns in a container only, with the exit code.
func Main(opt Options) int {
	p := &pid1{opt: opt, began: began(), signals: orders, timer: time.NewTimer(time.Hour), say: reporter{kmsg: -1, console: 2}, manager: newManager()}
	p.manager.protected = opt.Protected
	boundMemory()
	makeThreads(idleThreads) // before there is anybody who could take all process numbers
	p.boot()
	p.manager.due = time.Now()
	if p.cmd.rescueFirst {
		p.manager.due = time.Time{}
		p.survive(func() { p.rescue("the manager is started") })
	}
	for p.asked == stay {
		p.survive(p.serve)
	}
	p.survive(p.stop)
	return p.finish()
}

// beganVariable tells the next process 1, which an initramfs executes, when this
// one began.
const beganVariable = "NSINIT_BEGAN"

// began is the time since the kernel's start (clock_gettime(2), CLOCK_BOOTTIME).
// What /proc/1/stat has for it is when the kernel made process 1 for its own use,
// before it looked for hardware.
func began() time.Duration {
	if earlier, err := time.ParseDuration(os.Getenv(beganVariable)); err == nil {
		return earlier
	}
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // cannot fail: Linux 2.6.39
	return time.Duration(ts.Nano())
}

// boot prepares the machine, each step in its own line of failure: whatever is
// missing, the next step is tried, because a machine that is half up can be
// looked at and one that has panicked cannot.
func (p *pid1) boot() {
	for _, step := range []func(){
		p.lookAround,
		p.prepareMachine,
		func() { mountScratch(&p.say) },
		func() { keeperPair(&p.say) },
		func() { p.manager.prepare(&p.say, p.container) },
	} {
		p.survive(step)
	}
}

// lookAround finds out where this is, and how to say so.
func (p *pid1) lookAround() {
	unix.Umask(0o022)
	os.Chdir("/")
	mountMissing(&p.say, early)
	p.container = inContainer()
	p.say.open(p.container)
	p.cmd = readCmdline(&p.say, p.container)
	p.say.quiet = p.cmd.quiet
	p.say.info("nsinit %s is process 1", p.opt.Version)
	mountMissing(&p.say, apiMounts)
	p.say.open(p.container) // devtmpfs may have brought the console
}

// prepareMachine does what only the owner of the kernel may.
func (p *pid1) prepareMachine() {
	if p.container {
		return
	}
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF); err != nil {
		p.say.warn("cannot have ctrl-alt-del as a signal: %v; it reboots at once", err)
	}
	// The default, 10 lines in 5 seconds, would lose the manager's log.
	if err := os.WriteFile("/proc/sys/kernel/printk_devkmsg", []byte("on\n"), 0); err != nil {
		p.say.warn("cannot lift the rate limit of /dev/kmsg: %v; going on without", err)
	}
	setClock(&p.say, p.opt.Built)
	loadModules(&p.say, modulesList)
	switch {
	case !inInitramfs():
	case p.cmd.root != "":
		p.switchRoot()
	default:
		if err := coverRootfs(); err != nil {
			p.say.warn("cannot leave the kernel's first root: %v; services with a root_directory do not start", err)
		}
	}
	// The kernel's 4096 is too few for many daemons; what it has for the soft
	// limit, 1024, is what select(2) can take.
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 1024, Max: 524288}); err != nil {
		p.say.warn("cannot raise the limit of open files: %v; going on with the kernel's", err)
	}
}

// serve runs until the end is asked for.
func (p *pid1) serve() {
	for p.asked == stay {
		more := p.reap()
		if p.asked != stay { // the manager's end may be the machine's
			return
		}
		now := time.Now()
		if due := p.manager.due; !due.IsZero() && !now.Before(due) {
			p.startManager(now)
		}
		if p.asked == stay { // so may a start that failed once too often
			p.wait(more)
		}
	}
}

// wait sleeps until a signal or the time of the next manager's start; with more
// to reap it only looks.
func (p *pid1) wait(more bool) {
	if more {
		select {
		case s := <-p.signals:
			p.signal(s)
		default:
		}
		return
	}
	idle := time.Hour
	if !p.manager.due.IsZero() {
		idle = time.Until(p.manager.due)
	}
	p.sleep(max(idle, 0))
}

// sleep is over with the time, with a signal and with the end of a child.
func (p *pid1) sleep(d time.Duration) {
	p.timer.Reset(d)
	select {
	case s := <-p.signals:
		p.signal(s)
	case <-children:
	case <-p.timer.C:
	}
}

// signal does what a signal asks for. The first order to end holds.
func (p *pid1) signal(s os.Signal) {
	n, ok := s.(syscall.Signal)
	if !ok {
		return
	}
	switch e := orderOf(n, p.container); {
	case n == unix.SIGHUP && p.manager.pid != 0:
		unix.Kill(p.manager.pid, unix.SIGHUP)
	case e != stay && p.asked == stay:
		p.asked = e
	case e == stay:
		p.say.ignored(n)
	}
}

// reapBatch bounds what is reaped before signals are looked at.
const reapBatch = 256

// reap collects what has ended; more says that there may be more to collect.
func (p *pid1) reap() (more bool) {
	for range reapBatch {
		var status unix.WaitStatus
		switch pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil); {
		case err == unix.EINTR:
		case err != nil || pid <= 0:
			return false
		case pid == p.manager.pid:
			p.managerEnded(status, time.Now())
		case pid == p.shell:
			p.shell = 0
			p.shellEnded()
		}
	}
	return true
}

// survive runs f, and takes up what is left to do after a panic in it: a fault
// of ours must not become one of the kernel's.
func (p *pid1) survive(f func()) {
	defer func() {
		if r := recover(); r != nil {
			p.say.warn("internal error: %v; going on", r)
			time.Sleep(time.Second) // should it repeat itself, the console stays readable
		}
	}()
	f()
}

// memoryMax is far more than process 1 ever has in use.
const memoryMax = 48 << 20

// boundMemory has memory collected only when memoryMax is near, as it is after
// months of managers that die: nothing is allocated otherwise. Two processors
// bound the threads that a collection wants.
func boundMemory() {
	runtime.GOMAXPROCS(2)
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(memoryMax)
}

// idleThreads are more than ever run or wait in a system call at a time.
const idleThreads = 8

// makeThreads makes n threads by having as many goroutines in system calls at
// once. They stay, idle, for good.
func makeThreads(n int) {
	var fds [2]int
	if unix.Pipe2(fds[:], unix.O_CLOEXEC) != nil {
		return
	}
	var in, out sync.WaitGroup
	for range n {
		in.Add(1)
		out.Go(func() {
			var b [1]byte
			in.Done()
			unix.Read(fds[0], b[:])
		})
	}
	in.Wait()
	unix.Close(fds[1]) // every read ends
	out.Wait()
	unix.Close(fds[0])
}
