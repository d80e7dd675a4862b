package compile

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/user"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/unit"
)

var update = flag.Bool("update", false, "write the golden files")

// load returns a unit of testdata/units on a machine that is always the same.
func load(t *testing.T, name string) *unit.Unit {
	t.Helper()
	return loadFrom(t, filepath.Join("testdata", "units"), name)
}

func loadFrom(t *testing.T, dir, name string) *unit.Unit {
	t.Helper()
	set := unit.LoadSet([]string{dir}, unit.Options{Lax: true, Machine: &unit.SpecifierContext{Host: "machine", RuntimeDir: "/run"}})
	u, err := set.Resolve(name)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// loadText returns the unit "test" of a file with that text.
func loadText(t *testing.T, text string) *unit.Unit {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "test.toml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return loadFrom(t, dir, "test")
}

func testAccounts() Accounts {
	return Accounts{
		Users:  []user.User{{Name: "root", Home: "/root", Shell: "/bin/bash"}, {Name: "www", Uid: 33, Gid: 33, Home: "/var/www", Shell: "/usr/sbin/nologin"}},
		Groups: []user.Group{{Name: "root"}, {Name: "adm", Gid: 4}, {Name: "www", Gid: 33}, {Name: "ssl", Gid: 101, List: []string{"www", "x"}}},
	}
}

func testFacts() Facts {
	return Facts{
		InvocationID: "0123456789abcdef0123456789abcdef",
		Accounts:     testAccounts(),
		Environ:      []string{"LANG=de_DE", "HTTP_PROXY=proxy:3128", "SECRET=x"},
		MachineName:  "machine",
		Hosts:        "127.0.0.1 localhost\n",
		RunTargets:   []string{"/run/systemd/resolve/stub-resolv.conf"},
		Devices: []Device{{"/dev/null", []string{"mem"}, isolate.DeviceNode{Major: 1, Minor: 3, Mode: 0o666}},
			{"/dev/tty1", []string{"tty"}, isolate.DeviceNode{Major: 4, Minor: 1, Mode: 0o620, GID: 5}},
			{"/dev/ttyS0", []string{"ttyS"}, isolate.DeviceNode{Major: 4, Minor: 64, Mode: 0o660, GID: 20}},
			{"/dev/loop0", []string{"loop"}, isolate.DeviceNode{Block: true, Major: 7, Mode: 0o660, GID: 6}},
			{"/dev/loop1", []string{"loop"}, isolate.DeviceNode{Block: true, Major: 7, Minor: 1, Mode: 0o660, GID: 6}}},
		Console:      "ttyS0",
		ConsoleTerm:  "xterm",
		NotifySocket: "/run/nsinit/units/u/notify",
		LogSocket:    "/run/nsinit/units/u/log",
	}
}

func TestGolden(t *testing.T) {
	for _, name := range []string{"strict", "daemon", "host", "files", "user", "ambient", "terminal"} {
		t.Run(name, func(t *testing.T) {
			u := load(t, name)
			service, err := Start(u, isolate.OldestHost(), testFacts())
			if err != nil {
				t.Fatal(err)
			}
			got := render(service)
			hook := Hook{MainPID: 2, ServiceResult: "signal", ExitCode: "killed", ExitStatus: "TERM"}
			for _, kind := range []isolate.ExecKind{isolate.ExecStartPost, isolate.ExecReload, isolate.ExecStopPost} {
				for i := range Commands(u, kind) {
					join, err := RunHook(u, isolate.OldestHost(), testFacts(), kind, i, hook)
					if err != nil {
						t.Fatal(err)
					}
					got += "\n" + render(join)
				}
			}
			compareGolden(t, name, got)
		})
	}
}

// What is compiled must also be a program: isolate refuses contradictions.
func TestGoldenSpecsCompile(t *testing.T) {
	for _, name := range []string{"strict", "daemon", "host", "files", "user", "ambient", "terminal"} {
		service, err := Start(load(t, name), isolate.OldestHost(), testFacts())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := isolate.Compile(service.Spec, isolate.OldestHost()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func compareGolden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (-want +got; -update accepts):\n%s", file, diff)
	}
}

// render prints every field that is not zero, a line each, in the order of the
// declaration.
func render(v any) string {
	var b strings.Builder
	value := reflect.Indirect(reflect.ValueOf(v))
	renderValue(&b, value.Type().Name(), value)
	return b.String()
}

func renderValue(b *strings.Builder, name string, v reflect.Value) {
	if v.IsZero() {
		return
	}
	simple := v.Kind() == reflect.Slice && v.Type().Elem().Kind() != reflect.Struct && v.Len() < 3
	switch {
	case v.Kind() == reflect.Pointer:
		renderValue(b, name, v.Elem())
		if v.Elem().IsZero() {
			fmt.Fprintf(b, "%s = %v\n", name, v.Elem())
		}
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			renderValue(b, name+"."+v.Type().Field(i).Name, v.Field(i))
		}
	case v.Kind() == reflect.Slice && !simple:
		for i := range v.Len() {
			renderValue(b, fmt.Sprintf("%s[%d]", name, i), v.Index(i))
		}
	case v.Type() == reflect.TypeFor[isolate.Namespaces]():
		fmt.Fprintf(b, "%s = %v\n", name, isolate.Namespaces(v.Uint()).Names())
	case strings.HasSuffix(name, "Bounding") || strings.HasSuffix(name, "Ambient"):
		fmt.Fprintf(b, "%s = %s\n", name, capabilities(v.Uint()))
	case strings.HasSuffix(name, "Mode") && v.Kind() == reflect.Uint32 || strings.HasSuffix(name, "Umask"):
		fmt.Fprintf(b, "%s = %04o\n", name, v.Uint())
	case strings.Contains(name, "Success"):
		fmt.Fprintf(b, "%s = %#x\n", name, v.Interface())
	default:
		fmt.Fprintf(b, "%s = %q\n", name, fmt.Sprint(v.Interface()))
	}
}

func capabilities(mask uint64) string {
	if mask == unit.AllCapabilities {
		return "all"
	}
	var names []string
	for n := range 64 {
		if mask>>n&1 != 0 {
			names = append(names, unit.CapabilityName(n))
		}
	}
	return strings.Join(names, " ")
}
