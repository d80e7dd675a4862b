package unit

import (
	"os/exec"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestValidateName(t *testing.T) {
	for _, name := range []string{"nginx", "getty@tty1", "getty@", "postgresql@15-main", `dev-sda\x2d1`, "a.b:c_d-e",
		strings.Repeat("a", 255), "A0", "0"} {
		if err := ValidateName(name); err != nil {
			t.Errorf("ValidateName(%q): %v", name, err)
		}
	}
	for _, tt := range []struct{ name, want string }{
		{"", "empty"}, {strings.Repeat("a", 256), "256 bytes"}, {"a/b", "/"}, {"..", "."}, {"a..b", ".."}, {".hidden", "."},
		{"a\x00b", "NUL"}, {"a\x1b[31mb", "control character 0x1b"}, {"a\nb", "control"}, {"-f", "option"}, {"a b", "' '"},
		{"é", "ASCII"}, {"@x", "before"}, {"a@b@c", "more than one"}, {"a%b", "'%'"}, {"a*", "'*'"},
	} {
		err := ValidateName(tt.name)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("ValidateName(%q) = %v, want an error with %q", tt.name, err, tt.want)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\x00\x1b\n") {
			t.Errorf("ValidateName(%q): the error holds control characters: %q", tt.name, err)
		}
	}
}

func TestDefaultHostname(t *testing.T) {
	for _, tt := range []struct{ name, want string }{
		{"nginx", "nginx"}, {"postgresql@15-main", "postgresql-15-main"}, {"a.b_c:d", "a-b-c-d"}, {"_x_", "x"},
		{strings.Repeat("a", 70), strings.Repeat("a", 63)}, {strings.Repeat("a", 62) + "--b", strings.Repeat("a", 62)},
		{"___", "localhost"}, {`a\x2d`, "a-x2d"},
	} {
		got := DefaultHostname(tt.name)
		if got != tt.want {
			t.Errorf("DefaultHostname(%q) = %q, want %q", tt.name, got, tt.want)
		}
		if err := ValidateHostname(got); err != nil {
			t.Error(err)
		}
	}
}

func TestValidateHostname(t *testing.T) {
	for _, host := range []string{"a", "web-1.example.org", "0", strings.Repeat("a", 63)} {
		if err := ValidateHostname(host); err != nil {
			t.Error(err)
		}
	}
	for _, host := range []string{"", "-a", "a-", "a..b", ".a", "a_b", "a b", "é", strings.Repeat("a", 64), strings.Repeat("a.", 33) + "a", "a:b"} {
		if ValidateHostname(host) == nil {
			t.Errorf("ValidateHostname(%q) accepts it", host)
		}
	}
}

func TestEscapePath(t *testing.T) {
	for _, tt := range []struct{ path, want string }{
		{"/", "-"}, {"/dev/sda", "dev-sda"}, {"//dev//sda/", "dev-sda"}, {"/a-b/c d", `a\x2db-c\x20d`}, {"/.x/.y", `\x2ex-.y`},
		{"/é", `\xc3\xa9`}, {"/a:b_c", "a:b_c"}, {"/./a", "a"},
	} {
		got, err := EscapePath(tt.path)
		if err != nil || got != tt.want {
			t.Errorf("EscapePath(%q) = %q, %v; want %q", tt.path, got, err, tt.want)
		}
	}
	for _, bad := range []string{"", "a", "/a/../b", "/a\x00b"} {
		if got, err := EscapePath(bad); err == nil {
			t.Errorf("EscapePath(%q) = %q, want an error", bad, got)
		}
	}
	for _, bad := range []string{"", "a--b", `\x`, `\xzz`, `a\`, "-a", "a-", "a-..-b"} {
		if got, err := UnescapePath(bad); err == nil {
			t.Errorf("UnescapePath(%q) = %q, want an error", bad, got)
		}
	}
}

func TestEscapeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s")
		escaped := EscapeName(s)
		if back, err := UnescapeName(escaped); err != nil || back != s {
			t.Fatalf("%q escapes to %q, which is %q, %v", s, escaped, back, err)
		}
	})
}

func TestEscapeAsSystemd(t *testing.T) {
	if _, err := exec.LookPath("systemd-escape"); err != nil {
		t.Skip("systemd-escape is not installed; its answers are not compared")
	}
	ask := func(args ...string) string {
		out, err := exec.Command("systemd-escape", args...).Output()
		if err != nil {
			t.Fatalf("systemd-escape %q: %v", args, err)
		}
		return strings.TrimSuffix(string(out), "\n")
	}
	for _, s := range []string{"a", "a/b", ".a", "a.b-c", "é x", "/x", "15-main", `a\b`, "a@b"} {
		if got, want := EscapeName(s), ask("--", s); got != want {
			t.Errorf("EscapeName(%q) = %q, systemd says %q", s, got, want)
		}
	}
	for _, p := range []string{"/", "/dev/sda", "//a//b/", "/.x/y-z", "/a/./b"} {
		got, err := EscapePath(p)
		if want := ask("--path", "--", p); err != nil || got != want {
			t.Errorf("EscapePath(%q) = %q, %v; systemd says %q", p, got, err, want)
		}
		if back, err := UnescapePath(got); err != nil || back != ask("--unescape", "--path", "--", got) {
			t.Errorf("UnescapePath(%q) = %q, %v", got, back, err)
		}
	}
}
