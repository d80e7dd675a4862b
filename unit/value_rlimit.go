package unit

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ParseRlimit reads the value of key limit_KIND, where kind is "nofile", "cpu"
// and so on: one limit for both, or "soft:hard". As in systemd.exec(5), cpu is
// a time span in seconds, rttime one in microseconds, sizes take suffixes,
// nice takes a level with a sign or the raw limit, and "infinity" is none.
func ParseRlimit(kind, s string) (Rlimit, error) {
	soft, hard, pair := strings.Cut(s, ":")
	if !pair {
		hard = soft
	}
	var limit Rlimit
	var err error
	if limit.Soft, err = parseLimitValue(kind, soft); err != nil {
		return Rlimit{}, fmt.Errorf("limit_%s = %q: %w", kind, s, err)
	}
	if limit.Hard, err = parseLimitValue(kind, hard); err != nil {
		return Rlimit{}, fmt.Errorf("limit_%s = %q: %w", kind, s, err)
	}
	if limit.Soft > limit.Hard {
		return Rlimit{}, fmt.Errorf("limit_%s = %q: the soft limit is above the hard one", kind, s)
	}
	return limit, nil
}

func parseLimitValue(kind, s string) (uint64, error) {
	s = strings.Trim(s, blanks)
	if s == "infinity" {
		return Unlimited, nil
	}
	switch kind {
	case "cpu":
		return parseLimitTime(s, time.Second)
	case "rttime":
		return parseLimitTime(s, time.Microsecond)
	case "nice":
		return parseLimitNice(s)
	case "fsize", "data", "stack", "core", "rss", "as", "memlock", "msgqueue":
		return ParseSize(s)
	case "nofile", "nproc", "locks", "sigpending", "rtprio":
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil || n == Unlimited {
			return 0, fmt.Errorf("write a number or \"infinity\", not %q", s)
		}
		return n, nil
	}
	return 0, fmt.Errorf("there is no limit of that name")
}

// parseLimitTime rounds up to the limit's unit, because a limit of 0 seconds
// kills at once.
func parseLimitTime(s string, unit time.Duration) (uint64, error) {
	d, err := parseTimespan(s, unit)
	if err != nil {
		return 0, err
	}
	if d > math.MaxInt64-unit {
		return Unlimited, nil
	}
	return uint64((d + unit - 1) / unit), nil
}

// parseLimitNice reads RLIMIT_NICE: with a sign it is a nice level from -20 to
// 19, which the kernel counts as 40 to 1; without one it is that count.
func parseLimitNice(s string) (uint64, error) {
	n, err := strconv.Atoi(s)
	signed := s != "" && (s[0] == '+' || s[0] == '-')
	switch {
	case err != nil:
		return 0, fmt.Errorf("write a nice level with a sign, such as \"-5\", or a number from 0 to 40, not %q", s)
	case signed && (n < -20 || n > 19):
		return 0, fmt.Errorf("nice levels go from -20 to +19, not %q", s)
	case signed:
		return uint64(20 - n), nil
	case n > 40:
		return 0, fmt.Errorf("the limit of nice goes from 0 to 40, not %q", s)
	}
	return uint64(n), nil
}
