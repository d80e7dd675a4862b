package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// crowd is a supervisor with many services, each of them the program that writes
// one line and sleeps. To add one, write these methods and name it in crowds.
type crowd interface {
	name() string
	// setup writes the definitions of n services. An error means that this machine
	// cannot measure it.
	setup(l *lab, n int) error
	// start runs the supervisor and returns at once with the instant of the request.
	start() (requested int64, err error)
	// firsts waits for n more first instructions of any service.
	firsts(ctx context.Context, n int) ([]int64, error)
	// root is the pid of the topmost supervising process, 0 when there is none.
	root() int
	// stop ends the supervisor and its services and waits until they are gone.
	stop() error
}

const (
	s6Name     = "s6 (no isolation)"
	runitName  = "runit (no isolation)"
	tiniName   = "tini (no isolation, no restart)"
	nsinitName = "nsinit (default profile)"
)

// crowds are those that restart what dies; tini only starts.
func crowds() []crowd {
	return []crowd{
		&scanner{title: s6Name, stopSignal: unix.SIGTERM, argv: func(dir string, n int) []string {
			return []string{"s6-svscan", "-c", fmt.Sprint(n + 10), dir}
		}},
		&scanner{title: runitName, stopSignal: unix.SIGHUP, argv: func(dir string, _ int) []string {
			return []string{"runsvdir", dir}
		}},
		&nsinitCrowd{},
	}
}

// piped is the part of a crowd whose services write into one pipe.
type piped struct {
	out *stampReader
	cmd *exec.Cmd
}

func (p *piped) firsts(ctx context.Context, n int) ([]int64, error) {
	all := make([]int64, 0, n)
	for range n {
		ns, err := p.out.next(ctx)
		if err != nil {
			return nil, fmt.Errorf("%d of %d services ran: %w", len(all), n, err)
		}
		all = append(all, ns)
	}
	return all, nil
}

// launch starts a supervisor whose output, and its services', is the pipe.
func (p *piped) launch(argv []string) (requested int64, err error) {
	if p.out, err = newStampReader(); err != nil {
		return 0, err
	}
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Stdout = p.out.writer
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	requested = monotonic()
	return requested, p.cmd.Start()
}

// scanner is a supervisor in the manner of daemontools: it starts a process for
// each directory in a directory, and that one runs ./run, here the program itself.
type scanner struct {
	title      string
	argv       func(dir string, n int) []string
	stopSignal unix.Signal
	piped
	lab *lab
	n   int
	dir string
}

func (s *scanner) name() string { return s.title }

func (s *scanner) setup(l *lab, n int) error {
	s.lab, s.n = l, n
	if _, err := exec.LookPath(s.argv("", n)[0]); err != nil {
		return err
	}
	var err error
	if s.dir, err = l.sub("scan"); err != nil {
		return err
	}
	for i := range n {
		service := filepath.Join(s.dir, fmt.Sprintf("s%04d", i))
		if err := os.Mkdir(service, 0o755); err != nil {
			return err
		}
		if err := os.Link(l.hold, filepath.Join(service, "run")); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) start() (int64, error) { return s.launch(s.argv(s.dir, s.n)) }

func (s *scanner) root() int { return s.cmd.Process.Pid }

func (s *scanner) stop() error {
	below := descendants(s.root())
	if err := s.cmd.Process.Signal(s.stopSignal); err != nil {
		return fmt.Errorf("cannot stop %s: %w", s.title, err)
	}
	s.cmd.Wait() // runsvdir ends with 111 when told to hang up
	err := awaitEnd(below)
	s.out.close()
	return errors.Join(err, os.RemoveAll(s.dir))
}

// awaitEnd waits until processes have ended; they are children of this subreaper
// by then, which takes their status.
func awaitEnd(ps []process) error {
	deadline := time.Now().Add(patience)
	for _, p := range ps {
		for {
			var status unix.WaitStatus
			pid, err := unix.Wait4(p.pid, &status, unix.WNOHANG, nil)
			if pid == p.pid || err != nil && unix.Kill(p.pid, 0) == unix.ESRCH {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("cannot stop %s (pid %d) within %v", p.name, p.pid, patience)
			}
			time.Sleep(time.Millisecond) // a pid of somebody else's child cannot be waited for
		}
	}
	return nil
}

// tinis is n processes of tini with the program below each.
type tinis struct {
	piped
	lab  *lab
	n    int
	cmds []*exec.Cmd
}

func (t *tinis) name() string { return tiniName }

func (t *tinis) setup(l *lab, n int) error {
	t.lab, t.n = l, n
	_, err := exec.LookPath("tini")
	return err
}

func (t *tinis) start() (requested int64, err error) {
	if t.out, err = newStampReader(); err != nil {
		return 0, err
	}
	requested = monotonic()
	for range t.n {
		cmd := exec.Command("tini", "-s", "--", t.lab.hold)
		cmd.Stdout = t.out.writer
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		t.cmds = append(t.cmds, cmd)
	}
	return requested, nil
}

func (t *tinis) root() int { return 0 }

func (t *tinis) stop() error {
	var err error
	for _, cmd := range t.cmds {
		err = errors.Join(err, cmd.Process.Signal(unix.SIGTERM)) // tini passes it on and ends
	}
	for _, cmd := range t.cmds {
		cmd.Wait()
	}
	t.cmds = nil
	t.out.close()
	return err
}

// supervisors are the supervising processes of a running crowd: what it started
// that is not a service, the topmost first. tini's are children of this program.
func supervisors(c crowd, hold string) []int {
	var pids []int
	if c.root() != 0 {
		pids = append(pids, c.root())
	}
	return append(pids, below(c, func(pid int) bool { return !isService(pid, hold) })...)
}

// services are the pids of the services of a running crowd.
func services(c crowd, hold string) []int {
	return below(c, func(pid int) bool { return isService(pid, hold) })
}

// below lists the living processes of a crowd that are wanted.
func below(c crowd, wanted func(pid int) bool) []int {
	root := c.root()
	if root == 0 {
		root = os.Getpid()
	}
	var pids []int
	for _, p := range descendants(root) {
		if p.state != 'Z' && wanted(p.pid) {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

// isService compares files, not names: a scanner's run is a link to the program,
// and a path inside a service's own mounts reads differently.
func isService(pid int, hold string) bool {
	if strings.HasSuffix(exe(pid), "/hold") {
		return true
	}
	var a, b unix.Stat_t
	return unix.Stat(fmt.Sprintf("/proc/%d/exe", pid), &a) == nil && unix.Stat(hold, &b) == nil &&
		a.Dev == b.Dev && a.Ino == b.Ino
}
