package pid1

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/reaper"
)

// manager is the process that does the work, and what is ready for its start.
type manager struct {
	pid     int // 0: none runs
	started time.Time
	due     time.Time // of the next start; zero: none is planned
	deaths  deaths
	served  bool // one was ready once: there may be services
	clean   bool // the last that ended had come to its end, with status 0

	path   string // of this program
	argv   []string
	env    []string
	cgroup int    // to be born in, -1 for process 1's own
	ready  [2]int // a pipe; a manager writes a byte when it is ready

	protected func(path string) (shielded, env string, done func(), err error) // Options.Protected
}

// prepare makes what every start of the manager needs.
func (m *manager) prepare(say *reporter, container bool) {
	if path, err := os.Readlink(ownProgram); err == nil {
		m.path = path // the file, not the inode: an upgrade is in force at the next start
	}
	m.env = managerEnv(os.Environ(), container)
	if err := unix.Pipe2(m.ready[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		say.warn("cannot make a pipe: %v; cannot tell whether the manager was ready", err)
	}
	var err error
	if m.cgroup, err = cgroupFor("nsinit-manager"); err != nil {
		say.warn("cannot make a cgroup for the manager: %v; going on without", err)
	}
}

// ownProgram is the file that this was executed from, even if it is gone.
const ownProgram = "/proc/self/exe"

// newManager is one that can be started before, or without, anything prepared.
func newManager() manager {
	return manager{path: ownProgram, cgroup: -1, ready: [2]int{-1, -1}}
}

// managerEnv is the environment of the manager. What the kernel hands over are
// words of its command line that it did not know; only a container's is meant.
func managerEnv(environ []string, container bool) []string {
	if container {
		return environ
	}
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}
	if term := os.Getenv("TERM"); term != "" {
		env = append(env, "TERM="+term)
	}
	return env
}

// startManager starts one, or plans the next attempt.
func (p *pid1) startManager(now time.Time) {
	m := &p.manager
	if m.argv == nil {
		m.argv = append([]string{"nsinit"}, p.managerArgs()...)
	}
	m.due, m.started = time.Time{}, now
	if err := m.start(m.argv); err != nil {
		p.say.warn("cannot start the manager (%s): %v", m.path, err)
		p.again(false, now)
	}
}

// start executes a manager, in its own session and cgroup.
func (m *manager) start(argv []string) error {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		null = 0
	} else {
		defer unix.Close(null)
	}
	attr := &syscall.ProcAttr{Dir: "/", Env: m.env, Files: []uintptr{uintptr(null), 1, 2, uintptr(m.ready[1])}, Sys: &syscall.SysProcAttr{Setsid: true}}
	if m.cgroup >= 0 {
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, m.cgroup
	}
	pid, err := m.execute(argv, attr)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOEXEC) { // replaced by something else
		pid, err = syscall.ForkExec(ownProgram, argv, attr)
	}
	if err != nil {
		return err
	}
	m.pid, m.clean = pid, false
	return nil
}

// execute starts the program from where it is protected, if that can be had.
func (m *manager) execute(argv []string, attr *syscall.ProcAttr) (pid int, err error) {
	if m.protected == nil || m.path == ownProgram {
		return syscall.ForkExec(m.path, argv, attr)
	}
	shielded, env, done, err := m.protected(m.path)
	if err != nil {
		return syscall.ForkExec(m.path, argv, attr)
	}
	defer done()
	from := *attr
	from.Env = append(slices.Clone(attr.Env), env)
	return syscall.ForkExec(shielded, argv, &from)
}

// managerArgs are the options of the manager, those of the kernel's command line
// last: they win.
func (p *pid1) managerArgs() []string {
	if p.container {
		return append([]string{option(reaper.OptionInitOf, reaper.InitOfContainer)}, p.opt.Args...)
	}
	args := []string{option(reaper.OptionInitOf, reaper.InitOfMachine), option(reaper.OptionKernelTook, p.began.String())}
	for _, a := range p.opt.Args {
		if strings.HasPrefix(a, "--") { // the others are words that the kernel did not know ("single")
			args = append(args, a)
		}
	}
	if p.cmd.unit != "" {
		args = append(args, option(reaper.OptionUnit, p.cmd.unit))
	}
	if p.cmd.debug {
		args = append(args, "--"+reaper.OptionDebug)
	}
	if p.cmd.watchdog > 0 {
		args = append(args, option(reaper.OptionWatchdog, strconv.Itoa(int(p.cmd.watchdog/time.Second))))
	}
	return args
}

func option(name, value string) string { return "--" + name + "=" + value }

// managerEnded decides what follows the end of the manager.
func (p *pid1) managerEnded(status unix.WaitStatus, now time.Time) {
	m := &p.manager
	ready := m.wasReady()
	m.pid, m.served, m.clean = 0, m.served || ready, status.Exited() && status.ExitStatus() == 0
	if p.asked != stay {
		return
	}
	if p.container && status.Exited() && (status.ExitStatus() == 0 || !ready) {
		// Whoever runs the container sees its log and code, and may try again.
		p.asked, p.exitCode = powerOff, status.ExitStatus()
		return
	}
	p.say.warn("the manager ended after %v: %s", now.Sub(m.started).Round(time.Millisecond), describe(status))
	p.again(ready, now)
}

// again plans the manager's next start, or takes the rescue action.
func (p *pid1) again(ready bool, now time.Time) {
	m := &p.manager
	wait, hopeless := m.deaths.next(ready, now.Sub(m.started))
	m.due = now.Add(wait)
	if !hopeless {
		return
	}
	p.say.warn("the manager cannot be kept running; services run on")
	switch {
	case p.container:
		p.asked, p.exitCode = powerOff, 1
	case p.cmd.onFailure != stay:
		p.say.warn("nsinit.rescue=%v: so be it", p.cmd.onFailure)
		p.asked = p.cmd.onFailure
	default:
		p.rescue("the manager is started")
	}
}

// wasReady tells whether the manager that ended had been ready, and forgets it.
func (m *manager) wasReady() (ready bool) {
	var b [16]byte
	for {
		n, err := unix.Read(m.ready[0], b[:])
		switch {
		case n > 0:
			ready = true
		case err != unix.EINTR:
			return ready
		}
	}
}

// deaths counts ends of the manager in a row, none of which came after a life of
// a minute.
type deaths struct {
	count, unready int
}

const (
	longLife   = time.Minute // what ran as long is not one of a row
	firstWait  = 100 * time.Millisecond
	readyWait  = time.Second     // the longest wait where the last one had been ready
	longWait   = 5 * time.Second // and where not
	unreadyMax = 8               // starts in a row that did not become ready
	deathsMax  = 100             // in a row, ready or not
)

// next gives the wait before the next start, and whether starting has proved
// hopeless; then it counts anew, and the wait is a long one.
func (d *deaths) next(ready bool, lived time.Duration) (wait time.Duration, hopeless bool) {
	if lived >= longLife {
		*d = deaths{}
	}
	d.count++
	d.unready++
	longest := longWait
	if ready {
		d.unready, longest = 0, readyWait
	}
	if d.unready >= unreadyMax || d.count >= deathsMax {
		*d = deaths{}
		return longLife, true
	}
	wait = firstWait << min(d.count-1, 10)
	return min(wait, longest), false
}

// rescueShells are tried in order; sulogin asks for root's password.
var rescueShells = [][]string{{"/sbin/sulogin"}, {"/bin/sh"}, {"/bin/busybox", "sh"}, {"/sbin/busybox", "sh"}}

// shadowFile has the accounts' passwords (shadow(5)).
const shadowFile = "/etc/shadow"

// rootLocked tells whether there is no password that root could log in with:
// sulogin asks for one all the same (busybox), or for nothing (util-linux).
// Without the file nothing is locked.
func rootLocked(path string) bool {
	b, _ := os.ReadFile(path)
	for line := range strings.Lines(string(b)) {
		if password, found := strings.CutPrefix(line, "root:"); found {
			return strings.HasPrefix(password, "!") || strings.HasPrefix(password, "*")
		}
	}
	return false
}

// rescue gives whoever has the console a shell there; next says what follows it.
// The manager is tried again every minute too, so that a machine nobody sits at
// gets another chance.
func (p *pid1) rescue(next string) {
	if p.shell != 0 {
		return
	}
	shells := rescueShells
	if p.cmd.rescueFirst || p.cmd.rescueShell && rootLocked(shadowFile) { // whoever has the kernel's command line could have named a shell as init
		shells = shells[1:]
	} else if rootLocked(shadowFile) {
		p.say.warn("rescue: no shell, because root has no password; nsinit.rescue=shell on the kernel's command line opens one without")
		return
	}
	console, err := unix.Open("/dev/console", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		p.say.warn("cannot open a rescue shell: /dev/console: %v; trying the manager again", err)
		p.manager.due = time.Now().Add(longWait)
		return
	}
	defer unix.Close(console)
	fd := uintptr(console)
	for _, argv := range shells {
		attr := &syscall.ProcAttr{Dir: "/", Env: append(managerEnv(nil, false), "PS1=nsinit rescue # "), Files: []uintptr{fd, fd, fd}, Sys: &syscall.SysProcAttr{Setsid: true, Setctty: true}}
		pid, err := syscall.ForkExec(argv[0], argv, attr)
		if err != nil && !errors.Is(err, unix.ENOENT) { // a console that can be nobody's terminal
			attr.Sys.Setctty = false
			pid, err = syscall.ForkExec(argv[0], argv, attr)
		}
		if err == nil {
			p.shell = pid
			p.say.warn("rescue: %s on the console; when it ends, %s", argv[0], next)
			return
		}
	}
	p.say.warn("cannot open a rescue shell: none of /sbin/sulogin, /bin/sh and busybox can be executed; trying the manager again")
	p.manager.due = time.Now().Add(longWait)
}

// shellEnded starts the manager that the rescue shell stood in for.
func (p *pid1) shellEnded() {
	p.say.warn("rescue: the shell ended")
	if p.manager.pid == 0 && p.asked == stay {
		p.manager.due = time.Now()
	}
}

// describe puts a wait status into words.
func describe(s unix.WaitStatus) string {
	if s.Signaled() {
		return "killed by " + unix.SignalName(s.Signal())
	}
	return "exit status " + strconv.Itoa(s.ExitStatus())
}
