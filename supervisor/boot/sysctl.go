package boot

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// setting is a kernel parameter: its path below /proc/sys, which may have
// wildcards, and the value.
type setting struct {
	line
	path, value string
	optional    bool // failures are not worth a word
	exclude     bool // wildcards leave it alone
}

// protections keep users from having root follow their links, give names to
// files of others, and open their files in directories like /tmp (the kernel's
// Documentation/admin-guide/sysctl/fs.rst). The kernel's own defaults are off; a
// file may say otherwise.
const protections = `-fs.protected_hardlinks = 1
-fs.protected_symlinks = 1
-fs.protected_fifos = 1
-fs.protected_regular = 1
`

// sysctls sets the parameters of sysctl.d(5).
func sysctls(root string) []error {
	lines, problems := readAll(root, "sysctl")
	lines = append(splitLines("built-in", protections), lines...)
	settings, errs := parseSysctls(lines)
	return append(append(problems, errs...), applySysctls(filepath.Join(root, "proc/sys"), settings)...)
}

// parseSysctls reads KEY=VALUE. Of several for one key the last holds, in the
// place of the first.
func parseSysctls(lines []line) (settings []setting, problems []error) {
	for _, l := range lines {
		key, value, has := strings.Cut(l.text, "=")
		key = strings.TrimSpace(key)
		s := setting{line: l, value: strings.TrimSpace(value)}
		if rest, ok := strings.CutPrefix(key, "-"); ok {
			key, s.optional, s.exclude = strings.TrimSpace(rest), true, !has
		} else if !has {
			problems = append(problems, l.errorf("cannot read %q: KEY=VALUE is expected", l.text))
			continue
		}
		if s.path = sysctlPath(key); s.path == "" {
			problems = append(problems, l.errorf("cannot use %q as the name of a kernel parameter", key))
			continue
		}
		if i := slices.IndexFunc(settings, func(o setting) bool { return o.path == s.path }); i >= 0 {
			settings[i] = s
			continue
		}
		settings = append(settings, s)
	}
	return settings, problems
}

// sysctlPath turns net.ipv4.conf.eth0/1.x or net/ipv4/conf/eth0.1/x into the
// path; which of the two comes first tells. "" is no name.
func sysctlPath(key string) string {
	if i := strings.IndexAny(key, "./"); i >= 0 && key[i] == '.' {
		key = strings.Map(func(r rune) rune {
			switch r {
			case '.':
				return '/'
			case '/':
				return '.'
			}
			return r
		}, key)
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part == "." || part == ".." {
			return ""
		}
	}
	return key
}

// applySysctls writes the values; a name that is written out goes before a
// wildcard that has it.
func applySysctls(dir string, settings []setting) (problems []error) {
	named := map[string]bool{}
	for _, s := range settings {
		named[filepath.Join(dir, s.path)] = true
	}
	for _, s := range settings {
		if s.exclude {
			continue
		}
		paths := []string{filepath.Join(dir, s.path)}
		if strings.ContainsAny(s.path, "*?[") {
			paths, _ = filepath.Glob(paths[0])
			paths = slices.DeleteFunc(paths, func(p string) bool { return named[p] })
		}
		for _, p := range paths {
			if err := writeParameter(p, s.value); err != nil && !s.optional {
				problems = append(problems, s.errorf("cannot set the kernel parameter %s to %q: %w", s.path, s.value, err))
			}
		}
	}
	return problems
}

// writeParameter never creates: what the kernel does not have is ENOENT.
func writeParameter(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(value + "\n")
	return err
}
