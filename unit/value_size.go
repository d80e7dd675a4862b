package unit

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// sizeSuffixes are the multipliers of a size, the greatest first.
const sizeSuffixes = "EPTGMK"

// ParseSize reads a number of bytes: "512M", "1.5G", "1G 500M", or "infinity"
// for Unlimited. The suffixes K M G T P E are powers of 1024, B is one byte.
func ParseSize(s string) (uint64, error) {
	return parseSize(s, 1024)
}

// parseSize is ParseSize with a base of 1024 or 1000. Parts must descend, so
// that "5M 1G" and "1 2" are refused rather than added up.
func parseSize(s string, base uint64) (uint64, error) {
	rest := strings.Trim(s, blanks)
	switch rest {
	case "":
		return 0, fmt.Errorf("an empty size; write bytes, or \"512M\", or \"infinity\"")
	case "infinity":
		return Unlimited, nil
	}
	var total uint64
	limit := uint64(math.MaxUint64)
	for rest != "" {
		part, unit, after, err := sizePart(rest, base)
		if err != nil {
			return 0, fmt.Errorf("size %q: %w", s, err)
		}
		if unit >= limit {
			return 0, fmt.Errorf("size %q: parts must go from the greatest unit to the least", s)
		}
		if part >= Unlimited-total {
			return 0, fmt.Errorf("size %q is larger than 16E; write \"infinity\" for no limit", s)
		}
		total, limit = total+part, unit
		rest = strings.TrimLeft(after, blanks)
	}
	return total, nil
}

// sizePart reads one number with its suffix. An amount that does not fit is
// Unlimited.
func sizePart(s string, base uint64) (amount, unit uint64, rest string, err error) {
	whole, fraction, rest, err := splitNumber(s)
	if err != nil {
		return 0, 0, "", err
	}
	suffix := strings.TrimLeft(rest, blanks)
	unit = 1
	if suffix != "" {
		unit = sizeUnit(suffix[0], base)
		if unit == 0 {
			return 0, 0, "", fmt.Errorf("unknown suffix %q; one of K M G T P E, or none for bytes", suffix)
		}
		rest = suffix[1:]
	}
	amount, ok := scale(whole, fraction, unit)
	if !ok {
		amount = Unlimited
	}
	return amount, unit, rest, nil
}

// sizeUnit returns base to the power that the suffix stands for, 0 if it is
// none.
func sizeUnit(suffix byte, base uint64) uint64 {
	if suffix == 'B' {
		return 1
	}
	i := strings.IndexByte(sizeSuffixes, suffix)
	if i < 0 {
		return 0
	}
	unit := uint64(1)
	for range len(sizeSuffixes) - i {
		unit *= base
	}
	return unit
}

// ParseAmount reads a size as ParseSize does, or a share such as "50%" of
// what the machine has (memory_max and its like).
func ParseAmount(s string) (Amount, error) {
	if strings.HasSuffix(strings.TrimRight(s, blanks), "%") {
		return parseShare(s)
	}
	n, err := ParseSize(s)
	return Amount{Set: true, Value: n}, err
}

// ParseTasksMax reads a number of tasks, a share such as "15%" of the system's
// maximum, or "infinity".
func ParseTasksMax(s string) (Amount, error) {
	s = strings.Trim(s, blanks)
	switch {
	case s == "infinity":
		return Amount{Set: true, Value: Unlimited}, nil
	case strings.HasSuffix(s, "%"):
		return parseShare(s)
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || n == 0 {
		return Amount{}, fmt.Errorf("tasks %q: a number from 1, a share such as \"15%%\", or \"infinity\"", s)
	}
	return Amount{Set: true, Value: n}, nil
}

// parseShare reads a percentage from 0.01% to 100%. 0% is no share: Amount
// takes a Share of 0 for none.
func parseShare(s string) (Amount, error) {
	share, err := ParsePercent(s)
	if err != nil {
		return Amount{}, err
	}
	if share > 100*100 {
		return Amount{}, fmt.Errorf("percentage %q is more than 100%%", s)
	}
	if share == 0 {
		return Amount{Set: true}, nil
	}
	return Amount{Set: true, Share: uint32(share)}, nil
}

// Of returns the amount when total is what the machine has.
func (a Amount) Of(total uint64) uint64 {
	if a.Share == 0 {
		return a.Value
	}
	part, ok := scale(strconv.FormatUint(total/10000, 10), "", uint64(a.Share))
	if !ok {
		return Unlimited
	}
	return part + total%10000*uint64(a.Share)/10000
}

// ParsePercent reads "12.34%" and returns hundredths of a percent, without an
// upper bound of 100%.
func ParsePercent(s string) (uint64, error) {
	number, found := strings.CutSuffix(strings.Trim(s, blanks), "%")
	if !found {
		return 0, fmt.Errorf("percentage %q does not end in %%", s)
	}
	whole, fraction, rest, err := splitNumber(number)
	switch {
	case err != nil:
		return 0, fmt.Errorf("percentage %q: %w", s, err)
	case rest != "":
		return 0, fmt.Errorf("percentage %q: %q after the number", s, rest)
	case len(fraction) > 2:
		return 0, fmt.Errorf("percentage %q has more than two digits after the point", s)
	}
	n, ok := scale(whole, fraction, 100)
	if !ok || n > math.MaxUint32 {
		return 0, fmt.Errorf("percentage %q is too large", s)
	}
	return n, nil
}

// ParseCPUQuota reads cpu_quota: a percentage of one processor, which may be
// more than 100%, in hundredths of a percent; at least 1%, which is the least
// that cpu.max of cgroup v2 takes at its longest period.
func ParseCPUQuota(s string) (uint64, error) {
	n, err := ParsePercent(s)
	if err != nil {
		return 0, err
	}
	if n < 100 {
		return 0, fmt.Errorf("cpu quota %q is less than 1%%; leave the key out for no quota", s)
	}
	return n, nil
}

// ParseIOBandwidth reads an entry of io_read_bandwidth_max and its like:
// "/dev/sda 5M", bytes a second. As in systemd.resource-control(5) the
// suffixes are powers of 1000 here.
func ParseIOBandwidth(s string) (IoLimit, error) { return parseIOLimit(s) }

// ParseIOOperations reads an entry of io_read_iops_max and its like, with the
// same syntax: operations a second.
func ParseIOOperations(s string) (IoLimit, error) { return parseIOLimit(s) }

func parseIOLimit(s string) (IoLimit, error) {
	words, err := splitWords(s, wordsUnquote)
	if err != nil {
		return IoLimit{}, fmt.Errorf("%q: %w", s, err)
	}
	if len(words) != 2 {
		return IoLimit{}, fmt.Errorf("%q: write a device and a limit, such as \"/dev/sda 5M\"", s)
	}
	device, err := cleanAbsolute(words[0])
	if err != nil {
		return IoLimit{}, err
	}
	n, err := parseSize(words[1], 1000)
	if err == nil && n == 0 {
		err = fmt.Errorf("a limit of 0 in %q would stop the service", s)
	}
	return IoLimit{Device: device, Value: n}, err
}
