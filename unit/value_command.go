package unit

import (
	"fmt"
	"strings"
)

// ParseCommand reads a command line written as a string, by the rules of
// systemd.service(5): prefixes, an absolute path, arguments with quotes and C
// escapes. It is never given to a shell.
func ParseCommand(s string) (Command, error) {
	word, rest, ok, err := nextWord(s, wordsCEscapes)
	if err != nil {
		return Command{}, fmt.Errorf("command %q: %w", s, err)
	}
	if !ok {
		return Command{}, fmt.Errorf("an empty command")
	}
	args, err := commandArguments(rest)
	if err != nil {
		return Command{}, fmt.Errorf("command %q: %w", s, err)
	}
	return newCommand(word, args, false)
}

// CommandFromArgv makes a command of an exact argv. Its first element may
// have the prefixes; nothing is split or unescaped.
func CommandFromArgv(argv []string) (Command, error) {
	if len(argv) == 0 {
		return Command{}, fmt.Errorf("an empty command")
	}
	return newCommand(argv[0], append([]string(nil), argv[1:]...), true)
}

// commandArguments splits what follows the path. A lone ";" separates
// commands in systemd; here they are elements of an array, and only "\;" is an
// argument.
func commandArguments(s string) ([]string, error) {
	var args []string
	for {
		s = skipBlanks(s)
		if after, found := cutLone(s, `\;`); found {
			args, s = append(args, ";"), after
			continue
		}
		if _, found := cutLone(s, ";"); found {
			return nil, fmt.Errorf("a lone ; separates commands; write them as an array, or \\; for an argument")
		}
		word, rest, ok, err := nextWord(s, wordsCEscapes)
		if err != nil {
			return nil, err
		}
		if !ok {
			return args, nil
		}
		args, s = append(args, word), rest
	}
}

// cutLone cuts word off s if it stands there as a whole word.
func cutLone(s, word string) (string, bool) {
	after, found := strings.CutPrefix(s, word)
	if !found || after != "" && strings.IndexByte(blanks, after[0]) < 0 {
		return s, false
	}
	return after, true
}

func newCommand(first string, args []string, exact bool) (Command, error) {
	c := Command{Exact: exact}
	path, err := c.takePrefixes(first)
	if err != nil {
		return Command{}, err
	}
	if err := checkProgram(first, path); err != nil {
		return Command{}, err
	}
	c.Path, c.Argv = path, append([]string{path}, args...)
	if c.Argv0 {
		if len(args) == 0 {
			return Command{}, fmt.Errorf("command %q: the prefix @ needs argv[0] after the path", first)
		}
		c.Argv = args
	}
	return c, c.checkVariables()
}

// takePrefixes sets the flags of the prefixes and returns the path. Each may
// stand once, in any order; + excludes ! and !!.
func (c *Command) takePrefixes(word string) (string, error) {
	rest := word
	take := func(prefix string, flag *bool) bool {
		after, found := strings.CutPrefix(rest, prefix)
		if !found || *flag {
			return false
		}
		*flag, rest = true, after
		return true
	}
	for take("-", &c.IgnoreFailure) || take("@", &c.Argv0) || take(":", &c.NoExpand) ||
		take("+", &c.FullPrivileges) || take("!!", &c.NoUserIfAmbient) || take("!", &c.NoUser) {
	}
	if strings.HasPrefix(rest, "|") {
		return "", fmt.Errorf("command %q: the prefix | (run by a shell) is not supported; write \"/bin/sh -c '...'\"", word)
	}
	exclusive := 0
	for _, flag := range []bool{c.FullPrivileges, c.NoUser, c.NoUserIfAmbient} {
		if flag {
			exclusive++
		}
	}
	if exclusive > 1 {
		return "", fmt.Errorf("command %q: only one of the prefixes +, ! and !! is possible", word)
	}
	return rest, nil
}

// checkProgram refuses what cannot be executed, naming both forms for a path
// that is not absolute: a flat argv is the commonest way to come here.
func checkProgram(word, path string) error {
	switch {
	case path == "":
		return fmt.Errorf("command %q has no path", word)
	case path[0] != '/':
		return fmt.Errorf("command %q does not begin with an absolute path; write a command as one string "+
			"(\"/bin/x -a b\") or its exact argv as an array in the array ([[\"/bin/x\", \"-a\", \"b\"]])", word)
	case strings.HasSuffix(path, "/"):
		return fmt.Errorf("command %q is a directory", word)
	}
	return nil
}
