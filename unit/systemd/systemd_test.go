package systemd

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nsinit/nsinit/unit"
)

var update = flag.Bool("update", false, "write the golden files")

func testMachine() *unit.SpecifierContext {
	return &unit.SpecifierContext{Host: "box.example.org", MachineID: "0123456789abcdef0123456789abcdef", BootID: "fedcba9876543210fedcba9876543210",
		KernelRelease: "6.1.0", Architecture: "x86-64", OSRelease: map[string]string{"ID": "debian"},
		RuntimeDir: "/run", StateDir: "/var/lib", CacheDir: "/var/cache", LogsDir: "/var/log", ConfigDir: "/etc", TmpDir: "/tmp", VarTmpDir: "/var/tmp"}
}

// TestGolden converts every unit of testdata and compares with what is written
// beside it. Each output loads.
func TestGolden(t *testing.T) {
	services, err := filepath.Glob("testdata/units/*.service")
	if err != nil || len(services) < 12 {
		t.Fatalf("%d units in testdata, want 12 (%v)", len(services), err)
	}
	root, err := filepath.Abs("testdata/root")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range services {
		name := strings.TrimSuffix(filepath.Base(path), ".service")
		t.Run(name, func(t *testing.T) {
			r, err := Import(path, "", Host{UnitPath: []string{"testdata/units"}, Root: root, Machine: testMachine()})
			if err != nil {
				t.Fatal(err)
			}
			if _, errs := unit.Draft(name, r.TOML, unit.Options{Machine: testMachine()}); len(errs) > 0 {
				t.Fatalf("does not load: %v\n%s", errs, r.TOML)
			}
			golden := filepath.Join("testdata/golden", name+".toml")
			if *update {
				if err := os.WriteFile(golden, []byte(r.TOML), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if r.TOML != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", r.TOML, want)
			}
		})
	}
}

// TestMachine converts every service of this machine: it loads with its
// neighbours, or import says why it cannot.
func TestMachine(t *testing.T) {
	var files []string
	for _, dir := range UnitPath() {
		found, _ := filepath.Glob(filepath.Join(dir, "*.service"))
		files = append(files, found...)
	}
	if len(files) < 50 {
		t.Fatalf("%d services on this machine; the package systemd alone has more", len(files))
	}
	dir := t.TempDir()
	machine := unit.ReadMachine()
	var loaded, refused, mapped, skipped, unsupported, lossy int
	for _, f := range files {
		r, err := Import(f, "", Host{Machine: &machine})
		if err != nil {
			refused++
			t.Logf("%v", err)
			continue
		}
		loaded++
		mapped, skipped, unsupported = mapped+r.Count(Mapped), skipped+r.Count(Skipped), unsupported+r.Count(Unsupported)
		if r.SecurityLoss() {
			lossy++
		}
		if err := os.WriteFile(filepath.Join(dir, r.Name+".toml"), []byte(r.TOML), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, n := range r.Notes {
			if n.Status != Mapped && n.Reason == "" {
				t.Errorf("%s:%d: %s is %s without a reason", n.File, n.Line, n.Directive, n.Status)
			}
			if strings.Contains(n.Reason, "known here") {
				t.Errorf("%s:%d: %s: neither in the table of keys nor among what is skipped", n.File, n.Line, n.Directive)
			}
		}
	}
	set := unit.LoadSet([]string{dir}, unit.Options{Machine: &machine, Lax: true})
	for name, errs := range set.Problems() {
		t.Errorf("%s: %v", name, errs)
	}
	fmt.Printf("%d services: %d loaded (%d of them less protected), %d refused; directives: %d mapped, %d skipped, %d not supported\n",
		len(files), loaded, lossy, refused, mapped, skipped, unsupported)
}

// TestBad gives what is no unit, and what systemd refuses.
func TestBad(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"empty":      {"", "no [Service] section"},
		"no exec":    {"[Service]\nType=simple\n", "neither ExecStart= nor ExecStop="},
		"two execs":  {"[Service]\nExecStart=/bin/a\nExecStart=/bin/b\n", "x.service:3: a second ExecStart="},
		"section":    {"[Service\nExecStart=/bin/a\n", "x.service:1: invalid section header"},
		"before":     {"\nExecStart=/bin/a\n", "x.service:2: \"ExecStart=/bin/a\" stands before any section"},
		"no equals":  {"[Service]\nExecStart\n", "x.service:2: \"ExecStart\": a line is NAME=VALUE"},
		"nul":        {"[Service]\nExecStart=/bin/a\x00b\n", "x.service:2: a NUL byte"},
		"binary":     {"\x7fELF\xff\xfe[Service]", "x.service:1: not UTF-8"},
		"huge":       {"[Service]\n" + strings.Repeat("#"+strings.Repeat("x", 1023)+"\n", 16<<10), "larger than 4 MiB"},
		"long line":  {"[Service]\nExecStart=/bin/a " + strings.Repeat("x", maxLine) + "\n", "a line of more than"},
		"no program": {"[Service]\nExecStart=no-such-program-here\n", "is not in"},
	} {
		r, err := ImportText("x", []byte(c.text), "", Host{Root: "-", Machine: testMachine()})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
		if err == nil {
			t.Log(r.TOML)
		}
	}
}

// TestLong reads what go-systemd's parser refuses.
func TestLong(t *testing.T) {
	arg := strings.Repeat("x", 2049)
	r, err := ImportText("x", []byte("[Service]\nExecStart=/bin/a \\\n# a comment within\n  "+arg+" \\\n; another\n  end\n"), "", Host{Root: "-", Machine: testMachine()})
	if err != nil || !strings.Contains(r.TOML, arg) || strings.Contains(r.TOML, "comment") {
		t.Fatalf("%v\n%v", err, r)
	}
	text := "[Service]\nType=oneshot\n" + strings.Repeat("ExecStart=/bin/a\n", 200)
	if r, err = ImportText("x", []byte(text), "", Host{Root: "-", Machine: testMachine()}); err != nil || strings.Count(r.TOML, `"/bin/a"`) != 200 {
		t.Fatalf("200 commands: %v", err)
	}
}

func TestLinks(t *testing.T) {
	dir := t.TempDir()
	for name, target := range map[string]string{"loop.service": "loop2.service", "loop2.service": "loop.service", "masked.service": "/dev/null"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	host := Host{UnitPath: []string{dir}, Root: "-", Machine: testMachine()}
	for name, want := range map[string]string{"loop": "too many links", "masked": "masked, a link to /dev/null", "none": "no none.service in " + dir} {
		if _, err := Import(name, "", host); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

// TestDropIns merges them by name over all directories, and resets lists.
func TestDropIns(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a/x.service":             "[Service]\nExecStart=/bin/first\nEnvironment=A=1\n",
		"a/x.service.d/20.conf":   "[Service]\nExecStart=\nExecStart=/bin/second\n",
		"b/x.service.d/10.conf":   "[Service]\nExecStart=\nExecStart=/bin/third\nEnvironment=B=2 \"C=3 4\"\n",
		"b/x.service.d/20.conf":   "[Service]\nExecStart=\nExecStart=/bin/hidden\n",
		"b/service.d/99-all.conf": "[Service]\nNice=5\n",
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Import("x", "", Host{UnitPath: []string{dir + "/a", dir + "/b"}, Root: "-", Machine: testMachine()})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`exec_start = "/bin/second"`, `environment = { A = "1", B = "2", C = "3 4" }`, "nice = 5\n"} {
		if !strings.Contains(r.TOML, want) {
			t.Errorf("no %s in\n%s", want, r.TOML)
		}
	}
}

// TestCapabilities: "all but" is an explicit list, and an empty set is one.
func TestCapabilities(t *testing.T) {
	for text, want := range map[string]uint64{
		"CapabilityBoundingSet=~CAP_SYS_PTRACE CAP_SYS_ADMIN":                       unit.AllCapabilities &^ (1<<19 | 1<<21),
		"CapabilityBoundingSet=CAP_CHOWN\nCapabilityBoundingSet=CAP_KILL":           1<<0 | 1<<5,
		"CapabilityBoundingSet=CAP_CHOWN CAP_KILL\nCapabilityBoundingSet=~CAP_KILL": 1 << 0,
		"CapabilityBoundingSet=": 0,
	} {
		r, err := ImportText("x", []byte("[Service]\nExecStart=/bin/a\n"+text+"\n"), "", Host{Root: "-", Machine: testMachine()})
		if err != nil {
			t.Fatal(err)
		}
		u, errs := unit.Draft("x", r.TOML, unit.Options{Machine: testMachine()})
		if len(errs) > 0 || u.Security.CapabilityBoundingSet != want {
			t.Errorf("%q: %x, want %x (%v)\n%s", text, u.Security.CapabilityBoundingSet, want, errs, r.TOML)
		}
	}
}

// TestEveryKey: a key that is not in force never stands in the output, and what
// is in force does. That follows the table of keys by itself.
func TestEveryKey(t *testing.T) {
	for _, k := range unit.Keys() {
		if k.Systemd == "" || k.Supported || specials[k.Systemd] != nil || k.Table == "socket.NAME" || k.Table == "timer" || k.Table == "path" {
			continue
		}
		r, err := ImportText("x", []byte("[Service]\nExecStart=/bin/a\n"+k.Systemd+"=yes\n"), "", Host{Root: "-", Machine: testMachine()})
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(r.TOML, "\n"+k.Name+" =") || r.Count(Unsupported) != 1 {
			t.Errorf("%s is not in force and stands in\n%s", k.ID(), r.TOML)
		}
	}
}

// TestTimespans has systemd-analyze read time spans that were made up: the
// loader agrees on their microseconds, or both refuse.
func TestTimespans(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	units := []string{"", "s", "sec", "second", "ms", "msec", "us", "usec", "m", "min", "minutes", "h", "hr", "d", "days", "w", "week", "M", "month", "y", "x", "S", "Min", "."}
	var spans []string
	for len(spans) < 600 {
		var words []string
		for range 1 + random.IntN(3) {
			number := strconv.Itoa(random.IntN(2000))
			if random.IntN(3) == 0 {
				number += "." + strconv.Itoa(random.IntN(1000))
			}
			words = append(words, number+[]string{"", " "}[random.IntN(2)]+units[random.IntN(len(units))])
		}
		spans = append(spans, strings.Join(words, []string{"", " "}[random.IntN(2)]))
	}
	accepted, beyond := 0, 0
	for start := 0; start < len(spans); start += 1 {
		out, err := exec.Command("systemd-analyze", "timespan", "--", spans[start]).Output()
		ours, ourErr := unit.ParseTimespan(spans[start])
		if err == nil && ourErr != nil && strings.Contains(ourErr.Error(), "292 years") {
			beyond++ // the one difference that is meant: import says it in a comment
			if !strings.Contains(string(out), "y ") && !strings.Contains(string(out), "y\n") {
				t.Errorf("%q: %v, systemd: %s", spans[start], ourErr, out)
			}
			continue
		}
		if (err == nil) != (ourErr == nil) {
			t.Errorf("%q: systemd %v, ours %v", spans[start], err, ourErr)
			continue
		}
		if err != nil {
			continue
		}
		accepted++
		_, after, _ := strings.Cut(string(out), "s: ") // "      μs: 1000"
		number, _, _ := strings.Cut(strings.TrimSpace(after), "\n")
		want, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			t.Fatalf("cannot read systemd-analyze: %q", out)
		}
		if ours/time.Microsecond != time.Duration(want) {
			t.Errorf("%q: %d µs, systemd says %d", spans[start], ours/time.Microsecond, want)
		}
	}
	fmt.Printf("%d time spans: %d accepted and %d refused by both, %d beyond our 292 years\n", len(spans), accepted, len(spans)-accepted-beyond, beyond)
	if accepted < 100 {
		t.Errorf("only %d were accepted", accepted)
	}
}

// TestCommands has systemd read command lines that were made up, and ours: both
// take them, or both refuse. systemd-analyze verify says for each line of a file
// whether it ignores it.
func TestCommands(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	words := []string{"/bin/true", "a", "'b c'", `"d e"`, `\x41`, `\q`, "$A", "${A}", "$$", "%%", "%i", "%n", `'un`, `"un`, `x"y z"w`, `\;`, "'%t'", "%", "${A", `\101`, `\x0`, "-", `\`, "%Q"}
	var lines []string
	seen := map[string]bool{}
	for len(lines) < 500 {
		line := []string{"", "-", "+", "!", "@", ":", "-+", "!!", "!-:"}[random.IntN(9)] + "/bin/true"
		for range 1 + random.IntN(4) {
			line += " " + words[random.IntN(len(words))]
		}
		if !seen[line] && !strings.HasSuffix(line, `\`) { // that continues the line
			lines = append(lines, line)
		}
		seen[line] = true
	}
	dir := t.TempDir()
	args := []string{"verify", "--man=no"}
	for i, line := range lines { // systemd gives a unit up at its first bad line: one each
		path := filepath.Join(dir, fmt.Sprintf("u%03d.service", i))
		if err := os.WriteFile(path, []byte("[Service]\nType=oneshot\nExecStart="+line+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
	}
	out, _ := exec.Command("systemd-analyze", args...).CombinedOutput()
	refused, differ := 0, 0
	for i, line := range lines {
		at := strings.ReplaceAll(string(out), ":3: Ignoring unknown escape sequences", "") // it takes them as they stand
		theirs := !strings.Contains(at, fmt.Sprintf("u%03d.service:3:", i))
		_, err := ImportText("u", []byte("[Service]\nType=oneshot\nExecStart="+line+"\n"), "", Host{Root: "-", Machine: testMachine()})
		if !theirs {
			refused++
		}
		if ours := err == nil; ours != theirs {
			differ++
			if differ < 20 {
				t.Errorf("%s: systemd takes it: %v; ours: %v", line, theirs, err)
			}
		}
	}
	if refused < 50 {
		t.Errorf("systemd refuses %d only:\n%.2000s", refused, out)
	}
	fmt.Printf("%d command lines: systemd refuses %d, ours differ in %d\n", len(lines), refused, differ)
}

// FuzzImport: whatever is read is refused, or loads.
func FuzzImport(f *testing.F) {
	services, _ := filepath.Glob("testdata/units/*")
	for _, path := range services {
		data, err := os.ReadFile(path)
		if err == nil {
			f.Add(data)
		}
	}
	f.Add([]byte("[Service]\nExecStart=/bin/a \\\n#c\n b\nEnvironment=\"A=\\x22\" ''\nUser=%i\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ImportText("x@", data, "", Host{Root: "-", Machine: testMachine()})
		if err != nil {
			return
		}
		if _, errs := unit.Draft("x@", r.TOML, unit.Options{Machine: testMachine()}); len(errs) > 0 {
			t.Fatalf("does not load: %v\n%s", errs, r.TOML)
		}
	})
}
