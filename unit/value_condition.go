package unit

import (
	"fmt"
	"strings"
)

// ParseCondition reads one value of condition_KIND or assert_KIND: "|" makes it
// a triggering condition and "!" negates it, in this order (systemd.unit(5)).
func ParseCondition(kind, s string) (Condition, error) {
	c := Condition{Kind: kind}
	rest := s
	rest, c.Trigger = cutPrefixBlank(rest, "|")
	rest, c.Negate = cutPrefixBlank(rest, "!")
	if strings.HasPrefix(rest, "|") {
		return Condition{}, fmt.Errorf("condition %q: write | before !", s)
	}
	if rest == "" {
		return Condition{}, fmt.Errorf("condition %q has no value", s)
	}
	c.Value = rest
	if !strings.Contains(kind, "path_") && !strings.HasSuffix(kind, "_not_empty") && kind != "file_is_executable" {
		return c, nil
	}
	if err := checkAbsolute(c.Value); err != nil {
		return Condition{}, fmt.Errorf("condition %q: %w", s, err)
	}
	return c, nil
}

// cutPrefixBlank cuts prefix and the blanks after it off s.
func cutPrefixBlank(s, prefix string) (string, bool) {
	rest, found := strings.CutPrefix(s, prefix)
	if found {
		rest = strings.TrimLeft(rest, blanks)
	}
	return rest, found
}

// String gives the condition as the unit file has it: "path_exists=!/etc/x".
func (c Condition) String() string {
	prefix := ""
	if c.Trigger {
		prefix = "|"
	}
	if c.Negate {
		prefix += "!"
	}
	return c.Kind + "=" + prefix + c.Value
}
