package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// entry is one line of a list: a word and what follows it.
type entry struct {
	place string // "appliance.list:12", for errors
	dir   string // of the list: what relative paths of this machine begin at
	word  string
	args  []string
}

// failf makes an error that begins with the place of the line.
func (e entry) failf(format string, args ...any) error {
	return fmt.Errorf("%s: %s: %w", e.place, e.word, fmt.Errorf(format, args...))
}

// here is a path of this machine that a line names.
func (e entry) here(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(e.dir, path)
}

// arg is an argument that may be left out.
func (e entry) arg(i int, otherwise string) string {
	if i < len(e.args) {
		return e.args[i]
	}
	return otherwise
}

// words of a list: how many arguments each takes, and how they are called.
var words = map[string]struct {
	least, most int
	usage       string
}{
	"hostname":     {1, 1, "NAME"},
	"units":        {1, 1, "DIRECTORY"},
	"program":      {1, 1 << 10, "PATH..."},
	"package":      {1, 1 << 10, "NAME..."},
	"module":       {1, 1 << 10, "NAME [OPTION=VALUE...]"},
	"file":         {2, 5, "PATH SOURCE [MODE [USER [GROUP]]]"},
	"directory":    {1, 4, "PATH [MODE [USER [GROUP]]]"},
	"link":         {2, 2, "PATH TARGET"},
	"user":         {1, 4, "NAME [UID [HOME [SHELL]]]"},
	"group":        {1, 2, "NAME [GID]"},
	"password":     {2, 2, "USER HASH"},
	"busybox":      {0, 1, "[PATH]"},
	"certificates": {0, 0, ""},
}

// readLists reads lists one after the other, as if they were one. All errors
// are reported at once.
func readLists(paths []string) (list []entry, err error) {
	var problems []error
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("cannot read the list: %w", err)
		}
		entries, errs := parseList(path, string(text))
		list, problems = append(list, entries...), append(problems, errs...)
	}
	return list, errors.Join(problems...)
}

// parseList reads lines of words; from a word that begins with # on, a line is
// a comment.
func parseList(path, text string) (list []entry, errs []error) {
	for i, line := range strings.Split(text, "\n") {
		fields := strings.Fields(line)
		if n := slices.IndexFunc(fields, func(f string) bool { return f[0] == '#' }); n >= 0 {
			fields = fields[:n]
		}
		if len(fields) == 0 {
			continue
		}
		e := entry{fmt.Sprintf("%s:%d", path, i+1), filepath.Dir(path), fields[0], fields[1:]}
		if err := e.check(); err != nil {
			errs = append(errs, err)
		}
		list = append(list, e)
	}
	return list, errs
}

func (e entry) check() error {
	w, ok := words[e.word]
	if !ok {
		known := make([]string, 0, len(words))
		for word := range words {
			known = append(known, word)
		}
		slices.Sort(known)
		return fmt.Errorf("%s: unknown word %q; there are: %s", e.place, e.word, strings.Join(known, ", "))
	}
	if n := len(e.args); n < w.least || n > w.most {
		return e.failf("%d arguments, want: %s %s", n, e.word, w.usage)
	}
	switch e.word {
	case "program", "file", "directory", "link":
		if !filepath.IsAbs(e.args[0]) {
			return e.failf("%s is not an absolute path", e.args[0])
		}
	}
	return nil
}

// mode is an octal argument.
func (e entry) mode(i int, otherwise uint32) (uint32, error) {
	if i >= len(e.args) {
		return otherwise, nil
	}
	m, err := strconv.ParseUint(e.args[i], 8, 32)
	if err != nil || m > 0o7777 {
		return 0, e.failf("%q is no mode: want octal digits, such as 0755", e.args[i])
	}
	return uint32(m), nil
}
