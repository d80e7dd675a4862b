package unit

import (
	"fmt"
	"math"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestParseTimespan(t *testing.T) {
	tests := []struct {
		in   string
		want time.Duration
	}{
		{"0", 0},
		{"90", 90 * time.Second},
		{" 5min 20s ", 5*time.Minute + 20*time.Second},
		{"5min20s", 5*time.Minute + 20*time.Second},
		{"2h30", 2*time.Hour + 30*time.Second},
		{"1.5h", 90 * time.Minute},
		{".5", 500 * time.Millisecond},
		{"0.123456789s", 123456789},
		{"1ms 1us 1ns 1µs 1μs", time.Millisecond + 3*time.Microsecond + 1},
		{"1M 1m", 2629800*time.Second + time.Minute},
		{"1y 2 weeks 3days 4 hr", 31557600*time.Second + 17*24*time.Hour + 4*time.Hour},
		{"5 20", 25 * time.Second},
		{"292 years", 292 * 31557600 * time.Second},
		{"infinity", Infinity},
		{" infinity\n", Infinity},
	}
	for _, tt := range tests {
		got, err := ParseTimespan(tt.in)
		if err != nil || got != tt.want {
			t.Errorf("ParseTimespan(%q) = %v, %v; want %v", tt.in, got, err, tt.want)
		}
	}
}

func TestParseTimespanErrors(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", "empty"}, {" ", "empty"}, {"-5", "negative"}, {"5 -3s", "negative"}, {"s", "number"},
		{"5x", "unknown unit"}, {"5minx", "unknown unit"}, {"5S", "unknown unit"}, {"1.", "digit"},
		{"1.s", "digit"}, {"1.2.3", "second point"}, {"+5", "number"}, {"5 infinity", "unknown unit"}, {"infinity 5", "number"},
		{"293y", "292 years"}, {"9223372036854775807ns", "292 years"}, {"99999999999999999999", "292 years"},
		{"291y 291y", "292 years"}, {"0x10", "unknown unit"}, {"１", "number"},
	}
	for _, tt := range tests {
		got, err := ParseTimespan(tt.in)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("ParseTimespan(%q) = %v, %v; want an error with %q", tt.in, got, err, tt.want)
		}
	}
}

// systemdTimespan asks systemd-analyze(1) for the microseconds of a time span.
func systemdTimespan(t *testing.T, s string) (int64, bool) {
	t.Helper()
	out, err := exec.Command("systemd-analyze", "timespan", "--", s).Output()
	if err != nil {
		return 0, false
	}
	found := regexp.MustCompile(`(?m)^\s*μs: (\d+)$`).FindSubmatch(out)
	if found == nil {
		t.Fatalf("systemd-analyze timespan %q printed %s", s, out)
	}
	n, err := strconv.ParseInt(string(found[1]), 10, 64)
	return n, err == nil
}

func TestTimespanAsSystemd(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not installed; its answers are not compared")
	}
	for _, s := range []string{"0", "90", "5min 20s", "5min20s", "2h30", "1.5h", ".5", "1M 1m", "1y 2 weeks 3days 4 hr",
		"5 20", "0.123456s", "1us 1ms", "5s.5", "5 .5", "", "-5", "5x", "5minx", "5S", "1.", "1.s", "1.2.3", "5 infinity", "3months 2d 1.25 hours"} {
		got, err := ParseTimespan(s)
		want, ok := systemdTimespan(t, s)
		if ok != (err == nil) || ok && got != time.Duration(want)*time.Microsecond {
			t.Errorf("%q: ours %v, %v; systemd %dus, accepted %v", s, got, err, want, ok)
		}
	}
}

func FuzzParseTimespan(f *testing.F) {
	for _, seed := range []string{"5min 20s", "infinity", "1.5h", ".5", "292y", "1 2 3", "9e9"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseTimespan(s)
		if err != nil {
			return
		}
		if d < 0 {
			t.Fatalf("ParseTimespan(%q) = %v", s, d)
		}
		if d == math.MaxInt64 && strings.TrimSpace(s) != "infinity" {
			t.Fatalf("ParseTimespan(%q) is infinity", s)
		}
		if d == Infinity {
			return
		}
		again, err := ParseTimespan(fmt.Sprintf("%dns", d))
		if err != nil || again != d {
			t.Fatalf("%q is %d ns, which reads as %v, %v", s, d, again, err)
		}
	})
}
