package supervisor

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/isolate/launch"
	"github.com/nsinit/nsinit/reaper"
	"github.com/nsinit/nsinit/supervisor/compile"
	"github.com/nsinit/nsinit/supervisor/logs"
	"github.com/nsinit/nsinit/supervisor/machine"
	"github.com/nsinit/nsinit/supervisor/notify"
	"github.com/nsinit/nsinit/unit"
)

// launchUnit carries out the effect Launch: a worker makes the generation, the
// loop takes it over.
func (m *Manager) launchUnit(e machine.Launch) {
	s := m.service(e.Unit)
	s.def = m.defs[e.Unit]
	if s.def == nil {
		m.handle(machine.LaunchFailed{Ref: e.Ref, Setup: machine.Setup{Text: "the unit file is gone"}})
		return
	}
	if half := s.gen; half != nil { // adopted, and its launch had not come to a reaper
		m.unwatch(half)
		half.close()
		s.gen = nil
	}
	m.hosts.note(s.def)
	m.openLog(s, false)
	s.launching, s.notices = true, nil
	s.start = startState{InvocationID: invocationID(), RequestedAt: int64(now()), Digest: m.config(s.def).Digest}
	b := &birth{m: m, g: &generation{unit: e.Unit, number: e.Generation, def: s.def, commands: commandsOf(s.def),
		dir: filepath.Join(m.cfg.unitDir(e.Unit), strconv.FormatUint(e.Generation, 10)), hooks: map[uint64]*hook{}}}
	b.log = s.log
	b.g.facts.InvocationID, b.g.since = s.start.InvocationID, s.start.RequestedAt
	m.births++
	m.onWorker(m.work, func() {
		began := time.Now()
		err := b.make()
		took := time.Since(began)
		m.poller.Post(func() { m.launched(s, b, took, err) })
	}, m.removalsBefore(s)...)
}

func invocationID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails (crypto/rand, Go 1.24)
	return hex.EncodeToString(b[:])
}

// birth is a generation while it is being made: with what is only needed until
// the reaper exists.
type birth struct {
	m     *Manager
	g     *generation
	files launch.Files
	read  [2]int // the log pipes' read ends, for the log
	write [2]int
	sys   int   // the /dev/log socket
	owned []int // descriptors to close once the reaper has its copies

	log *logs.Log

	unpinned bool   // its network namespace is a new one
	notice   string // what is odd about its network

	placed  bool // its directories are there, and its own
	refused bool // they are somebody else's
}

// make makes everything, and unmakes all of it if a part fails.
func (b *birth) make() (err error) {
	defer func() {
		b.closeOwned()
		if err != nil {
			b.unmake()
		}
	}()
	kernel := make(chan error, 1)
	go func() { kernel <- b.places() }() // joined in the next lines: the kernel's part takes as long as ours
	owner, err := b.prepare()
	if kernelErr := <-kernel; err == nil {
		err = kernelErr
	}
	if err == nil && b.g.def.Resources.Delegate.Enabled {
		err = b.cgroup(owner)
	}
	if err != nil {
		return err
	}
	if err := terminalOf(b.g.def).Prepare(); err != nil {
		return err
	}
	return b.launch()
}

// launch clones the child, and does what that need not wait for while it sets
// itself up.
func (b *birth) launch() (err error) {
	g := b.g
	b.files.Dir = g.dir
	if g.reaper, err = b.m.launcher.Launch(g.program, g.number, b.files); err != nil {
		return err
	}
	g.child = true
	if b.unpinned {
		err = b.m.links.net.Pin(g.unit, b.files.NetNS)
	}
	if err != nil {
		return errors.Join(err, b.m.endGeneration(g.cgroup, g.handOver()))
	}
	return nil
}

// places makes where the service will be: its network namespace and its cgroup
// (a delegated one has an owner, who is not known yet).
func (b *birth) places() error {
	if err := b.network(); err != nil {
		return err
	}
	if b.g.def.Resources.Delegate.Enabled {
		return nil
	}
	return b.cgroup(isolate.Credentials{})
}

// prepare makes what the service brings along, and the program of its launch.
// It gives the credentials of the service.
func (b *birth) prepare() (owner isolate.Credentials, err error) {
	g := b.g
	if g.facts, err = b.m.factsOf(g.def, g.dir, g.facts.InvocationID); err != nil {
		return owner, err
	}
	if err := b.directory(); err != nil {
		return owner, err
	}
	if err := b.sockets(); err != nil {
		return owner, err
	}
	if err := b.openFiles(); err != nil {
		return owner, err
	}
	if err := b.logPipes(); err != nil {
		return owner, err
	}
	host := b.m.launcher.Host()
	svc, err := compile.Start(g.def, host, g.facts)
	if err != nil {
		return owner, err
	}
	if err := b.m.makeDirectories(svc.Spec.Directory); err != nil {
		b.refused = true
		return owner, err
	}
	b.placed = true
	makeOutputs(g.def)
	b.survey()
	if n := len(svc.Spec.Execs); n > 0 { // the last is main; one before it may run as root
		owner = svc.Spec.Execs[n-1].Cred
	}
	g.program, err = isolate.Compile(svc.Spec, host)
	return owner, err
}

// factsOf gathers what a start of u, with its place in dir, is compiled from.
func (m *Manager) factsOf(u *unit.Unit, dir, invocation string) (compile.Facts, error) {
	f, err := m.facts.Gather(u)
	if err != nil {
		return compile.Facts{}, err
	}
	for _, file := range u.Service.OpenFile {
		f.Passed = append(f.Passed, file.Name) // at a start, those that could be opened
	}
	f.InvocationID, f.NetNS = invocation, u.Network.Mode != unit.NetworkHost
	hosts, resolv := m.links.nameFiles(u)
	if err := f.BindNames(u, hosts, resolv); err != nil {
		return compile.Facts{}, err
	}
	if u.Service.NotifyAccess != "none" || u.Service.Notifies() {
		f.NotifySocket = filepath.Join(dir, "notify")
	}
	if u.Isolation.Namespaces.Mount && u.Filesystem.PrivateDevices {
		f.LogSocket = filepath.Join(dir, "log.sock")
	}
	return f, nil
}

// keepDefinition writes the unit as it is in force for this start beside the
// record: its file may change or go while it runs.
func (m *Manager) keepDefinition(g *generation) {
	g.inDir.Lock()
	defer g.inDir.Unlock()
	if g.removed { // ended meanwhile
		return
	}
	dir := filepath.Join(g.dir, "def")
	err := os.Mkdir(dir, 0o700)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, g.unit+".toml"), []byte(g.def.Resolved()), 0o600)
	}
	if err != nil {
		m.log.Warn().Str("unit", g.unit).Err(err).Msg("cannot keep the definition; should its file change and the manager be killed, the new one would count")
	}
}

// directory makes the generation's place in the runtime directory: the record,
// preallocated, so that a full file system fails the start and not the record.
func (b *birth) directory() error {
	g := b.g
	mode := os.FileMode(0o700) // its sockets are bound into the service
	if socketsByPath(g.def) {
		mode = 0o711
	}
	if err := makeAnew(g.dir, mode); err != nil {
		return err
	}
	fd, err := unix.Open(filepath.Join(g.dir, "record"), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("cannot make the record: %w", err)
	}
	g.record, b.files.Record = fd, fd
	if err := unix.Fallocate(fd, 0, 0, reaper.NamedOffset+8); err != nil {
		return fmt.Errorf("cannot make room for the record in %s: %w", g.dir, err)
	}
	if g.doorbell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("cannot make the doorbell: %w", os.NewSyscallError("eventfd2", err))
	}
	b.files.Doorbell = g.doorbell
	return nil
}

// makeAnew makes the directory path, with nothing in it. Mostly what is above
// is there, and itself is not.
func makeAnew(path string, mode os.FileMode) error {
	err := os.Mkdir(path, mode)
	if errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return os.Mkdir(path, mode)
	}
	if errors.Is(err, os.ErrExist) {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
		return os.Mkdir(path, mode)
	}
	return err
}

// sockets makes the service's own notify socket and /dev/log.
func (b *birth) sockets() (err error) {
	g := b.g
	if path := g.facts.NotifySocket; path != "" {
		if g.notify, err = notify.Listen(path, 0o666); err != nil {
			return err
		}
		b.files.Notify = g.notify.FD()
	}
	if path := g.facts.LogSocket; path != "" {
		if b.sys, err = logs.ListenSyslog(path, 0o666); err != nil {
			return err
		}
		b.files.Syslog = b.sys
	}
	return nil
}

// network has the namespace that the unit's mode names ready, with its links. What
// an earlier definition had asked for and this one does not is given up first.
func (b *birth) network() (err error) {
	u, links := b.g.def, b.m.links
	if !u.Network.Attached() && links.has(u.Name) {
		if err := links.release(u.Name); err != nil {
			return err
		}
	}
	var fd int
	switch n := u.Network; {
	case n.Attached():
		fd, b.notice, err = links.attach(u)
	case n.Mode == unit.NetworkHost:
		return nil
	case n.Mode == unit.NetworkPrivate:
		fd, b.unpinned, err = links.net.Private(u.Name)
	default:
		fd, err = links.join(u)
	}
	if err != nil {
		return &compile.Error{Unit: u.Name, Key: "network.mode", Class: isolate.ClassNetwork, Err: err}
	}
	b.files.NetNS = fd
	return nil
}

// cgroup makes the two leaves, with the unit's limits.
func (b *birth) cgroup(owner isolate.Credentials) (err error) {
	g := b.g
	limits := limitsOf(g.def, b.m.host.Memory, owner)
	if g.cgroup, err = b.m.cgroups.Create(g.unit, g.def.Resources.Slice, g.number, limits); err != nil {
		return err
	}
	b.files.Init, b.files.Main = g.cgroup.InitFD(), g.cgroup.MainFD()
	return nil
}

// logPipes makes a pipe for each stream; what does not go to the log is simply
// not connected.
func (b *birth) logPipes() (err error) {
	for i := range b.read {
		if b.read[i], b.write[i], err = logs.Pipe(); err != nil {
			return err
		}
		b.owned = append(b.owned, b.write[i])
	}
	b.files.StdoutRead, b.files.StderrRead = b.read[0], b.read[1]
	b.files.Stdout, b.files.Stderr = b.write[0], b.write[1]
	return nil
}

func (b *birth) closeOwned() {
	if b.files.NetNS != 0 {
		unix.Close(b.files.NetNS)
	}
	for _, fd := range b.owned {
		unix.Close(fd)
	}
	b.owned = nil
}

// unmake removes what a failed start has made: no cgroup, file or descriptor
// stays.
func (b *birth) unmake() {
	for _, fd := range []int{b.read[0], b.read[1], b.sys} {
		if fd != 0 {
			unix.Close(fd)
		}
	}
	if b.g.cgroup != nil {
		if err := b.g.cgroup.Remove(); err != nil {
			b.m.log.Error().Str("unit", b.g.unit).Err(err).Msg("cannot remove the cgroup of a failed start")
		}
	}
	b.g.close()
	os.RemoveAll(b.g.dir)
}

// crowd is how many starts at once leave so much garbage that it is worth giving
// the memory back: a manager then lives for weeks with what it has.
const crowd = 100

// launched takes over what a worker has made.
func (m *Manager) launched(s *service, b *birth, took time.Duration, err error) {
	s.launching = false
	s.placed = b.placed || s.placed && !b.refused
	m.births--
	g := b.g
	if err == nil {
		s.gen = g
		s.start.LaunchNsec = int64(took)
		m.attachLog(s, b)
		m.followNames()
		if err := m.watch(g); err != nil {
			m.unwatched(s, g, err)
			return
		}
		m.handle(machine.Launched{Ref: g.ref()})
		m.readRecord(g)
		m.later = append(m.later, func() { m.keepDefinition(g) })
	} else {
		if b.placed {
			m.undoDirectories(s)
		}
		m.handle(machine.LaunchFailed{Ref: g.ref(), Setup: launchFailure(err, g.unit)})
	}
	m.afterLaunch(s)
}

// unwatched takes back a start that nobody would hear of any more, as it is
// where descriptors have run out.
func (m *Manager) unwatched(s *service, g *generation, err error) {
	s.launching = true // until nothing of it is left
	m.end(s, g, func() {
		s.launching = false
		m.handle(machine.LaunchFailed{Ref: g.ref(), Setup: launchFailure(err, g.unit)})
		m.afterLaunch(s)
	})
}

// afterLaunch does what has waited for a launch to be over.
func (m *Manager) afterLaunch(s *service) {
	if m.births == 0 && len(m.later) > 0 {
		list := m.later
		m.later = nil
		m.background(func() {
			for _, f := range list {
				f()
			}
			if len(list) >= crowd {
				debug.FreeOSMemory()
			}
		})
	}
	if r := s.releaseWait; r != nil {
		s.releaseWait = nil
		m.release(*r)
	}
}

func (m *Manager) attachLog(s *service, b *birth) {
	for i, stream := range []logs.Stream{logs.Stdout, logs.Stderr} {
		if err := s.log.Attach(stream, b.read[i]); err != nil {
			m.problem(fmt.Errorf("%s: %w", s.name, err))
		}
	}
	if b.sys != 0 {
		if err := s.log.AttachSyslog(b.sys); err != nil {
			m.problem(fmt.Errorf("%s: %w", s.name, err))
		}
	}
	warnings := b.g.cgroup.Warnings
	if b.notice != "" {
		warnings = append(warnings, b.notice)
	}
	for _, w := range warnings {
		s.notices = append(s.notices, notice{time.Now().UnixMicro(), w})
		s.notice(logs.Warning, "%s", w)
	}
}

// launchFailure puts an error of a start in the engine's words.
func launchFailure(err error, name string) machine.Setup {
	var step *launch.StepError
	if errors.As(err, &step) {
		return setupOf(step)
	}
	text := trimUnit(trimUnit(err.Error(), name), name) // what it wraps may name the unit again
	var ce *compile.Error
	if errors.As(err, &ce) {
		return machine.Setup{Class: int(ce.Class), Text: text}
	}
	var errno unix.Errno
	errors.As(err, &errno)
	return machine.Setup{Errno: int(errno), Text: text}
}
