package main_test

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The binaries' sizes in bytes, stripped, on amd64.
const (
	nsinitLimit = 11_000_000
	nsctlLimit  = 9_000_000
)

// makeBinaries builds both with the Makefile's own flags, as they are shipped.
func makeBinaries(t *testing.T, arch string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	cmd := exec.Command("make", "-s", "build", "BIN="+dir, "GOARCH="+arch)
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make build for %s: %v\n%s", arch, err, out)
	}
	return dir
}

// TestShippedBinaries: static and not PIE, because the code that runs in a bare
// fork needs fixed addresses and nobody's thread-local storage; and small.
func TestShippedBinaries(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		t.Run(arch, func(t *testing.T) {
			dir := makeBinaries(t, arch)
			for name, limit := range map[string]int64{"nsinit": nsinitLimit, "nsctl": nsctlLimit} {
				file := filepath.Join(dir, name)
				checkStatic(t, file, machine)
				info, err := os.Stat(file)
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%s %s: %d bytes", arch, name, info.Size())
				if info.Size() > limit {
					t.Errorf("%s has %d bytes, %d are allowed", name, info.Size(), limit)
				}
			}
		})
	}
}

func checkStatic(t *testing.T, file string, machine elf.Machine) {
	t.Helper()
	f, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Machine != machine {
		t.Errorf("%s is for %v, want %v", file, f.Machine, machine)
	}
	if f.Type != elf.ET_EXEC {
		t.Errorf("%s is %v, want %v: position-independent code is refused at start", file, f.Type, elf.ET_EXEC)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("%s has a %v segment: it is not static", file, p.Type)
		}
	}
	if f.Section(".symtab") != nil || f.Section(".debug_info") != nil {
		t.Errorf("%s is not stripped", file)
	}
}
