package notify

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     Message
		err      error
	}{
		{name: "empty", in: ""},
		{name: "only newlines", in: "\n\n\n"},
		{name: "ready", in: "READY=1", want: Message{Ready: true}},
		{name: "usual start", in: "READY=1\nSTATUS=Serving 3 clients\nMAINPID=4711\n",
			want: Message{Ready: true, HasStatus: true, Status: "Serving 3 clients", MainPID: 4711}},
		{name: "reload", in: "RELOADING=1\nMONOTONIC_USEC=12345", want: Message{Reloading: true, MonotonicUsec: 12345}},
		{name: "stop", in: "STOPPING=1\nEXTEND_TIMEOUT_USEC=5000000",
			want: Message{Stopping: true, ExtendTimeout: 5 * time.Second}},
		{name: "watchdog", in: "WATCHDOG=1", want: Message{Watchdog: WatchdogPing}},
		{name: "watchdog trigger wins", in: "WATCHDOG=trigger\nWATCHDOG=1", want: Message{Watchdog: WatchdogTrigger}},
		{name: "status may be emptied", in: "STATUS=", want: Message{HasStatus: true}},
		{name: "status keeps equal signs", in: "STATUS=a=b=c", want: Message{HasStatus: true, Status: "a=b=c"}},
		{name: "first of two counts", in: "STATUS=a\nSTATUS=b\nMAINPID=2\nMAINPID=3",
			want: Message{HasStatus: true, Status: "a", MainPID: 2}},
		{name: "failure", in: "ERRNO=2\nEXIT_STATUS=3\nBUSERROR=org.example.Bad",
			want: Message{HasErrno: true, Errno: 2, HasExitStatus: true, ExitStatus: 3, BusError: "org.example.Bad"}},
		{name: "barrier", in: "BARRIER=1", want: Message{Barrier: true}},
		{name: "barrier with newline", in: "BARRIER=1\n", want: Message{Barrier: true}},
		{name: "unknown keys are for others", in: "X_FOO=1\nMAINPIDFDID=9\nMAINPIDFD=1\nready=1"},
		{name: "fd store", in: "FDSTORE=1\nFDNAME=a", want: Message{Unsupported: []string{"FDSTORE", "FDNAME"}}},
		{name: "trailing NUL", in: "READY=1\x00", want: Message{Ready: true}},

		// The hostile ones.
		{name: "NUL inside", in: "READY=1\x00\nMAINPID=5", err: ErrNUL},
		{name: "two NULs at the end", in: "READY=1\x00\x00", err: ErrNUL},
		{name: "4095 bytes", in: "READY=1\n" + strings.Repeat("x", 4095-8),
			want: Message{Ready: true, Problems: []string{strings.Repeat("?", 200)}}},
		{name: "4096 bytes", in: "X=" + strings.Repeat("x", 4094)},
		{name: "4097 bytes", in: "X=" + strings.Repeat("x", 4095), err: ErrTooLong},
		{name: "64 KiB", in: strings.Repeat("x", 64<<10), err: ErrTooLong},
		{name: "no newline, no key", in: "READY", want: Message{Problems: []string{`"READY" is not KEY=VALUE`}}},
		{name: "256 lines", in: strings.Repeat("A=\n", 255) + "READY=1", want: Message{Ready: true}},
		{name: "257 lines", in: strings.Repeat("A=\n", 256) + "READY=1", err: ErrTooManyLines},
		{name: "10000 lines", in: strings.Repeat("\n", 9999) + "READY=1", err: ErrTooLong},
		{name: "STATUS with ANSI", in: "STATUS=\x1b[31mred\x1b[0m \x1b]0;title\x07ok\tx", want: Message{HasStatus: true, Status: "red ok x"}},
		{name: "STATUS with C1", in: "STATUS=a\u009b31mb\u009d0;t\x07c", want: Message{HasStatus: true, Status: "abc"}},
		{name: "STATUS not UTF-8", in: "STATUS=a\xffb\xc3", want: Message{HasStatus: true, Status: "a\ufffdb\ufffd"}},
		{name: "STATUS turns text around", in: "STATUS=a\u202eb\u2066c\u200bd", want: Message{HasStatus: true, Status: "abcd"}},
		{name: "STATUS ends in ESC", in: "STATUS=a\x1b", want: Message{HasStatus: true, Status: "a"}},
		{name: "STATUS too long", in: "STATUS=" + strings.Repeat("\u00e9", 1000),
			want: Message{HasStatus: true, Status: strings.Repeat("\u00e9", (MaxStatus-3)/2) + "..."}},
		{name: "STATUS 16385 bytes", in: "STATUS=" + strings.Repeat("x", 16385-7), err: ErrTooLong},
		{name: "barrier mixed", in: "READY=1\nBARRIER=1", want: Message{Ready: true, Problems: []string{"BARRIER has to be alone in its datagram"}}},
		{name: "MAINPID=0", in: "MAINPID=0", want: Message{Problems: []string{"MAINPID=0 cannot be the main process of a service"}}},
		{name: "MAINPID=1", in: "MAINPID=1", want: Message{Problems: []string{"MAINPID=1 cannot be the main process of a service"}}},
		{name: "MAINPID=-1", in: "MAINPID=-1", want: Message{Problems: []string{`MAINPID="-1": not a number from 0 to 4194304`}}},
		{name: "MAINPID=2^31", in: "MAINPID=2147483648", want: Message{Problems: []string{`MAINPID="2147483648": not a number from 0 to 4194304`}}},
		{name: "MAINPID=+5", in: "MAINPID=+5", want: Message{Problems: []string{`MAINPID="+5": not a number from 0 to 4194304`}}},
		{name: "MAINPID empty", in: "MAINPID=", want: Message{Problems: []string{`MAINPID="": not a number from 0 to 4194304`}}},
		{name: "WATCHDOG_USEC=0", in: "WATCHDOG_USEC=0", want: Message{HasWatchdogUsec: true}},
		{name: "WATCHDOG_USEC=1", in: "WATCHDOG_USEC=1", want: Message{HasWatchdogUsec: true, WatchdogUsec: time.Microsecond}},
		{name: "WATCHDOG_USEC=2^64-1", in: "WATCHDOG_USEC=18446744073709551615", want: Message{HasWatchdogUsec: true, WatchdogUsec: Infinity}},
		{name: "WATCHDOG_USEC=2^64", in: "WATCHDOG_USEC=18446744073709551616",
			want: Message{Problems: []string{`WATCHDOG_USEC="18446744073709551616": not a number from 0 to 18446744073709551615`}}},
		{name: "EXTEND_TIMEOUT_USEC for ever", in: "EXTEND_TIMEOUT_USEC=18446744073709551615", want: Message{ExtendTimeout: Infinity}},
		{name: "ERRNO too large", in: "ERRNO=99999", want: Message{Problems: []string{`ERRNO="99999": not a number from 0 to 4095`}}},
		{name: "flag of another value", in: "READY=2", want: Message{Problems: []string{`READY="2": only 1 has a meaning`}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Parse([]byte(tc.in))
			if !errors.Is(err, tc.err) {
				t.Fatalf("error %v, want %v", err, tc.err)
			}
			if tc.name == "4095 bytes" && len(got.Problems) == 1 && len(got.Problems[0]) == 200 {
				got.Problems[0] = strings.Repeat("?", 200)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func TestProblemsAreBounded(t *testing.T) {
	var in strings.Builder
	for i := range 200 {
		fmt.Fprintf(&in, "READY=%d0\nFDPOLL=\n", i%10)
		if in.Len() > 2000 {
			break
		}
	}
	m, err := Parse([]byte(in.String()))
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Problems) != maxProblems || len(m.Unsupported) != maxProblems {
		t.Errorf("%d problems, %d unsupported, want %d of each", len(m.Problems), len(m.Unsupported), maxProblems)
	}
}

func FuzzNotify(f *testing.F) {
	for _, s := range []string{"", "READY=1", "BARRIER=1", "STATUS=\x1b[31m\xff\u009b", "MAINPID=-1\nWATCHDOG_USEC=18446744073709551615",
		"READY=1\x00", "FDSTORE=1\nFDNAME=x", strings.Repeat("A=\n", 300), "STATUS=\u202e" + strings.Repeat("\u00e9", 2000)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		m, err := Parse(in)
		if err != nil {
			if d := cmp.Diff(Message{}, m); d != "" {
				t.Errorf("a dropped datagram still says something:\n%s", d)
			}
			return
		}
		checkText(t, m.Status, MaxStatus)
		checkText(t, m.BusError, 255)
		for _, p := range m.Problems {
			checkText(t, p, 200)
		}
		if m.MainPID == 1 || m.MainPID < 0 || m.ExtendTimeout < 0 || m.WatchdogUsec < 0 || m.ExitStatus > 255 || m.Errno < 0 {
			t.Errorf("out of range: %+v", m)
		}
		if len(m.Problems) > maxProblems || len(m.Unsupported) > maxProblems {
			t.Errorf("unbounded: %+v", m)
		}
	})
}

func checkText(t *testing.T, s string, limit int) {
	t.Helper()
	if len(s) > limit || !utf8.ValidString(s) {
		t.Errorf("%q is longer than %d bytes or not UTF-8", s, limit)
	}
	for _, r := range s {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			t.Errorf("%q has control character %U", s, r)
		}
	}
}
