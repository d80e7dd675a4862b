package control

import (
	"context"
	"io"
	"iter"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// fake is a Backend with one unit, "web", in which everything is set.
type fake struct {
	mu     sync.Mutex
	killed []KillRequest
	acted  []ActRequest
	execs  []ExecRequest
	proc   func(ExecRequest) ExecProcess
	logs   func(ctx context.Context, yield func(LogRecord, error) bool)
	peers  []Peer
}

func webStatus() UnitStatus {
	return UnitStatus{
		Name: "web", Description: "a server", Kind: "service", LoadState: "loaded", Path: "/u/web.toml",
		DropIns: []string{"/u/web.toml.d/1.toml"}, Enabled: "enabled", Profile: "strict",
		ActiveState: "active", SubState: "running", Result: "success", StateSinceUsec: 5,
		MainPID: 12, MainPIDInside: 2, MainCommand: "web", ControlPID: 13, ControlCommand: "reload --password x", StatusText: "secret",
		StartCount: 2, Restarts: 1, Generation: 2, LeftOvers: []LeftOver{{Generation: 1, PIDs: []int{4}}},
		Deadlines: []Deadline{{"watchdog_sec", 9}}, LastExit: &Exit{Code: "exited", Status: 1},
		Failure: &Failure{Program: "exec_start", Step: "mount", Args: []string{"secret"}, Text: "secret", Hint: "secret", Lines: []string{"secret"}},
		Notices: []Notice{{1, "ready"}}, Problems: []string{"p"}, Relaxations: []string{"network host"},
		Tasks: 1, MemoryCurrent: 4096, CPUUsageNsec: 1e9,
		Namespaces: []Namespace{{"pid", 4026531836, true}}, CapabilityCount: 11, NoNewPrivileges: true,
		Listening: []Listening{{"tcp", "0.0.0.0:80", "inside only"}}, Network: webNetwork(),
		ControlGroup: "nsinit/web/2/main", Processes: []Process{{PID: 12, PPID: 11, Name: "web", Command: "web --password secret"}},
	}
}

func webNetwork() *Network {
	return &Network{Mode: "veth", Address: "10.80.0.2/24", Link: "nsbr0", Publish: []string{"80:80/tcp"}, AllowFrom: []string{"db"}, AllowTo: []string{"any"},
		Links:   []NetworkLink{{Name: "eth0", HostLink: "nsa41f3c02", Kind: "veth", Bridge: "default", Addresses: []string{"10.80.0.2/24"}, Gateways: []string{"10.80.0.1"}}},
		RxBytes: 1, TxBytes: 2, RxPackets: 3, TxPackets: 4, Refused: []Refusal{{"cache", 5}}}
}

func (f *fake) Network(context.Context) (NetworkStatus, error) {
	unit := NetworkUnit{Unit: "web", State: "up", Network: *webNetwork()}
	return NetworkStatus{Host: []string{"cron"}, Private: []string{"mail"}, Joined: []string{"x (unit:web)"}, Problems: []string{"p"}, Others: []NetworkUnit{unit},
		Foreign: []ForeignLink{{Name: "eth9", Addresses: []string{"192.0.2.7/24"}}},
		Bridges: []BridgeStatus{{Name: "default", Link: "nsbr0", Gateways: []string{"10.80.0.1/24"}, Pools: []PoolStatus{{"10.80.0.0/24", 1, 253}},
			NAT: true, Internal: true, Uplink: "eth9", Spoofed: 6, Units: []NetworkUnit{unit}}}}, nil
}

func known(unit string) error {
	if unit == "web" {
		return nil
	}
	return &Error{Code: CodeNoSuchUnit, Unit: unit, Message: "cannot find a unit of this name"}
}

func (f *fake) Manager(ctx context.Context) (ManagerStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.peers = append(f.peers, PeerFrom(ctx))
	return ManagerStatus{Instance: "t", State: "running", PID: 1, SinceUsec: 3, Counts: map[string]int{"active": 1}, ManagerRestarts: 2}, nil
}

func (f *fake) List(context.Context, ListQuery) ([]UnitListEntry, error) {
	return []UnitListEntry{{Name: "web", Kind: "service", Description: "a server", LoadState: "loaded", ActiveState: "active",
		SubState: "running", MainPID: 12, Restarts: 3, MemoryCurrent: 4096, CPUUsageNsec: 1500000000, Tasks: 1, NetworkReceiveBytes: 7, NetworkTransmitBytes: 8, StateSinceUsec: 2000000}}, nil
}

func (f *fake) Jobs(context.Context) ([]Job, error) {
	return []Job{{Unit: "web", Type: "start", Running: true, Text: "exec_start"}}, nil
}

func (f *fake) Startup(context.Context) (Startup, error) {
	return Startup{OriginUsec: 1, KernelNsec: 5, Target: "default", TargetUsec: 9, Units: []StartupUnit{{Name: "web", ActivatingUsec: 2, ActiveUsec: 3, EndedUsec: 4, Failed: true, After: []string{"x"}}}}, nil
}

func (f *fake) UnitFiles(context.Context) ([]UnitFileEntry, error) {
	return []UnitFileEntry{{Name: "web", Path: "/u/web.toml", Enabled: "enabled"}}, nil
}

func (f *fake) Status(_ context.Context, unit string) (UnitStatus, error) {
	if err := known(unit); err != nil {
		return UnitStatus{}, err
	}
	return webStatus(), nil
}

func (f *fake) Act(_ context.Context, req ActRequest) iter.Seq2[Progress, error] {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.acted = append(f.acted, req)
	return func(yield func(Progress, error) bool) {
		for _, u := range req.Units {
			if err := known(u); err != nil {
				yield(Progress{}, err)
				return
			}
			st := webStatus()
			if !yield(Progress{Unit: u, Verb: req.Verb, ActiveState: "activating", Text: "waiting"}, nil) ||
				!yield(Progress{Unit: u, Verb: req.Verb, Done: true, Status: &st}, nil) {
				return
			}
		}
	}
}

func (f *fake) Kill(_ context.Context, req KillRequest) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.killed = append(f.killed, req)
	return known(req.Unit)
}

func (f *fake) ResetFailed(context.Context, []string) error { return nil }

func (f *fake) Machine(_ context.Context, action string, req MachineRequest) (MachineReply, error) {
	return MachineReply{Shutdown: &Shutdown{Action: action, AtUsec: req.AtUsec, Message: req.Message}}, nil
}

func (f *fake) Reload(context.Context) (ReloadResult, error) {
	return ReloadResult{Loaded: 1, Problems: []string{"p"}}, nil
}

func (f *fake) Enable(_ context.Context, units []string) ([]Change, error) {
	return []Change{{Unit: units[0], Action: "unchanged"}}, nil
}

func (f *fake) Disable(_ context.Context, units []string) ([]Change, error) {
	return []Change{{Unit: units[0], Action: "wrote", Path: "/etc/x"}}, nil
}

func (f *fake) Mask(_ context.Context, units []string) ([]Change, error) {
	return []Change{{Unit: units[0], Action: "wrote", Path: "/etc/x"}}, nil
}

func (f *fake) Unmask(_ context.Context, units []string) ([]Change, error) {
	return []Change{{Unit: units[0], Action: "removed", Path: "/etc/x"}}, nil
}

func (f *fake) Cat(_ context.Context, unit string) (UnitText, error) {
	return UnitText{Unit: unit, Files: []FileText{{"/u/web.toml", "[service]\n"}}}, known(unit)
}

func (f *fake) Plan(_ context.Context, unit string) (Plan, error) {
	return Plan{Unit: unit, Steps: []PlanStep{{"manager", "open", "/bin/web"}}}, known(unit)
}

func (f *fake) Dependencies(_ context.Context, q DependencyQuery) (Dependency, error) {
	return Dependency{Unit: q.Unit, Children: []Dependency{{Unit: "basic", Seen: true}}}, known(q.Unit)
}

func (f *fake) Logs(ctx context.Context, q LogQuery) iter.Seq2[LogRecord, error] {
	return func(yield func(LogRecord, error) bool) {
		if f.logs != nil {
			f.logs(ctx, yield)
			return
		}
		yield(LogRecord{Unit: "web", TimeUsec: 1, Stream: "stdout", Priority: 6, Text: "hello\x1b[31m"}, nil)
	}
}

func (f *fake) Events(ctx context.Context, q EventQuery) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if yield(Event{Seq: 1, TimeUsec: 1, Unit: "web", Type: "state", ActiveState: "active", Text: "secret"}, nil) && len(q.Units) == 0 {
			<-ctx.Done()
		}
	}
}

func (f *fake) Exec(_ context.Context, req ExecRequest) (ExecProcess, error) {
	f.mu.Lock()
	f.execs = append(f.execs, req)
	f.mu.Unlock()
	if err := known(req.Unit); err != nil {
		return nil, err
	}
	if req.Argv[0] == "absent" {
		return nil, &Error{Code: CodeNotFoundIn, Unit: req.Unit, Message: "cannot run absent: no such file"}
	}
	return f.proc(req), nil
}

// fakeProc is a command whose ends are in the test's hands.
type fakeProc struct {
	stdinR, stdoutR, stderrR *io.PipeReader
	stdinW, stdoutW, stderrW *io.PipeWriter
	sizes                    chan Size
	signals                  chan syscall.Signal
	exit                     chan ExecExit
	closed                   chan struct{}
	once                     sync.Once
	terminal                 bool
}

func newFakeProc() *fakeProc {
	p := &fakeProc{sizes: make(chan Size, 8), signals: make(chan syscall.Signal, 8), exit: make(chan ExecExit, 1), closed: make(chan struct{})}
	p.stdinR, p.stdinW = io.Pipe()
	p.stdoutR, p.stdoutW = io.Pipe()
	p.stderrR, p.stderrW = io.Pipe()
	return p
}

func (p *fakeProc) Stdin() io.WriteCloser { return p.stdinW }
func (p *fakeProc) Stdout() io.Reader     { return p.stdoutR }
func (p *fakeProc) Stderr() io.Reader {
	if p.terminal {
		return nil
	}
	return p.stderrR
}
func (p *fakeProc) Resize(r, c uint16) error      { p.sizes <- Size{r, c}; return nil }
func (p *fakeProc) Signal(s syscall.Signal) error { p.signals <- s; return nil }
func (p *fakeProc) Wait() (ExecExit, error) {
	select {
	case e := <-p.exit:
		return e, nil
	case <-p.closed:
		return ExecExit{Code: 137, Signal: 9}, nil
	}
}
func (p *fakeProc) Close() error {
	p.once.Do(func() {
		close(p.closed)
		p.stdinR.Close()
		p.stdoutW.Close()
		p.stderrW.Close()
	})
	return nil
}

// finish ends the command as a real one would: its ends of the pipes close.
func (p *fakeProc) finish(e ExecExit) {
	p.stdoutW.Close()
	p.stderrW.Close()
	p.exit <- e
}

// socketDir is a short root-owned directory: t.TempDir is too long for a socket.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ctl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// serve runs a server on a socket of its own, in which everybody has role.
func serve(t *testing.T, b Backend, role RoleFunc, lim limits) (path string, srv *Server) {
	t.Helper()
	path = filepath.Join(socketDir(t), "control.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	srv = newServer(Config{Backend: b, Role: role, Version: "v", Instance: "t"}, lim)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return path, srv
}

func as(r Role) RoleFunc { return func(Peer) Role { return r } }

// client serves b to a client with a role.
func client(t *testing.T, b Backend, r Role) *Client {
	path, _ := serve(t, b, as(r), defaultLimits())
	c := NewClient(path)
	t.Cleanup(c.Close)
	return c
}

func dialRaw(t *testing.T, path string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn
}
