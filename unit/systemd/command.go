package systemd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/nsinit/nsinit/unit"
)

// commandsOf writes command lines: a lone ";" separates, a bare name is looked
// up as systemd does, in the directories of its compiled-in PATH.
func commandsOf(g *group) (string, error) {
	var lines []string
	for _, a := range g.all {
		for _, line := range splitCommands(names(a.Value)) {
			line, err := absolute(line)
			if err != nil {
				return "", err
			}
			lines = append(lines, literal(line))
		}
	}
	return list(lines), nil
}

// splitCommands cuts at ";" that stands alone outside quotes.
func splitCommands(s string) []string {
	var out []string
	quote, word, start := byte(0), 0, 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] == '\\' {
			i++
			continue
		}
		if i < len(s) && quote != 0 {
			if s[i] == quote {
				quote = 0
			}
			continue
		}
		switch {
		case i == len(s) || s[i] == ' ' || s[i] == '\t':
			if i <= len(s) && word < i && s[word:min(i, len(s))] == ";" {
				out = append(out, s[start:word])
				start = i
			}
			word = i + 1
		case s[i] == '"' || s[i] == '\'':
			quote = s[i]
		}
	}
	out = append(out, s[min(start, len(s)):])
	var lines []string
	for _, line := range out {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

var searchPath = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// absolute gives the program of a command line its path.
func absolute(line string) (string, error) {
	rest := strings.TrimLeft(line, "-@:+!")
	prefix := line[:len(line)-len(rest)]
	rest = strings.TrimLeft(rest, " \t") // systemd takes blanks after the prefixes
	if strings.HasPrefix(rest, "/") || strings.HasPrefix(rest, `"`) || strings.HasPrefix(rest, "'") || strings.HasPrefix(rest, "%") || strings.HasPrefix(rest, "|") {
		return prefix + rest, nil
	}
	name, args, _ := strings.Cut(rest, " ")
	if name == "" || strings.Contains(name, "/") {
		return "", fmt.Errorf("%q is no absolute path", name)
	}
	for _, dir := range searchPath {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return strings.TrimRight(prefix+path+" "+args, " "), nil
		}
	}
	return "", fmt.Errorf("the program %q is not in %s: write its path", name, strings.Join(searchPath, ":"))
}

// programOf is the path of a command line, without prefixes.
func programOf(line string) string {
	c, err := unit.ParseCommand(line)
	if err != nil {
		return ""
	}
	return c.Path
}

// literal escapes what systemd takes as it stands and the loader refuses: a %
// that begins no specifier, and a ${ that is never closed.
func literal(line string) string {
	var out strings.Builder
	for i := 0; i < len(line); i++ {
		rest := line[i+1:]
		switch {
		case line[i] == '%' && (rest == "" || !alphanumeric(rest[0]) && rest[0] != '%'):
			out.WriteString("%%")
		case line[i] == '%' || line[i] == '$' && strings.HasPrefix(rest, "$"):
			out.WriteString(line[i : i+2])
			i++
		case line[i] == '$' && strings.HasPrefix(rest, "{") && !closes(rest):
			out.WriteString("$$")
		default:
			out.WriteByte(line[i])
		}
	}
	return out.String()
}

// closes says whether "{NAME}" is a variable.
func closes(s string) bool {
	name, _, ok := strings.Cut(s[1:], "}")
	return ok && (strings.Contains(name, "%") || unit.ValidEnvironmentName(name))
}

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
