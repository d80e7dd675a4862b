package systemd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func foreign(t *testing.T, name, text string) ([]*Result, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return ImportAny(path, "", Host{Root: "-", Machine: testMachine()})
}

func TestInitScript(t *testing.T) {
	results, err := foreign(t, "oldd", "#!/bin/sh\n### BEGIN INIT INFO\n# Provides: oldd\n# Required-Start: $network $remote_fs other\n#\tthird\n# Should-Start: $syslog\n# Default-Start: 2 3 4 5\n# Short-Description: Old daemon\n### END INIT INFO\nPIDFILE=/var/run/oldd.pid\ncase \"$1\" in reload) ;; esac\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`description = "Old daemon"`, `after = ["network-online", "remote-fs", "other", "third"]`, "oldd start\"\n", "oldd stop\"\n", "oldd reload\"\n",
		`wanted_by = "default"`, `profile = "host"`} {
		if !strings.Contains(results[0].TOML, want) {
			t.Errorf("no %s in\n%s", want, results[0].TOML)
		}
	}
	if _, err := foreign(t, "bad", "#!/bin/sh\n\n### BEGIN INIT INFO\n# Provides: x\n"); err == nil || !strings.Contains(err.Error(), "bad:3: the LSB header never ends") {
		t.Errorf("got %v", err)
	}
	if _, err := foreign(t, "none", "#!/bin/sh\n"); err == nil || !strings.Contains(err.Error(), "neither a unit of systemd") {
		t.Errorf("got %v", err)
	}
}

func TestSupervisord(t *testing.T) {
	results, err := foreign(t, "supervisord.conf", "[supervisord]\nnodaemon=true\n[program:app]\ncommand=/usr/bin/app --rate 5%% ; a comment\ndirectory=/srv/app\nenvironment=A=\"1\",B=\"two words\"\nstopsignal=QUIT\nautorestart=true\nnumprocs=2\n[program:other]\ncommand=/usr/bin/other\nautostart=false\n")
	if err != nil || len(results) != 2 {
		t.Fatalf("%v %v", results, err)
	}
	for _, want := range []string{`restart = "always"`, `working_directory = "/srv/app"`, `environment = { A = "1", B = "two words" }`, `kill_signal = "SIGQUIT"`,
		"timeout_stop_sec = 10\n", `wanted_by = "default"`, "#   numprocs=2\n"} {
		if !strings.Contains(results[0].TOML, want) {
			t.Errorf("no %s in\n%s", want, results[0].TOML)
		}
	}
	if results[1].Name != "other" || strings.Contains(results[1].TOML, "wanted_by") {
		t.Errorf("other:\n%s", results[1].TOML)
	}
	if _, err := foreign(t, "s.conf", "[program:app]\ndirectory=/\n"); err == nil || !strings.Contains(err.Error(), "no command") {
		t.Errorf("got %v", err)
	}
}
