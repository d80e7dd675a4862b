package systemd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"syscall"
)

// UnitPath are the directories of systemd's own units, the first first
// (systemd.unit(5)).
func UnitPath() []string {
	return []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}
}

// source is a unit as its files say it.
type source struct {
	name  string // bare: "nginx"
	kind  string // "service" or "target"
	files []string
	all   []Assignment
	// companions, by kind: socket, timer, path
	triggers map[string][]Assignment
	left     []Note // settings of another supervisor that are no directives
}

var triggerKinds = []string{"socket", "timer", "path"}

// readFile reads a regular file of at most maxFile bytes.
func readFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not block
	if err != nil {
		return nil, cannotRead(path, err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, cannotRead(path, errors.New("not a regular file"))
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, cannotRead(path, err)
	}
	return data, nil
}

func cannotRead(path string, err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return &SyntaxError{path, 0, err.Error()}
}

// find gives the file of a unit's name in the search path, "" if there is none.
func find(dirs []string, base string) string {
	names := []string{base}
	if prefix, rest, ok := strings.Cut(base, "@"); ok && !strings.HasPrefix(rest, ".") {
		names = append(names, prefix+"@"+filepath.Ext(base))
	}
	for _, name := range names {
		for _, dir := range dirs {
			if path := filepath.Join(dir, name); exists(path) {
				return path
			}
		}
	}
	return ""
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// locate turns FILE or NAME into a path.
func locate(arg string, dirs []string) (string, error) {
	if strings.Contains(arg, "/") || exists(arg) && filepath.Ext(arg) != "" {
		return arg, nil
	}
	base := arg
	if !slices.Contains(ownUnits, filepath.Ext(arg)) {
		base += ".service"
	}
	if path := find(dirs, base); path != "" {
		return path, nil
	}
	return "", fmt.Errorf("cannot import %s: no %s in %s", arg, base, strings.Join(dirs, ", "))
}

// readSource reads a unit with its drop-ins and triggers. dirs is systemd's
// search path; the directory of the file goes before it.
func readSource(path string, dirs []string) (*source, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, cannotRead(path, err)
	}
	if real == os.DevNull {
		return nil, fmt.Errorf("cannot import %s: it is masked, a link to /dev/null", path)
	}
	if filepath.Ext(real) != "" && filepath.Ext(real) == filepath.Ext(path) && !strings.HasSuffix(strings.TrimSuffix(real, filepath.Ext(real)), "@") {
		path = real // a link is an alias; the unit has the name of the file
	}
	dirs = append([]string{filepath.Dir(path)}, dirs...)
	base, kind := filepath.Base(path), strings.TrimPrefix(filepath.Ext(path), ".")
	s := &source{name: strings.TrimSuffix(base, "."+kind), kind: kind, triggers: map[string][]Assignment{}}
	if slices.Contains(triggerKinds, kind) {
		return s.ofTrigger(path, dirs)
	}
	if kind != "service" && kind != "target" {
		return nil, fmt.Errorf("cannot import %s: a .%s unit has no counterpart; .service, .target, .socket, .timer and .path have", path, kind)
	}
	return s, s.read(path, dirs)
}

// ofTrigger reads the service that a trigger starts.
func (s *source) ofTrigger(path string, dirs []string) (*source, error) {
	base := s.name + ".service"
	all, err := readAll(path, s.kind, dirs)
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		if a.Name == "Unit" || a.Name == "Service" {
			base = a.Value
		}
	}
	service := find(dirs, base)
	if service == "" {
		service = find(dirs, s.name+"@.service")
	}
	if service == "" {
		return nil, fmt.Errorf("cannot import %s: the unit %s that it starts is not there", path, base)
	}
	return readSource(service, dirs)
}

func (s *source) read(path string, dirs []string) error {
	var err error
	if s.all, err = readAll(path, s.kind, dirs); err != nil {
		return err
	}
	s.files = append([]string{path}, dropIns(s.name, s.kind, dirs)...)
	if s.kind != "service" {
		return nil
	}
	for _, kind := range triggerKinds {
		companion := find(dirs, s.name+"."+kind)
		if companion == "" && kind == "socket" {
			companion = find(dirs, strings.TrimSuffix(s.name, "@")+".socket")
		}
		if companion == "" || leadsNowhere(companion) {
			continue
		}
		if s.triggers[kind], err = readAll(companion, kind, dirs); err != nil {
			return err
		}
		s.files = append(s.files, companion)
	}
	return nil
}

func leadsNowhere(path string) bool {
	real, err := filepath.EvalSymlinks(path)
	return err != nil || real == os.DevNull
}

// readAll parses a file and its drop-ins.
func readAll(path, kind string, dirs []string) ([]Assignment, error) {
	name := strings.TrimSuffix(filepath.Base(path), "."+kind)
	var all []Assignment
	for _, file := range append([]string{path}, dropIns(name, kind, dirs)...) {
		data, err := readFile(file)
		if err != nil {
			return nil, err
		}
		some, err := Parse(file, data)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// dropIns are the *.conf of a unit in the order of their names, whatever the
// directory: NAME.service.d, that of its template, and service.d.
func dropIns(name, kind string, dirs []string) []string {
	folders := []string{name + "." + kind + ".d"}
	if prefix, instance, ok := strings.Cut(name, "@"); ok && instance != "" {
		folders = append(folders, prefix+"@."+kind+".d")
	}
	for i := len(name) - 1; i > 0; i-- {
		if name[i] == '-' {
			folders = append(folders, name[:i+1]+"."+kind+".d")
		}
	}
	folders = append(folders, kind+".d")
	byName := map[string]string{}
	for _, folder := range folders {
		for _, dir := range dirs {
			files, _ := filepath.Glob(filepath.Join(escapeGlob(dir), escapeGlob(folder), "*.conf"))
			for _, f := range files {
				if byName[filepath.Base(f)] == "" {
					byName[filepath.Base(f)] = f
				}
			}
		}
	}
	var bases []string
	for base, f := range byName {
		if real, err := filepath.EvalSymlinks(f); err != nil || real != os.DevNull {
			bases = append(bases, base)
		}
	}
	sort.Strings(bases)
	for i, base := range bases {
		bases[i] = byName[base]
	}
	return bases
}

func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(s)
}
