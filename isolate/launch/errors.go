package launch

import (
	"fmt"
	"syscall"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/reaper"
)

// StepError is a step of a start that failed.
type StepError struct {
	Unit    string
	Program string // "exec_start_pre"; "" for the set-up of the namespaces
	Step    string // "mount tmpfs on /dev/shm"
	Index   int    // position among the Total steps of the start, from 1; 0: before the clone
	Total   int
	Errno   syscall.Errno
	Class   isolate.Class
	Hint    string // what to do, where there is something
}

// Error gives one sentence: "web: cannot start: mount tmpfs on /dev/shm:
// operation not permitted (step 14 of 61, status 226/NAMESPACE)".
func (e *StepError) Error() string {
	s := e.Unit + ": cannot start: "
	if e.Program != "" {
		s += e.Program + ": "
	}
	s += fmt.Sprintf("%s: %v (", e.Step, e.Errno)
	if e.Index > 0 {
		s += fmt.Sprintf("step %d of %d, ", e.Index, e.Total)
	}
	s += fmt.Sprintf("status %d/%s)", uint8(e.Class), e.Class)
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// Unwrap gives the errno.
func (e *StepError) Unwrap() error { return e.Errno }

// SetupError names the step of p's set-up that a record says failed.
func SetupError(p *isolate.Program, r *reaper.Record) *StepError {
	e := stepError(p, p.Setup, int(r.SetupStep), syscall.Errno(r.SetupErrno))
	if e.Index > 0 {
		e.Index = int(r.SetupStep) + 1
	}
	return e
}

// ProgramError names the step at which program i of p was not executed.
func ProgramError(p *isolate.Program, r *reaper.Record, i int) *StepError {
	x := p.Execs[i]
	rp := r.Programs[i]
	var e *StepError
	if rp.State == reaper.CloneFailed {
		e = &StepError{Unit: p.Unit, Step: "clone3", Errno: syscall.Errno(rp.Errno), Class: isolate.ClassCgroup,
			Total: p.Steps(), Hint: cloneHint(syscall.Errno(rp.Errno))}
	} else {
		e = stepError(p, x.Steps, int(rp.Step), syscall.Errno(rp.Errno))
	}
	e.Program = x.Label()
	if e.Index > 0 {
		e.Index += len(p.Setup)
		for _, before := range p.Execs[:i] {
			e.Index += len(before.Steps)
		}
	}
	return e
}

func stepError(p *isolate.Program, steps []isolate.Step, i int, errno syscall.Errno) *StepError {
	e := &StepError{Unit: p.Unit, Total: p.Steps(), Errno: errno, Class: isolate.ClassNamespace, Step: "the launcher's own steps"}
	if i >= 0 && i < len(steps) {
		s := steps[i]
		e.Step, e.Index, e.Class = s.String(), i+1, s.Class
		e.Hint = stepHint(s, errno)
	}
	return e
}

// stepHint says what to do about the failures that people meet.
func stepHint(s isolate.Step, errno syscall.Errno) string {
	switch {
	case s.Call == isolate.CallExecve && errno == syscall.ENOENT:
		return "no such program inside the service's root (or its interpreter is missing)"
	case s.Call == isolate.CallExecve && errno == syscall.EACCES:
		return "not executable by the service's user: check the mode of the file and of the directories above it"
	case s.Call == isolate.CallExecve && errno == syscall.ENOEXEC:
		return "neither a binary for this machine nor a script that begins with #!"
	case s.Call == isolate.CallChdir && errno == syscall.ENOENT:
		return "working_directory does not exist inside the service's root"
	case s.Call == isolate.CallVerifyDir:
		return "the working directory lies outside the service's root"
	case s.Call == isolate.CallMoveMount && errno == syscall.ENOENT:
		return "the place to mount on does not exist; nothing is made on the host: make it, or mount over its parent with temporary_file_system"
	case errno == syscall.EPERM && s.Class == isolate.ClassNamespace:
		return "this kernel refused the call; nsctl plan shows what comes before it"
	case errno == syscall.EPERM && s.Class == isolate.ClassLimits:
		return "raising a hard limit needs CAP_SYS_RESOURCE"
	}
	return ""
}
