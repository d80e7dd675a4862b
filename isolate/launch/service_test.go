package launch_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/isolate/launch"
	"github.com/nsinit/nsinit/reaper"
)

const (
	allNamespaces = isolate.Mount | isolate.PID | isolate.IPC | isolate.UTS | isolate.Cgroup | isolate.Net
	dockerCaps    = 0xa80405fb &^ (1<<13 | 1<<27 | 1<<31 | 1<<29) // less net_raw, mknod, setfcap, audit_write
	sysPtrace     = 1 << 19
	patience      = 20 * time.Second // an error, not a rhythm
	probePath     = "/run/probe"
)

// strict is what the default profile makes of a unit that runs this binary's
// probe with args.
func strict(args ...string) isolate.Spec {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return isolate.Spec{
		Unit: "test", Namespaces: allNamespaces, Hostname: "inside",
		Tree: isolate.Tree{System: isolate.SystemStrictReadOnly, Home: isolate.Hidden, Boot: isolate.Hidden,
			Modules: isolate.Hidden, PrivateTmp: true, PrivateRun: true, PrivateDev: true},
		Paths:  []isolate.PathRule{{Action: isolate.PathBind, Path: probePath, Source: self, ReadOnly: true}},
		Proc:   isolate.ProcOptions{HidePID: "invisible"},
		Kernel: isolate.KernelRules{Tunables: true, Logs: true, Masks: true},
		Cgroup: isolate.CgroupReadOnly,
		Execs:  []isolate.Exec{probeExec(isolate.ExecStart, args...)},
	}
}

func probeExec(kind isolate.ExecKind, args ...string) isolate.Exec {
	e := isolate.Exec{Kind: kind, Path: probePath, Argv: append([]string{"probe"}, args...), Env: []string{"PATH=/usr/bin:/bin"},
		Stdout: isolate.Stdio{Kind: isolate.StdioLog}, Stderr: isolate.Stdio{Kind: isolate.StdioLog}, Umask: 0o22,
		IgnoreSIGPIPE: true, Cred: isolate.Credentials{Bounding: dockerCaps, NoNewPrivs: true}}
	e.Success.AddCode(0)
	return e
}

// unprotected makes spec one without a mount namespace: the probe is run from where it is.
func unprotected(spec isolate.Spec, ns isolate.Namespaces) isolate.Spec {
	self, _ := os.Executable()
	spec.Namespaces = ns
	if !ns.Has(isolate.UTS) {
		spec.Hostname = ""
	}
	if !ns.Has(isolate.Mount) {
		spec.Paths, spec.Tree = nil, isolate.Tree{}
		for i := range spec.Execs {
			spec.Execs[i].Path = self
		}
	}
	return spec
}

// service is a launched service.
type service struct {
	t        *testing.T
	l        *launch.Launcher
	prog     *isolate.Program
	proc     *launch.Process
	record   *os.File
	bell     int
	out      *os.File
	cgroup   string
	initDir  *os.File
	mainDir  *os.File
	released bool
}

var serial atomic.Int64

// launchSpec compiles spec, lets sabotage change the program, and launches it.
func launchSpec(t *testing.T, spec isolate.Spec, sabotage ...func(*isolate.Program)) *service {
	t.Helper()
	s, err := tryLaunch(t, spec, sabotage...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func tryLaunch(t *testing.T, spec isolate.Spec, sabotage ...func(*isolate.Program)) (*service, error) {
	t.Helper()
	s := prepare(t, spec, sabotage...)
	return s, s.launch()
}

// prepare compiles spec and makes the cgroup.
func prepare(t *testing.T, spec isolate.Spec, sabotage ...func(*isolate.Program)) *service {
	t.Helper()
	l := needRoot(t)
	p, err := isolate.Compile(spec, l.Host())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range sabotage {
		f(p)
	}
	s := &service{t: t, l: l, prog: p}
	s.makeCgroup()
	t.Cleanup(s.release)
	return s
}

func (s *service) launch() (err error) {
	s.t.Helper()
	defer s.initDir.Close()
	dir := s.t.TempDir()
	if s.record, err = os.OpenFile(filepath.Join(dir, "record"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		s.t.Fatal(err)
	}
	if s.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		s.t.Fatal(err)
	}
	out, in, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	s.out = out
	defer in.Close()
	s.proc, err = s.l.Launch(s.prog, 7, launch.Files{Record: int(s.record.Fd()), Doorbell: s.bell, Init: int(s.initDir.Fd()),
		Main: int(s.mainDir.Fd()), Stdout: int(in.Fd()), Stderr: int(in.Fd()), Dir: dir})
	return err
}

func (s *service) makeCgroup() {
	point, _, err := launch.CgroupMount()
	if err != nil {
		s.t.Fatal(err)
	}
	s.cgroup = filepath.Join(point, fmt.Sprintf("nsinit-launchtest-%d-%d", os.Getpid(), serial.Add(1)))
	for _, d := range []string{s.cgroup, s.cgroup + "/init", s.cgroup + "/main"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			s.t.Fatal(err)
		}
	}
	if s.initDir, err = os.Open(s.cgroup + "/init"); err != nil {
		s.t.Fatal(err)
	}
	if s.mainDir, err = os.Open(s.cgroup + "/main"); err != nil {
		s.t.Fatal(err)
	}
}

// release ends the service and asserts that nothing of it is left.
func (s *service) release() {
	if s.released {
		return
	}
	s.released = true
	if err := os.WriteFile(s.cgroup+"/cgroup.kill", []byte("1"), 0); err != nil {
		s.t.Error(err)
	}
	if s.proc != nil {
		if _, err := s.proc.Wait(); err != nil {
			s.t.Error(err)
		}
	}
	s.awaitEmpty()
	for _, d := range []string{s.cgroup + "/init", s.cgroup + "/main", s.cgroup} {
		if err := os.Remove(d); err != nil {
			s.t.Error(err)
		}
	}
	for _, f := range []*os.File{s.record, s.out, s.mainDir} {
		if f != nil {
			f.Close()
		}
	}
	unix.Close(s.bell)
}

// awaitEmpty waits until the kernel says that the cgroup is (cgroups(7), cgroup.events).
func (s *service) awaitEmpty() {
	f, err := os.Open(s.cgroup + "/cgroup.events")
	if err != nil {
		s.t.Error(err)
		return
	}
	defer f.Close()
	b := make([]byte, 256)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		n, _ := f.ReadAt(b, 0)
		if strings.Contains(string(b[:n]), "populated 0") {
			return
		}
		unix.Poll([]unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLPRI}}, 1000)
	}
	s.t.Errorf("%s is still populated", s.cgroup)
}

// await waits for a record that done accepts.
func (s *service) await(done func(*reaper.Record) bool) *reaper.Record {
	s.t.Helper()
	b := make([]byte, reaper.Size)
	var last *reaper.Record
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		n, _ := s.record.ReadAt(b, 0)
		r, err := reaper.Decode(b[:n])
		if err == nil {
			if last = r; done(r) {
				return r
			}
		}
		if errors.Is(err, reaper.ErrTorn) {
			continue
		}
		unix.Poll([]unix.PollFd{{Fd: int32(s.bell), Events: unix.POLLIN}}, 1000)
		var v [8]byte
		unix.Read(s.bell, v[:])
	}
	s.t.Fatalf("the record did not become what was expected: %+v", last)
	return nil
}

func ended(r *reaper.Record) bool {
	m, ok := r.Main()
	return ok && m.State == reaper.Ended || r.Phase == reaper.Stopped || r.Phase == reaper.SetupFailed
}

// finish waits for main's end and returns the record and all that was printed.
func (s *service) finish() (*reaper.Record, string) {
	s.t.Helper()
	text := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(s.out)
		text <- string(b)
	}()
	r := s.await(ended)
	// Whoever else holds the pipe (a daemon that main left behind) ends here.
	os.WriteFile(s.cgroup+"/main/cgroup.kill", []byte("1"), 0)
	return r, <-text
}

// line reads one line of output.
func (s *service) line() string {
	s.t.Helper()
	s.out.SetReadDeadline(time.Now().Add(patience))
	var b strings.Builder
	one := make([]byte, 1)
	for {
		if _, err := s.out.Read(one); err != nil {
			s.t.Fatalf("output ended with %q: %v", b.String(), err)
		}
		if one[0] == '\n' {
			return b.String()
		}
		b.WriteByte(one[0])
	}
}

// runProbe launches spec to its end, which must be exit status 0.
func runProbe(t *testing.T, spec isolate.Spec, sabotage ...func(*isolate.Program)) string {
	t.Helper()
	s := launchSpec(t, spec, sabotage...)
	r, out := s.finish()
	s.checkSetup(r)
	if m, ok := r.Main(); !ok || m.Status != 0 {
		t.Fatalf("main: %+v, phase %d\n%s", m, r.Phase, out)
	}
	return out
}

func (s *service) checkSetup(r *reaper.Record) {
	s.t.Helper()
	if r.Phase == reaper.SetupFailed {
		s.t.Fatal(launch.SetupError(s.prog, r))
	}
	for i := range s.prog.Execs {
		if st := r.Programs[i].State; st == reaper.NotExecuted || st == reaper.CloneFailed {
			s.t.Fatal(launch.ProgramError(s.prog, r, i))
		}
	}
}

// without drops the set-up's and the programs' steps whose text contains any of words.
func without(words ...string) func(*isolate.Program) {
	return func(p *isolate.Program) {
		drop := func(steps []isolate.Step) (kept []isolate.Step) {
			for _, s := range steps {
				found := false
				for _, w := range words {
					found = found || strings.Contains(s.String(), w)
				}
				if !found {
					kept = append(kept, s)
				}
			}
			return kept
		}
		p.Setup = drop(p.Setup)
		for i := range p.Execs {
			p.Execs[i].Steps = drop(p.Execs[i].Steps)
		}
	}
}

func itoa(n int) string { return fmt.Sprint(n) }

// awaitRest waits until a reaper or a keeper has done all that it has to, and is
// in the call that it waits in (proc_pid_syscall(5)). Nothing else tells.
func awaitRest(t *testing.T, pid int) {
	t.Helper()
	var call string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); runtime.Gosched() {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", pid))
		if err != nil {
			t.Fatal(err)
		}
		call, _, _ = strings.Cut(string(b), " ")
		if n, err := strconv.Atoi(call); err == nil && (n == unix.SYS_RT_SIGTIMEDWAIT || n == unix.SYS_PPOLL) {
			return
		}
	}
	t.Fatalf("process %d is never at rest: system call %q", pid, call)
}
