package main

import (
	"bufio"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// object is an ELF file with what the dynamic loader reads of it.
type object struct {
	name           string // canonical, in the source
	class          elf.Class
	machine        elf.Machine
	interpreter    string // PT_INTERP; "" of a static program and of libraries
	soname         string
	needed         []string
	rpath, runpath []string
	loader         *object // who needs it; nil of a program
}

// readObject gives nil for what is no ELF file.
func (s source) readObject(name string) (*object, error) {
	file, err := os.Open(s.file(name))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	magic := make([]byte, len(elf.ELFMAG))
	if _, err := io.ReadFull(file, magic); err != nil || string(magic) != elf.ELFMAG {
		return nil, nil
	}
	f, err := elf.NewFile(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	o := &object{name: name, class: f.Class, machine: f.Machine}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			b, err := io.ReadAll(p.Open())
			if err != nil {
				return nil, fmt.Errorf("%s: cannot read its interpreter: %w", name, err)
			}
			o.interpreter = strings.TrimRight(string(b), "\x00")
		}
	}
	if o.needed, err = f.ImportedLibraries(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for tag, list := range map[elf.DynTag]*[]string{elf.DT_RPATH: &o.rpath, elf.DT_RUNPATH: &o.runpath} {
		values, _ := f.DynString(tag) // a static program has none
		for _, v := range values {
			*list = append(*list, strings.Split(v, ":")...)
		}
	}
	if names, _ := f.DynString(elf.DT_SONAME); len(names) > 0 {
		o.soname = names[0]
	}
	return o, nil
}

// libraries finds shared libraries as ld.so(8) does.
type libraries struct {
	source
	configured []string // of /etc/ld.so.conf
	configErr  error
	read       bool
}

// triplets are Debian's names of the machines' library directories.
var triplets = map[elf.Machine]string{
	elf.EM_X86_64: "x86_64-linux-gnu", elf.EM_AARCH64: "aarch64-linux-gnu", elf.EM_386: "i386-linux-gnu",
}

var platforms = map[elf.Machine]string{elf.EM_X86_64: "x86_64", elf.EM_AARCH64: "aarch64", elf.EM_386: "i686"}

// defaults are the directories that the loader has built in.
func (l *libraries) defaults(o *object) []string {
	if t := triplets[o.machine]; t != "" && l.exists("/usr/lib/"+t) {
		return []string{"/lib/" + t, "/usr/lib/" + t, "/lib", "/usr/lib"}
	}
	if o.class == elf.ELFCLASS64 {
		return []string{"/lib64", "/usr/lib64", "/lib", "/usr/lib"}
	}
	return []string{"/lib", "/usr/lib"}
}

// find gives the path of a library that o needs. byConfig says that it was
// found only by /etc/ld.so.conf: the loader has that in a cache, which the
// image lacks.
func (l *libraries) find(o *object, library string) (name string, byConfig bool, err error) {
	if strings.Contains(library, "/") {
		return l.expand(o, library), false, nil
	}
	if err := l.readConfig(); err != nil {
		return "", false, err
	}
	groups := [][]string{l.own(o), l.configured, l.defaults(o)}
	var tried []string
	for i, group := range groups {
		for _, dir := range group {
			candidate := path.Join(dir, library)
			if l.fits(o, candidate) {
				return candidate, i == 1 && !slices.Contains(groups[2], dir), nil
			}
			if !slices.Contains(tried, dir) {
				tried = append(tried, dir)
			}
		}
	}
	return "", false, fmt.Errorf("%s needs %s, which is in none of %s", o.name, library, strings.Join(tried, ":"))
}

// own gives the directories that the objects themselves name: RPATH of o and of
// those that had it loaded, and none of them if o has a RUNPATH, which counts
// alone.
func (l *libraries) own(o *object) (dirs []string) {
	add := func(of *object, list []string) {
		for _, dir := range list {
			if dir != "" {
				dirs = append(dirs, l.expand(of, dir))
			}
		}
	}
	if len(o.runpath) > 0 {
		add(o, o.runpath)
		return dirs
	}
	for p := o; p != nil; p = p.loader {
		if len(p.runpath) == 0 {
			add(p, p.rpath)
		}
	}
	return dirs
}

// expand replaces the loader's tokens.
func (l *libraries) expand(o *object, text string) string {
	lib := "lib"
	if t := triplets[o.machine]; t != "" && l.exists("/usr/lib/"+t) {
		lib = "lib/" + t
	} else if o.class == elf.ELFCLASS64 {
		lib = "lib64"
	}
	values := map[string]string{"ORIGIN": path.Dir(o.name), "LIB": lib, "PLATFORM": platforms[o.machine]}
	return os.Expand(text, func(name string) string {
		if v, ok := values[name]; ok {
			return v
		}
		return "$" + name
	})
}

// fits says whether the loader would take a file: it passes over those for
// another machine.
func (l *libraries) fits(o *object, candidate string) bool {
	real, _, err := l.resolve(candidate)
	if err != nil {
		return false
	}
	c, err := l.readObject(real)
	return err == nil && c != nil && c.class == o.class && c.machine == o.machine
}

func (l *libraries) readConfig() error {
	if !l.read {
		l.read = true
		l.configured, l.configErr = l.config("/etc/ld.so.conf", 0)
	}
	return l.configErr
}

// config reads ld.so.conf: a directory a line, and include with patterns.
func (l *libraries) config(name string, depth int) (dirs []string, err error) {
	f, err := os.Open(l.file(name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the loader's configuration: %w", err)
	}
	defer f.Close()
	if depth > 8 {
		return nil, fmt.Errorf("cannot read the loader's configuration: %s: includes go too deep", name)
	}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || fields[0] == "hwcap":
		case fields[0] != "include":
			dirs = append(dirs, fields[0])
		default:
			for _, pattern := range fields[1:] {
				more, err := l.include(name, pattern, depth)
				if err != nil {
					return nil, err
				}
				dirs = append(dirs, more...)
			}
		}
	}
	return dirs, lines.Err()
}

func (l *libraries) include(from, pattern string, depth int) (dirs []string, err error) {
	if !path.IsAbs(pattern) {
		pattern = path.Join(path.Dir(from), pattern)
	}
	found, err := filepath.Glob(l.file(pattern))
	if err != nil {
		return nil, fmt.Errorf("cannot read the loader's configuration: %s: include %s: %w", from, pattern, err)
	}
	for _, file := range found { // sorted
		rel, err := filepath.Rel(string(l.source), file)
		if err != nil {
			return nil, err
		}
		more, err := l.config("/"+rel, depth+1)
		if err != nil {
			return nil, err
		}
		dirs = append(dirs, more...)
	}
	return dirs, nil
}
