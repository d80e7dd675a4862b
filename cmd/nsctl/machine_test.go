package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nsinit/nsinit/supervisor/control"
)

func TestShutdownTime(t *testing.T) {
	now := time.Date(2026, 11, 30, 22, 15, 30, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"now": {}, "+0": {}, "0": {},
		"+5": now.Add(5 * time.Minute), "5": now.Add(5 * time.Minute),
		"23:00": time.Date(2026, 11, 30, 23, 0, 0, 0, time.UTC),
		"22:15": time.Date(2026, 12, 1, 22, 15, 0, 0, time.UTC),
		"7:05":  time.Date(2026, 12, 1, 7, 5, 0, 0, time.UTC),
	} {
		if got, err := shutdownTime(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "24:00", "12:60", "+", "-5", "12:5", "soon", "+1h"} {
		if got, err := shutdownTime(text, now); err == nil {
			t.Errorf("%q is taken as %v", text, got)
		}
	}
}

// The names that nsctl is linked as, with the options that people give them.
func TestLinks(t *testing.T) {
	for _, tt := range []struct {
		name string
		args string
		want string
	}{
		{"/sbin/poweroff", "", "poweroff"}, {"reboot", "-f", "reboot"}, {"halt", "", "halt"},
		{"halt", "-p", "poweroff"}, {"/usr/sbin/reboot", "--poweroff -d -n --no-wall", "poweroff"},
		{"poweroff", "--reboot", "reboot"}, {"poweroff", "--halt", "halt"}, {"reboot", "-w", ""},
		{"shutdown", "now", "poweroff"}, {"shutdown", "-r now", "reboot"}, {"shutdown", "-h now bye", "poweroff"},
		{"shutdown", "-H now", "halt"}, {"shutdown", "-P now", "poweroff"}, {"shutdown", "-c --no-wall", "cancel"},
	} {
		c := newCtl(t, control.RoleAdmin)
		if code, out, err := c.run(byName(tt.name, strings.Fields(tt.args))...); code != 0 {
			t.Errorf("%s %s: exit %d: %s%s", tt.name, tt.args, code, out, err)
		}
		if got := strings.Join(c.b.ended, " "); got != tt.want {
			t.Errorf("%s %s: asks for %q, want %q", tt.name, tt.args, got, tt.want)
		}
	}
	if got := byName("/usr/bin/nsctl", []string{"status"}); !slices.Equal(got, []string{"status"}) {
		t.Errorf("nsctl itself: %v", got)
	}
}

// Another init than nsinit gets no signal, however often it is forced. (Process
// 1 of the machine that runs this is not nsinit.)
func TestForceKnowsItsInit(t *testing.T) {
	c := newCtl(t, control.RoleAdmin)
	if code, _, err := c.run("poweroff", "--force", "--force"); code != 1 || !strings.Contains(err, "process 1 of this machine is not nsinit") {
		t.Errorf("exit %d: %s", code, err)
	}
	c.socket += "x"
	if code, _, err := c.run("reboot", "-f"); code != 1 || !strings.Contains(err, "is not nsinit") {
		t.Errorf("exit %d: %s", code, err)
	}
	if code, out, _ := c.run("is-system-running"); code != 1 || out != "offline\n" {
		t.Errorf("exit %d: %s", code, out)
	}
}

// With --json the end of the machine is told too, at once as later.
func TestEndsInJSON(t *testing.T) {
	for _, args := range []string{"poweroff --json", "shutdown --json now", "shutdown --json --no-wall +5"} {
		c := newCtl(t, control.RoleAdmin)
		if code, out, err := c.run(strings.Fields(args)...); code != 0 || !strings.Contains(out, `"shutdown":{"action":"poweroff"`) {
			t.Errorf("%s: exit %d: %s%s", args, code, out, err)
		}
	}
}
