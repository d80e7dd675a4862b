package main

import (
	"debug/elf"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// kernel is an unpacked kernel package.
type kernel struct {
	image   string // boot/vmlinuz-VERSION
	version string
	modules map[string]string // by name: path below the modules' directory
	dir     string            // the modules' directory
	builtin map[string]bool
}

// openKernel finds the one kernel in an unpacked package.
func openKernel(root string) (*kernel, error) {
	images, err := filepath.Glob(filepath.Join(root, "boot/vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return nil, fmt.Errorf("cannot use the kernel in %s: %d files boot/vmlinuz-*, want one", root, len(images))
	}
	k := &kernel{image: images[0], modules: map[string]string{}, builtin: map[string]bool{}}
	_, k.version, _ = strings.Cut(filepath.Base(k.image), "-")
	for _, lib := range []string{"usr/lib/modules", "lib/modules"} {
		if dir := filepath.Join(root, lib, k.version); isDir(dir) {
			k.dir = dir
		}
	}
	if k.dir == "" {
		return nil, fmt.Errorf("cannot use the kernel in %s: no directory lib/modules/%s", root, k.version)
	}
	builtin, err := os.ReadFile(filepath.Join(k.dir, "modules.builtin"))
	if err != nil {
		return nil, fmt.Errorf("cannot use the kernel: %w", err)
	}
	for line := range strings.FieldsSeq(string(builtin)) {
		k.builtin[moduleName(line)] = true
	}
	return k, filepath.WalkDir(k.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(d.Name(), ".ko") {
			rel, _ := filepath.Rel(k.dir, path)
			k.modules[moduleName(path)] = rel
		}
		return err
	})
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// moduleName is a module as lsmod(8) shows it: the kernel takes "-" for "_".
func moduleName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

func (k *kernel) copyImage(to *os.File) error {
	from, err := os.Open(k.image)
	if err != nil {
		return err
	}
	defer from.Close()
	_, err = io.Copy(to, from)
	return err
}

// module is one to load, with its options.
type module struct {
	name, options string
}

// order gives the modules that want needs, each after those that it depends
// on; what is built in is left out. Options that were given for one that
// others need are kept.
func (k *kernel) order(want []module) (list []module, err error) {
	options := map[string]string{}
	for _, m := range want {
		if m.options != "" {
			options[moduleName(m.name)] = m.options
		}
	}
	seen := map[string]bool{}
	var visit func(name, by string) error
	visit = func(name, by string) error {
		if seen[name] || k.builtin[name] {
			return nil
		}
		seen[name] = true
		needs, err := k.depends(name)
		if err != nil {
			return fmt.Errorf("cannot take kernel module %s%s: %w", name, by, err)
		}
		for _, n := range needs {
			if err := visit(n, ", which "+name+" needs"); err != nil {
				return err
			}
		}
		list = append(list, module{name, options[name]})
		return nil
	}
	for _, m := range want {
		if err := visit(moduleName(m.name), ""); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// depends reads what a module says of itself (modinfo(8)): modules.dep is made
// only where a kernel is installed.
func (k *kernel) depends(name string) ([]string, error) {
	rel, ok := k.modules[name]
	if !ok {
		return nil, fmt.Errorf("kernel %s has no such module", k.version)
	}
	if !strings.HasSuffix(rel, ".ko") {
		return nil, fmt.Errorf("%s is compressed, and is loaded as it is", rel)
	}
	f, err := elf.Open(filepath.Join(k.dir, rel))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("%s has no .modinfo", rel)
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for field := range strings.SplitSeq(string(info), "\x00") {
		if list, ok := strings.CutPrefix(field, "depends="); ok {
			return slices.DeleteFunc(strings.Split(strings.ReplaceAll(list, "-", "_"), ","), func(s string) bool { return s == "" }), nil
		}
	}
	return nil, nil
}
