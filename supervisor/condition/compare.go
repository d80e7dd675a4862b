package condition

import (
	"cmp"
	"strings"
)

// cutOperator splits "<= 5.4" into its comparison and the rest; without one
// the operator is "".
func cutOperator(s string) (operator, rest string) {
	for _, op := range []string{"<=", ">=", "!=", "<>", "==", "<", ">", "="} {
		if rest, found := strings.CutPrefix(s, op); found {
			return op, strings.TrimLeft(rest, " \t")
		}
	}
	return "", s
}

// holds reports whether a comparison that came out as order (-1, 0, 1) is what
// the operator asks for.
func holds(order int, operator string) bool {
	switch operator {
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	case ">=":
		return order >= 0
	case "!=", "<>":
		return order != 0
	}
	return order == 0
}

// compareVersions orders version strings as systemd and the UAPI group's
// "Version Format Specification" do: digits by value, letters by alphabet,
// "~" before the end, "-" and "^" and "." as separators in rising order.
func compareVersions(a, b string) int {
	for {
		a, b = trimOther(a), trimOther(b)
		if order, decided := compareTilde(a, b); decided {
			return order
		}
		if strings.HasPrefix(a, "~") {
			a, b = a[1:], b[1:]
			continue
		}
		if a == "" || b == "" {
			return cmp.Compare(len(a), len(b))
		}
		separated := false
		for _, c := range "-^." {
			inA, inB := strings.HasPrefix(a, string(c)), strings.HasPrefix(b, string(c))
			if inA != inB {
				return map[bool]int{true: -1, false: 1}[inA]
			}
			if inA {
				a, b, separated = a[1:], b[1:], true
				break
			}
		}
		if separated {
			continue
		}
		order := 0
		if isDigit(a[0]) || isDigit(b[0]) {
			order, a, b = compareRun(a, b, isDigit, numberOrder)
		} else {
			order, a, b = compareRun(a, b, isLetter, strings.Compare)
		}
		if order != 0 {
			return order
		}
	}
}

// compareTilde orders "1.0~rc1" before "1.0".
func compareTilde(a, b string) (int, bool) {
	inA, inB := strings.HasPrefix(a, "~"), strings.HasPrefix(b, "~")
	switch {
	case inA == inB:
		return 0, false
	case inA:
		return -1, true
	}
	return 1, true
}

// compareRun cuts the leading bytes of one class off both and orders them.
func compareRun(a, b string, class func(byte) bool, order func(a, b string) int) (int, string, string) {
	restA, restB := a, b
	for restA != "" && class(restA[0]) {
		restA = restA[1:]
	}
	for restB != "" && class(restB[0]) {
		restB = restB[1:]
	}
	return order(a[:len(a)-len(restA)], b[:len(b)-len(restB)]), restA, restB
}

// numberOrder orders decimal numbers of any length; none is the least.
func numberOrder(a, b string) int {
	if a == "" || b == "" {
		return cmp.Compare(len(a), len(b))
	}
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if len(a) != len(b) {
		return cmp.Compare(len(a), len(b))
	}
	return strings.Compare(a, b)
}

// trimOther drops what has no meaning in a version, such as "+" and "_".
func trimOther(s string) string {
	return strings.TrimLeftFunc(s, func(r rune) bool {
		return r >= 0x80 || !isDigit(byte(r)) && !isLetter(byte(r)) && !strings.ContainsRune("~-^.", r)
	})
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
