package unit

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// kind is how the values of a key are written and read. Exactly one of one
// and whole is set.
type kind struct {
	label string // for the manual
	many  bool   // may be an array
	pairs bool   // may be a table of strings
	one   func(c *valueContext, v any) (any, error)
	whole func(c *valueContext, vs []any) (any, error)
}

// valueContext is what the values of one key are read with.
type valueContext struct {
	key       *Key
	unit      SpecifierContext
	base      any      // what "+" and "~" entries change
	remarks   []string // become warnings
	specifier bool     // "%" has a meaning here
}

var errNotYet = errors.New("not supported yet")

// str takes a string and expands its specifiers.
func (c *valueContext) str(v any) (string, error) {
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("%s is %s, not a string; write it in quotes", tomlText(v), tomlType(v))
	}
	return c.expand(s)
}

func (c *valueContext) expand(s string) (string, error) {
	if !c.specifier {
		return s, nil
	}
	return ExpandSpecifiers(s, c.unit)
}

// loose takes a string, or a number where systemd has one.
func (c *valueContext) loose(v any) (string, error) {
	switch n := v.(type) {
	case int64:
		return strconv.FormatInt(n, 10), nil
	case float64:
		return strconv.FormatFloat(n, 'f', -1, 64), nil
	}
	return c.str(v)
}

func tomlType(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case int64:
		return "a number"
	case float64:
		return "a number with a fraction"
	case time.Time:
		return "a date"
	case map[string]any:
		return "a table"
	}
	return "an array"
}

func tomlText(v any) string {
	switch t := v.(type) {
	case string:
		return strconv.Quote(t)
	case bool, int64, float64:
		return fmt.Sprint(t)
	}
	return "the value"
}

// loosely makes a kind of a parser that takes a string.
func loosely[T any](label string, many bool, parse func(string) (T, error)) *kind {
	return &kind{label: label, many: many, one: func(c *valueContext, v any) (any, error) {
		s, err := c.loose(v)
		if err != nil {
			return nil, err
		}
		return parse(s)
	}}
}

// strictly is loosely without numbers.
func strictly[T any](label string, many bool, parse func(string) (T, error)) *kind {
	return &kind{label: label, many: many, one: func(c *valueContext, v any) (any, error) {
		s, err := c.str(v)
		if err != nil {
			return nil, err
		}
		return parse(s)
	}}
}

func asIs(s string) (string, error) { return s, checkText(s) }

// checkText refuses what could reach a terminal as something else than text.
func checkText(s string) error {
	for _, r := range s {
		if r < ' ' && r != '\t' && r != '\n' || r == 0x7f {
			return fmt.Errorf("%q holds a control character", s)
		}
	}
	return nil
}

// The kinds of section 2 of the format. None is ever written to.
var (
	text          = strictly("string", false, asIs)
	texts         = loosely("strings", true, asIs)
	principal     = loosely("name or number", false, parsePrincipal)
	principals    = loosely("names or numbers", true, parsePrincipal)
	unitNames     = strictly("unit names", true, parseUnitNames)
	absolutePath  = strictly("path", false, ParsePath)
	absolutePaths = strictly("paths", true, onePath(ParsePath))
	sliceName     = strictly("name", false, parseSlice)
	pidFile       = strictly("path", false, parsePidFile)
	pathEntries   = strictly("paths", true, onePath(ParsePathEntry))
	binds         = strictly("source:destination:option", true, onePath(ParseBind))
	tmpfsMounts   = strictly("path:options", true, onePath(ParseTmpfs))
	openFiles     = strictly("path:name:options", true, parseOpenFile)
	deviceRules   = strictly("device and access", true, ParseDeviceAllow)
	ioBytes       = strictly("device and bytes a second", true, ParseIOBandwidth)
	ioOperations  = strictly("device and operations a second", true, ParseIOOperations)

	timespan         = loosely("time span", false, ParseTimespan)
	size             = loosely("size", false, ParseSize)
	amount           = loosely("size or percentage", false, ParseAmount)
	tasks            = loosely("number or percentage", false, ParseTasksMax)
	cpuQuota         = strictly("percentage", false, ParseCPUQuota)
	forwards         = strictly("syslog, journal, udp:HOST:PORT or tcp:HOST:PORT", true, parseForward)
	filePatterns     = strictly("paths of files", true, onePath(parseFilePattern))
	signal           = loosely("signal", false, ParseSignal)
	workingDirectory = strictly("path", false, ParseWorkingDirectory)
	streamIn         = strictly("null, tty, tty-force, tty-fail or file:PATH", false, parseStreamIn)
	streamOut        = strictly("log, null, inherit, tty, file:PATH, append:PATH or truncate:PATH", false, parseStreamOut)
	terminal         = strictly("path below /dev", false, parseTerminal)
	utmpID           = strictly("string", false, parseUtmpID)
	logLevel         = loosely("level", false, parseLogLevel)
	jobAction        = choice("none", "exit", "exit-force", "reboot", "reboot-force", "reboot-immediate",
		"poweroff", "poweroff-force", "poweroff-immediate", "halt", "halt-force", "halt-immediate", "kexec", "kexec-force", "kexec-immediate")

	boolean     = &kind{label: "true or false", one: readBoolean}
	timeout     = &kind{label: "time span", one: readTimeout}
	nanoseconds = &kind{label: "time span", one: readNanoseconds}
	mode        = &kind{label: `octal mode as a string`, one: readMode}
	rlimit      = &kind{label: `limit, or "soft:hard"`, one: readRlimit}
	cpuWeight   = &kind{label: `number, or "idle"`, one: readCPUWeight}
	commands    = &kind{label: "commands", many: true, one: readCommand}
	conditions  = &kind{label: "conditions", many: true, one: readCondition}
	environ     = &kind{label: "table, or NAME=VALUE strings", many: true, pairs: true, one: readEnvironment}
	directories = &kind{label: "names or tables", many: true, one: readDirectory}

	cpuSet         = &kind{label: "processor numbers", many: true, whole: readCPUSet}
	exitStatuses   = &kind{label: "exit codes and signals", many: true, whole: readExitStatuses}
	capabilities   = &kind{label: "capabilities", many: true, whole: readCapabilities}
	namespaces     = &kind{label: "namespace names", many: true, whole: readNamespaces}
	secureBits     = &kind{label: "securebits", many: true, whole: readSecureBits}
	coredumpFilter = &kind{label: "mapping types", many: true, whole: readCoredumpFilter}
	delegate       = &kind{label: "true, false or controllers", many: true, whole: readDelegate}
)

// choice is one of words.
func choice(words ...string) *kind { return choiceOrLater(words, nil) }

// soon adds words that are refused with "not supported yet" to a choice.
func (k *kind) soon(words ...string) *kind {
	return choiceOrLater(strings.Split(k.label, ", "), words)
}

// orBool lets true and false stand without quotes.
func (k *kind) orBool() *kind {
	words := *k
	out := words
	out.one = func(c *valueContext, v any) (any, error) {
		if b, ok := v.(bool); ok {
			v = strconv.FormatBool(b)
		}
		return words.one(c, v)
	}
	return &out
}

// same adds further spellings, in pairs: written, meant.
func (k *kind) same(pairs ...string) *kind {
	words := *k
	out := words
	out.one = func(c *valueContext, v any) (any, error) {
		for i := 0; i < len(pairs); i += 2 {
			if v == any(pairs[i]) {
				v = pairs[i+1]
			}
		}
		return words.one(c, v)
	}
	return &out
}

func choiceOrLater(words, soon []string) *kind {
	return &kind{label: strings.Join(words, ", "), one: func(c *valueContext, v any) (any, error) {
		s, ok := v.(string)
		switch {
		case ok && slices.Contains(words, s):
			return s, nil
		case ok && slices.Contains(soon, s):
			return nil, fmt.Errorf("%q is %w", s, errNotYet)
		}
		return nil, oneOf(words)
	}}
}

func oneOf(words []string) error {
	return fmt.Errorf("one of %s", strings.Join(words, ", "))
}

// integer is a whole number in a range.
func integer(low, high int64) *kind {
	return &kind{label: "number", one: func(c *valueContext, v any) (any, error) {
		n, ok := v.(int64)
		if s, isString := v.(string); isString {
			var err error
			n, err = strconv.ParseInt(s, 10, 64)
			ok = err == nil
		}
		if !ok {
			return nil, fmt.Errorf("%s is not a whole number", tomlText(v))
		}
		if n < low || n > high {
			return nil, fmt.Errorf("between %d and %d", low, high)
		}
		return n, nil
	}}
}
