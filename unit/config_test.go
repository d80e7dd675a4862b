package unit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nsinit.toml")
	must(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

func TestConfigIsBelowTheUnit(t *testing.T) {
	config, err := LoadConfig(writeConfig(t, "default_network = 'private'\n[defaults.log]\nmax_size = '1M'\nforward = 'journal'\n"+
		"[defaults.resources]\ntasks_max = 100\n[defaults.service]\ntimeout_stop_sec = 7\ntimeout_start_sec = 8\nlimit_nofile = 5000\nrestart = 'always'\n[defaults.unit]\nstart_limit_burst = 9\n"))
	must(t, err)
	root := tree(t, map[string]string{
		"etc/a.toml": simple + "[isolation]\nprofile = 'daemon'\n",
		"etc/b.toml": simple + "timeout_stop_sec = 3\n[log]\nmax_size = '2M'\nforward = []\n",
		"etc/c.toml": simple + "type = 'oneshot'\n",
	})
	s := LoadSet([]string{root + "/etc"}, Options{Config: config, Machine: testMachine()})
	a, b, c := resolve(t, s, "a"), resolve(t, s, "b"), resolve(t, s, "c")
	if a.Network.Mode != "private" || a.Log.MaxSize != 1<<20 || len(a.Log.Forward) != 1 || a.Resources.TasksMax.Value != 100 ||
		a.Service.TimeoutStopSec != 7*time.Second || a.Service.TimeoutStartSec != 8*time.Second || a.Service.LimitNofile.Soft != 5000 ||
		a.Service.Restart != "always" || a.StartLimitBurst != 9 {
		t.Errorf("defaults: %+v %+v %+v", a.Network, a.Log, a.Service)
	}
	if b.Service.TimeoutStopSec != 3*time.Second || b.Log.MaxSize != 2<<20 || len(b.Log.Forward) != 0 {
		t.Errorf("a written key does not win: %+v", b.Log)
	}
	if c.Service.Restart != "no" || c.Service.TimeoutStartSec != Infinity {
		t.Errorf("oneshot: %q %v", c.Service.Restart, c.Service.TimeoutStartSec)
	}
}

func TestConfigErrors(t *testing.T) {
	for text, want := range map[string]string{
		"default_network = 'vlan'\n":                                             `:1:19: default_network = "vlan": one of private, host, veth; a vlan needs more than that`,
		"default_network = 5\n":                                                  `:1:19: default_network = 5: one of private, host, veth`,
		"bridge = 'x'\n":                                                         ":1:1: bridge is a table: write [bridge.default] or [bridge.NAME]",
		"[bridge]\nnat = true\n":                                                 ":2:1: nat stands in no bridge: write [bridge.default] or [bridge.NAME]",
		"[bridge.'a b']\n":                                                       `:1:9: [bridge.a b]: "a b" is no name of a bridge`,
		"[bridge.x]\npol = '10.9.0.0/24'\n":                                      ":2:1: unknown key pol in [bridge.x]; did you mean pool?",
		"[bridge.x]\npool = '10.9.0.1/24'\n":                                     `:2:8: pool: "10.9.0.1/24" has bits of a host; the network is "10.9.0.0/24"`,
		"[bridge.x]\npool = ['10.9.0.0/24', '10.9']\n":                           `:2:24: pool: "10.9" is no address with a prefix length`,
		"[bridge.x]\npool = '10.9.0.0/31'\n":                                     `:2:8: pool: "10.9.0.0/31": a pool has a prefix length from 8 to 30`,
		"[bridge.x]\npool = ['10.9.0.0/24', '10.8.0.0/24']\n":                    ":2:1: pool: 10.9.0.0/24 and 10.8.0.0/24: a bridge has one of IPv4 and one of IPv6",
		"[bridge.x]\nlink = 'way-too-long-name'\n":                               `:2:8: link: "way-too-long-name" is no name of a link: at most 15`,
		"[bridge.x]\nmtu = 10\n":                                                 ":2:7: mtu = 10: between 68 and 65535",
		"[bridge.x]\nnat = 'yes'\n":                                              ":2:7: nat = \"yes\": true or false",
		"[bridge.x]\ninternal = true\nnat = true\n":                              ":3:1: nat = true: an internal bridge has no way outside",
		"[bridge.a]\npool = '10.9.0.0/24'\n[bridge.b]\npool = '10.9.0.128/25'\n": `:4:1: pool = "10.9.0.128/25" shares addresses with that of [bridge.a], 10.9.0.0/24`,
		"[bridge.a]\nlink = 'x0'\n[bridge.b]\nlink = 'x0'\n":                     `:3:9: link = "x0" is that of [bridge.a] too`,
		"defaultnetwork = 'host'\n":                                              ":1:1: unknown key defaultnetwork; did you mean default_network?",
		"[defaults.security]\nno_new_privileges = false\n":                       ":1:11: [defaults.security]: only service, unit, resources and log have defaults here",
		"[defaults.service]\nexec_start = '/bin/x'\n":                            ":2:1: exec_start belongs to a unit and has no default for all",
		"[defaults.service]\nrestart = 'x'\n":                                    ":2:11: restart = \"x\": one of no,",
		"[defaults.log]\nmax_sise = 1\n":                                         ":2:1: unknown key max_sise in [log]; did you mean max_size?",
		"watchdog_sec = 'x'\n":                                                   `:1:16: watchdog_sec = "x": a time from 1s to 1h`,
		"watchdog_sec = 0.5\n":                                                   `:1:16: watchdog_sec = 0.5: a time from 1s to 1h`,
		"watchdog_sec = true\n":                                                  `:1:16: watchdog_sec = true: a time from 1s to 1h`,
		"watchdog_sec = '2h'\n":                                                  `:1:16: watchdog_sec = "2h": a time from 1s to 1h`,
		"a = " + strings.Repeat("[", 100) + "\n":                                 ":1:20: nested deeper than 16 levels",
	} {
		_, err := LoadConfig(writeConfig(t, text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
	for text, want := range map[string]time.Duration{"watchdog_sec = 30\n": 30 * time.Second, "watchdog_sec = '1min'\n": time.Minute, "watchdog_sec = 0\n": 0, "": 0} {
		if config, err := LoadConfig(writeConfig(t, text)); err != nil || config.WatchdogSec != want {
			t.Errorf("%q: %v %v; want %v", text, config.WatchdogSec, err, want)
		}
	}
	config, err := LoadConfig("/nonexistent/nsinit.toml")
	if err != nil || config.DefaultNetwork != "host" {
		t.Errorf("no file: %+v %v", config, err)
	}
}

func TestConfigSockets(t *testing.T) {
	c, err := LoadConfig(writeConfig(t, "syslog_socket = '/run/x/log'\njournal_socket = '/run//x/journal'\n[defaults.log]\nforward = 'syslog'\n"))
	if err != nil || c.SyslogSocket != "/run/x/log" || c.JournalSocket != "/run/x/journal" {
		t.Errorf("%+v, %v", c, err)
	}
	for _, bad := range []string{"syslog_socket = 'log'\n", "journal_socket = 1\n", "syslog_socket = '/" + strings.Repeat("x", 107) + "'\n", "syslog_sock = '/x'\n"} {
		if _, err := LoadConfig(writeConfig(t, bad)); err == nil || !strings.Contains(err.Error(), "nsinit.toml:1:") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
