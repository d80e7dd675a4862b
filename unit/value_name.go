package unit

import (
	"fmt"
	"strings"
)

// maxName is the length of a unit name in bytes, the kernel's for a file or
// cgroup of that name.
const maxName = 255

// maxHostname is the length of a label of DNS in bytes.
const maxHostname = 63

// ValidateName checks a bare unit name: "nginx", "getty@tty1", or the template
// "getty@". Letters, digits, ":", "-", "_", ".", "\", and one "@" are allowed;
// it can neither begin with "-" or "." nor be mistaken for a path.
func ValidateName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("a unit name is empty")
	case len(name) > maxName:
		return fmt.Errorf("unit name of %d bytes (%.32q...): the most is %d", len(name), name, maxName)
	}
	for i := range len(name) {
		if !nameByte(name[i]) {
			return fmt.Errorf("unit name %q: %s", name, nameByteReason(name[i]))
		}
	}
	prefix, _, template := strings.Cut(name, "@")
	switch {
	case name[0] == '-':
		return fmt.Errorf("unit name %q begins with \"-\", which looks like an option", name)
	case name[0] == '.':
		return fmt.Errorf("unit name %q begins with \".\"", name)
	case strings.Contains(name, ".."):
		return fmt.Errorf("unit name %q contains \"..\"", name)
	case template && prefix == "":
		return fmt.Errorf("unit name %q has nothing before \"@\"", name)
	case strings.Count(name, "@") > 1:
		return fmt.Errorf("unit name %q has more than one \"@\"", name)
	}
	return nil
}

// parseSlice reads the name of a slice, with or without ".slice".
func parseSlice(s string) (string, error) {
	name := strings.TrimSuffix(s, sliceSuffix)
	if err := ValidateName(name); err != nil {
		return "", fmt.Errorf("slice = %q: %w", s, err)
	}
	if strings.Contains(name, "@") {
		return "", fmt.Errorf("slice = %q: a slice has no instances", s)
	}
	return name, nil
}

func nameByte(c byte) bool {
	return plainNameByte(c) || c == '-' || c == '\\' || c == '@'
}

func nameByteReason(c byte) string {
	switch {
	case c == '/':
		return "\"/\" is not allowed; write an instance of a path as `nsctl` and systemd-escape(1) do, / as -"
	case c == 0:
		return "a NUL byte is not allowed"
	case c < ' ' || c == 0x7f:
		return fmt.Sprintf("the control character 0x%02x is not allowed", c)
	case c >= 0x80:
		return "only ASCII is allowed"
	}
	return fmt.Sprintf("%q is not allowed; letters, digits and : - _ . \\ @ are", c)
}

// DefaultHostname derives a host name from a unit name: everything but
// letters, digits and "-" becomes "-", cut at 63 bytes, without "-" at either
// end. "postgresql@15-main" is "postgresql-15-main".
func DefaultHostname(name string) string {
	b := []byte(name)
	for i, c := range b {
		if !plainNameByte(c) || c == ':' || c == '_' || c == '.' {
			b[i] = '-'
		}
	}
	host := strings.TrimLeft(string(b), "-")
	if len(host) > maxHostname {
		host = host[:maxHostname]
	}
	if host = strings.TrimRight(host, "-"); host == "" {
		return "localhost"
	}
	return host
}

// ValidateHostname checks a host name as written by a person: labels of
// letters, digits and "-" joined by ".", each 1-63 bytes, 64 in all, which is
// the kernel's limit (sethostname(2)).
func ValidateHostname(host string) error {
	if len(host) > maxHostname+1 {
		return fmt.Errorf("host name of %d bytes (%.32q...): the kernel takes 64 at most", len(host), host)
	}
	for _, label := range strings.Split(host, ".") {
		switch {
		case label == "":
			return fmt.Errorf("host name %q has an empty label", host)
		case len(label) > maxHostname:
			return fmt.Errorf("host name %q has a label of more than 63 bytes", host)
		case label[0] == '-' || label[len(label)-1] == '-':
			return fmt.Errorf("host name %q: a label cannot begin or end with \"-\"", host)
		}
		for i := range len(label) {
			if c := label[i]; !plainNameByte(c) && c != '-' || c == ':' || c == '_' {
				return fmt.Errorf("host name %q: only letters, digits, \"-\" and \".\" are allowed", host)
			}
		}
	}
	return nil
}
