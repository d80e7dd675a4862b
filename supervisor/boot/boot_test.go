package boot

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// What cannot be used is said, with its place.
func TestProblemsNameTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"a+ /run/log - - - - d:group::r-x": `f:1: cannot use a line of type "a+"`,
		"d run/x":                          "must be absolute",
		"d /run/x 9":                       `cannot use "9" as a mode`,
		"d /run/%Q":                        "%Q",
		"d":                                "a type and a path",
		`d "/run/x`:                        "a quote is not closed",
		"d? /x":                            "modifier",
	} {
		_, problems := parseEntries(splitLines("f", text), specifiers("/"))
		if len(problems) != 1 || !strings.Contains(problems[0].Error(), want) {
			t.Errorf("%q: %v; want %q", text, problems, want)
		}
	}
	for text, want := range map[string]string{"x y": `f:1: cannot use a line of type "x"`, "u Bad:name": "as a name", "u a - b c d e": "sixth field", "u a - %m": "specifiers",
		"u a - x:y": "colon"} {
		if _, problems := parseAccounts(splitLines("f", text)); len(problems) != 1 || !strings.Contains(problems[0].Error(), want) {
			t.Errorf("%q: %v; want %q", text, problems, want)
		}
	}
}

func TestParsersTakeAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`([dfwLzZrux+!~^-]{1,3}[ \t"'\\%/a-z0-9:.*=\n-]{0,30})+`).Draw(t, "text")
		lines := splitLines("f", text)
		parseEntries(lines, specifiers("/"))
		parseAccounts(lines)
		parseSysctls(lines)
	})
}

func TestParseSysctls(t *testing.T) {
	settings, problems := parseSysctls(splitLines("f", "kernel.a = 1\nnet.ipv4.conf.eth0/1.x=2\nnet/ipv4/conf/eth0.1/y=3\n-opt.b=4\n-net.ipv4.conf.*.z\n;c\nkernel.a=5\nbad\nk.../x=1\n"))
	type short struct {
		path, value       string
		optional, exclude bool
	}
	var got []short
	for _, s := range settings {
		got = append(got, short{s.path, s.value, s.optional, s.exclude})
	}
	want := []short{{"kernel/a", "5", false, false}, {"net/ipv4/conf/eth0.1/x", "2", false, false}, {"net/ipv4/conf/eth0.1/y", "3", false, false},
		{"opt/b", "4", true, false}, {"net/ipv4/conf/*/z", "", true, true}}
	if !reflect.DeepEqual(got, want) || len(problems) != 2 {
		t.Errorf("%+v\n%v", got, problems)
	}
}

// Written values, wildcards and what a wildcard leaves alone.
func TestApplySysctls(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"k/a", "c/one/x", "c/two/x", "c/three/x"} {
		os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755)
		os.WriteFile(filepath.Join(dir, name), nil, 0o644)
	}
	settings, _ := parseSysctls(splitLines("f", "k.a=1\nc.*.x=2\nc.two.x=3\n-c.three.x\nk.none=4\n-k.none2=5\n"))
	problems := applySysctls(dir, settings)
	for name, want := range map[string]string{"k/a": "1\n", "c/one/x": "2\n", "c/two/x": "3\n", "c/three/x": ""} {
		if b, _ := os.ReadFile(filepath.Join(dir, name)); string(b) != want {
			t.Errorf("%s is %q; want %q", name, b, want)
		}
	}
	if len(problems) != 1 || !strings.Contains(problems[0].Error(), "f:5: cannot set the kernel parameter k/none") {
		t.Error(problems)
	}
}

// An ID is made once, and what is no ID is replaced.
func TestMachineID(t *testing.T) {
	root := t.TempDir()
	os.Mkdir(filepath.Join(root, "etc"), 0o755)
	path := filepath.Join(root, "etc/machine-id")
	for _, before := range []string{"", "uninitialized\n", "123", strings.Repeat("0", 32)} {
		os.Remove(path)
		if before != "" {
			os.WriteFile(path, []byte(before), 0o444)
		}
		if err := machineID(root); err != nil {
			t.Fatal(err)
		}
		first, _ := os.ReadFile(path)
		if !validID(strings.TrimSpace(string(first))) || string(first) == before {
			t.Errorf("%q became %q", before, first)
		}
		if err := machineID(root); err != nil {
			t.Fatal(err)
		}
		if again, _ := os.ReadFile(path); string(again) != string(first) {
			t.Errorf("the ID %q became %q", first, again)
		}
	}
}

// What the kernel leaves open is closed, unless a file says otherwise.
func TestProtections(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{"proc/sys/fs/protected_hardlinks": "0\n", "proc/sys/fs/protected_regular": "0\n", "etc/sysctl.d/a.conf": "fs.protected_regular = 2\n"} {
		os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755)
		os.WriteFile(filepath.Join(root, name), []byte(text), 0o644)
	}
	if problems := sysctls(root); len(problems) > 0 {
		t.Error(problems)
	}
	for name, want := range map[string]string{"hardlinks": "1\n", "regular": "2\n"} {
		if b, _ := os.ReadFile(filepath.Join(root, "proc/sys/fs/protected_"+name)); string(b) != want {
			t.Errorf("%s: %q", name, b)
		}
	}
}
