package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func lane(t *testing.T, skips string, events ...string) (bool, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "skips")
	if err := os.WriteFile(file, []byte(skips), 0o644); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	argv := append([]string{"printf", "%s\\n"}, events...)
	ok, err := run("lane", file, argv, &out)
	if err != nil {
		t.Fatal(err)
	}
	return ok, out.String()
}

func TestLane(t *testing.T) {
	const (
		pass = `{"Action":"pass","Package":"p","Test":"TestA"}`
		said = `{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:3: no veth here\n"}`
		skip = `{"Action":"skip","Package":"p","Test":"TestB"}`
		none = `{"Action":"skip","Package":"q"}`
		fail = `{"Action":"fail","Package":"p","Test":"TestB"}`
	)
	for _, tc := range []struct {
		name, skips string
		events      []string
		ok          bool
		want        string
	}{
		{"pass", "", []string{pass}, true, "lane: 1 passed, 0 failed, 0 skipped (0 unexpected)"},
		{"package without tests", "", []string{none}, true, "0 skipped"},
		{"unexpected skip", "", []string{pass, said, skip}, false, "skip (UNEXPECTED) p TestB: b_test.go:3: no veth here"},
		{"expected skip", "# why\np TestB needs veth\n", []string{said, skip}, true, "1 skipped (0 unexpected)"},
		{"skip of another package", "q TestB needs veth\n", []string{said, skip}, false, "(1 unexpected)"},
		{"failure", "", []string{said, fail}, false, "FAIL p TestB\n    b_test.go:3: no veth here\n"},
		{"failure and its package", "", []string{fail, `{"Action":"fail","Package":"p"}`}, false, "0 passed, 1 failed"},
		{"package that was not built", "", []string{`{"Action":"fail","Package":"p"}`}, false, "0 passed, 1 failed"},
		{"no event", "", []string{"panic: no"}, true, "panic: no"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ok, out := lane(t, tc.skips, tc.events...)
			if ok != tc.ok || !strings.Contains(out, tc.want) {
				t.Errorf("passed = %v, want %v; output, which should contain %q:\n%s", ok, tc.ok, tc.want, out)
			}
		})
	}
}

func TestFailedCommand(t *testing.T) {
	var out strings.Builder
	ok, err := run("lane", "", []string{"false"}, &out)
	if ok || err != nil {
		t.Errorf("run = %v, %v; want a failed lane\n%s", ok, err, out.String())
	}
}

func TestSkipFileErrors(t *testing.T) {
	if _, err := readSkips(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a missing file of expected skips is no error")
	}
	file := filepath.Join(t.TempDir(), "skips")
	if err := os.WriteFile(file, []byte("p TestB\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readSkips(file); err == nil {
		t.Error("a skip without a reason is no error")
	}
}
