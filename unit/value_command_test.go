package unit

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseCommand(t *testing.T) {
	argv := func(a ...string) Command { return Command{Path: a[0], Argv: a} }
	tests := []struct {
		in   string
		want Command
	}{
		{"/bin/true", argv("/bin/true")},
		{"  /bin/echo  a\tb\nc ", argv("/bin/echo", "a", "b", "c")},
		{`/usr/sbin/nginx -g 'daemon on; master_process on;'`, argv("/usr/sbin/nginx", "-g", "daemon on; master_process on;")},
		{`/bin/x "a 'b'" 'c "d"' e"f g"h`, argv("/bin/x", "a 'b'", `c "d"`, "ef gh")},
		{`/bin/x "" ''`, argv("/bin/x", "", "")},
		{`/bin/x a\x20b \101\s\t é \u00e9`, argv("/bin/x", "a b", "A \t", "é", "é")},
		{`/bin/sed s/\./x/ '\d+'`, argv("/bin/sed", `s/\./x/`, `\d+`)},
		{`/sbin/agetty -o '-p -- \\u' tty1`, argv("/sbin/agetty", "-o", `-p -- \u`, "tty1")},
		{"/bin/x a \\\n  b", argv("/bin/x", "a", "b")},
		{"/bin/x a\\\nb", argv("/bin/x", "a", "b")},
		{"/bin/x 'a\\\nb'", argv("/bin/x", "a b")},
		{`/bin/find . \; a;b`, argv("/bin/find", ".", ";", "a;b")},
		{"-/bin/x", Command{Path: "/bin/x", Argv: []string{"/bin/x"}, IgnoreFailure: true}},
		{"@/bin/sh -sh -c a", Command{Path: "/bin/sh", Argv: []string{"-sh", "-c", "a"}, Argv0: true}},
		{":-+/bin/x $A", Command{Path: "/bin/x", Argv: []string{"/bin/x", "$A"}, NoExpand: true, IgnoreFailure: true, FullPrivileges: true}},
		{"!/bin/x", Command{Path: "/bin/x", Argv: []string{"/bin/x"}, NoUser: true}},
		{"!!-/bin/x", Command{Path: "/bin/x", Argv: []string{"/bin/x"}, NoUserIfAmbient: true, IgnoreFailure: true}},
		{`"/opt/a b/x" y`, argv("/opt/a b/x", "y")},
	}
	for _, tt := range tests {
		got, err := ParseCommand(tt.in)
		if err != nil {
			t.Errorf("ParseCommand(%q): %v", tt.in, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("ParseCommand(%q) (-want +got):\n%s", tt.in, diff)
		}
	}
}

func TestParseCommandErrors(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", "empty command"},
		{" \n", "empty command"},
		{"true", `[["/bin/x", "-a", "b"]]`},
		{"bin/true a", "one string"},
		{"-", "no path"},
		{"/", "directory"},
		{"/bin/", "directory"},
		{"|/bin/x", "/bin/sh -c"},
		{"-|/bin/x", "/bin/sh -c"},
		{"--/bin/x", "absolute"},
		{"+!/bin/x", "only one of"},
		{"!+!!/bin/x", "only one of"},
		{"@/bin/sh", "argv[0]"},
		{"/bin/x 'a", "never closed"},
		{`/bin/x a\`, "single backslash"},
		{`/bin/x \x00`, "NUL"},
		{`/bin/x \400`, "more than one byte"},
		{`/bin/x \ud800`, "no Unicode"},
		{"/bin/x ; /bin/y", "array"},
		{"/bin/x ${A", "never closed"},
		{"/bin/sh -c 'echo ${A:-b}'", "$${A:-b}"},
	}
	for _, tt := range tests {
		got, err := ParseCommand(tt.in)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("ParseCommand(%q) = %+v, %v; want an error with %q", tt.in, got, err, tt.want)
		}
	}
}

func TestCommandFromArgv(t *testing.T) {
	in := []string{"-/bin/x", `a "b\n`, "", "; "}
	got, err := CommandFromArgv(in)
	want := Command{Path: "/bin/x", Argv: []string{"/bin/x", `a "b\n`, "", "; "}, Exact: true, IgnoreFailure: true}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("CommandFromArgv(%q): %v\n%s", in, err, diff)
	}
	for _, bad := range [][]string{nil, {""}, {"x"}, {"@/bin/x"}} {
		if got, err := CommandFromArgv(bad); err == nil {
			t.Errorf("CommandFromArgv(%q) = %+v, want an error", bad, got)
		}
	}
}

func environment(pairs map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		v, ok := pairs[name]
		return v, ok
	}
}

func TestExpand(t *testing.T) {
	env := environment(map[string]string{"ONE": "1", "TWO": "a b", "QUOTED": `'x y' z\ w "`, "EMPTY": "", "DOLLAR": "$ONE"})
	tests := []struct {
		in   string
		want []string
	}{
		{"/bin/x $ONE $TWO", []string{"1", "a", "b"}},
		{"/bin/x $EMPTY $NONE end", []string{"end"}},
		{"/bin/x ${TWO} x${ONE}y${NONE}z", []string{"a b", "x1yz"}},
		{"/bin/x ${EMPTY}", []string{""}},
		{"/bin/x a$ONE $ONE/b", []string{"a$ONE", "$ONE/b"}},
		{"/bin/x $$ONE $${ONE} $$ $", []string{"$ONE", "${ONE}", "$", "$"}},
		{"/bin/x $QUOTED", []string{"x y", "z w", ""}},
		{"/bin/x ${DOLLAR} $DOLLAR", []string{"$ONE", "$ONE"}},
		{"/bin/x '$TWO'", []string{"a", "b"}},
		{":/bin/x $ONE ${TWO} $$", []string{"$ONE", "${TWO}", "$$"}},
	}
	for _, tt := range tests {
		c, err := ParseCommand(tt.in)
		if err != nil {
			t.Fatalf("ParseCommand(%q): %v", tt.in, err)
		}
		got, err := c.Expand(env)
		if err != nil {
			t.Errorf("Expand(%q): %v", tt.in, err)
			continue
		}
		if diff := cmp.Diff(append([]string{"/bin/x"}, tt.want...), got); diff != "" {
			t.Errorf("Expand(%q) (-want +got):\n%s", tt.in, diff)
		}
	}
}

func TestExpandArgv(t *testing.T) {
	env := environment(map[string]string{"TWO": "a b"})
	c, err := CommandFromArgv([]string{"/bin/$TWO", "$TWO", "$NONE", "x${TWO}", "$$"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Expand(env)
	want := []string{"/bin/$TWO", "a b", "", "xa b", "$"}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Expand: %v\n%s", err, diff)
	}
}

func TestExpandEmptyArgv0(t *testing.T) {
	c, err := ParseCommand("@/bin/sh $NONE")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Expand(environment(nil)); err == nil {
		t.Errorf("Expand = %q, want an error about argv[0]", got)
	}
}

func TestWithSpecifiersAddsNoArgument(t *testing.T) {
	c, err := ParseCommand("/opt/%i/x -a %i %%i")
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.WithSpecifiers(SpecifierContext{Instance: "a b 'c"})
	want := Command{Path: "/opt/a b 'c/x", Argv: []string{"/opt/%i/x", "-a", "a b 'c", "%i"}}
	want.Argv[0] = want.Path
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("WithSpecifiers: %v\n%s", err, diff)
	}
}

func TestSpecifierInVariable(t *testing.T) {
	c, err := ParseCommand("/bin/x ${%p_OPTIONS} $%p")
	if err != nil {
		t.Fatal(err)
	}
	good, err := c.WithSpecifiers(SpecifierContext{Prefix: "web"})
	if err != nil {
		t.Fatal(err)
	}
	argv, err := good.Expand(environment(map[string]string{"web_OPTIONS": "-a", "web": "b c"}))
	if diff := cmp.Diff([]string{"/bin/x", "-a", "b", "c"}, argv); err != nil || diff != "" {
		t.Errorf("Expand: %v\n%s", err, diff)
	}
	if bad, err := c.WithSpecifiers(SpecifierContext{Prefix: "my-web"}); err == nil {
		t.Errorf("${my-web_OPTIONS} is accepted: %+v", bad)
	}
}

func FuzzParseCommand(f *testing.F) {
	for _, seed := range []string{"/bin/x a", `-@/bin/x "a b" 'c\n' \x41`, "/bin/x ${A} $B $$", "/x \\\n y", `/x "`} {
		f.Add(seed, "v w")
	}
	f.Fuzz(func(t *testing.T, s, value string) {
		c, err := ParseCommand(s)
		if err != nil {
			return
		}
		if len(c.Argv) == 0 || c.Path == "" || c.Path[0] != '/' {
			t.Fatalf("ParseCommand(%q) = %+v", s, c)
		}
		argv, err := c.Expand(func(string) (string, bool) { return value, true })
		if err != nil && !strings.Contains(err.Error(), "argv[0]") && !strings.Contains(s, "%") {
			t.Fatalf("Expand after ParseCommand(%q): %v", s, err)
		}
		if err == nil && !c.Argv0 && argv[0] != c.Path {
			t.Fatalf("ParseCommand(%q): argv[0] %q is not the path", s, argv[0])
		}
	})
}
