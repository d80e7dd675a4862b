package pid1

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// setClock moves a clock that is before the time of the build there, the least
// that it can be: one without a battery begins in 1970, and no certificate holds
// then.
func setClock(say *reporter, built time.Time) {
	if built.IsZero() || !time.Now().Before(built) {
		return
	}
	tv := unix.NsecToTimeval(built.UnixNano())
	if err := unix.Settimeofday(&tv); err != nil {
		say.warn("cannot set the clock: %v; going on without", err)
		return
	}
	say.warn("the clock was before the time of the build; it is %s now", built.UTC().Format(time.RFC3339))
}

// modulesList names kernel modules, one a line in the order to load them:
// PATH [PARAMETER=VALUE...]. A relative path is below /lib/modules/RELEASE.
const modulesList = "/etc/nsinit/modules"

// loadModules loads what the list names. Without a list there is nothing to do.
func loadModules(say *reporter, list string) {
	b, err := os.ReadFile(list)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	if err != nil {
		say.warn("cannot read %s: %v; going on without its modules", list, err)
		return
	}
	var u unix.Utsname
	unix.Uname(&u)
	base := "/lib/modules/" + unix.ByteSliceToString(u.Release[:])
	for line := range strings.Lines(string(b)) {
		path, parameters, ok := parseModule(line, base)
		if !ok {
			continue
		}
		if err := loadModule(path, parameters); err != nil {
			say.warn("cannot load module %s: %v; going on without", path, err)
		}
	}
}

// parseModule reads a line of the list; a blank one or a comment is none.
func parseModule(line, base string) (path, parameters string, ok bool) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return "", "", false
	}
	path, parameters, _ = strings.Cut(line, " ")
	if !filepath.IsAbs(path) {
		path = filepath.Join(base, path)
	}
	return path, strings.TrimSpace(parameters), true
}

// loadModule is finit_module(2). One that is loaded already is no error.
func loadModule(path, parameters string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	flags := 0
	if ext := filepath.Ext(path); ext == ".xz" || ext == ".zst" || ext == ".gz" {
		flags = unix.MODULE_INIT_COMPRESSED_FILE // Linux 5.17, where it was built in
	}
	switch err = unix.FinitModule(fd, parameters, flags); err {
	case unix.EEXIST:
		return nil
	case unix.ENOENT:
		return errors.New("a symbol that it uses is not there; what it depends on must be listed before it")
	}
	return err
}

func swapoff(path string) error {
	p, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_SWAPOFF, uintptr(unsafe.Pointer(p)), 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// unescape undoes the \ooo of /proc/swaps.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
