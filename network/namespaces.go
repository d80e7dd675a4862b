// Package network prepares the network namespaces of units before they start:
// it makes them, pins them so that they outlive restarts of unit and manager,
// and hands out descriptors to enter them by.
package network

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Namespaces are the pinned network namespaces of an instance: nsfs binds
// <runtime directory>/netns/<unit> in the mount namespace of the caller. They
// are the state; a new manager finds them there. Safe for concurrent use.
type Namespaces struct {
	dir   string
	ready *pool[int]

	mu    sync.Mutex
	units map[string]*sync.Mutex // one at a time for each unit; held with mu free
}

// OpenNamespaces prepares <runtimeDir>/netns: a private mount of its own, so that the
// pins reach no other mount namespace, where they would keep namespaces alive
// that were dropped (mount_namespaces(7)). It is made only if it is not there.
func OpenNamespaces(runtimeDir string) (*Namespaces, error) {
	n := &Namespaces{dir: filepath.Join(runtimeDir, "netns"), ready: newPool(create, func(fd int) { unix.Close(fd) }), units: map[string]*sync.Mutex{}}
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the directory of network namespaces: %w", err)
	}
	mounted, err := isMountPoint(n.dir)
	if err != nil {
		return nil, err
	}
	if !mounted {
		if err := unix.Mount(n.dir, n.dir, "", unix.MS_BIND, ""); err != nil {
			return nil, fmt.Errorf("cannot make %s a mount of its own: %w", n.dir, os.NewSyscallError("mount", err))
		}
	}
	if err := unix.Mount("", n.dir, "", unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("cannot make the mount %s private: %w", n.dir, os.NewSyscallError("mount", err))
	}
	return n, nil
}

// Private returns unit's own network namespace, which has a loopback interface
// that is up and nothing else, and makes it if there is none. A fresh one is
// nobody's until Pin: a start need not wait for the pin, only its end has to.
// The descriptor is close-on-exec and the caller's.
func (n *Namespaces) Private(unit string) (fd int, fresh bool, err error) {
	defer n.lock(unit)()
	if fd, err = n.open(unit); !errors.Is(err, os.ErrNotExist) {
		return fd, false, err
	}
	if fd, err = n.fresh(); err != nil {
		return -1, false, fmt.Errorf("%s: %w", unit, err)
	}
	return fd, true, nil
}

// fresh gives a namespace that nobody has used.
func (n *Namespaces) fresh() (fd int, err error) {
	if fd, ok := n.ready.take(); ok {
		return fd, nil
	}
	return create()
}

// Pin makes the namespace that fd has open unit's: it outlives restarts of unit
// and manager, until Drop.
func (n *Namespaces) Pin(unit string, fd int) error {
	defer n.lock(unit)()
	if err := pin(fd, n.pin(unit)); err != nil {
		return fmt.Errorf("%s: %w", unit, err)
	}
	return nil
}

// Repin pins the namespace of pid, a process of unit's, where a manager was
// killed between a start and its pin. A process in the caller's own namespace,
// which failed before it entered its, is none to take it from.
func (n *Namespaces) Repin(unit string, pid int) error {
	defer n.lock(unit)()
	fd, err := n.open(unit)
	if errors.Is(err, os.ErrNotExist) {
		path := fmt.Sprintf("/proc/%d/ns/net", pid)
		if fd, err = openNamespace(path); err == nil && !sameFile(path, "/proc/self/ns/net") {
			err = pin(fd, n.pin(unit))
		}
	}
	if fd >= 0 {
		unix.Close(fd)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", unit, err)
	}
	return nil
}

// Of returns the namespace that unit has, for another unit to join. The
// descriptor is close-on-exec and the caller's. If unit has none, the error is
// errors.Is(err, fs.ErrNotExist).
func (n *Namespaces) Of(unit string) (fd int, err error) {
	defer n.lock(unit)()
	fd, err = n.open(unit)
	if errors.Is(err, os.ErrNotExist) {
		return -1, fmt.Errorf("unit %q has no network namespace to join (mode = \"private\" gives it one, and it must have been started): %w",
			unit, os.ErrNotExist)
	}
	return fd, err
}

// Path returns the network namespace that path names: an nsfs file, such as
// `ip netns` makes in /run/netns or /proc/PID/ns/net is. The descriptor is
// close-on-exec and the caller's.
func (n *Namespaces) Path(path string) (fd int, err error) { return openNamespace(path) }

// Drop unpins unit's namespace, which ends with its last process or socket. A
// unit without one is no error.
func (n *Namespaces) Drop(unit string) error {
	defer n.lock(unit)()
	if err := unpin(n.pin(unit)); err != nil {
		return fmt.Errorf("%s: %w", unit, err)
	}
	return nil
}

// Prune drops the namespaces of all units but those that keep says yes to, and
// what is left of ones that were being made when a manager ended.
func (n *Namespaces) Prune(keep func(unit string) bool) error {
	entries, err := os.ReadDir(n.dir)
	if err != nil {
		return fmt.Errorf("cannot list the network namespaces: %w", err)
	}
	var errs []error
	for _, e := range entries {
		unit, ok := fromPinName(e.Name())
		if !ok {
			continue // nothing that this package makes
		}
		if !keep(unit) {
			errs = append(errs, n.Drop(unit))
		}
	}
	return errors.Join(errs...)
}

// Close ends the use of n. With removeAll every namespace is dropped and the
// directory removed; without, all stays for the next manager.
func (n *Namespaces) Close(removeAll bool) error {
	n.ready.close()
	if !removeAll {
		return nil
	}
	if err := n.Prune(func(string) bool { return false }); err != nil {
		return err
	}
	if err := unix.Unmount(n.dir, unix.UMOUNT_NOFOLLOW); err != nil && err != unix.EINVAL && err != unix.ENOENT {
		return fmt.Errorf("cannot unmount %s: %w", n.dir, os.NewSyscallError("umount2", err))
	}
	if err := unix.Rmdir(n.dir); err != nil && err != unix.ENOENT {
		return &os.PathError{Op: "rmdir", Path: n.dir, Err: err}
	}
	return nil
}

func sameFile(a, b string) bool {
	x, xerr := os.Stat(a)
	y, yerr := os.Stat(b)
	return xerr == nil && yerr == nil && os.SameFile(x, y)
}

// lock has one caller at a time work on unit; others are not kept waiting.
func (n *Namespaces) lock(unit string) (unlock func()) {
	n.mu.Lock()
	l := n.units[unit]
	if l == nil {
		l = new(sync.Mutex)
		n.units[unit] = l
	}
	n.mu.Unlock()
	l.Lock()
	return l.Unlock
}

func (n *Namespaces) pin(unit string) string { return filepath.Join(n.dir, pinName(unit)) }

// open opens unit's pin. A plain file, which a manager that was killed half way
// has left, is none: errors.Is(err, fs.ErrNotExist).
func (n *Namespaces) open(unit string) (int, error) {
	path := n.pin(unit)
	fd, err := openNamespace(path)
	if errors.Is(err, errNotNamespace) {
		return -1, &os.PathError{Op: "open", Path: path, Err: os.ErrNotExist}
	}
	return fd, err
}

// pinName gives the file of unit's pin: its name, with %XX for "/", "%",
// control characters and a leading ".".
func pinName(unit string) string {
	var b strings.Builder
	for i := range len(unit) {
		c := unit[i]
		if c == '/' || c == '%' || c < ' ' || c == 0x7f || c == '.' && i == 0 {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// fromPinName is the inverse of pinName.
func fromPinName(name string) (unit string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] != '%' {
			b.WriteByte(name[i])
			continue
		}
		if i+3 > len(name) {
			return "", false
		}
		c, err := hex.DecodeString(name[i+1 : i+3])
		if err != nil {
			return "", false
		}
		b.Write(c)
		i += 2
	}
	return b.String(), pinName(b.String()) == name
}
