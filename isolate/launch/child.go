package launch

import (
	"syscall"
	"unsafe"

	"github.com/nsinit/nsinit/reaper"
)

// This file is the code of the child: of the reaper for as long as its service
// lives, and of each program until its execve. It runs in a copy of the
// manager without the manager's memory: text, read-only data and the arena are
// all that there is. So every function here is nosplit, makes system calls
// directly, and touches nothing but the image that it is given: no allocation,
// no map, no interface, no defer, no global, no write barrier. A test
// disassembles the binary and fails on any other reference.

const (
	sysCloseRange = 436
	wAll          = 0x40000000 // __WALL of wait(2)
	clockBoot     = 7          // CLOCK_BOOTTIME
	dupCloexec    = syscall.O_CLOEXEC
	opVerifyDir   = ^uintptr(0) // not a system call: see verifyDir
	opTellPID     = ^uintptr(1) // likewise: see tellPID
	unshareTable  = 2           // CLOSE_RANGE_UNSHARE
	pathMax       = 4096        // PATH_MAX
	exitNoRecord  = 125         // the reaper cannot tell anybody what happened
)

// rawStep is one step as the child runs it.
type rawStep struct {
	nr         uintptr
	a          [6]uintptr
	tolerate   [2]uint16
	skipFail   uint8
	skipDone   uint8
	back       uint8
	save       uint8
	class      uint8
	savedInput uint8 // bit i: argument i is the saved result
	index      uint16
}

type rawSteps struct {
	first *rawStep
	count uintptr
}

// cloneArgs is struct clone_args of clone3(2), Linux 5.7.
type cloneArgs struct {
	flags, pidFD, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

// rawProgram is one of the unit's programs.
type rawProgram struct {
	steps      rawSteps
	clone      cloneArgs
	okCodes    [4]uint64
	okSignals  uint64
	ignoreFail bool
}

// image is what the child knows. It is the first thing in the arena.
type image struct {
	record     reaper.Record
	setup      rawSteps
	programs   *rawProgram // count of them; gone once the last was started
	entry      uintptr     // programMain
	count      int32
	current    int32
	saved      uintptr
	failed     int32  // index of the step that failed, -1
	errno      uint32 // its errno
	class      uint32 // its exit status
	pidFD      int32  // written by clone3
	named      int32
	waitStatus uint32
	dirty      bool
	one        uint64
	clock      [2]int64
	sigset     uint64
	info       sigInfo
	host       bool    // the reaper shares the host's PID namespace
	lentEnd    uintptr // the first number that nothing is lent at; 0: the child has a table of its own
	lentBell   uintptr // what ownTable rings
	join       joinResult
	discard    uintptr // the part of the arena that only the start needs
	discardLen uintptr
	cwd        *byte     // pathMax bytes, gone with discard
	tls        [4]uint64 // zero: the child's thread-local storage, from which calls of assembly load g
}

// The image must fit into its page: what follows it is the reaper's stack.
const _ = arenaImage - unsafe.Sizeof(image{})

// sigInfo is the part of siginfo_t that pause looks at (sigaction(2), 64 bits):
// code 0 is SI_USER, and pid is the sender's in the receiver's namespace.
type sigInfo struct {
	signo, errno, code, _ int32
	pid                   int32
	_                     [108]byte
}

// clone3 starts a child on args.stack, where it calls entry(img).
//
//go:noescape
func clone3(args *cloneArgs, size uintptr, img *image, entry uintptr) (pid uintptr)

//go:norace
//go:nosplit
func sys3(nr, a, b, c uintptr) (uintptr, syscall.Errno) {
	r, _, e := syscall.RawSyscall(nr, a, b, c)
	return r, e
}

//go:norace
//go:nosplit
func program(img *image, i int32) *rawProgram {
	return (*rawProgram)(unsafe.Add(unsafe.Pointer(img.programs), uintptr(i)*unsafe.Sizeof(rawProgram{})))
}

// run makes the calls of steps in order. It reports false where one failed,
// and leaves its index and errno in img.
//
//go:norace
//go:nosplit
func run(img *image, steps *rawSteps) bool {
	for i := uintptr(0); i < steps.count; i++ {
		s := (*rawStep)(unsafe.Add(unsafe.Pointer(steps.first), i*unsafe.Sizeof(rawStep{})))
		r, e := call(img, s)
		if e == 0 {
			if s.save != 0 {
				img.saved = r
			}
			i += uintptr(s.skipDone)
			if s.back != 0 {
				i -= uintptr(s.back) + 1 // and the loop adds one
			}
			continue
		}
		if uint16(e) == s.tolerate[0] || uint16(e) == s.tolerate[1] {
			i += uintptr(s.skipFail)
			continue
		}
		img.failed, img.errno, img.class = int32(s.index), uint32(e), uint32(s.class)
		return false
	}
	return true
}

//go:norace
//go:nosplit
func call(img *image, s *rawStep) (uintptr, syscall.Errno) {
	if s.nr == opVerifyDir {
		return 0, verifyDir(img)
	}
	if s.nr == opTellPID {
		return tellPID(*(*unsafe.Pointer)(unsafe.Pointer(&s.a[0]))), 0
	}
	if s.savedInput != 0 {
		for i := range s.a {
			if s.savedInput>>i&1 != 0 {
				s.a[i] = img.saved
			}
		}
		s.savedInput = 0
	}
	r, _, e := syscall.RawSyscall6(s.nr, s.a[0], s.a[1], s.a[2], s.a[3], s.a[4], s.a[5])
	return r, e
}

// verifyDir fails with EXDEV unless the working directory is inside the root:
// getcwd(2) begins with "(unreachable)" otherwise. The
// buffer holds the longest answer.
//
//go:norace
//go:nosplit
func verifyDir(img *image) syscall.Errno {
	_, e := sys3(syscall.SYS_GETCWD, uintptr(unsafe.Pointer(img.cwd)), pathMax, 0)
	if e == 0 && *img.cwd != '/' {
		return syscall.EXDEV
	}
	return e
}

// tellPID writes the caller's number, as it sees it itself, as decimals.
//
//go:norace
//go:nosplit
func tellPID(to unsafe.Pointer) uintptr {
	pid, _ := sys3(syscall.SYS_GETPID, 0, 0, 0)
	digits := 1
	for n := pid; n >= 10; n /= 10 {
		digits++
	}
	for n := pid; digits > 0; n /= 10 {
		digits--
		*(*byte)(unsafe.Add(to, digits)) = byte('0' + n%10)
	}
	return pid
}

// reaperMain is PID 1 of the namespace.
//
//go:norace
//go:nosplit
func reaperMain(img *image) {
	ownTable(img)
	if !run(img, &img.setup) {
		img.record.Phase = reaper.SetupFailed
		img.record.SetupStep, img.record.SetupErrno = img.failed, img.errno
		publish(img)
	} else {
		img.record.Ready = now(img)
		img.record.Phase = reaper.Running
		runPrograms(img)
	}
	sys3(sysCloseRange, reaper.FDLast+1, uintptr(^uint32(0)), 0)
	sys3(syscall.SYS_MUNMAP, img.discard, img.discardLen, 0)
	for {
		reap(img)
		pause(img)
	}
}

// ownTable leaves the manager's descriptors to the manager. Where the kernel
// refuses, as it does where memory is short, the child may touch none of them, the
// record's number included: its exit status is the errno, see loan.await.
//
//go:norace
//go:nosplit
func ownTable(img *image) {
	if img.lentEnd == 0 {
		return
	}
	_, e := sys3(sysCloseRange, img.lentEnd, uintptr(^uint32(0)), unshareTable)
	for e != 0 {
		sys3(syscall.SYS_EXIT_GROUP, uintptr(e), 0, 0)
	}
	sys3(syscall.SYS_WRITE, img.lentBell, uintptr(unsafe.Pointer(&img.one)), 8)
}

// runPrograms runs the unit's programs in order until one fails or the last
// has been started.
//
//go:norace
//go:nosplit
func runPrograms(img *image) {
	for i := int32(0); i < img.count; i++ {
		img.current = i
		last := i == img.count-1
		started := start(img, i)
		if last && started {
			img.record.Phase = reaper.MainStarted
			publish(img)
			return
		}
		publish(img)
		if !succeeded(img, i) {
			img.record.Phase = reaper.Stopped
			publish(img)
			return
		}
	}
	// The last program could not be executed, and that was to be ignored.
	img.record.Phase = reaper.Stopped
	publish(img)
}

// start clones and executes program i. It reports whether it was executed. The
// child shares this memory until its execve, so a failed step is found here.
//
//go:norace
//go:nosplit
func start(img *image, i int32) bool {
	p, r := program(img, i), &img.record.Programs[i&(reaper.MaxPrograms-1)]
	img.failed, img.errno = -1, 0
	r.Step = -1
	r.Started = now(img)
	pid := clone3(&p.clone, unsafe.Sizeof(p.clone), img, img.entry)
	if int(pid) < 0 {
		r.State, r.Errno = reaper.CloneFailed, uint32(-int(pid))
		return false
	}
	r.PID = int32(pid)
	if img.pidFD != reaper.FDMain { // the lowest free number may be that one
		sys3(syscall.SYS_DUP3, uintptr(img.pidFD), reaper.FDMain, dupCloexec)
		sys3(syscall.SYS_CLOSE, uintptr(img.pidFD), 0, 0)
	}
	if img.failed >= 0 {
		r.State, r.Step, r.Errno = reaper.NotExecuted, img.failed, img.errno
		return false
	}
	r.State = reaper.Executed
	return true
}

// succeeded waits for program i and reports whether the next may run.
//
//go:norace
//go:nosplit
func succeeded(img *image, i int32) bool {
	p, r := program(img, i), &img.record.Programs[i&(reaper.MaxPrograms-1)]
	if r.State != reaper.Executed {
		return p.ignoreFail
	}
	for r.State != reaper.Ended {
		reap(img)
		if r.State != reaper.Ended {
			pause(img)
		}
	}
	if p.ignoreFail {
		return true
	}
	if sig := r.Status & 0x7f; sig != 0 {
		return p.okSignals>>(sig-1)&1 != 0
	}
	code := r.Status >> 8 & 0xff
	return p.okCodes[code/64]>>(code%64)&1 != 0
}

// programMain is a program between its clone and its execve.
//
//go:norace
//go:nosplit
func programMain(img *image) {
	run(img, &program(img, img.current).steps)
	for { // only a failed step comes here
		sys3(syscall.SYS_EXIT_GROUP, uintptr(img.class), 0, 0)
	}
}

// reap takes every process that has ended and writes the record once for all
// of them.
//
//go:norace
//go:nosplit
func reap(img *image) {
	for {
		w, _, e := syscall.RawSyscall6(syscall.SYS_WAIT4, ^uintptr(0), uintptr(unsafe.Pointer(&img.waitStatus)),
			syscall.WNOHANG|wAll, 0, 0, 0)
		if e == syscall.EINTR {
			continue
		}
		if e != 0 || w == 0 {
			break
		}
		note(img, int32(w))
	}
	if img.dirty {
		publish(img)
	}
}

// note enters one exit into the record.
//
//go:norace
//go:nosplit
func note(img *image, pid int32) {
	r := &img.record
	t := now(img)
	e := &r.Ring[r.Exits%reaper.RingSize]
	e.PID, e.Status, e.Time = pid, img.waitStatus, t
	r.Exits++
	for i := int32(0); i <= img.current; i++ {
		p := &r.Programs[i&(reaper.MaxPrograms-1)]
		if p.PID == pid && p.Ended == 0 {
			p.Status, p.Ended = img.waitStatus, t
			if p.State == reaper.Executed {
				p.State = reaper.Ended
			}
		}
	}
	img.named = 0
	syscall.RawSyscall6(syscall.SYS_PREAD64, reaper.FDRecord, uintptr(unsafe.Pointer(&img.named)), 4, reaper.NamedOffset, 0, 0)
	if img.named == pid {
		r.Named.PID, r.Named.Status, r.Named.Time = pid, img.waitStatus, t
	}
	img.dirty = true
}

// publish writes the record, then rings the doorbell.
//
//go:norace
//go:nosplit
func publish(img *image) {
	img.dirty = false
	img.record.Seq++
	img.record.SeqEnd = img.record.Seq
	size := unsafe.Sizeof(img.record)
	for done := uintptr(0); done < size; {
		n, _, e := syscall.RawSyscall6(syscall.SYS_PWRITE64, reaper.FDRecord, uintptr(unsafe.Pointer(&img.record))+done,
			size-done, done, 0, 0)
		if e == syscall.EFBIG || e != 0 && img.record.Phase < reaper.MainStarted {
			for { // nothing runs yet, or somebody has limited the reaper itself: nobody could be told, and its end tells
				sys3(syscall.SYS_EXIT_GROUP, exitNoRecord, 0, 0)
			}
		}
		if e != 0 || n == 0 {
			break // a full file system: the next exit may find room
		}
		done += n
	}
	sys3(syscall.SYS_WRITE, reaper.FDDoorbell, uintptr(unsafe.Pointer(&img.one)), 8)
}

// pause sleeps until a child ends. SIGCHLD is blocked, so that one that comes
// between reap and pause is not lost.
//
// One that was sent by kill(2) from outside the PID namespace has the sender 0,
// which nobody inside can forge: it is a manager that has lost the record and
// asks for it again. Without a namespace anybody may ask, who could as well kill.
//
//go:norace
//go:nosplit
func pause(img *image) {
	sig, _, _ := syscall.RawSyscall6(syscall.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&img.sigset)),
		uintptr(unsafe.Pointer(&img.info)), 0, 8, 0, 0)
	if sig == uintptr(syscall.SIGCHLD) && img.info.code == 0 && (img.info.pid == 0 || img.host) {
		img.dirty = true
	}
}

//go:norace
//go:nosplit
func now(img *image) int64 {
	sys3(syscall.SYS_CLOCK_GETTIME, clockBoot, uintptr(unsafe.Pointer(&img.clock)), 0)
	return img.clock[0]*1e9 + img.clock[1]
}

// joinResult is what a joiner tells its manager, once.
type joinResult struct {
	PID    int32 // of the command, in the manager's PID namespace; 0: none was made
	Failed int32 // -1, or the step that failed: of the set-up while PID is 0, else of the program
	Errno  uint32
	_      uint32
}

// joinFD is where a joiner writes its result.
const joinFD = 3

// joinMain enters the namespaces of a service and clones the command there, as
// a child of the manager.
//
//go:norace
//go:nosplit
func joinMain(img *image) {
	img.failed, img.errno = -1, 0
	if run(img, &img.setup) {
		p := program(img, 0)
		pid := clone3(&p.clone, unsafe.Sizeof(p.clone), img, img.entry)
		if int(pid) < 0 {
			img.errno = uint32(-int(pid))
		} else {
			img.join.PID = int32(pid)
		}
	}
	img.join.Failed, img.join.Errno = img.failed, img.errno
	sys3(syscall.SYS_WRITE, joinFD, uintptr(unsafe.Pointer(&img.join)), unsafe.Sizeof(img.join))
	for {
		sys3(syscall.SYS_EXIT_GROUP, 0, 0, 0)
	}
}

// keeperMain holds descriptors for the manager, and does nothing else.
//
//go:norace
//go:nosplit
func keeperMain(img *image) {
	img.failed, img.errno = -1, 0
	ready := run(img, &img.setup)
	img.join.Failed, img.join.Errno = img.failed, img.errno
	sys3(syscall.SYS_WRITE, joinFD, uintptr(unsafe.Pointer(&img.join)), unsafe.Sizeof(img.join))
	for !ready {
		sys3(syscall.SYS_EXIT_GROUP, 1, 0, 0)
	}
	sys3(syscall.SYS_CLOSE, joinFD, 0, 0)
	sys3(syscall.SYS_MUNMAP, img.discard, img.discardLen, 0)
	for {
		syscall.RawSyscall6(syscall.SYS_PPOLL, 0, 0, 0, 0, 0, 0) // of nothing, without end
	}
}
