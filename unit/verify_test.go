package unit

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files of testdata")

// TestVerifyGolden verifies each file of testdata/verify and compares what is
// printed with the .txt beside it.
func TestVerifyGolden(t *testing.T) {
	paths, err := filepath.Glob("testdata/verify/*.toml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := os.ReadFile(path)
			must(t, err)
			root := tree(t, map[string]string{filepath.Base(path): string(text), "bin/tool": "#!/bin/sh\n"})
			must(t, os.Chmod(root+"/bin/tool", 0o755))
			reports := Verify([]string{filepath.Join(root, filepath.Base(path))}, nil, Options{Machine: testMachine()})
			got := strings.ReplaceAll(Format(reports), root+"/", "")
			golden := strings.TrimSuffix(path, ".toml") + ".txt"
			if *update {
				must(t, os.WriteFile(golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(golden)
			must(t, err)
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", golden, diff)
			}
		})
	}
}

func TestVerifyPaths(t *testing.T) {
	root := tree(t, map[string]string{
		"a.toml": simple, "a.toml.d/x.toml": "[service]\nnic = 5\n", "b.conf": "", "c d.toml": simple,
	})
	for file, want := range map[string]string{
		"a.toml.d/x.toml": "a.toml.d/x.toml:2:1: unknown key nic in [service]; did you mean nice?",
		"b.conf":          "b.conf: the name of a unit file ends in .toml",
		"none.toml":       "none.toml: cannot read: no such file",
		"c d.toml":        `c d.toml: unit name "c d":`,
	} {
		r := Verify([]string{filepath.Join(root, file)}, nil, Options{Machine: testMachine()})
		if got := strings.ReplaceAll(r[0].Errors.Error(), root+"/", ""); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q; want %q", file, got, want)
		}
	}
}

// TestDetailKeepsTabs: the caret stands under the key, whatever a tab is.
func TestDetailKeepsTabs(t *testing.T) {
	e := &Error{File: "f", Line: 12, Col: 2, Len: 3, Msg: "m", Hint: "h", Source: "\tabc = 1"}
	if got, want := e.Detail(), "f:12:2: error: m\n  12 | \tabc = 1\n     | \t^~~ h\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A program of the host's /tmp is not in the service's.
func TestVerifyUnseenProgram(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "nsinit-verify-")
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, os.WriteFile(dir+"/tool", nil, 0o755))
	for more, want := range map[string]bool{"": true, "private_tmp = false": false, "bind_paths = '/srv:" + dir + "'": false} {
		root := tree(t, map[string]string{"a.toml": "[service]\nexec_start = '" + dir + "/tool'\n[filesystem]\n" + more + "\n"})
		r := Verify([]string{root + "/a.toml"}, nil, Options{Machine: testMachine()})[0]
		if got := strings.Contains(r.Warnings.Error(), "tool: not inside, where the service has a /tmp"); got != want || len(r.Errors) > 0 {
			t.Errorf("%q: %v %v", more, r.Warnings, r.Errors)
		}
	}
}
