// Package boot does what a machine needs once, before its first unit, and what
// process 1 should not: users, files, kernel parameters, names. The formats are
// those that packages ship: sysusers.d(5), tmpfiles.d(5), sysctl.d(5),
// machine-id(5), hostname(5). Each file is read into values by a pure parser; a
// thin layer makes them so. Nothing here ends a boot: what fails is reported and
// the next thing is tried.
package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// marker says how often this boot has begun to prepare, a byte each time, and
// with its last that it came to the end: tmpfiles.d empties directories, which
// must not happen again under running programs. Where it did not, none runs yet.
const marker = "run/nsinit.booted"

// The bytes of the marker, and how often what never ends is begun.
const (
	begun    = "b"
	ended    = "e"
	attempts = 3
)

// Run prepares the machine whose root file system is at root, unless that was
// done since it booted. The errors are all that went wrong, each naming the file
// and line that asked for it. Where it prepares, it calls named once the machine
// has its names and users, and does the rest meanwhile.
func Run(root string, named func()) []error {
	return once(filepath.Join(root, marker), func() []error { return prepare(root, named) })
}

// once calls f unless the marker says that it came to its end.
func once(marker string, f func() []error) []error {
	before, err := os.ReadFile(marker)
	switch {
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return []error{fmt.Errorf("cannot prepare the machine: %w", err)}
	case strings.HasSuffix(string(before), ended):
		return nil
	case len(before) >= attempts:
		return []error{fmt.Errorf("cannot prepare the machine: it was begun %d times and never ended; going on with what was done", attempts)}
	}
	if err := os.WriteFile(marker, append(before, begun...), 0o644); err != nil {
		return []error{fmt.Errorf("cannot prepare the machine: %w", err)}
	}
	problems := f()
	if err := os.WriteFile(marker, append(before, begun+ended...), 0o644); err != nil {
		problems = append(problems, fmt.Errorf("cannot note that the machine is prepared: %w", err))
	}
	return problems
}

func prepare(root string, named func()) (problems []error) {
	try := func(errs ...error) {
		for _, err := range errs {
			if err != nil {
				problems = append(problems, err)
			}
		}
	}
	try(setHostname(root), machineID(root))
	try(sysusers(root)...) // whom tmpfiles gives files to
	var beside sync.WaitGroup
	defer beside.Wait()
	beside.Go(named)
	try(loopbackUp(), seedRandom(filepath.Join(root, "var/lib/nsinit/random-seed")))
	try(sysctls(root)...)
	try(tmpfiles(root)...)
	return problems
}

// setHostname takes the first line of /etc/hostname that says something.
func setHostname(root string) error {
	b, err := os.ReadFile(filepath.Join(root, "etc/hostname"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read the host name: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if name := strings.TrimSpace(line); name != "" && name[0] != '#' {
			if err := unix.Sethostname([]byte(name)); err != nil {
				return fmt.Errorf("cannot set the host name %q: %w", name, os.NewSyscallError("sethostname", err))
			}
			return nil
		}
	}
	return nil
}

// loopbackUp switches lo on, which brings its addresses (netdevice(7)).
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(fd)
		var request *unix.Ifreq
		if request, err = unix.NewIfreq("lo"); err == nil {
			request.SetUint16(unix.IFF_UP | unix.IFF_LOOPBACK | unix.IFF_RUNNING)
			err = unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot switch on the loopback interface: %w", err)
	}
	return nil
}

// seedSize is the kernel's pool and then some.
const seedSize = 512

// seedRandom stirs what the last boot left into the kernel's pool, and leaves
// new bytes for the next. They are not credited (random(4)): whoever copied the
// disk knows them.
func seedRandom(path string) error {
	old, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile("/dev/urandom", old, 0)
	} else if errors.Is(err, os.ErrNotExist) {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	next := make([]byte, seedSize)
	if err == nil {
		_, err = unix.Getrandom(next, unix.GRND_NONBLOCK)
	}
	if err == unix.EAGAIN { // too early for good bytes; the next boot has none then
		return nil
	}
	if err == nil {
		err = replaceFile(path, next, 0o600)
	}
	if errors.Is(err, unix.EROFS) {
		return nil // a system that cannot keep anything
	}
	if err != nil {
		return fmt.Errorf("cannot keep a random seed: %w", err)
	}
	return nil
}

// replaceFile writes a file beside path and renames it, so that path is whole
// whatever happens. One that is there keeps its owner and mode.
func replaceFile(path string, content []byte, mode os.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	defer f.Close()
	uid, gid := 0, 0
	var st unix.Stat_t
	if unix.Stat(path, &st) == nil {
		mode, uid, gid = os.FileMode(st.Mode&0o7777), int(st.Uid), int(st.Gid)
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Chown(uid, gid), f.Chmod(mode), f.Sync()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
