package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// place is where the tests that launch services keep what they make. Services
// see it, unlike /tmp and /run, of which each has its own. It is removed when
// all tests have ended.
var place = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("/var/lib", "nst-")
	if err != nil {
		return "", fmt.Errorf("cannot make a place for the tests: %w", err)
	}
	return dir, os.Chmod(dir, 0o755) // services of other users look into it
})

// binaries is the directory with nsinit, nsctl and probe: built once, nsinit
// and nsctl as they are in NSINIT_BIN_DIR where that is set.
var binaries = sync.OnceValues(func() (string, error) {
	root, err := place()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(root, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		return "", err
	}
	for name, pkg := range map[string]string{"nsinit": "./cmd/nsinit", "nsctl": "./cmd/nsctl", "probe": "./cmd/nsinit/testdata/probe"} {
		file := filepath.Join(bin, name)
		if made := os.Getenv("NSINIT_BIN_DIR"); made != "" && name != "probe" {
			// A copy: services may be kept from seeing the original's directory.
			err = exec.Command("cp", filepath.Join(made, name), file).Run()
		} else {
			err = build(pkg, file)
		}
		if err != nil {
			return "", fmt.Errorf("cannot get %s: %w", name, err)
		}
	}
	return bin, nil
})

// build makes one binary as it is shipped (GOBUILD of the Makefile): static, no
// PIE, and without HTTP/2.
func build(pkg, file string) error {
	cmd := exec.Command("go", "build", "-buildmode=exe", "-tags=nethttpomithttp2", "-o", file, pkg)
	cmd.Dir, cmd.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

func needBinaries(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("namespaces and cgroups need root")
	}
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// TestMain removes what the tests shared.
func TestMain(m *testing.M) {
	code := m.Run()
	if os.Getuid() == 0 {
		if root, err := place(); err == nil {
			os.RemoveAll(root)
		}
	}
	os.Exit(code)
}
