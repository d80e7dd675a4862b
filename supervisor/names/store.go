package names

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// Machine is where the machine's own files are.
type Machine struct {
	Hosts    string // "/etc/hosts"
	Resolv   string // "/etc/resolv.conf"
	Upstream string // "/run/systemd/resolve/resolv.conf"
}

// TheMachine is the usual one.
func TheMachine() Machine {
	return Machine{Hosts: "/etc/hosts", Resolv: "/etc/resolv.conf", Upstream: "/run/systemd/resolve/resolv.conf"}
}

// Store has the files of an instance in a directory: BRIDGE.hosts, resolv.conf,
// and UNIT.resolv of a unit that says something of its own. Safe for concurrent
// use.
type Store struct {
	dir     string
	machine Machine

	mu      sync.Mutex
	bridges map[string]map[string]Entry // by bridge and unit
	own     map[string]Resolver         // by unit
}

// New makes a store, with nobody in it, of the files in dir. The files are there
// once somebody needs them.
func New(dir string, machine Machine) *Store {
	return &Store{dir: dir, machine: machine, bridges: map[string]map[string]Entry{}, own: map[string]Resolver{}}
}

// HostsOf is the path of the hosts file of a bridge.
func (s *Store) HostsOf(bridge string) string { return filepath.Join(s.dir, bridge+".hosts") }

// ResolvOf is the path of the resolv.conf of a unit.
func (s *Store) ResolvOf(unit string, own Resolver) string {
	if own.none() {
		return filepath.Join(s.dir, "resolv.conf")
	}
	return filepath.Join(s.dir, unit+".resolv")
}

func (r Resolver) none() bool { return len(r.DNS)+len(r.Search) == 0 }

// BridgeOf is a bridge that the unit is on, "" if it is on none.
func (s *Store) BridgeOf(unit string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, bridge := range slices.Sorted(maps.Keys(s.bridges)) {
		if _, ok := s.bridges[bridge][unit]; ok {
			return bridge
		}
	}
	return ""
}

// Put notes that a unit is on these bridges and on no other, and writes what that
// changes. Every bridge of on has a file afterwards, and the unit's resolv.conf is
// there.
func (s *Store) Put(unit string, on map[string]Entry, own Resolver) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	touched := append(slices.Collect(maps.Keys(on)), s.leave(unit)...)
	for bridge, e := range on {
		if s.bridges[bridge] == nil {
			s.bridges[bridge] = map[string]Entry{}
		}
		s.bridges[bridge][unit] = e
	}
	delete(s.own, unit)
	if !own.none() {
		s.own[unit] = own
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return fmt.Errorf("cannot make the directory of names: %w", err)
	}
	if err := s.writeHosts(touched); err != nil {
		return err
	}
	return s.writeResolv(unit, own)
}

// Servers gives the name servers that a unit is told of. problem is that of
// ResolvConf.
func (s *Store) Servers(own Resolver) (list []netip.Addr, problem string, err error) {
	text, problem, err := s.resolvConf(own)
	return Servers(text), problem, err
}

// Delete forgets units.
func (s *Store) Delete(units ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var touched []string
	var errs []error
	for _, u := range units {
		if _, ok := s.own[u]; ok {
			delete(s.own, u)
			if err := os.Remove(filepath.Join(s.dir, u+".resolv")); !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, err)
			}
		}
		touched = append(touched, s.leave(u)...)
	}
	return errors.Join(append(errs, s.writeHosts(touched))...)
}

// leave takes a unit off the bridges that it is on, and gives those.
func (s *Store) leave(unit string) (bridges []string) {
	for bridge, list := range s.bridges {
		if _, is := list[unit]; is {
			delete(list, unit)
			bridges = append(bridges, bridge)
		}
	}
	return bridges
}

// Refresh writes all files again, as the machine's own have changed.
func (s *Store) Refresh() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.bridges)+len(s.own) == 0 {
		return nil // there are none
	}
	err := s.writeHosts(slices.Collect(maps.Keys(s.bridges)))
	err = errors.Join(err, s.writeResolv("", Resolver{}))
	for unit, own := range s.own {
		err = errors.Join(err, s.writeResolv(unit, own))
	}
	return err
}

// Remove removes all files and the directory.
func (s *Store) Remove() error { return os.RemoveAll(s.dir) }

func (s *Store) writeHosts(bridges []string) error {
	if len(bridges) == 0 {
		return nil
	}
	machine, err := read(s.machine.Hosts)
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	var errs []error
	for _, bridge := range bridges {
		text := Hosts(machine, host, s.bridges[bridge])
		errs = append(errs, rewrite(s.HostsOf(bridge), text))
	}
	return errors.Join(errs...)
}

func (s *Store) writeResolv(unit string, own Resolver) error {
	text, _, err := s.resolvConf(own)
	if err != nil {
		return err
	}
	return rewrite(s.ResolvOf(unit, own), text)
}

func (s *Store) resolvConf(own Resolver) (text, problem string, err error) {
	machine, err := read(s.machine.Resolv)
	if err != nil {
		return "", "", err
	}
	upstream, err := read(s.machine.Upstream)
	if err != nil {
		return "", "", err
	}
	text, problem = ResolvConf(machine, upstream, own)
	return text, problem, nil
}

// maxFile bounds what is read of a file of the machine.
const maxFile = 4 << 20

// read gives a file's text; one that is not there is empty.
func read(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot read the machine's names: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return "", fmt.Errorf("cannot read the machine's names: %w", err)
	}
	return string(b), nil
}

// rewrite gives a file its text without making it another file: services have it
// bound. Who reads meanwhile sees no empty one, as it is cut last.
func rewrite(path, text string) error {
	if old, err := os.ReadFile(path); err == nil && string(old) == text {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("cannot write names: %w", err)
	}
	_, err = f.WriteAt([]byte(text), 0)
	if err == nil {
		err = f.Truncate(int64(len(text)))
	}
	if err == nil {
		err = f.Chmod(0o644) // whatever the umask
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("cannot write names: %w", err)
	}
	return nil
}
