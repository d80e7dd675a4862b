// Package launch makes what package isolate describes: it probes the host,
// assembles template trees, makes cgroups, and clones children that run
// programs of system calls and become reapers. Only a static program without
// cgo can do that; see CheckBuild.
package launch

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/reaper"
)

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

// Launcher starts services and commands inside them. It is safe for concurrent
// use; launches are off the supervisor's loop.
type Launcher struct {
	host    isolate.Host
	null    int
	lends   bool // the numbers from lending on are this launcher's
	desks   chan desk
	keepEnd uintptr
	top     uintptr

	mu    sync.Mutex // from filling the arena to the clone: DONTFORK of one launch would cover another's
	arena *arena
	pidFD int32 // written by clone3: in memory that is not the child's too, which would be copied for it

	templates templates
	stages    stages
}

// New prepares launching: it reserves the low descriptors for children, checks
// the build and probes the host. reserved is called in between: from then on
// others may open files. A process needs one Launcher; it lives as long as the
// process, apart from Close.
func New(reserved func()) (*Launcher, error) {
	null, lends, err := reserve()
	if err != nil {
		return nil, err
	}
	reserved()
	if err := CheckBuild(); err != nil {
		return nil, err
	}
	l := &Launcher{null: null, lends: lends, keepEnd: keepEnd()}
	l.stages.templates = &l.templates
	if l.desks, err = openDesks(); err != nil {
		return nil, err
	}
	if l.top, err = addressTop(); err != nil {
		return nil, err
	}
	if l.arena, err = newArena(); err != nil {
		return nil, err
	}
	if l.host, err = probe(); err != nil {
		return nil, err
	}
	l.getReady()
	return l, nil
}

// Host is what New found.
func (l *Launcher) Host() isolate.Host { return l.host }

// Close lets go of the template namespaces, and of what was made of them ahead.
func (l *Launcher) Close() {
	l.stages.close()
	l.templates.drop()
}

// reserve fills the descriptor numbers below lowest with /dev/null, so that
// none of the manager's own files has a number that a child needs, and returns
// /dev/null at a number above. lends says that those from lending on were free.
func reserve() (null int, lends bool, err error) {
	fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, false, fmt.Errorf("cannot open /dev/null: %w", err)
	}
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, lowest)
	if err != nil {
		return 0, false, fmt.Errorf("cannot reserve descriptors: %w", os.NewSyscallError("fcntl", err))
	}
	lends = fd < lending
	for n := 3; n < lowest; n++ {
		if _, err := unix.FcntlInt(uintptr(n), unix.F_GETFD, 0); err != unix.EBADF {
			lends = lends && n < lending
			continue
		}
		if err := unix.Dup3(fd, n, unix.O_CLOEXEC); err != nil {
			return 0, false, fmt.Errorf("cannot reserve descriptor %d: %w", n, os.NewSyscallError("dup3", err))
		}
	}
	return high, lends, nil
}

// Files are the descriptors of one start, all above those that New reserved.
// The launcher closes none of them; 0 is none, and closed in the child. (They
// are numbers because os.File.Fd makes what it names blocking, for the other
// holders too.)
type Files struct {
	Record, Doorbell       int // required: see package reaper
	StdoutRead, StderrRead int
	Notify, Syslog         int

	Stdin, Stdout, Stderr int    // for the programs
	Passed                []int  // for main, at most isolate.MaxPassed
	NetNS                 int    // a network namespace, where the program enters one
	Init, Main            int    // the cgroup directories of reaper and payload
	Dir                   string // for files with content that the program binds
}

// Process is a child of this process. PIDFD becomes readable when it ends;
// Wait must then be called once.
type Process struct {
	PID   int
	PIDFD int
}

// Launch starts p: the child becomes the reaper and runs the unit's programs.
// It returns when the reaper exists; all that happens then stands in its
// record. generation goes into the record. An error has left nothing behind.
func (l *Launcher) Launch(p *isolate.Program, generation uint64, f Files) (*Process, error) {
	if len(p.Execs) > reaper.MaxPrograms {
		return nil, fmt.Errorf("%s: cannot start: %d commands in one start; the most is %d", p.Unit, len(p.Execs), reaper.MaxPrograms)
	}
	files := map[isolate.Desc]opened{}
	if f.NetNS != 0 {
		files[isolate.DescNetNS] = opened{fd: f.NetNS}
	}
	var st *stage
	if p.Tree != nil {
		tpl, release, err := l.templates.get(*p.Tree)
		if err != nil {
			return nil, fmt.Errorf("%s: cannot start: %w", p.Unit, err)
		}
		defer release()
		files[isolate.DescTemplate] = opened{fd: tpl.fd}
		if st = l.stages.take(p, tpl); st != nil {
			defer st.close()
		}
	}
	closeAll, err := openAll(p, f, files)
	defer closeAll()
	if err != nil {
		return nil, err
	}
	named := stdioFiles(files, f.Stdin, f.Stdout, f.Stderr)
	from := present(map[int]int{reaper.FDRecord: f.Record, reaper.FDDoorbell: f.Doorbell,
		reaper.FDStdout: f.StdoutRead, reaper.FDStderr: f.StderrRead, reaper.FDNotify: f.Notify, reaper.FDSyslog: f.Syslog,
		slotStdin: f.Stdin, slotStdout: f.Stdout, slotStderr: f.Stderr, slotCgroup: f.Main})
	for i, fd := range f.Passed {
		named[isolate.DescPassed(i)], from[slotPassed+i] = opened{fd: slotPassed + i}, fd
	}
	flags := uint64(unix.CLONE_CLEAR_SIGHAND | unix.CLONE_INTO_CGROUP | unix.CLONE_PIDFD)
	if p.Namespaces.Has(isolate.PID) {
		flags |= unix.CLONE_NEWPID
	}
	proc, err := l.clone(p, handed{from: from, files: named, stage: st}, flags, f.Init, func(img *image) {
		img.host = !p.Namespaces.Has(isolate.PID)
		img.record = reaper.Record{Magic: reaper.Magic, Version: reaper.Version, Size: uint32(reaper.Size),
			Generation: generation, Count: uint32(len(p.Execs)), SetupStep: -1}
	})
	if err != nil {
		return nil, fmt.Errorf("%s: cannot start: %w", p.Unit, err)
	}
	return proc, nil
}

// stdioFiles names the standard descriptors by the numbers that programs find them at.
func stdioFiles(files map[isolate.Desc]opened, in, out, err int) map[isolate.Desc]opened {
	for d, s := range map[isolate.Desc]struct {
		fd, slot int
	}{isolate.DescStdin: {in, slotStdin}, isolate.DescStdout: {out, slotStdout}, isolate.DescStderr: {err, slotStderr}} {
		if s.fd != 0 {
			files[d] = opened{fd: s.slot}
		}
	}
	return files
}

// present leaves out what was not handed in.
func present(files map[int]int) map[int]int {
	maps.DeleteFunc(files, func(_, fd int) bool { return fd == 0 })
	return files
}

// clone lends the child its descriptors, and returns once it has them.
func (l *Launcher) clone(p *isolate.Program, h handed, flags uint64, cgroup int, fill func(*image)) (*Process, error) {
	h, err := l.lend(h)
	if err != nil {
		return nil, err
	}
	if h.loan == nil {
		return l.cloneNow(p, h, flags, cgroup, roleReaper, fill)
	}
	defer h.loan.takeBack()
	proc, err := l.cloneNow(p, h, flags|unix.CLONE_FILES, cgroup, roleReaper, fill)
	if err == nil {
		err = h.loan.await(proc)
	}
	if err != nil {
		return nil, err
	}
	return proc, nil
}

// cloneNow encodes the program and clones the child that runs it.
func (l *Launcher) cloneNow(p *isolate.Program, h handed, flags uint64, cgroup int, as role, fill func(*image)) (*Process, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	img, err := l.encode(p, h, as)
	if err != nil {
		return nil, err
	}
	fill(img)
	// The results and arguments live in the arena too: nothing of this
	// goroutine's stack may be needed between beforeFork and the clone.
	args := (*cloneArgs)(l.arena.alloc(unsafe.Sizeof(cloneArgs{})))
	*args = cloneArgs{flags: flags | unix.CLONE_SETTLS, tls: uint64(uintptr(unsafe.Pointer(&img.tls[2]))), exitSignal: uint64(syscall.SIGCHLD),
		stack: uint64(l.arena.start() + arenaImage), stackSize: stackSize,
		pidFD: uint64(uintptr(unsafe.Pointer(&l.pidFD)))}
	args.cgroup = uint64(cgroup)
	entry := as.entry()
	pid := fork(args, img, entry)
	l.getReady()
	if pid < 0 {
		return nil, fmt.Errorf("clone3: %w%s", syscall.Errno(-pid), cloneHint(syscall.Errno(-pid)))
	}
	return &Process{PID: pid, PIDFD: int(l.pidFD)}, nil
}

// encode fills the arena.
func (l *Launcher) encode(p *isolate.Program, h handed, as role) (img *image, err error) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(full); !ok {
				panic(r)
			}
			err = fmt.Errorf("the commands, their environment and the mounts need more than %d KiB", (arenaSize-arenaStatic)>>10)
		}
	}()
	img = l.arena.reset()
	e := &encoder{a: l.arena, files: h.files, stage: h.stage}
	null, low := l.null, lowest
	if o := h.loan; o != nil {
		null, low = o.null, o.desk.first
		img.lentEnd, img.lentBell = uintptr(o.next), uintptr(o.ready)
	}
	before := append(place(null, low, h.from), l.unmap()...) // the record first: what fails then can be told
	end := slotPassed                                        // the first number that the child may close
	for to := range h.from {
		end = max(end, to+1)
	}
	after := []rawStep{raw(unix.SYS_CLOSE_RANGE, uintptr(end), uintptr(^uint32(0)), 0)}
	if img.setup, err = e.steps(before, p.Setup, after); err != nil {
		return nil, err
	}
	return img, e.programs(img, p.Execs, as == roleJoiner)
}

// getReady does what makes the next clone cheaper, while this one's child sets
// itself up. It keeps the manager's memory out of children: the clone then copies
// no page table of it. (What is mapped between is copied, and the child unmaps it.)
// And it takes the arena's pages back from sharing, one fault instead of one for
// each page that is filled next (madvise(2), MADV_POPULATE_WRITE, Linux 5.14;
// before, they come one by one).
func (l *Launcher) getReady() {
	// Unmapped pages in the range are an error that changes nothing (madvise(2), ENOMEM).
	unix.Syscall(unix.SYS_MADVISE, l.keepEnd, l.arena.start()-l.keepEnd, unix.MADV_DONTFORK)
	unix.Syscall(unix.SYS_MADVISE, l.arena.end(), l.top-l.arena.end(), unix.MADV_DONTFORK)
	unix.Syscall(unix.SYS_MADVISE, l.arena.start(), pageUp(l.arena.off), unix.MADV_POPULATE_WRITE)
}

// fork makes the one call between beforeFork and afterFork.
//
//go:norace
//go:noinline
func fork(args *cloneArgs, img *image, entry uintptr) int {
	beforeFork() // blocks every signal: the child starts so
	pid := clone3(args, unsafe.Sizeof(*args), img, entry)
	afterFork()
	return int(pid)
}

// entryOf gives the ABIInternal address of a function: the code pointer of its
// func value. A call by name from assembly would go through a wrapper that
// loads g from memory which the child does not have.
func entryOf(f func(*image)) uintptr { return **(**uintptr)(unsafe.Pointer(&f)) }

func programEntry() uintptr { return entryOf(programMain) }

// role is what a child of this process becomes.
type role uint8

const (
	roleReaper role = iota
	roleJoiner
	roleKeeper
)

func (r role) entry() uintptr {
	switch r {
	case roleJoiner:
		return entryOf(joinMain)
	case roleKeeper:
		return entryOf(keeperMain)
	}
	return entryOf(reaperMain)
}

func cloneHint(e syscall.Errno) string {
	switch e {
	case syscall.EAGAIN:
		return " (too many processes: kernel.pid_max, pids.max of the supervisor's cgroup, or RLIMIT_NPROC)"
	case syscall.ENOSPC:
		return " (too many nested PID namespaces, or user.max_pid_namespaces)"
	case syscall.EPERM:
		return " (the supervisor needs CAP_SYS_ADMIN)"
	case syscall.EBUSY:
		return " (the unit's cgroup has controllers enabled for its children)"
	}
	return ""
}

// openAll opens what the program's steps place. The returned function closes
// it again: the child has copies.
func openAll(p *isolate.Program, f Files, files map[isolate.Desc]opened) (func(), error) {
	var fds []int
	closeAll := func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
	for i, o := range p.Open {
		fd, err := openOne(p.Unit, o, i, f)
		if errors.Is(err, unix.ENOENT) && o.Optional {
			continue
		}
		if err != nil {
			return closeAll, err
		}
		fds = append(fds, fd)
		if o.Content != nil || o.Cgroup {
			files[o.Desc] = opened{fd: fd, isDir: o.Cgroup}
			continue
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return closeAll, fmt.Errorf("%s: cannot start: fstat %s: %w", p.Unit, o.Path, err)
		}
		files[o.Desc] = opened{fd: fd, isDir: st.Mode&unix.S_IFMT == unix.S_IFDIR}
	}
	return closeAll, nil
}

// openOne opens the i-th opening of a program.
func openOne(unitName string, o isolate.Opening, i int, f Files) (fd int, err error) {
	path := o.Path
	switch {
	case o.Cgroup:
		path = "the service's cgroup"
		fd, err = retry(func() (int, error) {
			return unix.OpenTree(f.Main, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
		})
	case o.Content != nil:
		if f.Dir == "" {
			return -1, fmt.Errorf("%s: cannot start: no directory for the content of %s was handed in", unitName, o.Content.Path)
		}
		path = filepath.Join(f.Dir, "file"+strconv.Itoa(i))
		if err := writeContent(path, o.Content); err != nil {
			return -1, fmt.Errorf("%s: cannot start: %w", unitName, err)
		}
		fallthrough
	default:
		fd, err = openTree(o.Root, o.Within, path, o.Recursive)
	}
	if err != nil {
		return -1, &StepError{Unit: unitName, Step: "open_tree " + path, Errno: err.(syscall.Errno),
			Class: isolate.ClassNamespace, Hint: openHint(o, err)}
	}
	return fd, nil
}

func openHint(o isolate.Opening, err error) string {
	if errors.Is(err, unix.ENOENT) {
		return fmt.Sprintf("make %s, or write \"-%s\" where the unit may do without", o.Path, o.Path)
	}
	if errors.Is(err, unix.ELOOP) && o.Within != "" {
		return fmt.Sprintf("a link below %s, where a service may write, is not followed; name the place that it leads to", o.Within)
	}
	return ""
}

func writeContent(path string, f *isolate.File) error {
	fd, err := retry(func() (int, error) {
		return unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_CLOEXEC, f.Mode)
	})
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	for rest := []byte(f.Content); len(rest) > 0; {
		n, err := retry(func() (int, error) { return unix.Write(fd, rest) })
		if err != nil {
			return &os.PathError{Op: "write", Path: path, Err: err}
		}
		rest = rest[n:]
	}
	if err := unix.Fchmod(fd, f.Mode); err != nil { // whatever the manager's umask
		return &os.PathError{Op: "chmod", Path: path, Err: err}
	}
	return nil
}

// openTree opens a detached copy of the mount at path (open_tree(2), Linux 5.2).
// Links in path stay inside root: whoever writes there must not choose what of
// the host a service sees.
func openTree(root, within, path string, recursive bool) (int, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	at := unix.AT_FDCWD
	if root != "" || within != "" {
		fd, err := openGuarded(root, within, path)
		if err != nil {
			return -1, err
		}
		defer unix.Close(fd)
		at, path, flags = fd, "", flags|unix.AT_EMPTY_PATH
	}
	return retry(func() (int, error) { return unix.OpenTree(at, path, flags) })
}

// openGuarded resolves path as a process with that root would, or without
// following any link below the directory within (openat2(2), Linux 5.6).
func openGuarded(root, within, path string) (int, error) {
	start, resolve := root, uint64(unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
	if root == "" {
		start, resolve = within, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS
		path = "." + strings.TrimPrefix(path, within)
	}
	dir, err := retry(func() (int, error) { return unix.Open(start, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: resolve}
	return retry(func() (int, error) { return unix.Openat2(dir, path, &how) })
}

// retry repeats a call that a signal interrupted, or that raced with a rename.
func retry(call func() (int, error)) (int, error) {
	for {
		if fd, err := call(); err != unix.EINTR && err != unix.EAGAIN {
			return fd, err
		}
	}
}

// Wait takes the exit of a child that has ended, and closes its descriptor.
// The status is that of wait(2).
func (p *Process) Wait() (syscall.WaitStatus, error) {
	defer unix.Close(p.PIDFD)
	var ws syscall.WaitStatus
	for {
		_, err := syscall.Wait4(p.PID, &ws, 0x40000000 /* __WALL */, nil)
		if err == syscall.EINTR {
			continue
		}
		return ws, os.NewSyscallError("wait4", err)
	}
}

// Signal sends sig by descriptor: never to another process that has the number now.
func (p *Process) Signal(sig syscall.Signal) error {
	return os.NewSyscallError("pidfd_send_signal", unix.PidfdSendSignal(p.PIDFD, sig, nil, 0))
}
