package unit

import (
	"fmt"
	"path"
	"strings"
)

// ExpandSpecifiers replaces the specifiers of systemd.unit(5) in s: "%n",
// "%i", "%H" and so on; "%%" is "%". An unknown one, or one whose value ctx
// does not have, is an error. %I, %J and %P unescape as UnescapeName does.
func ExpandSpecifiers(s string, ctx SpecifierContext) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		i++
		if i == len(s) {
			return "", fmt.Errorf("%q ends in a single %%; write %%%% for one", s)
		}
		value, err := ctx.value(s[i])
		if err != nil {
			return "", fmt.Errorf("specifier %%%c in %q: %w", s[i], s, err)
		}
		b.WriteString(value)
	}
	return b.String(), nil
}

// value returns what one specifier stands for.
func (ctx SpecifierContext) value(c byte) (string, error) {
	switch c {
	case '%':
		return "%", nil
	case 'n', 'N':
		return ctx.Name, nil
	case 'p':
		return ctx.Prefix, nil
	case 'P':
		return UnescapeName(ctx.Prefix)
	case 'i':
		return ctx.Instance, nil
	case 'I':
		return UnescapeName(ctx.Instance)
	case 'j', 'J':
		last := ctx.Prefix[strings.LastIndexByte(ctx.Prefix, '-')+1:]
		if c == 'J' {
			return UnescapeName(last)
		}
		return last, nil
	case 'f':
		return ctx.escapedPath()
	case 'o', 'w', 'W', 'B', 'M', 'A':
		return ctx.OSRelease[osReleaseKey(c)], nil // absent is empty, as in systemd
	}
	return ctx.machineValue(c)
}

// escapedPath is %f: the instance, or the prefix, as an absolute path.
func (ctx SpecifierContext) escapedPath() (string, error) {
	name := ctx.Instance
	if name == "" {
		name = ctx.Prefix
	}
	text, err := UnescapeName(name)
	return "/" + strings.TrimPrefix(text, "/"), err
}

func osReleaseKey(c byte) string {
	keys := map[byte]string{'o': "ID", 'w': "VERSION_ID", 'W': "VARIANT_ID",
		'B': "BUILD_ID", 'M': "IMAGE_ID", 'A': "IMAGE_VERSION"}
	return keys[c]
}

// machineValue returns a specifier of the machine or of the user. These are
// never empty where they are known.
func (ctx SpecifierContext) machineValue(c byte) (string, error) {
	host, _, _ := strings.Cut(ctx.Host, ".")
	values := map[byte]string{
		'y': ctx.FragmentPath, 'Y': dirOf(ctx.FragmentPath),
		'H': ctx.Host, 'l': host, 'm': ctx.MachineID, 'b': ctx.BootID,
		'v': ctx.KernelRelease, 'a': ctx.Architecture,
		't': ctx.RuntimeDir, 'S': ctx.StateDir, 'C': ctx.CacheDir, 'L': ctx.LogsDir,
		'E': ctx.ConfigDir, 'T': ctx.TmpDir, 'V': ctx.VarTmpDir,
		'u': orRoot(ctx.User), 'g': orRoot(ctx.Group), 'U': ctx.UID, 'G': ctx.GID,
		'h': ctx.Home, 's': ctx.Shell,
	}
	value, known := values[c]
	switch {
	case !known:
		return "", fmt.Errorf("no such specifier; write %%%% for a %%")
	case value == "":
		return "", fmt.Errorf("its value is not known here")
	}
	return value, nil
}

func dirOf(p string) string {
	if p == "" {
		return ""
	}
	return path.Dir(p)
}

func orRoot(name string) string {
	if name == "" {
		return "root"
	}
	return name
}
