package unit

import (
	"fmt"
	"strings"
)

// Expand returns the argv with variables replaced as systemd.service(5) has
// it: an argument that is $NAME alone is split into words and vanishes when
// there are none, ${NAME} is replaced anywhere, $$ is $, and any other $ stays.
// In the argv form $NAME alone is replaced and never split. A variable that
// lookup does not have is empty.
func (c Command) Expand(lookup func(string) (string, bool)) ([]string, error) {
	if c.NoExpand {
		return append([]string(nil), c.Argv...), nil
	}
	var argv []string
	for i, arg := range c.Argv {
		if i == 0 && !c.Argv0 {
			argv = append(argv, arg) // the program itself is never a variable
			continue
		}
		words, err := c.expandArgument(arg, lookup)
		if err != nil {
			return nil, fmt.Errorf("cannot expand %q of %s: %w", arg, c.Path, err)
		}
		argv = append(argv, words...)
	}
	if len(argv) == 0 {
		return nil, fmt.Errorf("cannot expand the command %s: argv[0] is %q, which is empty", c.Path, c.Argv[0])
	}
	return argv, nil
}

func (c Command) expandArgument(arg string, lookup func(string) (string, bool)) ([]string, error) {
	if name, found := strings.CutPrefix(arg, "$"); found && ValidEnvironmentName(name) {
		value, _ := lookup(name)
		if c.Exact {
			return []string{value}, nil
		}
		return splitWords(value, wordsUnquote)
	}
	text, err := expandBraces(arg, lookup)
	return []string{text}, err
}

// expandBraces replaces ${NAME} and $$ in s.
func expandBraces(s string, lookup func(string) (string, bool)) (string, error) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "$")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		switch {
		case strings.HasPrefix(after, "$"):
			b.WriteByte('$')
			s = after[1:]
		case strings.HasPrefix(after, "{"):
			name, rest, err := bracedName(after)
			if err != nil {
				return "", err
			}
			value, _ := lookup(name)
			b.WriteString(value)
			s = rest
		default:
			b.WriteByte('$')
			s = after
		}
	}
}

// bracedName reads "{NAME}" at the beginning of s.
func bracedName(s string) (name, rest string, err error) {
	name, rest, found := strings.Cut(s[1:], "}")
	if !found {
		return "", "", fmt.Errorf("${ is never closed; write $${ to leave it to a shell")
	}
	if !ValidEnvironmentName(name) {
		return "", "", fmt.Errorf("${%s} is no variable; write $${%s} to leave it to a shell", name, name)
	}
	return name, rest, nil
}

// checkVariables refuses at load time what Expand would refuse at each start.
// Arguments with specifiers are left for WithSpecifiers: ${%p_OPTIONS} is a
// variable only afterwards.
func (c Command) checkVariables() error {
	if c.NoExpand {
		return nil
	}
	none := func(string) (string, bool) { return "", false }
	for _, arg := range c.Argv {
		if strings.Contains(arg, "%") {
			continue
		}
		if _, err := c.expandArgument(arg, none); err != nil {
			return fmt.Errorf("command %s: argument %q: %w", c.Path, arg, err)
		}
	}
	return nil
}

// WithSpecifiers returns the command with the specifiers of its path and of
// each argument expanded. That happens after splitting, so that no value can
// add an argument.
func (c Command) WithSpecifiers(ctx SpecifierContext) (Command, error) {
	path, err := ExpandSpecifiers(c.Path, ctx)
	if err != nil {
		return Command{}, err
	}
	argv := make([]string, len(c.Argv))
	for i, arg := range c.Argv {
		if argv[i], err = ExpandSpecifiers(arg, ctx); err != nil {
			return Command{}, err
		}
	}
	c.Path, c.Argv = path, argv
	if err := checkProgram(path, path); err != nil { // a specifier may be empty, or end in "/"
		return Command{}, err
	}
	return c, c.checkVariables()
}
