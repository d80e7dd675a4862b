package unit

import (
	"slices"
	"strings"
)

// Draft reads the text of one unit as if a file NAME.toml held it, without a
// search path and without neighbours: what import checks its output with.
// Unknown units that it requires are no error. The errors have lines of text.
func Draft(name, text string, options Options) (*Unit, List) {
	s := &Set{
		options: options, users: readUsers(""), files: findFiles(nil, true),
		units: map[string]*Unit{}, drafts: map[string]*builder{}, templates: map[string]*Unit{},
	}
	s.options.Config = options.Config.withDefaults()
	s.machine = s.machineContext()
	b := s.newBuilder(name)
	b.mergeText(name+".toml", text)
	return b.build()
}

// SplitWords splits a value of a systemd unit into words by the rules of
// systemd.service(5) "Command lines": quotes are removed, escapes of C read.
func SplitWords(s string) ([]string, error) { return splitWords(s, wordsCEscapes) }

// BuiltinTarget says whether the name, bare or with .target, is a target that
// every instance has, or an alias of one.
func BuiltinTarget(name string) bool {
	name = BareName(name)
	for _, t := range builtinTargets() {
		if t.name == name || slices.Contains(t.aliases, name) {
			return true
		}
	}
	return false
}

// QuoteTOML writes a TOML string the way a person would: plain in double
// quotes, and literal where a backslash or a double quote would need escapes.
func QuoteTOML(s string) string {
	literal := true
	special := false
	apostrophe := false
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			special = true
		case r == '\'':
			apostrophe = true
		case r < ' ' || r == 0x7f:
			literal = false
		}
	}
	switch {
	case !special || !literal:
		return quote(s)
	case !apostrophe:
		return "'" + s + "'"
	case s[len(s)-1] != '\'' && s[0] != '\'' && !strings.Contains(s, "'''"):
		return "'''" + s + "'''"
	}
	return quote(s)
}
