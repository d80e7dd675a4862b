package unit

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
)

// SearchPath returns the directories of an instance's unit files; the first
// whole file of a name wins.
func SearchPath(instance string) []string {
	return []string{
		"/etc/" + instance + "/units", "/run/" + instance + "/units",
		"/usr/local/lib/" + instance + "/units", "/usr/lib/" + instance + "/units",
	}
}

// files is what the search path holds, by unit name.
type files struct {
	whole   map[string]string            // path of the file that wins
	masked  map[string]string            // path of the link to /dev/null
	aliases map[string]string            // links to another unit's file
	dropIns map[string]map[string]string // by unit, then by file name
	roots   []string                     // real paths of the directories
	lax     bool
	bad     map[string]List
}

// findFiles lists the search path. A directory that is not there is empty;
// one that others may write to is refused whole.
func findFiles(dirs []string, lax bool) *files {
	f := &files{
		whole: map[string]string{}, masked: map[string]string{}, aliases: map[string]string{},
		dropIns: map[string]map[string]string{}, bad: map[string]List{}, lax: lax,
	}
	for _, dir := range dirs {
		if real, err := realPath(dir); err == nil {
			f.roots = append(f.roots, real)
		}
	}
	for _, dir := range dirs {
		f.readDir(dir)
	}
	f.refuseCaseTwins()
	return f
}

func realPath(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(abs)
}

func (f *files) refuse(name, path, format string, args ...any) {
	f.bad[name] = append(f.bad[name], &Error{File: path, Msg: fmt.Sprintf(format, args...)})
}

func (f *files) readDir(dir string) {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return
	}
	if err == nil {
		err = f.checkOwner(dir)
	}
	if err != nil {
		f.refuse(dir, dir, "cannot read units: %v", err)
		return
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if name, ok := strings.CutSuffix(entry.Name(), ".toml"); ok {
			f.addWhole(name, path)
		} else if name, ok := strings.CutSuffix(entry.Name(), ".toml.d"); ok {
			f.addDropIns(name, path)
		}
	}
}

func (f *files) addWhole(name, path string) {
	if err := ValidateName(name); err != nil {
		f.refuse(printable(name), filepath.Join(filepath.Dir(path), printable(filepath.Base(path))), "%v", err)
		return
	}
	if f.known(name) {
		return
	}
	switch target := linkTarget(path); {
	case target == "":
		f.whole[name] = path
	case target == os.DevNull:
		f.masked[name] = path
	case strings.HasSuffix(target, ".toml") && filepath.Base(target) != filepath.Base(path) && f.inside(target):
		f.aliases[name] = strings.TrimSuffix(filepath.Base(target), ".toml")
	default:
		f.whole[name] = path
	}
}

func (f *files) known(name string) bool {
	return f.whole[name] != "" || f.masked[name] != "" || f.aliases[name] != ""
}

// linkTarget is where a symbolic link ends, "" of anything else. A dangling
// link ends at itself.
func linkTarget(path string) string {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&os.ModeSymlink == 0 {
		return ""
	}
	target, err := realPath(path)
	if err != nil {
		return path
	}
	return target
}

func (f *files) inside(real string) bool {
	for _, root := range f.roots {
		if strings.HasPrefix(real, root+"/") {
			return true
		}
	}
	return false
}

func (f *files) addDropIns(name, dir string) {
	if err := ValidateName(name); err != nil {
		f.refuse(printable(name), filepath.Join(filepath.Dir(dir), printable(filepath.Base(dir))), "%v", err)
		return
	}
	err := f.checkOwner(dir)
	entries, readErr := os.ReadDir(dir)
	if err == nil {
		err = readErr
	}
	if err != nil {
		f.refuse(name, dir, "cannot read drop-ins: %v", err)
		return
	}
	if f.dropIns[name] == nil {
		f.dropIns[name] = map[string]string{}
	}
	for _, entry := range entries {
		if base := entry.Name(); strings.HasSuffix(base, ".toml") && f.dropIns[name][base] == "" {
			f.dropIns[name][base] = filepath.Join(dir, base)
		}
	}
}

// dropInsOf returns the drop-ins of a unit in the order of merging: by file
// name, whatever the directory; those of an instance's template first.
func (f *files) dropInsOf(name string) []string {
	var paths []string
	if template := templateOf(name); template != "" {
		paths = f.dropInsOf(template)
	}
	var bases []string
	for base := range f.dropIns[name] {
		bases = append(bases, base)
	}
	sort.Strings(bases)
	for _, base := range bases {
		if path := f.dropIns[name][base]; linkTarget(path) != os.DevNull {
			paths = append(paths, path)
		}
	}
	return paths
}

// templateOf returns "getty@" of "getty@tty1", "" of anything else.
func templateOf(name string) string {
	if i := strings.IndexByte(name, '@'); i > 0 && i < len(name)-1 {
		return name[:i+1]
	}
	return ""
}

// refuseCaseTwins refuses names that differ only in case: people cannot tell
// them apart over the telephone, nor can some file systems.
func (f *files) refuseCaseTwins() {
	var names []string
	for name := range f.whole {
		names = append(names, name)
	}
	sort.Sort(sort.Reverse(sort.StringSlice(names))) // lower case first
	first := map[string]string{}
	for _, name := range names {
		lower := strings.ToLower(name)
		if twin := first[lower]; twin != "" {
			f.refuse(name, f.whole[name], "unit name %q differs from %q only in case", name, twin)
			continue
		}
		first[lower] = name
	}
}

// read returns the text of a unit file. It opens nothing but regular files
// inside the search path that only root, or the manager's own user, can
// change.
func (f *files) read(path string) (string, error) {
	real, err := realPath(path)
	if err != nil {
		return "", err
	}
	if !f.inside(real) {
		return "", fmt.Errorf("the link leads out of the unit directories, to %s", real)
	}
	file, err := os.OpenFile(real, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0) // a FIFO must not block
	if err != nil {
		return "", err
	}
	defer file.Close()
	if err := f.checkInfo(file.Stat()); err != nil {
		return "", err
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFileSize+1))
	return string(data), err
}

func (f *files) checkInfo(info os.FileInfo, err error) error {
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("not a regular file")
	}
	return f.checkWriters(info)
}

func (f *files) checkOwner(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	return f.checkWriters(info)
}

// checkWriters refuses what somebody else than root could have written.
func (f *files) checkWriters(info os.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if f.lax || !ok {
		return nil
	}
	if stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("owned by user %d; it must be root's: chown root", stat.Uid)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("mode %04o lets others write to it; chmod go-w", info.Mode().Perm())
	}
	return nil
}
