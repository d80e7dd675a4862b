package launch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Generation is the cgroup of one start of a unit: init has the reaper in it,
// main what the unit runs. The methods that read and signal are safe for
// concurrent use.
type Generation struct {
	Unit     string
	Number   uint64
	Warnings []string // limits that Limits.BestEffort did without

	cgroups *Cgroups
	path    string // relative to the mount
	close   sync.Once
	init    int
	main    int
}

// Create makes <root>/[<slice>/]<unit>/<number>/{init,main} with the limits l.
// On an error nothing of it is left. A limit that cannot be set is a
// *LimitError; a generation of that number with processes is
// errors.Is(err, fs.ErrExist).
func (c *Cgroups) Create(unit, slice string, number uint64, l Limits) (*Generation, error) {
	g, err := c.Named(unit, slice, number)
	if err != nil {
		return nil, err
	}
	fresh, err := g.mkdirs()
	if errors.Is(err, os.ErrExist) {
		return nil, err // it is another's: nothing of it is touched
	}
	if err == nil {
		err = g.limit(l, fresh)
	}
	if err == nil {
		err = g.delegate(l)
	}
	if err == nil {
		err = g.open()
	}
	if err != nil {
		g.Close()
		return nil, errors.Join(err, g.Remove())
	}
	return g, nil
}

// Open takes over a generation that exists.
func (c *Cgroups) Open(unit, slice string, number uint64) (*Generation, error) {
	g, err := c.Named(unit, slice, number)
	if err != nil {
		return nil, err
	}
	if err := g.open(); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// Named gives a generation to be ended and removed, of which some may be gone
// already: InitFD and MainFD have nothing to give.
func (c *Cgroups) Named(unit, slice string, number uint64) (*Generation, error) {
	s, err := sliceName(slice)
	if err != nil {
		return nil, fmt.Errorf("cannot make a cgroup: %w", err)
	}
	u, err := dirName(unit)
	if err != nil {
		return nil, fmt.Errorf("cannot make a cgroup: %w", err)
	}
	return &Generation{Unit: unit, Number: number, cgroups: c, init: -1, main: -1,
		path: filepath.Join(c.root, s, u, strconv.FormatUint(number, 10))}, nil
}

// mkdirs makes the directories. fresh says that the unit's was not there.
func (g *Generation) mkdirs() (fresh bool, err error) {
	g.cgroups.mu.Lock()
	defer g.cgroups.mu.Unlock()
	dir := g.cgroups.abs(g.path)
	for _, d := range g.parents() {
		err := makeDir(d)
		fresh = err == nil
		if err != nil && !errors.Is(err, os.ErrExist) {
			return false, err
		}
	}
	err = makeDir(dir)
	if errors.Is(err, os.ErrExist) {
		err = g.replace(dir)
	}
	for _, leaf := range []string{"/init", "/main"} {
		if err == nil {
			err = makeDir(dir + leaf)
		}
	}
	return fresh, err
}

// replace makes dir anew: an empty one of the same number is left from a start
// that was cut short.
func (g *Generation) replace(dir string) error {
	if full, err := populated(dir); full || err != nil {
		return errors.Join(fmt.Errorf("%s: generation %d: %w, and has processes", g.Unit, g.Number, os.ErrExist), err)
	}
	if err := removeTree(dir); err != nil {
		return fmt.Errorf("%s: generation %d: %w", g.Unit, g.Number, err)
	}
	return makeDir(dir)
}

func makeDir(path string) error {
	if err := unix.Mkdir(path, 0o755); err != nil {
		return fmt.Errorf("cannot make the unit's cgroup: %w%s", &os.PathError{Op: "mkdir", Path: path, Err: err}, mkdirHint(err))
	}
	return nil
}

// parents lists the slice's directory, if there is one, and the unit's.
func (g *Generation) parents() []string {
	unit := filepath.Dir(g.cgroups.abs(g.path))
	if slice := filepath.Dir(unit); slice != g.cgroups.abs(g.cgroups.root) {
		return []string{slice, unit}
	}
	return []string{unit}
}

func (g *Generation) open() (err error) {
	for _, leaf := range []struct {
		name string
		fd   *int
	}{{"init", &g.init}, {"main", &g.main}} {
		if *leaf.fd, err = unix.Open(g.leaf(leaf.name), unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_RDONLY, 0); err != nil {
			*leaf.fd = -1
			return &os.PathError{Op: "open", Path: g.leaf(leaf.name), Err: err}
		}
	}
	return nil
}

func (g *Generation) leaf(name string) string { return g.cgroups.abs(g.path) + "/" + name }

// Path returns the cgroup relative to Cgroups.Mount: "nsinit/web/4".
func (g *Generation) Path() string { return g.path }

// InitFD returns the reaper's cgroup directory, for clone3(2). It stays the
// generation's.
func (g *Generation) InitFD() int { return g.init }

// MainFD returns the payload's cgroup directory, for clone3(2). It stays the
// generation's.
func (g *Generation) MainFD() int { return g.main }

// EventsFD opens the payload's cgroup.events, which is EPOLLPRI when populated
// changes (cgroups(7)). It is the caller's.
func (g *Generation) EventsFD() (int, error) {
	path := g.leaf("main") + "/cgroup.events"
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// Populated says whether the payload has live processes; zombies are none.
func (g *Generation) Populated() (bool, error) { return populated(g.leaf("main")) }

// Procs lists the payload's processes, those in cgroups that it made included.
func (g *Generation) Procs() ([]int, error) { return procsBelow(g.leaf("main")) }

// InitProcs lists the reaper, and nothing else in a sound generation.
func (g *Generation) InitProcs() ([]int, error) { return procsBelow(g.leaf("init")) }

// Kill sends SIGKILL to the whole payload at once, however it forks
// (cgroup.kill, Linux 5.14).
func (g *Generation) Kill() error { return g.write("main", "cgroup.kill", "1") }

// KillInit sends SIGKILL to the reaper.
func (g *Generation) KillInit() error { return g.write("init", "cgroup.kill", "1") }

// Freeze stops the payload, and does not wait until it stands still.
func (g *Generation) Freeze() error { return g.write("main", "cgroup.freeze", "1") }

// Thaw lets a frozen payload run on.
func (g *Generation) Thaw() error { return g.write("main", "cgroup.freeze", "0") }

func (g *Generation) write(leaf, file, value string) error {
	if err := writeFile(g.leaf(leaf), file, value); err != nil {
		return fmt.Errorf("%s: cannot change the cgroup: %w", g.Unit, err)
	}
	return nil
}

// maxSignalPasses bounds Signal against a payload that forks faster than it is
// listed; what outruns it is met by Kill.
const maxSignalPasses = 64

// Signal sends sig to every process of the payload, until none is left that it
// was not sent to. A process that ends meanwhile is no error.
func (g *Generation) Signal(sig unix.Signal) error {
	sent := map[int]bool{}
	var failed error
	for range maxSignalPasses {
		pids, err := g.Procs()
		if err != nil {
			return err
		}
		before := len(sent)
		for _, pid := range pids {
			if sent[pid] {
				continue
			}
			sent[pid] = true
			if err := g.signal(pid, sig); err != nil && failed == nil {
				failed = fmt.Errorf("%s: cannot signal process %d: %w", g.Unit, pid, err)
			}
		}
		if len(sent) == before {
			return failed
		}
	}
	return failed
}

// signal sends sig to pid if that is still a process of the payload: the number
// may have been given away since it was read, the pidfd cannot.
func (g *Generation) signal(pid int, sig unix.Signal) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	if !g.Has(pid) {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil && err != unix.ESRCH {
		return os.NewSyscallError("pidfd_send_signal", err)
	}
	return nil
}

// Has says whether pid is in the payload's cgroup or below it.
func (g *Generation) Has(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if p, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.Contains(strings.TrimSpace(p)+"/", "/"+g.path+"/main/")
		}
	}
	return false
}

// Remove removes the generation, with cgroups that the service made, and the
// unit's and slice's directories if nothing else is in them. errors.Is(err,
// unix.EBUSY) says that processes are left. What is gone already is no error.
func (g *Generation) Remove() error {
	g.cgroups.mu.Lock()
	defer g.cgroups.mu.Unlock()
	dir := g.cgroups.abs(g.path)
	unix.Rmdir(dir + "/init") // mostly they are all that there is, and free
	unix.Rmdir(dir + "/main")
	if err := unix.Rmdir(dir); err != nil {
		if err := removeTree(dir); err != nil {
			return fmt.Errorf("%s: generation %d: %w", g.Unit, g.Number, err)
		}
	}
	parents := g.parents()
	for i := len(parents) - 1; i >= 0; i-- {
		if err := unix.Rmdir(parents[i]); err != nil && err != unix.ENOENT {
			if err == unix.EBUSY || err == unix.ENOTEMPTY {
				break // other generations, other units
			}
			return fmt.Errorf("%s: cannot remove the cgroup %s: %w", g.Unit, parents[i], err)
		}
	}
	if g.cgroups.protects() {
		g.protect() // too much protection is no reason to call it not removed
	}
	return nil
}

// Close closes the descriptors; the cgroup stays. It may be called again.
func (g *Generation) Close() {
	g.close.Do(func() {
		for _, fd := range []*int{&g.init, &g.main} {
			if *fd >= 0 {
				unix.Close(*fd)
			}
			*fd = -1
		}
	})
}
