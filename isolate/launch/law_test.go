package launch_test

import (
	"debug/elf"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const pkg = "github.com/nsinit/nsinit/isolate/launch."

// childEntries are where the kernel enters the child's code.
var childEntries = []string{pkg + "reaperMain", pkg + "programMain", pkg + "joinMain", pkg + "keeperMain"}

// childCode matches all that they may call.
var childCode = regexp.MustCompile(`^(github\.com/nsinit/nsinit/isolate/launch\.` +
	`(run|call|ownTable|verifyDir|tellPID|runPrograms|start|succeeded|reap|note|publish|pause|now|sys3|program|clone3|clone3\.abi0)` +
	`|syscall\.RawSyscall6?|internal/runtime/syscall/linux\.Syscall6(\.abi0)?)$`)

// build makes the driver with the given flags and environment.
func build(t *testing.T, env []string, flags ...string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "driver")
	cmd := exec.Command("go", slices.Concat([]string{"build", "-o", bin}, flags, []string{"./testdata/driver"})...)
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

// The child has text, read-only data and its arena, and nothing else.
func TestChildTouchesNothingElse(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			for _, wrong := range breaches(t, build(t, []string{"GOARCH=" + arch}), arch, childEntries) {
				t.Error(wrong)
			}
		})
	}
}

// The check sees what it looks for: code of the manager breaks every rule.
func TestBreachesAreFound(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		bin := build(t, []string{"GOARCH=" + arch})
		all := strings.Join(breaches(t, bin, arch, []string{pkg + "New"}), "\n")
		for _, want := range []string{"calls", "stack"} {
			if !strings.Contains(all, want) {
				t.Errorf("%s: no %q in\n%s", arch, want, all)
			}
		}
		if data := strings.Join(breaches(t, bin, arch, []string{"os.NewFile", "os.init.0", "os.Getenv", "syscall.runtime_envs", "os.runtime_args"}), "\n"); arch == "amd64" && !strings.Contains(data, "refers to") {
			t.Errorf("no reference to data found in\n%s", data)
		}
	}
}

// instruction is one line of go tool objdump.
type instruction struct {
	pc   uint64
	size uint64
	text string
}

// breaches follows the code from entries and lists what it may not do.
func breaches(t *testing.T, bin, arch string, entries []string) (wrong []string) {
	t.Helper()
	code := disassemble(t, bin)
	sections := readSections(t, bin)
	seen := map[string]bool{}
	for queue := slices.Clone(entries); len(queue) > 0; queue = queue[1:] {
		name := queue[0]
		if seen[name] {
			continue
		}
		seen[name] = true
		if len(code[name]) == 0 {
			if slices.Contains(childEntries, name) {
				t.Fatalf("%s is not in the binary", name)
			}
			continue
		}
		for _, in := range code[name] {
			if target, ok := callTarget(in.text); ok {
				// clone3 enters what it was given, once, in the child.
				if !childCode.MatchString(target) && !strings.HasPrefix(name, pkg+"clone3") {
					wrong = append(wrong, fmt.Sprintf("%s calls %s", name, target))
				}
				if childCode.MatchString(target) {
					queue = append(queue, target)
				}
				continue
			}
			if why := forbidden(in, arch, sections); why != "" {
				wrong = append(wrong, fmt.Sprintf("%s %s: %#x %s", name, why, in.pc, in.text))
			}
		}
	}
	return wrong
}

func callTarget(text string) (string, bool) {
	op, rest, _ := strings.Cut(text, " ")
	if op != "CALL" && !(strings.HasPrefix(op, "JMP") || op == "B") || !strings.HasSuffix(rest, "(SB)") && op != "CALL" {
		return "", false
	}
	return strings.TrimSuffix(rest, "(SB)"), true
}

var (
	ipRelative = regexp.MustCompile(`(-?0x[0-9a-f]+)\(IP\)`)
	symbol     = regexp.MustCompile(`([^ ,$]+)\(SB\)`)
	stackCheck = regexp.MustCompile(`0x10\(R14\)|16\(R28\)`)
)

// forbidden says what is wrong with an instruction that calls nothing.
func forbidden(in instruction, arch string, s sections) string {
	if stackCheck.MatchString(in.text) {
		return "checks its stack"
	}
	if m := ipRelative.FindStringSubmatch(in.text); m != nil {
		off, err := strconv.ParseInt(m[1], 0, 64)
		if at := uint64(int64(in.pc+in.size) + off); err != nil || !s.kept(at) {
			return "refers to data"
		}
	}
	if m := symbol.FindStringSubmatch(in.text); m != nil {
		if at, ok := s.symbols[m[1]]; !ok || !s.kept(at) {
			return "refers to " + m[1]
		}
	}
	// arm64 reaches data by pages; the child's code has no need of them at all.
	if arch == "arm64" && strings.HasPrefix(in.text, "ADRP") {
		return "refers to data"
	}
	return ""
}

func disassemble(t *testing.T, bin string) map[string][]instruction {
	t.Helper()
	out, err := exec.Command("go", "tool", "objdump", bin).Output()
	if err != nil {
		t.Fatal(err)
	}
	code, name := map[string][]instruction{}, ""
	for _, line := range strings.Split(string(out), "\n") {
		if rest, ok := strings.CutPrefix(line, "TEXT "); ok {
			name, _, _ = strings.Cut(rest, "(SB)")
			continue
		}
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		pc, err := strconv.ParseUint(f[1], 0, 64)
		raw, hexErr := hex.DecodeString(f[2])
		if err == nil && hexErr == nil {
			code[name] = append(code[name], instruction{pc, uint64(len(raw)), strings.Join(f[3:], " ")})
		}
	}
	return code
}

// sections are the parts of a binary that the child keeps, and where its symbols are.
type sections struct {
	ranges  [][2]uint64
	symbols map[string]uint64
}

func (s sections) kept(at uint64) bool {
	return slices.ContainsFunc(s.ranges, func(r [2]uint64) bool { return at >= r[0] && at < r[1] })
}

func readSections(t *testing.T, bin string) sections {
	t.Helper()
	f, err := elf.Open(bin)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := sections{symbols: map[string]uint64{}}
	for _, sec := range f.Sections {
		if sec.Name == ".text" || sec.Name == ".rodata" {
			s.ranges = append(s.ranges, [2]uint64{sec.Addr, sec.Addr + sec.Size})
		}
	}
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, sym := range symbols {
		s.symbols[sym.Name] = sym.Value
	}
	return s
}

// A build that breaks the law is refused before anything is launched.
func TestBuildsAreChecked(t *testing.T) {
	if out, err := exec.Command(build(t, nil)).CombinedOutput(); err != nil {
		t.Errorf("a lawful build is refused: %v\n%s", err, out)
	}
	// Stripped, as packages have it, it is lawful too.
	if out, err := exec.Command(build(t, nil, "-ldflags=-s -w", "-trimpath")).CombinedOutput(); err != nil {
		t.Errorf("a stripped build is refused: %v\n%s", err, out)
	}
	for _, c := range []struct {
		name  string
		env   []string
		flags []string
		want  string
	}{
		{"pie", nil, []string{"-buildmode=pie"}, "-buildmode=pie"},
		{"cgo", []string{"CGO_ENABLED=1"}, nil, "CGO_ENABLED=1"},
		{"race", []string{"CGO_ENABLED=1"}, []string{"-race"}, "-race"},
		{"cover", nil, []string{"-cover"}, "-cover"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := exec.LookPath("gcc"); err != nil && c.name == "race" {
				t.Skip("-race needs gcc")
			}
			out, err := exec.Command(build(t, c.env, c.flags...)).CombinedOutput()
			if err == nil || !strings.Contains(string(out), c.want) || !strings.Contains(string(out), "cannot launch: built with") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
