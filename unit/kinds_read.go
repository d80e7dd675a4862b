package unit

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

func readBoolean(_ *valueContext, v any) (any, error) {
	if b, ok := v.(bool); ok {
		return b, nil
	}
	return nil, fmt.Errorf("true or false, without quotes")
}

// readTimeout reads a span of which 0 means infinity, as systemd has it.
func readTimeout(c *valueContext, v any) (any, error) {
	s, err := c.loose(v)
	if err != nil {
		return nil, err
	}
	d, err := ParseTimespan(s)
	if err == nil && d == 0 {
		c.remarks = append(c.remarks, `0 means "infinity", as in systemd`)
		d = Infinity
	}
	return d, err
}

// readNanoseconds reads a span of which a bare number is nanoseconds.
func readNanoseconds(c *valueContext, v any) (any, error) {
	s, err := c.loose(v)
	if err != nil {
		return nil, err
	}
	if n, err := strconv.ParseUint(s, 10, 63); err == nil {
		return n, nil
	}
	d, err := ParseTimespan(s)
	if err == nil && d == Infinity {
		err = fmt.Errorf("infinity is no timer slack")
	}
	return uint64(d), err
}

// readMode takes only strings: TOML has no octal numbers but 0o755, and 755
// would be something else.
func readMode(c *valueContext, v any) (any, error) {
	if n, ok := v.(int64); ok {
		return nil, fmt.Errorf("%d is a number; write the mode as an octal string, \"0%d\"", n, n)
	}
	s, err := c.str(v)
	if err != nil {
		return nil, err
	}
	return ParseMode(s)
}

func readRlimit(c *valueContext, v any) (any, error) {
	s, err := c.loose(v)
	if err != nil {
		return nil, err
	}
	return ParseRlimit(strings.TrimPrefix(c.key.Name, "limit_"), s)
}

func readCPUWeight(c *valueContext, v any) (any, error) {
	if v == any("idle") {
		return int64(CpuWeightIdle), nil
	}
	return integer(1, 10000).one(c, v)
}

// readCommand takes a command line, or an array that is an exact argv.
func readCommand(c *valueContext, v any) (any, error) {
	var cmd Command
	var err error
	switch t := v.(type) {
	case string:
		cmd, err = ParseCommand(t)
	case []any:
		cmd, err = commandOfArray(t)
	default:
		return nil, fmt.Errorf("%s is no command: write a string, or an argv array inside an array", tomlType(v))
	}
	if err != nil {
		return nil, err
	}
	return cmd.WithSpecifiers(c.unit)
}

func commandOfArray(words []any) (Command, error) {
	argv := make([]string, len(words))
	for i, w := range words {
		s, ok := w.(string)
		if !ok {
			return Command{}, fmt.Errorf("argument %d is %s, not a string", i, tomlType(w))
		}
		argv[i] = s
	}
	return CommandFromArgv(argv)
}

func readCondition(c *valueContext, v any) (any, error) {
	if b, ok := v.(bool); ok {
		v = strconv.FormatBool(b)
	}
	s, err := c.str(v)
	if err != nil {
		return nil, err
	}
	_, kind, _ := strings.Cut(c.key.Name, "_")
	return ParseCondition(kind, s)
}

// pair is one entry of a table of strings.
type pair struct {
	name  string
	value any
}

// readEnvironment reads an entry of the table, or systemd's "A=1 B=2".
func readEnvironment(c *valueContext, v any) (any, error) {
	if p, ok := v.(pair); ok {
		s, err := c.loose(p.value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		a, err := NewEnvAssignment(p.name, s)
		return a, err
	}
	s, err := c.str(v)
	if err != nil {
		return nil, err
	}
	return ParseEnvironment(s)
}

// modeUnset marks a directory whose mode was not written.
const modeUnset = math.MaxUint32

// readDirectory reads an entry of a *_directory key: "name", or a table with
// path, mode, owner and preserve.
func readDirectory(c *valueContext, v any) (any, error) {
	table, ok := v.(map[string]any)
	if !ok {
		table = map[string]any{"path": v}
	}
	dir := Directory{Mode: modeUnset}
	for name, value := range table {
		if err := c.directoryField(&dir, name, value); err != nil {
			return nil, err
		}
	}
	if dir.Path == "" {
		return nil, fmt.Errorf("the table has no path")
	}
	return dir, nil
}

func (c *valueContext) directoryField(dir *Directory, name string, v any) error {
	if b, ok := v.(bool); ok && name == "preserve" {
		v = map[bool]string{true: "yes", false: "no"}[b]
	}
	if name == "mode" {
		m, err := readMode(c, v)
		if err == nil {
			dir.Mode = m.(uint32)
		}
		return err
	}
	s, err := c.str(v)
	if err != nil {
		return err
	}
	switch name {
	case "path":
		dir.Path, err = relativePath(s)
	case "owner":
		dir.User, dir.Group, err = parseOwner(s)
	case "preserve":
		if s != "no" && s != "yes" && s != "restart" {
			err = fmt.Errorf("preserve = %q: one of no, yes, restart", s)
		}
		dir.Preserve = s
	default:
		err = fmt.Errorf("unknown entry %s: there are path, mode, owner and preserve", name)
	}
	return err
}

func parseOwner(s string) (user, group string, err error) {
	user, group, _ = strings.Cut(s, ":")
	if user, err = parsePrincipal(user); err == nil && group != "" {
		group, err = parsePrincipal(group)
	}
	return user, group, err
}

// strs takes the elements of a list as strings.
func (c *valueContext) strs(vs []any) ([]string, error) {
	list := []string{}
	for _, v := range vs {
		s, err := c.loose(v)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

func readCPUSet(c *valueContext, vs []any) (any, error) {
	list, err := c.strs(vs)
	if err != nil {
		return nil, err
	}
	return ParseCPUSet(strings.Join(list, " "))
}

func readExitStatuses(c *valueContext, vs []any) (any, error) {
	list, err := c.strs(vs)
	if err != nil {
		return nil, err
	}
	return ParseExitStatusSet(list)
}

func readCapabilities(c *valueContext, vs []any) (any, error) {
	list, err := c.strs(vs)
	if err != nil {
		return nil, err
	}
	base, _ := c.base.(uint64)
	return ParseCapabilities(list, base)
}

func readDelegate(c *valueContext, vs []any) (any, error) {
	if len(vs) == 1 {
		if b, ok := vs[0].(bool); ok {
			return Delegation{Enabled: b}, nil
		}
	}
	list, err := c.strs(vs)
	if err != nil {
		return nil, err
	}
	d := Delegation{Enabled: true}
	for _, name := range strings.Fields(strings.Join(list, " ")) {
		switch name {
		case "cpu", "cpuset", "io", "memory", "pids":
			d.Controllers = append(d.Controllers, name)
		default:
			return nil, fmt.Errorf("%q: true, false, or controllers: cpu, cpuset, io, memory, pids", name)
		}
	}
	return d, nil
}

// secureBitNames are the bits of capabilities(7), SECBIT_*.
func secureBitNames() map[string]uint32 {
	return map[string]uint32{
		"noroot": 1 << 0, "noroot-locked": 1 << 1, "no-setuid-fixup": 1 << 2,
		"no-setuid-fixup-locked": 1 << 3, "keep-caps": 1 << 4, "keep-caps-locked": 1 << 5,
	}
}

func readSecureBits(c *valueContext, vs []any) (any, error) {
	return c.orBits(vs, secureBitNames(), "keep-caps, no-setuid-fixup, noroot, each also with -locked")
}

// coredumpNames are the bits of /proc/PID/coredump_filter, core(5).
func coredumpNames() map[string]uint32 {
	return map[string]uint32{
		"private-anonymous": 1 << 0, "shared-anonymous": 1 << 1, "private-file-backed": 1 << 2,
		"shared-file-backed": 1 << 3, "elf-headers": 1 << 4, "private-huge": 1 << 5,
		"shared-huge": 1 << 6, "private-dax": 1 << 7, "shared-dax": 1 << 8,
		"default": 0x33, "all": 0x1ff,
	}
}

func readCoredumpFilter(c *valueContext, vs []any) (any, error) {
	return c.orBits(vs, coredumpNames(), "words of core(5): private-anonymous, shared-anonymous, private-file-backed, shared-file-backed, elf-headers, ..., default, all")
}

func (c *valueContext) orBits(vs []any, bits map[string]uint32, known string) (any, error) {
	list, err := c.strs(vs)
	if err != nil {
		return nil, err
	}
	var sum uint32
	for _, word := range strings.Fields(strings.Join(list, " ")) {
		bit, ok := bits[word]
		if !ok {
			return nil, fmt.Errorf("%q is none of %s", word, known)
		}
		sum |= bit
	}
	return sum, nil
}

// readNamespaces reads names that list the set, or +name and ~name that
// change the profile's.
func readNamespaces(c *valueContext, vs []any) (any, error) {
	list, err := c.strs(vs)
	if err != nil {
		return nil, err
	}
	base, _ := c.base.(Namespaces)
	var set Namespaces
	listed := len(list) == 0
	for _, word := range list {
		listed = listed || !strings.ContainsAny(word[:min(1, len(word))], "+~")
	}
	if !listed {
		set = base
	}
	for _, word := range strings.Fields(strings.Join(list, " ")) {
		if err := set.apply(word); err != nil {
			return nil, err
		}
	}
	return set, nil
}

func (n *Namespaces) apply(word string) error {
	name := strings.TrimLeft(word, "+~")
	field := map[string]*bool{"mount": &n.Mount, "pid": &n.Pid, "ipc": &n.Ipc, "uts": &n.Uts, "cgroup": &n.Cgroup}[name]
	switch {
	case field != nil:
		*field = word[0] != '~'
		return nil
	case name == "user" || name == "time":
		if word[0] == '~' {
			return nil
		}
		return fmt.Errorf("the namespace %q is %w", name, errNotYet)
	case name == "net" || name == "network":
		return fmt.Errorf("net is no member: mode in [network] alone decides about the network")
	}
	return fmt.Errorf("%q is no namespace: one of mount, pid, ipc, uts, cgroup", name)
}

func parseLogLevel(s string) (int64, error) {
	names := []string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}
	for i, name := range names {
		if s == name || s == strconv.Itoa(i) {
			return int64(i), nil
		}
	}
	return 0, oneOf(names)
}
