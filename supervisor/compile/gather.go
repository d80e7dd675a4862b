package compile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	"github.com/nsinit/nsinit/unit"
)

// maxFactFile bounds what is read of any one file, so that a link to an endless
// one cannot stop the manager.
const maxFactFile = 4 << 20

// Gather reads the facts about u that stand in files, before each start: the
// accounts of its root, its environment files, /etc/hosts, the links into
// /run, the devices of device_allow and the places to mount on that are missing. The rest of Facts is the caller's to fill in. Errors are *Error.
func Gather(u *unit.Unit) (Facts, error) { return new(Reader).Gather(u) }

// Gather is the function Gather, with what r has read before and is unchanged.
func (r *Reader) Gather(u *unit.Unit) (Facts, error) {
	f := Facts{Environ: os.Environ()}
	fail := func(key string, err error) (Facts, error) { return Facts{}, &Error{Unit: u.Name, Key: key, Err: err} }
	root := orDefault(u.Filesystem.RootDirectory, "/")
	var err error
	if f.Accounts, err = r.accounts(root); err != nil {
		return fail("service.user", err)
	}
	if f.EnvironmentFile, err = readEnvironmentFiles(u.Service.EnvironmentFile); err != nil {
		return fail("service.environment_file", err)
	}
	if f.MachineName, err = os.Hostname(); err != nil {
		return fail("", err)
	}
	if f.Hosts, err = r.hosts(root); err != nil {
		return fail("", err)
	}
	if f.Devices, err = gatherDevices(u.Security.DeviceAllow); err != nil {
		return fail("security.device_allow", err)
	}
	if f.Missing, err = missingTargets(u); err != nil {
		return fail("filesystem.bind_paths", err)
	}
	if u.UsesTerminal() {
		f.Console, f.ConsoleTerm = readConsole()
	}
	if root == "/" {
		f.RunTargets = runTargets(root)
	}
	return f, nil
}

// ReadAccounts reads /etc/passwd and /etc/group below root. Links that lead
// out of root are refused, missing files are empty.
func ReadAccounts(root string) (Accounts, error) {
	var a Accounts
	passwd, err := readInRoot(root, "etc/passwd")
	if err != nil {
		return a, err
	}
	group, err := readInRoot(root, "etc/group")
	if err != nil {
		return a, err
	}
	if a.Users, err = user.ParsePasswd(strings.NewReader(string(passwd))); err != nil {
		return a, fmt.Errorf("cannot read %s: %w", filepath.Join(root, "etc/passwd"), err)
	}
	if a.Groups, err = user.ParseGroup(strings.NewReader(string(group))); err != nil {
		return a, fmt.Errorf("cannot read %s: %w", filepath.Join(root, "etc/group"), err)
	}
	return a, nil
}

// readInRoot reads a file below root, which a service may have written: no
// link leads out of root, and nothing but a regular file is read.
func readInRoot(root, name string) ([]byte, error) {
	if root == "/" {
		return readSmall(os.OpenFile, "/"+name)
	}
	dir, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("cannot open root_directory: %w", err)
	}
	defer dir.Close()
	return readSmall(dir.OpenFile, name)
}

// opener is os.OpenFile, or that of an os.Root.
type opener func(name string, flags int, mode os.FileMode) (*os.File, error)

// noWait keeps a FIFO from stopping the reader at open(2).
const noWait = os.O_RDONLY | unix.O_NONBLOCK

// readSmall reads a regular file of at most maxFactFile; a missing one is empty.
func readSmall(open opener, name string) ([]byte, error) {
	file, err := open(name, noWait, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read: %w", err)
	}
	defer file.Close()
	return readAll(file)
}

func readAll(file *os.File) ([]byte, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("cannot read %s: it is no regular file", file.Name())
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFactFile+1))
	if err == nil && len(data) > maxFactFile {
		err = fmt.Errorf("cannot read %s: it is larger than %d MiB", file.Name(), maxFactFile>>20)
	}
	return data, err
}

// readEnvironmentFiles reads the files of environment_file, which may be
// patterns, in order.
func readEnvironmentFiles(entries []unit.PathEntry) ([]unit.EnvAssignment, error) {
	var list []unit.EnvAssignment
	for _, entry := range entries {
		names, err := environmentFileNames(entry)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			assignments, err := readEnvironmentFile(name)
			if errors.Is(err, fs.ErrNotExist) && entry.Optional {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("cannot read environment_file %s: %w", name, err)
			}
			list = append(list, assignments...)
		}
	}
	return list, nil
}

// environmentFileNames resolves a pattern; one that matches nothing is an error
// unless the entry is optional.
func environmentFileNames(entry unit.PathEntry) ([]string, error) {
	if !strings.ContainsAny(entry.Path, "*?[") {
		return []string{entry.Path}, nil
	}
	names, err := filepath.Glob(entry.Path)
	if err == nil && len(names) == 0 && !entry.Optional {
		err = errors.New("nothing matches; write \"-\" before it if that is as it should be")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read environment_file %s: %w", entry.Path, err)
	}
	return names, nil
}

func readEnvironmentFile(name string) ([]unit.EnvAssignment, error) {
	file, err := os.OpenFile(name, noWait, 0)
	if err != nil {
		return nil, errors.Unwrap(err) // the path stands in the message already
	}
	defer file.Close()
	data, err := readAll(file)
	if err != nil {
		return nil, err
	}
	return unit.ParseEnvironmentFile(data)
}

// runTargets returns the files below /run that well-known links of the host
// lead to, and the socket of the name service cache: a private /run would cut
// them off.
func runTargets(root string) []string {
	var list []string
	for _, link := range []string{"etc/resolv.conf", "etc/localtime", "etc/hosts", "run/nscd/socket"} {
		target, err := resolve(filepath.Join(root, link))
		if err != nil {
			continue // nothing there, nothing cut off
		}
		inside := "/" + strings.TrimPrefix(strings.TrimPrefix(target, root), "/")
		if within(inside, "/run") {
			list = append(list, inside)
		}
	}
	return list
}

// resolve follows the links of path. The kernel does it in one call for all of
// its parts (open(2), O_PATH: nothing is opened but the name), and says first
// whether there are any, which spares the way by /proc (openat2(2), Linux 5.6).
func resolve(path string) (string, error) {
	plain := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS}
	if fd, err := unix.Openat2(unix.AT_FDCWD, path, &plain); err == nil {
		unix.Close(fd)
		return path, nil
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	return os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
}

// FindProgram returns the absolute path of a program in the service's root, as
// execvp(3) finds it along search ("/bin:/usr/bin"). A name with a slash must
// be absolute and is not looked up: execve will say what is wrong with it.
func FindProgram(root, search, name string) (string, error) {
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			return "", fmt.Errorf("cannot run %q: write a name or an absolute path", name)
		}
		return name, nil
	}
	dir, err := os.OpenRoot(orDefault(root, "/"))
	if err != nil {
		return "", fmt.Errorf("cannot run %q: %w", name, err)
	}
	defer dir.Close()
	for _, place := range filepath.SplitList(search) {
		program := filepath.Join(place, name)
		if filepath.IsAbs(program) && executable(dir, strings.TrimPrefix(program, "/")) {
			return program, nil
		}
	}
	return "", fmt.Errorf("cannot run %q: not found in %s", name, search)
}

// executable reports whether a file can be a program. An absolute link cannot
// be followed below a root and is taken as one.
func executable(dir *os.Root, name string) bool {
	if info, err := dir.Stat(name); err == nil {
		return info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
	}
	link, err := dir.Readlink(name)
	return err == nil && filepath.IsAbs(link)
}
