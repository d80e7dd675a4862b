package systemd

import (
	"bufio"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// MaxFile is the size in bytes above which a file is refused.
const MaxFile = maxFile

// ImportAny is Import that also reads an init script of System V, by its LSB
// header, and the [program:x] sections of a supervisord configuration, which
// may be several units.
func ImportAny(arg, profile string, host Host) ([]*Result, error) {
	if !strings.Contains(arg, "/") && !exists(arg) || unitSuffix(arg) {
		return one(Import(arg, profile, host))
	}
	data, err := readFile(arg)
	if err != nil {
		return nil, err
	}
	if err := readable(arg, data); err != nil {
		return nil, err
	}
	text := string(data)
	switch {
	case strings.Contains(text, "### BEGIN INIT INFO"):
		return one(importScript(arg, text, profile, host))
	case strings.Contains(text, "[program:"):
		return importSupervisord(arg, text, profile, host)
	}
	return nil, &SyntaxError{arg, 0, "neither a unit of systemd, nor an init script with an LSB header, nor a supervisord configuration"}
}

func one(r *Result, err error) ([]*Result, error) {
	if err != nil {
		return nil, err
	}
	return []*Result{r}, nil
}

func unitSuffix(path string) bool {
	kind := filepath.Ext(path)
	return slices.Contains(ownUnits, kind) || slices.Contains(foreignUnits, kind)
}

// importScript makes of an init script what systemd-sysv-generator(8) makes: a
// service that its script starts and stops, in the order of its LSB header.
func importScript(path, text, profile string, host Host) (*Result, error) {
	header, err := lsbHeader(path, text)
	if err != nil {
		return nil, err
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("cannot import %s: %w", path, err)
	}
	name := strings.TrimSuffix(filepath.Base(path), ".sh")
	s := &source{name: name, kind: "service", files: []string{abs}}
	add := func(section, key, value string) {
		if value != "" {
			s.all = append(s.all, Assignment{section, key, value, path, header.line})
		}
	}
	add("Unit", "Description", header.words["short-description"])
	for _, key := range []string{"required-start", "should-start"} {
		add("Unit", "After", lsbUnits(header.words[key], name))
		add("Unit", "Wants", lsbUnits(pickText(key == "required-start", header.words[key], ""), name))
	}
	add("Unit", "Before", lsbUnits(header.words["x-start-before"], name))
	pid := pidFileOf(text)
	add("Service", "Type", pickText(pid != "", "forking", "oneshot"))
	add("Service", "RemainAfterExit", pickText(pid == "", "yes", ""))
	add("Service", "PIDFile", pid)
	add("Service", "ExecStart", abs+" start")
	add("Service", "ExecStop", abs+" stop")
	if strings.Contains(text, "reload)") {
		add("Service", "ExecReload", abs+" reload")
	}
	add("Service", "TimeoutSec", "5min")
	add("Service", "KillMode", "process")
	for _, level := range strings.Fields(header.words["default-start"]) {
		if level >= "2" && level <= "5" {
			add("Install", "WantedBy", "multi-user.target")
			break
		}
	}
	return convert(s, profile, host)
}

type lsb struct {
	words map[string]string
	line  int
}

// lsbHeader reads the comment that the Linux Standard Base has in init scripts.
func lsbHeader(path, text string) (lsb, error) {
	h, inside, last := lsb{words: map[string]string{}}, false, ""
	scan := bufio.NewScanner(strings.NewReader(text))
	scan.Buffer(nil, maxLine)
	for n := 1; scan.Scan(); n++ {
		line := strings.TrimSpace(scan.Text())
		switch {
		case line == "### BEGIN INIT INFO":
			inside, h.line = true, n
		case line == "### END INIT INFO":
			return h, nil
		case !inside || !strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "#  ") && last != "" || strings.HasPrefix(line, "#\t") && last != "":
			h.words[last] += " " + strings.TrimSpace(line[1:])
		default:
			key, value, ok := strings.Cut(line[1:], ":")
			if !ok {
				return h, &SyntaxError{path, n, fmt.Sprintf("%.80q is no line of an LSB header", line)}
			}
			last = strings.ToLower(strings.TrimSpace(key))
			h.words[last] = strings.TrimSpace(value)
		}
	}
	return h, &SyntaxError{path, h.line, "the LSB header never ends (### END INIT INFO)"}
}

// lsbUnits translates the facilities of the LSB; what it has no unit for, such
// as $syslog, is always there.
func lsbUnits(words, self string) string {
	facilities := map[string]string{"$network": "network-online.target", "$local_fs": "local-fs.target", "$remote_fs": "remote-fs.target",
		"$named": "nss-lookup.target", "$portmap": "rpcbind.target", "$time": "time-sync.target"}
	var out []string
	for _, w := range strings.Fields(words) {
		switch {
		case facilities[w] != "":
			out = append(out, facilities[w])
		case strings.HasPrefix(w, "$") || w == self:
		default:
			out = append(out, w+".service")
		}
	}
	return strings.Join(out, " ")
}

// pidFileOf finds the pid file by the header of Red Hat's scripts, or the
// variable that Debian's have.
func pidFileOf(text string) string {
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		for _, prefix := range []string{"# pidfile:", "PIDFILE=", "PID=", "pidfile="} {
			if value, ok := strings.CutPrefix(line, prefix); ok {
				value = strings.Trim(strings.TrimSpace(value), `"'`)
				if strings.HasPrefix(value, "/") && !strings.ContainsAny(value, "$`*? ") {
					return strings.Replace(value, "/var/run/", "/run/", 1)
				}
			}
		}
	}
	return ""
}

// importSupervisord converts every [program:x].
func importSupervisord(path, text, profile string, host Host) ([]*Result, error) {
	programs := map[string][]Assignment{}
	section := ""
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		if j := strings.Index(trimmed, " ;"); j >= 0 {
			trimmed = strings.TrimSpace(trimmed[:j]) // supervisord's comments
		}
		switch {
		case trimmed == "" || trimmed[0] == ';' || trimmed[0] == '#':
		case trimmed[0] == '[':
			section, _ = strings.CutPrefix(strings.Trim(trimmed, "[]"), "program:")
			if !strings.HasPrefix(trimmed, "[program:") {
				section = ""
			} else if programs[section] == nil {
				programs[section] = []Assignment{}
			}
		case section == "":
		case line[0] == ' ' || line[0] == '\t':
			if all := programs[section]; len(all) > 0 {
				all[len(all)-1].Value += " " + trimmed
			}
		default:
			key, value, ok := strings.Cut(trimmed, "=")
			if !ok {
				return nil, &SyntaxError{path, i + 1, fmt.Sprintf("%.80q: a line is name=value", trimmed)}
			}
			programs[section] = append(programs[section], Assignment{"program:" + section, strings.TrimSpace(key), strings.TrimSpace(value), path, i + 1})
		}
	}
	var out []*Result
	for _, name := range slices.Sorted(maps.Keys(programs)) {
		r, err := importProgram(path, name, programs[name], profile, host)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// programKeys are supervisord's settings that are directives of systemd.
var programKeys = map[string]string{"directory": "WorkingDirectory", "user": "User", "umask": "UMask", "stopsignal": "KillSignal", "stopwaitsecs": "TimeoutStopSec"}

func importProgram(path, name string, all []Assignment, profile string, host Host) (*Result, error) {
	s := &source{name: name, kind: "service", files: []string{path}}
	values := map[string]string{"autorestart": "unexpected", "autostart": "true", "stopwaitsecs": "10"}
	var left []Assignment
	for _, a := range all {
		values[a.Name] = a.Value
		switch {
		case strings.Contains(a.Value, "%("):
			left = append(left, a)
			delete(values, a.Name)
		case programKeys[a.Name] != "" || strings.Contains(" command autorestart autostart environment exitcodes ", " "+a.Name+" "):
		default:
			left = append(left, a)
		}
	}
	if values["command"] == "" {
		return nil, &SyntaxError{path, 0, fmt.Sprintf("[program:%s] has no command that can be carried over", name)}
	}
	add := func(section, key, value string) {
		if value != "" {
			s.all = append(s.all, Assignment{section, key, value, path, 0})
		}
	}
	add("Service", "ExecStart", strings.ReplaceAll(strings.ReplaceAll(values["command"], "%", "%%"), "$", "$$"))
	add("Service", "Environment", strings.ReplaceAll(strings.ReplaceAll(values["environment"], "%", "%%"), ",", " "))
	restart := map[string]string{"true": "always", "false": "no", "unexpected": "on-failure"}[values["autorestart"]]
	add("Service", "Restart", restart)
	add("Service", "SuccessExitStatus", strings.ReplaceAll(values["exitcodes"], ",", " "))
	for _, key := range []string{"directory", "user", "umask", "stopsignal", "stopwaitsecs"} {
		value := values[key]
		if key == "stopsignal" && value != "" && !strings.HasPrefix(value, "SIG") {
			value = "SIG" + value
		}
		add("Service", programKeys[key], value)
	}
	if values["autostart"] == "true" {
		add("Install", "WantedBy", "multi-user.target")
	}
	return convertWith(s, profile, host, left)
}

// convertWith notes settings that have no directive.
func convertWith(s *source, profile string, host Host, left []Assignment) (*Result, error) {
	for _, a := range left {
		s.left = append(s.left, Note{a.File, a.Line, directive(a), Skipped, "a setting of supervisord without a key here", false})
	}
	return convert(s, profile, host)
}
