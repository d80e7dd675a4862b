package launch_test

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/isolate/launch"
	"github.com/nsinit/nsinit/reaper"
)

// join runs e in s; its output goes to out.
func join(t *testing.T, s *service, e isolate.Exec, out *os.File) (*launch.Process, error) {
	t.Helper()
	return joinProgram(t, s, compileJoin(t, s, e), out)
}

func compileJoin(t *testing.T, s *service, e isolate.Exec) *isolate.Program {
	t.Helper()
	p, err := isolate.CompileJoin(isolate.JoinSpec{Unit: "test", Namespaces: s.prog.Namespaces &^ isolate.Cgroup,
		OwnCgroup: s.prog.Namespaces.Has(isolate.Cgroup), Exec: e}, s.l.Host())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func joinProgram(t *testing.T, s *service, p *isolate.Program, out *os.File) (*launch.Process, error) {
	f := launch.JoinFiles{Reaper: s.proc.PIDFD, Cgroup: int(s.mainDir.Fd())}
	if out != nil {
		f.Stdout, f.Stderr = int(out.Fd()), int(out.Fd())
	}
	return s.l.Join(p, f)
}

func joinExec(args ...string) isolate.Exec {
	e := probeExec(isolate.ExecCommand, args...)
	e.Stdout.Kind, e.Stderr.Kind = isolate.StdioNull, isolate.StdioNull
	return e
}

func joinProbe(t *testing.T, s *service, args ...string) *launch.Process {
	t.Helper()
	p, err := join(t, s, joinExec(args...), nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// joinOutput runs a probe and gives what it printed.
func joinOutput(t *testing.T, s *service, e isolate.Exec) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	e.Stdout.Kind = isolate.StdioDesc
	p, err := join(t, s, e, w)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1<<20)
	n := 0
	for {
		m, err := r.Read(b[n:])
		if n += m; err != nil {
			break
		}
	}
	if ws, err := p.Wait(); err != nil || ws.ExitStatus() != 0 {
		t.Fatalf("%v %v: %s", ws, err, b[:n])
	}
	return string(b[:n])
}

func TestJoin(t *testing.T) {
	s := launchSpec(t, strict("hold"))
	s.line()
	main := links("/proc/" + itoa(hostPID(t, s)) + "/ns")
	t.Run("sees what the service sees", func(t *testing.T) {
		var got sight
		if err := json.Unmarshal([]byte(joinOutput(t, s, joinExec("look"))), &got); err != nil {
			t.Fatal(err)
		}
		for _, n := range []string{"mnt", "pid", "ipc", "uts", "net", "user"} {
			if got.Namespaces[n] != main[n] {
				t.Errorf("%s: %s; main's %s", n, got.Namespaces[n], main[n])
			}
		}
		// The namespace is another, with the same root.
		if !strings.Contains("\n"+got.Cgroup, "\n0::/\n") {
			t.Errorf("cgroup %q", got.Cgroup)
		}
		if got.Status["CapPrm"] != got.Status["CapBnd"] || got.Status["NoNewPrivs"] != "1" || got.Status["CapInh"] != zero16 {
			t.Error(got.Status)
		}
		if len(got.FDs) > 8 || got.FDs["0"] != "/dev/null" {
			t.Error(got.FDs)
		}
	})
	t.Run("cannot reach the reaper", func(t *testing.T) {
		if d := joinOutput(t, s, joinExec("attack")); !strings.Contains(d, "E") || strings.Contains(d, "<nil>") {
			t.Error(d)
		}
	})
	t.Run("exit status", func(t *testing.T) {
		ws, err := joinProbe(t, s, "exit", "7").Wait()
		if err != nil || ws.ExitStatus() != 7 {
			t.Errorf("%v %v", ws, err)
		}
	})
	t.Run("stands in the payload's cgroup", func(t *testing.T) {
		p := joinProbe(t, s, "hold")
		b, _ := os.ReadFile(s.cgroup + "/main/cgroup.procs")
		if !strings.Contains("\n"+string(b), "\n"+itoa(p.PID)+"\n") {
			t.Errorf("%d is not among %q", p.PID, b)
		}
		if err := p.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if ws, err := p.Wait(); err != nil || ws.Signal() != syscall.SIGKILL {
			t.Errorf("%v %v", ws, err)
		}
	})
	t.Run("failing steps are named", func(t *testing.T) {
		e := joinExec("look")
		e.Path = "/none"
		_, err := join(t, s, e, nil)
		var step *launch.StepError
		if !errors.As(err, &step) || step.Errno != syscall.ENOENT || step.Program != "exec" || !strings.Contains(err.Error(), "execve /none") {
			t.Error(err)
		}
		p := compileJoin(t, s, joinExec("look"))
		p.Setup = append(p.Setup, isolate.Step{Call: isolate.CallSetns, Args: []isolate.Arg{isolate.Int(1), isolate.Int(0)}, What: "nowhere"})
		if _, err := joinProgram(t, s, p, nil); !errors.As(err, &step) || step.Program != "" || !strings.Contains(err.Error(), "setns nowhere") {
			t.Error(err)
		}
	})
	t.Run("works when main is gone", func(t *testing.T) {
		unix.Kill(hostPID(t, s), unix.SIGKILL)
		r := s.await(ended)
		if m, _ := r.Main(); syscall.WaitStatus(m.Status).Signal() != syscall.SIGKILL {
			t.Errorf("%+v", m)
		}
		if got := joinOutput(t, s, joinExec("echo", "still", "here")); got != "still here\n" {
			t.Errorf("%q", got)
		}
	})
	if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid != 0 {
		t.Errorf("a child is left: %d %v", pid, err)
	}
}

// A command that has the service's own capabilities already, and the manager's
// memory and descriptors still, is out of reach of the service until its execve.
func TestJoinIsNotTraceable(t *testing.T) {
	for _, c := range []struct {
		name     string
		sabotage func(*isolate.Program)
		refused  bool
	}{
		{"default", func(*isolate.Program) {}, true},
		{"seen to fail without", without("no dump"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			visible := strict("hunt")
			visible.Proc.HidePID = ""
			s := launchSpec(t, visible)
			s.line()
			p := compileJoin(t, s, joinExec("exit", "0"))
			c.sabotage(p)
			steps := p.Execs[0].Steps
			wait := isolate.Step{Call: isolate.CallOpen, Args: []isolate.Arg{isolate.Int(^uint64(99)), isolate.Str(gate), isolate.Int(0)}}
			p.Execs[0].Steps = slices.Insert(steps, len(steps)-2, wait)
			joined, err := joinProgram(t, s, p, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := joined.Wait(); err != nil {
				t.Fatal(err)
			}
			var got map[string]string
			if err := json.Unmarshal([]byte(s.line()), &got); err != nil {
				t.Fatal(err)
			}
			for what, e := range got {
				if refused := e == "EPERM" || e == "EACCES"; refused != c.refused {
					t.Errorf("%s: %s", what, e)
				}
			}
		})
	}
}

// Programs before main run in order, and one that fails ends the start, unless
// its failure is to be ignored or its status counts as success.
func TestChains(t *testing.T) {
	exit := func(kind isolate.ExecKind, index int, code string, change ...func(*isolate.Exec)) isolate.Exec {
		e := probeExec(kind, "exit", code)
		e.Index = index
		for _, f := range change {
			f(&e)
		}
		return e
	}
	ignore := func(e *isolate.Exec) { e.IgnoreFailure = true }
	accept := func(code uint8) func(*isolate.Exec) { return func(e *isolate.Exec) { e.Success.AddCode(code) } }
	missing := func(e *isolate.Exec) { e.Path = "/none" }
	hold := probeExec(isolate.ExecStart, "hold")
	const (
		ran    = reaper.Ended
		runs   = reaper.Executed
		never  = reaper.NotStarted
		failed = reaper.NotExecuted
	)
	for _, c := range []struct {
		name  string
		execs []isolate.Exec
		phase reaper.Phase
		want  []reaper.ProgramState
		codes []int
	}{
		{"all well", []isolate.Exec{exit(isolate.ExecCondition, 0, "0"), exit(isolate.ExecStartPre, 0, "0"), hold}, reaper.MainStarted,
			[]reaper.ProgramState{ran, ran, runs}, []int{0, 0, 0}},
		{"condition fails", []isolate.Exec{exit(isolate.ExecCondition, 0, "1"), exit(isolate.ExecStartPre, 0, "0"), hold}, reaper.Stopped,
			[]reaper.ProgramState{ran, never, never}, []int{1, 0, 0}},
		{"pre fails", []isolate.Exec{exit(isolate.ExecStartPre, 0, "0"), exit(isolate.ExecStartPre, 1, "9"), hold}, reaper.Stopped,
			[]reaper.ProgramState{ran, ran, never}, []int{0, 9, 0}},
		{"pre fails, ignored", []isolate.Exec{exit(isolate.ExecStartPre, 0, "9", ignore), hold}, reaper.MainStarted,
			[]reaper.ProgramState{ran, runs}, []int{9, 0}},
		{"status counts as success", []isolate.Exec{exit(isolate.ExecStartPre, 0, "255", accept(255)), hold}, reaper.MainStarted,
			[]reaper.ProgramState{ran, runs}, []int{255, 0}},
		{"oneshot of three", []isolate.Exec{exit(isolate.ExecStart, 0, "0"), exit(isolate.ExecStart, 1, "0"), exit(isolate.ExecStart, 2, "3")},
			reaper.MainStarted, []reaper.ProgramState{ran, ran, ran}, []int{0, 0, 3}},
		{"missing, ignored", []isolate.Exec{exit(isolate.ExecStartPre, 0, "0", missing, ignore), hold}, reaper.MainStarted,
			[]reaper.ProgramState{failed, runs}, []int{0, 0}},
		{"missing", []isolate.Exec{exit(isolate.ExecStartPre, 0, "0", missing), hold}, reaper.Stopped,
			[]reaper.ProgramState{failed, never}, []int{0, 0}},
		{"main missing, ignored", []isolate.Exec{exit(isolate.ExecStart, 0, "0", missing, ignore)}, reaper.Stopped,
			[]reaper.ProgramState{failed}, []int{0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := strict()
			spec.Execs = c.execs
			s := launchSpec(t, spec)
			r := s.await(func(r *reaper.Record) bool {
				if r.Phase != c.phase {
					return false
				}
				for i, want := range c.want {
					if r.Programs[i].State != want {
						return false
					}
				}
				return true
			})
			for i, code := range c.codes {
				p := r.Programs[i]
				if p.State == reaper.Ended && syscall.WaitStatus(p.Status).ExitStatus() != code {
					t.Errorf("program %d: %+v; want status %d", i, p, code)
				}
				if p.State == reaper.Ended && (p.Ended < p.Started || p.Started == 0) {
					t.Errorf("program %d: %+v", i, p)
				}
			}
			if r.Generation != 7 || int(r.Count) != len(c.execs) || r.Ready == 0 {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestErrorsAreNamed(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) {
		if err := os.WriteFile(dir+"/"+name, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("text", "no program\n", 0o755)
	write("plain", "#!/bin/sh\n", 0o644)
	write("bad", "#!/no/interpreter\n", 0o755)
	write("busy", "#!/bin/sh\n", 0o755)
	busy, err := os.OpenFile(dir+"/busy", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	path := func(p string) func(*isolate.Spec) { return func(s *isolate.Spec) { s.Execs[0].Path = p } }
	rule := func(r isolate.PathRule) func(*isolate.Spec) {
		return func(s *isolate.Spec) { s.Paths = append(s.Paths, r) }
	}
	for _, c := range []struct {
		name   string
		change func(*isolate.Spec)
		errno  syscall.Errno
		class  isolate.Class
		text   string
	}{
		{"missing", path("/none"), syscall.ENOENT, isolate.ClassExec, "execve /none"},
		{"not executable", path("/run/x/plain"), syscall.EACCES, isolate.ClassExec, "execve /run/x/plain"},
		{"no program", path("/run/x/text"), syscall.ENOEXEC, isolate.ClassExec, "neither a binary"},
		{"busy", path("/run/x/busy"), syscall.ETXTBSY, isolate.ClassExec, "execve /run/x/busy"},
		{"no interpreter", path("/run/x/bad"), syscall.ENOENT, isolate.ClassExec, "interpreter"},
		{"a directory", path("/run/x"), syscall.EACCES, isolate.ClassExec, "execve /run/x"},
		{"working directory", func(s *isolate.Spec) { s.Execs[0].Dir = "/none" }, syscall.ENOENT, isolate.ClassChdir, "working_directory"},
		{"bind source", rule(isolate.PathRule{Action: isolate.PathBind, Path: "/run/y", Source: "/none"}), syscall.ENOENT,
			isolate.ClassNamespace, "open_tree /none"},
		{"bind target", rule(isolate.PathRule{Action: isolate.PathBind, Path: "/srv/none/x", Source: "/etc"}), syscall.ENOENT,
			isolate.ClassNamespace, "move_mount /etc on /srv/none/x"},
		{"stdout", func(s *isolate.Spec) {
			s.Execs[0].Stdout = isolate.Stdio{Kind: isolate.StdioFile, Path: "/none/x", Flags: unix.O_WRONLY}
		}, syscall.ENOENT, isolate.ClassStdout, "open /none/x"},
		{"limit", func(s *isolate.Spec) {
			s.Execs[0].Rlimits = []isolate.Rlimit{{Resource: 7, Soft: 9, Hard: 5}}
		}, syscall.EINVAL, isolate.ClassLimits, "nofile 9:5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := strict("exit", "0")
			spec.Paths = append(spec.Paths, isolate.PathRule{Action: isolate.PathBind, Path: "/run/x", Source: dir})
			c.change(&spec)
			s, err := tryLaunch(t, spec)
			if err == nil {
				r := s.finishFailed()
				if r.Phase == reaper.SetupFailed {
					err = launch.SetupError(s.prog, r)
				} else {
					err = launch.ProgramError(s.prog, r, 0)
				}
			}
			var step *launch.StepError
			if !errors.As(err, &step) {
				t.Fatal(err)
			}
			if step.Errno != c.errno || step.Class != c.class || !strings.Contains(err.Error(), c.text) ||
				!strings.HasPrefix(err.Error(), "test: cannot start: ") {
				t.Error(err)
			}
		})
	}
}

// finishFailed waits for a start that fails.
func (s *service) finishFailed() *reaper.Record {
	s.t.Helper()
	return s.await(func(r *reaper.Record) bool { return r.Phase == reaper.SetupFailed || r.Phase == reaper.Stopped })
}
