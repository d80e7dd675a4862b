package unit

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// blanks separate words in every value syntax of systemd.
const blanks = " \t\n\r"

// splitNumber cuts a decimal number with an optional fraction off the
// beginning of s: "1.5G" gives "1", "5" and "G". Signs are refused: no value
// that is read with it may be negative.
func splitNumber(s string) (whole, fraction, rest string, err error) {
	whole = leadingDigits(s)
	rest = s[len(whole):]
	if strings.HasPrefix(rest, ".") {
		fraction = leadingDigits(rest[1:])
		if fraction == "" {
			return "", "", "", fmt.Errorf("no digit after the point")
		}
		rest = rest[1+len(fraction):]
	}
	if whole == "" && fraction == "" {
		if strings.HasPrefix(s, "-") {
			return "", "", "", fmt.Errorf("it cannot be negative")
		}
		return "", "", "", fmt.Errorf("expected a number at %q", s)
	}
	return whole, fraction, rest, nil
}

func leadingDigits(s string) string {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return s[:i]
		}
	}
	return s
}

// scale returns whole.fraction times unit, rounded down, and whether that
// fits into 64 bits. Digits worth less than one are dropped.
func scale(whole, fraction string, unit uint64) (uint64, bool) {
	var n uint64
	if whole != "" {
		var err error
		if n, err = strconv.ParseUint(whole, 10, 64); err != nil {
			return 0, false
		}
	}
	high, total := bits.Mul64(n, unit)
	if high != 0 {
		return 0, false
	}
	part := scaleFraction(fraction, unit)
	if total > ^uint64(0)-part {
		return 0, false
	}
	return total + part, true
}

// scaleFraction returns 0.fraction times unit, rounded down. Beyond 18 digits
// no unit in use makes a difference of one.
func scaleFraction(fraction string, unit uint64) uint64 {
	if len(fraction) > 18 {
		fraction = fraction[:18]
	}
	numerator, denominator := uint64(0), uint64(1)
	for i := range len(fraction) {
		numerator = numerator*10 + uint64(fraction[i]-'0')
		denominator *= 10
	}
	high, low := bits.Mul64(numerator, unit)
	quotient, _ := bits.Div64(high, low, denominator)
	return quotient
}
