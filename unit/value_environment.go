package unit

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// ValidEnvironmentName reports whether s can be the name of a variable: a
// letter or underscore, then letters, digits and underscores.
func ValidEnvironmentName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// NewEnvAssignment makes one variable, checking name and value. A value may
// hold anything but NUL.
func NewEnvAssignment(name, value string) (EnvAssignment, error) {
	if !ValidEnvironmentName(name) {
		return EnvAssignment{}, fmt.Errorf("%q is no name of a variable: letters, digits and _, no digit first", name)
	}
	if strings.IndexByte(value, 0) >= 0 {
		return EnvAssignment{}, fmt.Errorf("the value of %s holds a NUL byte", name)
	}
	if !utf8.ValidString(value) {
		return EnvAssignment{}, fmt.Errorf("the value of %s is not UTF-8", name)
	}
	return EnvAssignment{Name: name, Value: value}, nil
}

// ParseEnvironment reads a string of systemd's Environment=: one or more
// NAME=VALUE, separated by blanks, with quotes and C escapes. The $ has no
// meaning in it.
func ParseEnvironment(s string) ([]EnvAssignment, error) {
	words, err := splitWords(s, wordsCEscapes)
	if err != nil {
		return nil, fmt.Errorf("environment %q: %w", s, err)
	}
	var list []EnvAssignment
	for _, word := range words {
		name, value, found := strings.Cut(word, "=")
		if !found {
			return nil, fmt.Errorf("environment %q: %q is no NAME=VALUE; quote a value with blanks", s, word)
		}
		a, err := NewEnvAssignment(name, value)
		if err != nil {
			return nil, fmt.Errorf("environment: %w", err)
		}
		list = append(list, a)
	}
	return list, nil
}
