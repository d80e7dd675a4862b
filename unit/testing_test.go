package unit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// testMachine is a machine that no test needs to be run on.
func testMachine() *SpecifierContext {
	return &SpecifierContext{
		Host: "box.example.org", MachineID: "0123456789abcdef0123456789abcdef", BootID: "fedcba9876543210fedcba9876543210",
		KernelRelease: "6.1.0", Architecture: "x86-64", OSRelease: map[string]string{"ID": "debian"},
		RuntimeDir: "/run", StateDir: "/var/lib", CacheDir: "/var/cache", LogsDir: "/var/log", ConfigDir: "/etc",
		TmpDir: "/tmp", VarTmpDir: "/var/tmp",
	}
}

// tree writes files below a fresh directory. A value that begins with "-> "
// makes a symbolic link.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// loadFiles loads a tree whose directories etc, run and lib are the search
// path.
func loadFiles(t testing.TB, files map[string]string) (*Set, string) {
	t.Helper()
	root := tree(t, files)
	return loadTree(root), root
}

func loadTree(root string) *Set {
	dirs := []string{root + "/etc", root + "/run", root + "/lib"}
	return LoadSet(dirs, Options{Machine: testMachine()})
}

// loadText loads one unit, with its name, and fails unless it is good.
func loadText(t testing.TB, name, text string) *Unit {
	t.Helper()
	s, _ := loadFiles(t, map[string]string{"etc/" + name + ".toml": text})
	return resolve(t, s, name)
}

func resolve(t testing.TB, s *Set, name string) *Unit {
	t.Helper()
	u, err := s.Resolve(name)
	if err != nil {
		t.Fatalf("Resolve(%q): %v", name, err)
	}
	return u
}

// errorsOf returns the errors of a bad unit without the directory.
func errorsOf(s *Set, root, name string) string {
	return strings.ReplaceAll(s.problems[name].Error(), root+"/", "")
}

func warningsOf(u *Unit, root string) string {
	return strings.ReplaceAll(u.Warnings.Error(), root+"/", "")
}

// simple is the least that a service must say.
const simple = "[service]\nexec_start = '/bin/x'\n"
