package main

import (
	"strings"
	"testing"

	"github.com/nsinit/nsinit/unit"
)

func TestWrite(t *testing.T) {
	var out strings.Builder
	write(&out, []unit.Key{
		{Table: "service", Name: "exec_start", Systemd: "ExecStart", Type: "command", Doc: "The program.", Repeatable: true, Example: `exec_start = "/x"`, Supported: true},
		{Table: "service", Name: "pid_file", Type: "path", Doc: "A file."},
		{Table: "log", Name: "max_size", Type: "size", Default: "10M", Doc: "Size.", Example: `max_size = "1M"`, Supported: true},
	})
	const want = "\n# KEYS\n\n## [service]\n\n" +
		"**exec\\_start** (command)\n: The program. May be an array. systemd: ExecStart=. Example: `exec_start = \"/x\"`\n\n" +
		"Refused for now with \"not supported yet\": **pid\\_file**.\n" +
		"\n## [log]\n\n" +
		"**max\\_size** (size)\n: Size. Default: 10M. systemd has no such key. Example: `max_size = \"1M\"`\n\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

// TestEveryKeyIsThere: each key of the loader has its entry, none twice.
func TestEveryKeyIsThere(t *testing.T) {
	var out strings.Builder
	keys := unit.Keys()
	write(&out, keys)
	supported := 0
	for _, key := range keys {
		if key.Supported {
			supported++
		}
	}
	if got := strings.Count(out.String(), "\n: "); got != supported || supported == 0 {
		t.Errorf("%d entries for %d keys in force", got, supported)
	}
}
