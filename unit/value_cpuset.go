package unit

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxProcessors bounds processor numbers, the most that Linux is built for.
const maxProcessors = 8192

// ParseCPUSet reads a list of processors, "0-3,7 9", into ascending numbers.
func ParseCPUSet(s string) ([]int, error) {
	separator := func(r rune) bool { return r == ',' || strings.ContainsRune(blanks, r) }
	var cpus []int
	for _, part := range strings.FieldsFunc(s, separator) {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		a, errA := strconv.ParseUint(first, 10, 31)
		b, errB := strconv.ParseUint(last, 10, 31)
		switch {
		case errA != nil || errB != nil:
			return nil, fmt.Errorf("processors %q: write numbers and ranges, such as \"0-3,7\"", s)
		case a > b:
			return nil, fmt.Errorf("processors %q: the range %s goes down", s, part)
		case b >= maxProcessors:
			return nil, fmt.Errorf("processors %q: %d is more than Linux has", s, b)
		}
		for n := a; n <= b; n++ {
			cpus = append(cpus, int(n))
		}
	}
	if len(cpus) == 0 {
		return nil, fmt.Errorf("an empty list of processors; leave the key out for all")
	}
	slices.Sort(cpus)
	return slices.Compact(cpus), nil
}
