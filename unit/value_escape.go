package unit

import (
	"fmt"
	"path"
	"strings"
)

// EscapeName makes any string usable as an instance name, as systemd-escape(1)
// does: "/" becomes "-", and what is not a letter, digit, "_", ":" or "." (nor
// may be first) becomes \xHH.
func EscapeName(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '/':
			b.WriteByte('-')
		case c == '.' && i == 0, !plainNameByte(c):
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// plainNameByte reports whether EscapeName leaves c as it is.
func plainNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == ':' || c == '_' || c == '.'
}

// UnescapeName undoes EscapeName.
func UnescapeName(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '-':
			b.WriteByte('/')
		case s[i] != '\\':
			b.WriteByte(s[i])
		default:
			if i+4 > len(s) || s[i+1] != 'x' || digitValue(s[i+2]) > 15 || digitValue(s[i+3]) > 15 {
				return "", fmt.Errorf("name %q: a backslash must begin \\xHH", s)
			}
			b.WriteByte(byte(digitValue(s[i+2])<<4 | digitValue(s[i+3])))
			i += 3
		}
	}
	return b.String(), nil
}

// EscapePath makes an absolute path usable as an instance name, as
// systemd-escape --path does: "/dev/sda" is "dev-sda" and "/" is "-".
func EscapePath(p string) (string, error) {
	if err := checkAbsolute(p); err != nil {
		return "", err
	}
	for _, part := range strings.Split(p, "/") {
		if part == ".." {
			return "", fmt.Errorf("path %q contains \"..\"", p)
		}
	}
	clean := strings.Trim(path.Clean(p), "/")
	if clean == "" {
		return "-", nil
	}
	return EscapeName(clean), nil
}

// UnescapePath undoes EscapePath.
func UnescapePath(s string) (string, error) {
	if s == "-" {
		return "/", nil
	}
	text, err := UnescapeName(s)
	if err != nil {
		return "", err
	}
	p := "/" + text
	if text == "" || path.Clean(p) != p {
		return "", fmt.Errorf("name %q is no escaped path", s)
	}
	return p, nil
}
