package supervisor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/isolate/launch"
	"github.com/nsinit/nsinit/supervisor/control"
	"github.com/nsinit/nsinit/supervisor/inroot"
)

// stdio is what a command talks to: three pipes, or a terminal.
type stdio struct {
	child                 [3]int // the command's ends; on a terminal all are the same
	stdin, stdout, stderr *os.File
	pty                   *os.File // the terminal's master, in place of the three
}

// stdio makes the terminal or the pipes, owned by the user that the command
// will run as, so that it can open /dev/stdin and its like again.
func (d *door) stdio(req control.ExecRequest, cred isolate.Credentials) (*stdio, error) {
	s := &stdio{}
	var err error
	if req.Terminal {
		err = s.openTerminal(d, req)
	} else {
		err = s.openPipes()
	}
	if err == nil && cred.SetIDs {
		err = s.chown(int(cred.UID), req.Terminal)
	}
	if err != nil {
		s.closeChild()
		s.closeParent()
		return nil, err
	}
	return s, nil
}

func (s *stdio) openPipes() error {
	for i, file := range []**os.File{&s.stdin, &s.stdout, &s.stderr} {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			return fmt.Errorf("cannot make a pipe: %w", os.NewSyscallError("pipe2", err))
		}
		ours, name := p[0], [...]string{"stdin", "stdout", "stderr"}[i]
		s.child[i] = p[1]
		if i == 0 {
			ours, s.child[i] = p[1], p[0]
		}
		f, err := pollable(ours, name)
		if err != nil {
			return err
		}
		*file = f
	}
	return nil
}

// pollable makes a File of fd whose reads and writes Close interrupts. It is
// closed if that fails.
func pollable(fd int, name string) (*os.File, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot use the pipe: %w", os.NewSyscallError("fcntl", err))
	}
	return os.NewFile(uintptr(fd), name), nil
}

// chown leaves the group: a terminal's is tty, for write(1) and its like.
func (s *stdio) chown(uid int, terminal bool) error {
	ends := s.child[:]
	if terminal {
		ends = ends[:1]
	}
	for _, fd := range ends {
		if err := unix.Fchown(fd, uid, -1); err != nil {
			return fmt.Errorf("cannot give the terminal to the user: %w", os.NewSyscallError("fchown", err))
		}
	}
	return nil
}

func (s *stdio) closeChild() {
	closed := map[int]bool{0: true}
	for i, fd := range s.child {
		if !closed[fd] {
			unix.Close(fd)
		}
		closed[fd], s.child[i] = true, 0
	}
}

func (s *stdio) closeParent() {
	for _, f := range []*os.File{s.stdin, s.stdout, s.stderr, s.pty} {
		if f != nil {
			f.Close()
		}
	}
}

// openTerminal makes a terminal inside the service, so that its name there is
// right and it is nobody else's.
func (s *stdio) openTerminal(d *door, req control.ExecRequest) error {
	master, err := openMaster(d.root, d.unit.Isolation.Namespaces.Mount)
	if err != nil {
		return &control.Error{Code: control.CodeNotSupported, Message: "cannot make a terminal inside the service: " + err.Error(),
			Hint: "without a terminal: nsctl exec -T"}
	}
	s.pty = os.NewFile(uintptr(master), "terminal")
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return fmt.Errorf("cannot unlock the terminal: %w", os.NewSyscallError("ioctl", err))
	}
	// The slave by the master, not by its name: a name is the service's to give (ioctl_tty(2), Linux 4.13).
	slave, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return fmt.Errorf("cannot open the terminal: %w", os.NewSyscallError("ioctl", errno))
	}
	s.child = [3]int{int(slave), int(slave), int(slave)}
	if req.Rows == 0 || req.Columns == 0 {
		return nil
	}
	return setSize(master, req.Rows, req.Columns)
}

func setSize(fd int, rows, columns uint16) error {
	err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
	return os.NewSyscallError("ioctl", err)
}

// ptmxDevice is character device 5:2 (devices.txt of the kernel).
const ptmxDevice = 5<<8 | 2

// openMaster opens a new terminal's master. What stands at /dev/pts/ptmx inside
// is the service's word: it is looked at before it is opened, since a device or
// FIFO of the service's choice could do anything to who opens it.
func openMaster(root int, inside bool) (int, error) {
	var place int
	var err error
	if inside {
		place, err = inroot.Open(root, "dev/pts/ptmx", 0)
	} else {
		place, err = unix.Open("/dev/ptmx", unix.O_PATH|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return -1, fmt.Errorf("cannot open /dev/pts/ptmx: %w", os.NewSyscallError("openat2", err))
	}
	defer unix.Close(place)
	if err := checkMaster(place); err != nil {
		return -1, err
	}
	fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(place), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot open /dev/pts/ptmx: %w", os.NewSyscallError("open", err))
	}
	return fd, nil
}

func checkMaster(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("cannot look at /dev/pts/ptmx: %w", os.NewSyscallError("fstat", err))
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != ptmxDevice {
		return errors.New("/dev/pts/ptmx is not the terminal multiplexer (character device 5:2)")
	}
	return nil
}

// execProcess is a command that was joined into a service: a child of this
// process. One goroutine waits for its end.
type execProcess struct {
	std  *stdio
	done chan struct{} // closed when exit and err are set
	exit control.ExecExit
	err  error

	mu    sync.Mutex // over proc's descriptor, which ends with the wait
	proc  *launch.Process
	ended bool
}

// execProcess takes a command over.
func (m *Manager) execProcess(proc *launch.Process, std *stdio) *execProcess {
	p := &execProcess{std: std, proc: proc, done: make(chan struct{})}
	m.background(p.await)
	return p
}

// await waits for the command's end, without holding a thread, and takes it.
func (p *execProcess) await() {
	defer close(p.done)
	err := p.untilEnded()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil { // it cannot be watched: it is ended, and the wait below is short
		p.proc.Signal(syscall.SIGKILL)
	}
	ws, err := p.proc.Wait()
	p.ended = true
	switch {
	case err != nil:
		p.err = fmt.Errorf("cannot tell how the command ended: %w", err)
	case ws.Signaled():
		p.exit = control.ExecExit{Code: 128 + int(ws.Signal()), Signal: int(ws.Signal())}
	default:
		p.exit = control.ExecExit{Code: ws.ExitStatus()}
	}
}

// untilEnded returns when the pidfd is readable (pidfd_open(2)).
func (p *execProcess) untilEnded() error {
	fd, err := dupOwn(p.proc.PIDFD)
	if err != nil {
		return err
	}
	f, err := pollable(fd, "command")
	if err != nil {
		return err
	}
	defer f.Close()
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return conn.Read(func(fd uintptr) bool {
		ended, err := readable(int(fd))
		return ended || err != nil
	})
}

// Stdin is the command's input, or the terminal.
func (p *execProcess) Stdin() io.WriteCloser {
	if p.std.pty != nil {
		return terminal{p.std.pty}
	}
	return p.std.stdin
}

// Stdout is the command's output, or the terminal.
func (p *execProcess) Stdout() io.Reader {
	if p.std.pty != nil {
		return terminal{p.std.pty}
	}
	return p.std.stdout
}

// Stderr is nil on a terminal.
func (p *execProcess) Stderr() io.Reader {
	if p.std.pty != nil {
		return nil
	}
	return p.std.stderr
}

// terminal is a master as Stdin and Stdout want it: closing the input is no
// hang-up, and the end of all slaves, EIO, is the end of the output.
type terminal struct{ f *os.File }

func (t terminal) Write(b []byte) (int, error) { return t.f.Write(b) }
func (t terminal) Close() error                { return nil }

func (t terminal) Read(b []byte) (int, error) {
	n, err := t.f.Read(b)
	if errors.Is(err, unix.EIO) {
		err = io.EOF
	}
	return n, err
}

// Resize sets the size of the terminal.
func (p *execProcess) Resize(rows, columns uint16) error {
	if p.std.pty == nil {
		return errors.New("cannot resize: the command has no terminal")
	}
	return withFD(p.std.pty, func(fd int) error { return setSize(fd, rows, columns) })
}

// withFD does f with the descriptor of a File that stays pollable; File.Fd
// would make it blocking.
func withFD(file *os.File, f func(fd int) error) error {
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := conn.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// Signal signals the command; on a terminal the foreground process group, as a
// key would.
func (p *execProcess) Signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return os.ErrProcessDone
	}
	if p.std.pty == nil {
		return p.proc.Signal(sig)
	}
	return withFD(p.std.pty, func(fd int) error { return p.signalForeground(fd, sig) })
}

// signalForeground: the kernel itself finds the group for the signals of keys
// (TIOCSIG takes SIGINT, SIGQUIT and SIGTSTP); for others its number is asked.
// Without a foreground group the command is meant.
func (p *execProcess) signalForeground(fd int, sig syscall.Signal) error {
	if sig == syscall.SIGINT || sig == syscall.SIGQUIT || sig == syscall.SIGTSTP {
		return os.NewSyscallError("ioctl", unix.IoctlSetInt(fd, unix.TIOCSIG, int(sig)))
	}
	group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	if err != nil || group <= 1 {
		return p.proc.Signal(sig)
	}
	return os.NewSyscallError("kill", unix.Kill(-group, sig))
}

// Wait returns when the command has ended.
func (p *execProcess) Wait() (control.ExecExit, error) {
	<-p.done
	return p.exit, p.err
}

// Close kills the command if it still runs and closes this end.
func (p *execProcess) Close() error {
	p.mu.Lock()
	if !p.ended {
		p.proc.Signal(syscall.SIGKILL) // it may end just now
	}
	p.mu.Unlock()
	p.std.closeParent()
	return nil
}
