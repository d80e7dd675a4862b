package launch_test

import (
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/isolate/launch"
)

// A child that gets no descriptor table of its own shares the manager's to its
// end: it says so and closes nothing there.
func TestNoTableOfItsOwn(t *testing.T) {
	needRoot(t)
	if os.Getenv("NO_UNSHARE") == "" {
		again(t, "NO_UNSHARE=1", 0)
		return
	}
	before := openDescriptors(t)
	forbidUnshare(t)
	s, err := tryLaunch(t, strict("true"))
	if err == nil || !strings.Contains(err.Error(), "close_range") || !strings.Contains(err.Error(), unix.ENOMEM.Error()) {
		t.Errorf("the launch gives %v", err)
	}
	after := openDescriptors(t)
	for fd, file := range before {
		if after[fd] == "" {
			t.Errorf("descriptor %s (%s) is closed", fd, file)
		}
	}
	s.proc = nil // an error has left nothing behind
}

// openDescriptors tells what this process has open at which numbers.
func openDescriptors(t *testing.T) map[string]string {
	t.Helper()
	open := links("/proc/self/fd")
	maps.DeleteFunc(open, func(_, to string) bool { return to == fmt.Sprintf("/proc/%d/fd", os.Getpid()) }) // the one that lists
	return open
}

// forbidUnshare has close_range(2) with CLOSE_RANGE_UNSHARE fail for this process,
// as it does where memory is short (seccomp(2), on all threads).
func forbidUnshare(t *testing.T) {
	t.Helper()
	const number, flags = 0, 16 + 2*8 // offsets in struct seccomp_data
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: number},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_CLOSE_RANGE, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: flags},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.CLOSE_RANGE_UNSHARE, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOMEM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog))); e != 0 {
		t.Fatal(os.NewSyscallError("seccomp", e))
	}
}

// A child that does not run, as in a frozen cgroup, is given up: it holds what it
// was lent, and a place among the starts.
func TestFrozenChildIsGivenUp(t *testing.T) {
	needRoot(t)
	defer launch.SetLoanTime(100 * time.Millisecond)()
	s := prepare(t, strict("true"))
	freeze := func(v string) {
		if err := os.WriteFile(s.cgroup+"/cgroup.freeze", []byte(v), 0); err != nil {
			t.Fatal(err)
		}
	}
	freeze("1")
	result := make(chan error, 1)
	go func() { result <- s.launch() }()
	select {
	case err := <-result:
		if err == nil || !strings.Contains(err.Error(), "frozen") {
			t.Errorf("the launch gives %v", err)
		}
	case <-time.After(patience):
		t.Error("the launch waits for it")
		freeze("0")
		<-result
	}
	freeze("0")
	runProbe(t, strict("true"))
}

// A unit that needs more descriptors than are lent gets them all the same.
func TestTooMuchToLend(t *testing.T) {
	needRoot(t)
	spec := strict()
	script := "cat"
	for i := range launch.Lendable + 2 {
		dir := t.TempDir()
		text := fmt.Sprintf("file %d;", i)
		if err := os.WriteFile(dir+"/text", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		at := fmt.Sprintf("/run/bound%d", i)
		spec.Paths = append(spec.Paths, isolate.PathRule{Action: isolate.PathBind, Path: at, Source: dir, ReadOnly: true})
		script += " " + at + "/text"
	}
	spec.Execs[0].Path, spec.Execs[0].Argv = "/bin/sh", []string{"sh", "-c", script + "; ls /proc/self/fd | tr '\\n' ' '"}
	spec.Execs[0].Stdin = isolate.Stdio{Kind: isolate.StdioNull}
	s := prepare(t, spec)
	before := openDescriptors(t)
	delete(before, itoa(int(s.initDir.Fd()))) // launch closes it
	if err := s.launch(); err != nil {
		t.Fatal(err)
	}
	after := openDescriptors(t)
	r, out := s.finish()
	s.checkSetup(r)
	for fd, file := range before {
		if after[fd] != file {
			t.Errorf("the manager's descriptor %s is %q, and was %s", fd, after[fd], file)
		}
	}
	for i := range launch.Lendable + 2 {
		if !strings.Contains(out, fmt.Sprintf("file %d;", i)) {
			t.Errorf("bind %d is missing in %q", i, out)
		}
	}
	if !strings.HasSuffix(out, ";0 1 2 3 ") { // 3 is of ls
		t.Errorf("it is left with other descriptors: %q", out)
	}
}
