package unit

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseEnvironmentFile(t *testing.T) {
	type list = []EnvAssignment
	tests := []struct {
		name, in string
		want     list
	}{
		{"empty", "", nil},
		{"plain", "A=1\nB=2", list{{"A", "1"}, {"B", "2"}}},
		{"comments", "# A=1\n; B=2\n  # C=3\n D=4 # kept\n", list{{"D", "4 # kept"}}},
		{"blanks", "  A = 1 2 \t\r\nB=\n", list{{"A", "1 2"}, {"B", ""}}},
		{"double quotes", `A="x \"y\" \$z \n"` + "\n", list{{"A", `x "y" $z \n`}}},
		{"single quotes", `A='x \" $y'` + "\n", list{{"A", `x \" $y`}}},
		{"joined quotes", `A="x"'y'z w` + "\n", list{{"A", "xyz w"}}},
		{"blank within quotes", `A="x "  'y '` + "\n", list{{"A", "x y "}}},
		{"quote within a value", `A=x"y"` + "\n", list{{"A", `x"y"`}}},
		{"line break in quotes", "A=\"x\ny\"\nB='p\nq'\n", list{{"A", "x\ny"}, {"B", "p\nq"}}},
		{"continuation", "A=x\\\ny\nB=\"p\\\nq\"\n", list{{"A", "xy"}, {"B", "pq"}}},
		{"escapes", `A=\"x\ y\ ` + "\n", list{{"A", `"x y `}}},
		{"shell", "if [ -f x ]; then\nexport A=1\nB=2\nfi\n1C=3\n", list{{"B", "2"}}},
		{"repeated", "A=1\nA=2\n", list{{"A", "1"}, {"A", "2"}}},
		{"no expansion", "A=$HOME ${X}\n", list{{"A", "$HOME ${X}"}}},
		{"byte order mark", "\ufeffA=1\n", list{{"A", "1"}}},
		{"not UTF-8", "A=\xff\nB=1\n", list{{"B", "1"}}},
		{"backslash at the end", "A=x\\", list{{"A", "x"}}},
	}
	for _, tt := range tests {
		got, err := ParseEnvironmentFile([]byte(tt.in))
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", tt.name, err, diff)
		}
	}
}

func TestParseEnvironmentFileErrors(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"A=1\nB=\"x\nC=1\n", "line 2: B: the quote \" is never closed"},
		{"A='x", "line 1: A: the quote ' is never closed"},
		{"A=1\nB=\x00", "line 2: a NUL byte"},
	} {
		got, err := ParseEnvironmentFile([]byte(tt.in))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("ParseEnvironmentFile(%q) = %v, %v; want an error with %q", tt.in, got, err, tt.want)
		}
	}
}

func FuzzParseEnvironmentFile(f *testing.F) {
	for _, seed := range []string{"A=1\n", "A=\"x\\\ny\"\n#c\n", "A='x'y \\\n z\nB=", "=\n=\\"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := ParseEnvironmentFile(data)
		if err != nil {
			return
		}
		for _, a := range list {
			if _, err := NewEnvAssignment(a.Name, a.Value); err != nil {
				t.Fatalf("%q gives %+v: %v", data, a, err)
			}
		}
	})
}

func TestParseEnvironment(t *testing.T) {
	type list = []EnvAssignment
	for _, tt := range []struct {
		in   string
		want list
		ok   bool
	}{
		{"KEEP=3", list{{"KEEP", "3"}}, true},
		{`A=1 "B=x y" C='z w' D=`, list{{"A", "1"}, {"B", "x y"}, {"C", "z w"}, {"D", ""}}, true},
		{`A=\x41=\n`, list{{"A", "A=\n"}}, true},
		{"A=$B", list{{"A", "$B"}}, true},
		{"", nil, true},
		{"A", nil, false}, {"A=x y", nil, false}, {"1A=x", nil, false}, {"A-B=x", nil, false}, {"=x", nil, false}, {`"A=x`, nil, false},
		{"A=\xff", nil, false},
	} {
		got, err := ParseEnvironment(tt.in)
		if diff := cmp.Diff(tt.want, got); tt.ok != (err == nil) || diff != "" {
			t.Errorf("ParseEnvironment(%q): %v\n%s", tt.in, err, diff)
		}
	}
}
