package unit

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// A timeUnit is one word that may follow a number in a time span.
type timeUnit struct {
	word string
	size time.Duration
}

const (
	day = 24 * time.Hour
	// A month is 30.44 days and a year 365.25, as systemd.time(7) has them.
	month = 2629800 * time.Second
	year  = 31557600 * time.Second
)

// timeUnits lists the words of systemd.time(7). "m" is minutes and "M" months.
func timeUnits() []timeUnit {
	return []timeUnit{
		{"nsec", 1}, {"ns", 1},
		{"usec", time.Microsecond}, {"us", time.Microsecond}, {"µs", time.Microsecond}, {"μs", time.Microsecond},
		{"msec", time.Millisecond}, {"ms", time.Millisecond},
		{"seconds", time.Second}, {"second", time.Second}, {"sec", time.Second}, {"s", time.Second},
		{"minutes", time.Minute}, {"minute", time.Minute}, {"min", time.Minute}, {"m", time.Minute},
		{"hours", time.Hour}, {"hour", time.Hour}, {"hr", time.Hour}, {"h", time.Hour},
		{"days", day}, {"day", day}, {"d", day},
		{"weeks", 7 * day}, {"week", 7 * day}, {"w", 7 * day},
		{"months", month}, {"month", month}, {"M", month},
		{"years", year}, {"year", year}, {"y", year},
	}
}

// ParseTimespan reads a time span of systemd.time(7): "5min 20s", "1.5h",
// "infinity". A number without a unit is seconds. Unlike systemd it goes to
// the nanosecond and ends at 292 years.
func ParseTimespan(s string) (time.Duration, error) {
	return parseTimespan(s, time.Second)
}

// parseTimespan is ParseTimespan with another meaning for a bare number.
func parseTimespan(s string, bare time.Duration) (time.Duration, error) {
	rest := strings.Trim(s, blanks)
	switch rest {
	case "":
		return 0, fmt.Errorf("an empty time span; write seconds, or \"5min 20s\", or \"infinity\"")
	case "infinity":
		return Infinity, nil
	}
	var total time.Duration
	for rest != "" {
		part, after, err := timespanPart(rest, bare)
		if err != nil {
			return 0, fmt.Errorf("time span %q: %w", s, err)
		}
		if part >= Infinity-total {
			return 0, fmt.Errorf("time span %q is longer than 292 years; write \"infinity\" for no limit", s)
		}
		total += part
		rest = strings.TrimLeft(after, blanks)
	}
	return total, nil
}

// timespanPart reads one number with its unit at the beginning of s and
// returns what follows. An amount that does not fit is Infinity.
func timespanPart(s string, bare time.Duration) (time.Duration, string, error) {
	whole, fraction, rest, err := splitNumber(s)
	if err != nil {
		return 0, "", err
	}
	afterBlanks := strings.TrimLeft(rest, blanks)
	unit, word := bare, leadingWord(afterBlanks)
	if word != "" {
		if unit = lookupTimeUnit(word); unit == 0 {
			return 0, "", fmt.Errorf("unknown unit %q; one of ns us ms s min h d w month y", word)
		}
		rest = afterBlanks[len(word):]
	} else if strings.HasPrefix(rest, ".") {
		return 0, "", fmt.Errorf("a second point")
	}
	n, ok := scale(whole, fraction, uint64(unit))
	if !ok || n > math.MaxInt64 {
		return Infinity, rest, nil
	}
	return time.Duration(n), rest, nil
}

func lookupTimeUnit(word string) time.Duration {
	for _, u := range timeUnits() {
		if u.word == word {
			return u.size
		}
	}
	return 0
}

// leadingWord returns the letters that s begins with.
func leadingWord(s string) string {
	for i, r := range s {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == 'µ' || r == 'μ'
		if !letter {
			return s[:i]
		}
	}
	return s
}
