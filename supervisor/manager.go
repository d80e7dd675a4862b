package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate/launch"
	"github.com/nsinit/nsinit/supervisor/compile"
	"github.com/nsinit/nsinit/supervisor/condition"
	"github.com/nsinit/nsinit/supervisor/control"
	"github.com/nsinit/nsinit/supervisor/keeper"
	"github.com/nsinit/nsinit/supervisor/logs"
	"github.com/nsinit/nsinit/supervisor/machine"
	"github.com/nsinit/nsinit/supervisor/poll"
	"github.com/nsinit/nsinit/unit"
)

// workers is how many launches are under way at once: enough to keep the
// processors busy, few enough that 500 starts at boot do not mean 500 threads.
const workers = 4

// farewell is how long clients have to read their last answer.
const farewell = 3 * time.Second

// Manager runs one instance. Everything below "the loop's" belongs to the
// goroutine that runs the poller; others post to it.
type Manager struct {
	cfg      Config
	log      zerolog.Logger
	lock     *os.File // of the runtime directory
	tree     *os.File // of the cgroup
	listener *net.UnixListener
	began    time.Time
	state    instanceState
	lastEnd  string
	lost     []string // units whose reaper had ended when this manager came

	launcher      *launch.Launcher
	cgroups       *launch.Cgroups
	links         *connections
	pump          *logs.Pump
	poller        *poll.Poller
	work          slots          // launches and their like
	tidying       slots          // what starts wait for, so it never waits for them
	running       sync.WaitGroup // every goroutine that this manager started
	events        *broadcaster
	facts         compile.Reader
	unwatchMounts func()     // ends watching the host's mounts
	read          reading    // before the loop
	collect       func()     // ends holdCollector
	placing       sync.Mutex // held by workers while they make units' directories
	hosts         hostUnits  // which units have the role of their user

	// The loop's.
	engine   *machine.Engine
	set      *unit.Set
	loadedAt time.Time                     // when set was read
	defs     map[string]*unit.Unit         // the definitions in force for coming starts
	configs  map[*unit.Unit]machine.Config // of those that were asked for since the files were read
	services map[string]*service
	host     condition.Host
	queue    []machine.Event // news that effects led to
	handling bool
	unstored map[*service]bool // whose state file is to be written
	keeper   *keeper.Keeper    // what outlives the manager; the log's pump drops from it too
	holder   holder
	timer    int // timerfd of the engine's deadline
	watchdog *watchdog
	instance unit.InstanceConfig // nsinit.toml, as last read
	armed    machine.Instant
	waiters  map[uint64]func(machine.JobDone)
	later    []func()                 // what can wait until no launch is under way
	births   int                      // launches under way
	removals map[string]chan struct{} // runtime directories, closed once they are gone
	nextID   uint64
	stopping bool
	watched  watched     // the console
	ending   *time.Timer // looks at the clock for state.Shutdown
	problems []string    // what this host lacks
}

// New prepares a manager: it takes the runtime directory, the cgroup and the
// socket's place, and fails, having left nothing, where another one has them.
func New(cfg Config) (_ *Manager, err error) {
	m := &Manager{cfg: cfg, log: cfg.Logger, began: time.Now(), services: map[string]*service{}, unstored: map[*service]bool{}, defs: map[string]*unit.Unit{}, configs: map[*unit.Unit]machine.Config{},
		waiters: map[uint64]func(machine.JobDone){}, engine: machine.New(), events: newBroadcaster(), work: make(slots, workers), tidying: make(slots, workers), removals: map[string]chan struct{}{}}
	if err := cfg.check(os.Geteuid()); err != nil {
		return nil, err
	}
	for _, dir := range []string{cfg.LogDir, cfg.RuntimeDir, filepath.Join(cfg.RuntimeDir, "units")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("cannot make %s: %w", dir, err)
		}
	}
	if m.lock, err = lockInstance(cfg.RuntimeDir); err != nil {
		return nil, err
	}
	m.collect = holdCollector()
	defer func() {
		if err != nil {
			m.collect()
			m.abandon()
		}
	}()
	// The launcher comes first: it reserves the low descriptors for children.
	var ahead sync.WaitGroup
	defer ahead.Wait()
	if m.launcher, err = launch.New(func() {
		ahead.Go(func() { m.read = cfg.prepare() }) // it takes longer than all the rest
	}); err != nil {
		return nil, err
	}
	if m.listener, err = control.Listen(cfg.Socket()); err != nil {
		return nil, err
	}
	if m.cgroups, err = launch.OpenCgroups(cfg.Instance, launch.CgroupOptions{Parent: cfg.CgroupParent, OwnMachine: cfg.OwnMachine}); err != nil {
		return nil, err
	}
	if m.tree, err = lockCgroups(m.cgroups, cfg.Instance); err != nil {
		return nil, err
	}
	if m.links, err = m.openConnections(); err != nil {
		return nil, err
	}
	if m.unwatchMounts, err = m.launcher.WatchMounts(cfg.RuntimeDir); err != nil {
		return nil, err
	}
	if m.pump, err = logs.NewPump(); err != nil {
		return nil, err
	}
	if m.poller, err = poll.New(); err != nil {
		return nil, err
	}
	if m.keeper, err = keeper.New(); err != nil {
		return nil, err
	}
	ahead.Wait() // the machine has its name from here on
	if m.host, err = condition.Probe(m.cgroups.Controllers()); err != nil {
		return nil, err
	}
	if m.timer, err = unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("cannot make a timer: %w", os.NewSyscallError("timerfd_create", err))
	}
	return m, m.poller.Add(m.timer, unix.EPOLLIN, func(uint32) { m.tick() })
}

// abandon unwinds a New that failed. What another manager's services live in is
// not touched: without this lock nothing was made, and with it they are only
// taken away where there are none.
func (m *Manager) abandon() {
	if m.listener != nil {
		m.listener.Close()
		os.Remove(m.cfg.Socket())
	}
	if m.tree != nil {
		found, err := m.cgroups.Find()
		empty := err == nil && len(found) == 0
		if m.links != nil {
			m.links.close(empty)
		}
		if empty {
			m.cgroups.RemoveRoot()
		}
		m.tree.Close()
	}
	if m.unwatchMounts != nil {
		m.unwatchMounts()
	}
	if m.lock == nil {
		return
	}
	// What an earlier manager left is for the next one, and what stands in the
	// socket's place is not ours: only what is empty goes.
	os.Remove(filepath.Join(m.cfg.RuntimeDir, "units"))
	os.Remove(filepath.Join(m.cfg.RuntimeDir, "netns"))
	os.Remove(filepath.Join(m.cfg.RuntimeDir, "networks"))
	os.Remove(filepath.Join(m.cfg.RuntimeDir, "names"))
	if _, err := os.Stat(filepath.Join(m.cfg.RuntimeDir, "manager.json")); err != nil {
		os.Remove(filepath.Join(m.cfg.RuntimeDir, "lock"))
		os.Remove(m.cfg.Socket() + ".lock")
	}
	os.Remove(m.cfg.RuntimeDir)
	m.lock.Close()
}

// removeRuntime removes the manager's own files; the directory goes too unless
// somebody else keeps something there.
func (m *Manager) removeRuntime() error {
	var err error
	for _, name := range []string{"units", "netns", "networks", "names", "manager.json", "manager.json.bad", "control.sock", "control.sock.lock", "lock"} {
		err = errors.Join(err, os.RemoveAll(filepath.Join(m.cfg.RuntimeDir, name)))
	}
	os.Remove(m.cfg.RuntimeDir)
	return err
}

// Run serves until everything was stopped in an orderly way, by ctx or by
// SIGTERM to the process; ready is called when units are being started and
// nsctl is answered.
func (m *Manager) Run(ctx context.Context, ready func()) error {
	server := control.NewServer(control.Config{Backend: backend{m: m}, Role: m.role, Version: m.cfg.Version, Instance: m.cfg.Instance})
	m.background(func() {
		if err := m.pump.Run(); err != nil {
			m.log.Error().Err(err).Msg("logs are no longer read")
		}
	})
	m.poller.Post(func() { m.begin(); ready() }) // before any request: those need the units
	m.background(func() {
		if err := server.Serve(m.listener); err != nil {
			m.log.Error().Err(err).Msg("nsctl is no longer answered")
		}
	})
	stop := context.AfterFunc(ctx, func() { m.poller.Post(m.shutdown) })
	defer stop()
	if err := m.poller.Run(); err != nil {
		return err // as after a crash, everything is left as it is, for the next manager
	}
	return m.close(server)
}

// background starts a goroutine that close waits for.
func (m *Manager) background(f func()) {
	m.running.Add(1)
	go func() {
		defer m.running.Done()
		f()
	}()
}

// slots bound how many pieces of work of one kind run at a time.
type slots chan struct{}

// onWorker runs f on a goroutine of its own, once a slot is free. What it has to
// come after is waited for before that: it may take long, and takes no slot.
func (m *Manager) onWorker(s slots, f func(), after ...<-chan struct{}) {
	m.background(func() {
		for _, done := range after {
			<-done
		}
		s <- struct{}{}
		defer func() { <-s }()
		f()
	})
}

// begin loads the units, takes over what an earlier manager left and, on the
// first start of the instance, starts the target.
func (m *Manager) begin() {
	first := m.takeInstance()
	m.openKeeper()
	m.openConsole()
	for _, err := range m.read.unprepared {
		m.problem(err)
	}
	problems, effects := m.load(m.read)
	m.read = reading{}
	m.tellBadUnits(problems)
	m.carryOut(effects)
	m.openWatchdog(m.watchdogLimit())
	m.adopt()
	m.awaitShutdown()
	if target, _ := m.engine.State(m.set.Canonical(m.cfg.Target)); !first && target.Job != machine.VerbStart {
		m.booted() // the one before had come to the end of it, or was told to stop
	}
	if m.cfg.StopOnly {
		m.shutdown()
		return
	}
	if first {
		m.aim()
		defer m.storeInstance() // one that dies before it has asked for the target was none
		m.request(machine.VerbStart, m.cfg.Target, func(d machine.JobDone) {
			m.booted()
			if d.Result != machine.JobDoneOK {
				m.log.Warn().Str("unit", m.cfg.Target).Str("result", string(d.Result)).Msg(d.Reason.Text)
			}
		})
	}
}

// aim sees to it that the machine's first start aims at something: a mistake on
// the kernel's command line must not cost whoever made it the way in. (systemd
// goes on with its rescue target, which needs somebody at the console.) Elsewhere
// whoever started the manager sees that it fails, and can do so again.
func (m *Manager) aim() {
	meant := m.cfg.Target
	_, err := m.resolve(meant)
	if err == nil {
		return
	}
	next := "nothing is started"
	if m.cfg.Boot && meant != DefaultTarget {
		m.cfg.Target, next = DefaultTarget, "starting "+DefaultTarget
	}
	m.problem(fmt.Errorf("cannot start %s, at which this boot aims: %w; %s", meant, err, next))
	m.tellNoTarget(meant, err, next)
}

// takeInstance reads the instance's own state file, and replaces another's. It reports
// whether this is the first manager since the instance last stopped in an
// orderly way (or the machine booted).
func (m *Manager) takeInstance() bool {
	path := filepath.Join(m.cfg.RuntimeDir, "manager.json")
	var last instanceState
	found, err := readState(path, &last)
	if err != nil {
		m.problem(err)
	}
	first := !found || last.BootID != bootID() || last.Version != stateVersion || last.Stopping
	if err != nil { // damaged: where services live this is not the first
		generations, err := m.cgroups.Find()
		first = err != nil || len(generations) == 0
	}
	m.state = instanceState{Version: stateVersion, BootID: bootID(), PID: os.Getpid(), BootUsec: m.began.UnixMicro()}
	if !first {
		m.state.BootUsec, m.state.Restarts, m.state.Booted = last.BootUsec, last.Restarts+1, last.Booted
		m.state.Shutdown = last.Shutdown
		m.lastEnd = "ended without stopping its services"
		m.storeInstance()
	}
	return first
}

func (m *Manager) storeInstance() {
	if err := writeState(filepath.Join(m.cfg.RuntimeDir, "manager.json"), m.state); err != nil {
		m.problem(err)
	}
}

// problemsMax is how many problems status shows; the log has all.
const problemsMax = 32

func (m *Manager) problem(err error) {
	if len(m.problems) < problemsMax && !slices.Contains(m.problems, err.Error()) {
		m.problems = append(m.problems, err.Error())
	}
	m.log.Warn().Msg(err.Error())
}

// shutdown stops every unit, then ends the loop.
func (m *Manager) shutdown() {
	if m.stopping {
		return
	}
	m.stopping, m.state.Stopping = true, true
	m.storeInstance()
	m.log.Info().Msg("stopping everything")
	m.request(machine.VerbStopAll, "", func(machine.JobDone) { m.endLeftovers(m.poller.Close) })
}

// close unwinds what New and Run made, in reverse, and leaves nothing of the
// instance but its logs.
func (m *Manager) close(server *control.Server) error {
	m.events.close()
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	err := server.Shutdown(ctx)
	for _, s := range m.services {
		s.closeAll()
	}
	m.pump.Close()
	if m.ending != nil {
		m.ending.Stop()
	}
	if m.watched.screen != nil {
		m.watched.screen.Close()
	}
	if !m.allEnded() {
		m.log.Error().Msg("some work hangs, most likely on a file system that does not answer; not waiting for it")
	}
	m.watchdog.close()
	m.unwatchMounts()
	m.launcher.Close()
	err = errors.Join(err, m.links.close(true), m.closeKeeper(), m.cgroups.RemoveRoot())
	unix.Close(m.timer)
	err = errors.Join(err, m.removeRuntime())
	m.tree.Close()
	m.lock.Close()
	return err
}

// allEnded waits for every goroutine that the manager started, within limits.
func (m *Manager) allEnded() bool {
	ended := make(chan struct{})
	go func() { // joined below, unless a system call in one of them never returns
		m.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return true
	case <-time.After(endWait):
		return false
	}
}

// handle gives the engine an event and carries out what follows, news that
// comes of it included, until nothing is left to do.
func (m *Manager) handle(ev machine.Event) {
	m.queue = append(m.queue, ev)
	m.carryOut(nil)
}

// carryOut does what the engine decided, in the given order, and after all of
// it what comes of it at once; what takes time is posted later.
func (m *Manager) carryOut(effects []machine.Effect) {
	if m.handling && len(effects) == 0 {
		return // the call that is under way sees to the queue
	}
	outermost := !m.handling
	m.handling = true
	for _, e := range effects {
		m.effect(e)
	}
	for outermost && len(m.queue) > 0 {
		ev := m.queue[0]
		m.queue = m.queue[1:]
		for _, e := range m.engine.Handle(ev, now()) {
			m.effect(e)
		}
	}
	if outermost {
		m.handling, m.queue = false, nil
		m.storeStates()
		m.arm()
	}
}

// tick passes on that the engine's deadline has come.
func (m *Manager) tick() {
	var b [8]byte
	unix.Read(m.timer, b[:])
	m.armed = 0
	m.handle(machine.Tick{})
}

// arm sets the one timer to the earliest deadline.
func (m *Manager) arm() {
	at, ok := m.engine.Deadline()
	if !ok {
		at = 0
	}
	if at == m.armed {
		return
	}
	m.armed = at
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(at))}
	if err := unix.TimerfdSettime(m.timer, unix.TFD_TIMER_ABSTIME, &spec, nil); err != nil {
		m.log.Error().Err(err).Int64("at", int64(at)).Msg("cannot set the timer: deadlines are late")
	}
}

// request asks the engine for a job; done is called on the loop.
func (m *Manager) request(verb machine.Verb, unit string, done func(machine.JobDone)) {
	m.nextID++
	m.waiters[m.nextID] = done
	m.handle(machine.Request{ID: m.nextID, Verb: verb, Unit: unit})
}

// call runs f on the loop and waits for it.
func (m *Manager) call(ctx context.Context, f func()) error {
	done := make(chan struct{})
	if !m.poller.Post(func() { f(); close(done) }) {
		return &control.Error{Code: control.CodeStopping, Message: "cannot answer: the manager is going down"}
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
