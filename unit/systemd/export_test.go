package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nsinit/nsinit/unit"
)

// TestExport writes a unit back: systemd takes it, and it says what it cannot.
func TestExport(t *testing.T) {
	u, errs := unit.Draft("x", "[unit]\nafter = 'network'\n[service]\nexec_start = [['/bin/true', 'a b', '$c']]\nenvironment = { A = '1 2' }\nexec_reload = '-/bin/kill -HUP $MAINPID'\nuser = 'daemon'\n"+
		"[isolation]\nprofile = 'daemon'\npid_max = 4096\n[filesystem]\nstate_directory = 'x'\n[resources]\nmemory_max = '64M'\n[install]\nwanted_by = 'default'\n", unit.Options{Machine: testMachine()})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	text, cannot, err := Export(u)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"After=network.target", "ExecStart=/bin/true \"a b\" ${c}", `Environment="A=1 2"`, "ExecReload=-/bin/kill -HUP $MAINPID", "Restart=on-failure", "PrivateTmp=true",
		"ProtectSystem=strict", "NoNewPrivileges=true", "CapabilityBoundingSet=\n", "StateDirectory=x", "MemoryMax=67108864", "WantedBy=multi-user.target"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if len(cannot) != 2 || !strings.Contains(strings.Join(cannot, "\n"), "isolation.pid_max = 4096") { // and the profile
		t.Errorf("cannot: %q", cannot)
	}
	path := filepath.Join(t.TempDir(), "x.service")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, _ := exec.Command("systemd-analyze", "verify", "--man=no", path).CombinedOutput(); strings.Contains(string(out), path) {
		t.Errorf("systemd: %s\n%s", out, text)
	}
}
