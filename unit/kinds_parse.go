package unit

import (
	"fmt"
	"net"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// parsePrincipal checks the name or number of a user or group.
func parsePrincipal(s string) (string, error) {
	if s == "" || len(s) > 256 || strings.ContainsAny(s, ":/ \t\n\x00") || strings.HasPrefix(s, "-") {
		return "", fmt.Errorf("%q is no name of a user or group", s)
	}
	return s, checkText(s)
}

// triggerSuffixes end the names of a unit's triggers.
var triggerSuffixes = []string{".socket", ".timer", ".path"}

// BareName strips .service or .target, which systemd's names have and ours
// have not.
func BareName(name string) string {
	for _, suffix := range []string{".service", ".target"} {
		if bare, ok := strings.CutSuffix(name, suffix); ok && bare != "" {
			return bare
		}
	}
	return name
}

// parseUnitNames reads one name, or several separated by blanks as systemd
// has them.
func parseUnitNames(s string) ([]string, error) {
	var names []string
	for _, word := range strings.Fields(s) {
		name := BareName(word)
		bare := name
		for _, suffix := range triggerSuffixes {
			bare = strings.TrimSuffix(bare, suffix)
		}
		if err := ValidateName(bare); err != nil {
			return nil, err
		}
		if strings.HasSuffix(bare, "@") {
			return nil, fmt.Errorf("%q is a template; name an instance, such as %q", word, bare+"x")
		}
		names = append(names, name)
	}
	return names, nil
}

// onePath catches systemd's lists of paths in one string.
func onePath[T any](parse func(string) (T, error)) func(string) (T, error) {
	return func(s string) (T, error) {
		if strings.Contains(s, " /") {
			var none T
			return none, fmt.Errorf("%q looks like several paths; write an array of strings", s)
		}
		return parse(s)
	}
}

// relativePath checks an entry of a *_directory key.
func relativePath(s string) (string, error) {
	clean := path.Clean(s)
	switch {
	case s == "" || strings.HasPrefix(s, "/"):
		return "", fmt.Errorf("%q: a path below the directory of its kind, without a leading /", s)
	case strings.Contains("/"+s+"/", "/../") || clean == ".":
		return "", fmt.Errorf("%q leaves the directory of its kind", s)
	case strings.ContainsAny(s, ": \t\n"):
		return "", fmt.Errorf("%q: blanks and colons are not possible; write several as an array", s)
	}
	return clean, checkText(s)
}

func parseOpenFile(s string) (OpenFile, error) {
	parts := strings.SplitN(s, ":", 3)
	p, err := ParsePath(parts[0])
	if err != nil {
		return OpenFile{}, err
	}
	f := OpenFile{Path: p, Name: path.Base(p)}
	if len(parts) > 1 && parts[1] != "" {
		f.Name = parts[1]
	}
	if err := checkFDName(f.Name); err != nil || len(parts) < 3 {
		return f, err
	}
	options := strings.Split(parts[2], ",")
	for i, option := range options {
		if slices.Contains(options[:i], option) {
			return f, fmt.Errorf("option %q stands there twice", option)
		}
		switch option {
		case "read-only":
			f.ReadOnly = true
		case "append":
			f.Append = true
		case "truncate":
			f.Truncate = true
		case "graceful":
			f.Graceful = true
		default:
			return f, fmt.Errorf("option %q: one of read-only, append, truncate, graceful", option)
		}
	}
	if f.ReadOnly && (f.Append || f.Truncate) || f.Append && f.Truncate {
		return f, fmt.Errorf("only one of read-only, append and truncate is possible")
	}
	return f, nil
}

// checkFDName checks a name of LISTEN_FDNAMES (sd_listen_fds_with_names(3)).
func checkFDName(name string) error {
	if len(name) > 255 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' || r == ':' }) {
		return fmt.Errorf("the name %q: ASCII without colons and control characters is possible, at most 255 bytes", name)
	}
	return nil
}

func parseStreamIn(s string) (Stream, error) {
	if slices.Contains([]string{"null", "tty", "tty-force", "tty-fail"}, s) {
		return Stream{Kind: s}, nil
	}
	kind, file, _ := strings.Cut(s, ":")
	switch kind {
	case "file":
		p, err := ParsePath(file)
		return Stream{Kind: kind, Path: p}, err
	case "data", "socket", "fd":
		return Stream{}, fmt.Errorf("%q is %w", s, errNotYet)
	}
	return Stream{}, fmt.Errorf("%q: one of null, tty, tty-force, tty-fail, file:PATH", s)
}

func parseStreamOut(s string) (Stream, error) {
	if slices.Contains([]string{"log", "null", "inherit", "tty"}, s) {
		return Stream{Kind: s}, nil
	}
	kind, file, _ := strings.Cut(s, ":")
	switch kind {
	case "file", "append", "truncate":
		p, err := ParsePath(file)
		return Stream{Kind: kind, Path: p}, err
	case "journal", "syslog":
		return Stream{}, fmt.Errorf("%q: write \"log\", and forward = [%q] to send it there too", s, kind)
	case "journal+console", "syslog+console", "kmsg+console":
		return Stream{}, fmt.Errorf("%q: the console is not a service's to write on beside a log; write \"log\", or \"tty\" with tty_path = \"/dev/console\"", s)
	case "kmsg":
		return Stream{}, fmt.Errorf("%q: the kernel's log is the machine's; write \"log\", and nsctl logs shows it", s)
	case "socket", "fd":
		return Stream{}, fmt.Errorf("%q is %w", s, errNotYet)
	}
	return Stream{}, fmt.Errorf("%q: one of log, null, inherit, tty, file:PATH, append:PATH, truncate:PATH", s)
}

// parseForward takes a log of the machine, or a syslog server.
func parseForward(s string) (string, error) {
	if s == "syslog" || s == "journal" {
		return s, nil
	}
	kind, at, _ := strings.Cut(s, ":")
	if kind != "udp" && kind != "tcp" {
		return "", fmt.Errorf("%q: one of syslog, journal, udp:HOST:PORT, tcp:HOST:PORT", s)
	}
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return "", fmt.Errorf("%q: write %s:HOST:PORT, as in %[2]s:192.0.2.7:514, %[2]s:[2001:db8::7]:514", s, kind)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", fmt.Errorf("%q: a port is a number from 1 to 65535", s)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return kind + ":" + net.JoinHostPort(ip.String(), strconv.FormatUint(n, 10)), nil
	}
	if !hostName.MatchString(host) || len(host) > 253 || strings.Trim(host, "0123456789.") == "" {
		return "", fmt.Errorf("%q: %q is neither an IP address nor a host name", s, host)
	}
	return kind + ":" + net.JoinHostPort(host, strconv.FormatUint(n, 10)), nil
}

// hostName is that of RFC 1123, and the underscore of names in use.
var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?)*\.?$`)

// parseFilePattern takes the path of a file that is followed.
func parseFilePattern(s string) (string, error) {
	p, err := ParsePath(s)
	switch {
	case err != nil:
		return "", err
	case p == "/":
		return "", fmt.Errorf("%q is a directory", s)
	case strings.ContainsAny(path.Dir(p), "*?["):
		return "", fmt.Errorf("%q: only the last component can be a pattern", s)
	}
	if _, err := path.Match(path.Base(p), ""); err != nil {
		return "", fmt.Errorf("%q: [ without ]", s)
	}
	return p, nil
}

// parseTerminal takes a device node by its path: what a terminal is called in
// utmp is the path without /dev/.
func parseTerminal(s string) (string, error) {
	p, err := ParsePath(s)
	if err == nil && (!strings.HasPrefix(p, "/dev/") || p == "/dev/tty") {
		err = fmt.Errorf("%q: the path of a terminal, such as /dev/tty1", s)
	}
	return p, err
}

// parseUtmpID takes what fits into ut_id (utmp(5)).
func parseUtmpID(s string) (string, error) {
	if len(s) > 4 {
		s = s[len(s)-4:] // as systemd has it: tty of a long name differ at the end
	}
	return asIs(s)
}
