package unit

import (
	"strings"
	"testing"
)

func TestParseForward(t *testing.T) {
	for in, want := range map[string]string{
		"syslog": "syslog", "journal": "journal", "udp:192.0.2.7:514": "udp:192.0.2.7:514", "tcp:[2001:DB8::7]:6514": "tcp:[2001:db8::7]:6514",
		"tcp:logs.example.com:0514": "tcp:logs.example.com:514", "udp:[fe80::1%eth0]:514": "udp:[fe80::1%eth0]:514",
	} {
		if got, err := parseForward(in); got != want || err != nil {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for in, why := range map[string]string{
		"": "one of", "sylog": "one of", "tls:x:1": "one of", "udp:": "HOST:PORT", "udp:192.0.2.7": "HOST:PORT", "tcp:2001:db8::7:514": "HOST:PORT",
		"tcp:a:0": "port", "tcp:a:65536": "port", "tcp:a:syslog": "port", "tcp::514": "host name", "tcp:a b:514": "host name", "tcp:-x:514": "host name",
		"tcp:192.0.2.300:514": "host name", "tcp:a\x1b:514": "host name",
	} {
		if got, err := parseForward(in); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %q, %v; want %q", in, got, err, why)
		}
	}
}

func TestParseFilePattern(t *testing.T) {
	for in, want := range map[string]string{"/var/log/x.log": "/var/log/x.log", "/var/log//*.log": "/var/log/*.log", "/a/[ab]?": "/a/[ab]?"} {
		if got, err := parseFilePattern(in); got != want || err != nil {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for in, why := range map[string]string{"x.log": "absolute", "/": "directory", "/var/*/x.log": "last component", "/var/[a": "[ without ]"} {
		if got, err := parseFilePattern(in); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %q, %v; want %q", in, got, err, why)
		}
	}
}
