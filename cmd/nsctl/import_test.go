package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// runImport runs one nsctl import, without a manager.
func runImport(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	a := &app{out: &o, err: &e, env: func(string) string { return "" }}
	code = run(a, append([]string{"import"}, args...))
	return code, o.String(), e.String()
}

func TestImport(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good.service", "[Service]\nExecStart=/bin/true\n")
	lossy := write("lossy.service", "[Service]\nExecStart=/bin/true\nAppArmorProfile=x\n")
	bad := write("bad.service", "[Service]\nType=simple\n")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{good}, 0, "exec_start = \"/bin/true\""},
		{[]string{lossy}, 2, "PROTECTION LOST"},
		{[]string{lossy, "--json"}, 2, `"security_loss":true`},
		{[]string{good, bad}, 1, "exec_start = \"/bin/true\""},
		{[]string{bad}, 1, "bad.service: neither ExecStart= nor ExecStop="},
		{[]string{filepath.Join(dir, "none.service")}, 1, "no such file"},
		{[]string{good, "--profile", "soft"}, 1, "one of strict, daemon, host"},
		{[]string{good, "--profile", "strict"}, 0, "profile = \"strict\""},
		{[]string{"-"}, 1, "--name"},
		{[]string{"-o", dir, good}, 0, "good.toml: 1 mapped, 0 skipped, 0 not supported"},
		{[]string{"-o", dir, good}, 1, "there already; --force replaces it"},
		{[]string{"-o", dir, "--force", good}, 0, "good.toml"},
	} {
		code, out, errOut := runImport(t, c.args...)
		if code != c.code || !strings.Contains(out+errOut, c.want) {
			t.Errorf("import %v: exit %d, want %d with %q:\n%s%s", c.args, code, c.code, c.want, out, errOut)
		}
	}
	if data, err := os.ReadFile(filepath.Join(dir, "good.toml")); err != nil || !strings.Contains(string(data), "restart = \"no\"") {
		t.Errorf("%v\n%s", err, data)
	}
}
