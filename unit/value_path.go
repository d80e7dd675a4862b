package unit

import (
	"fmt"
	"path"
	"strings"
)

// maxPath is PATH_MAX without its NUL: the longest path that the kernel takes.
const maxPath = 4095

// checkAbsolute refuses what cannot be a path from the root.
func checkAbsolute(p string) error {
	switch {
	case p == "":
		return fmt.Errorf("an empty path")
	case p[0] != '/':
		return fmt.Errorf("path %q is not absolute", p)
	case strings.IndexByte(p, 0) >= 0:
		return fmt.Errorf("path %q holds a NUL byte", p)
	case len(p) > maxPath:
		return fmt.Errorf("path of %d bytes (%.32q...): the kernel takes %d", len(p), p, maxPath)
	}
	return nil
}

// cleanAbsolute returns an absolute path without doubled slashes, "." and a
// final slash. ".." is refused: it means something else across links.
func cleanAbsolute(p string) (string, error) {
	if err := checkAbsolute(p); err != nil {
		return "", err
	}
	for _, part := range strings.Split(p, "/") {
		if part == ".." {
			return "", fmt.Errorf("path %q contains \"..\"", p)
		}
	}
	return path.Clean(p), nil
}

// ParsePath reads an absolute path and returns it clean.
func ParsePath(s string) (string, error) { return cleanAbsolute(s) }

// parsePidFile reads pid_file: a relative path is below /run, as systemd has it.
func parsePidFile(s string) (string, error) {
	if s != "" && s[0] != '/' {
		s = "/run/" + s
	}
	return cleanAbsolute(s)
}

// ParsePathEntry reads an absolute path with systemd's prefixes "-" (may be
// missing) and "+" (below root_directory), in either order.
func ParsePathEntry(s string) (PathEntry, error) {
	var entry PathEntry
	rest := s
	for rest != "" && (rest[0] == '-' && !entry.Optional || rest[0] == '+' && !entry.InRoot) {
		entry.Optional = entry.Optional || rest[0] == '-'
		entry.InRoot = entry.InRoot || rest[0] == '+'
		rest = rest[1:]
	}
	var err error
	entry.Path, err = cleanAbsolute(rest)
	return entry, err
}

// ParseWorkingDirectory reads working_directory: an absolute path or "~", the
// user's home; "-" before it lets it be missing.
func ParseWorkingDirectory(s string) (WorkingDirectory, error) {
	rest, optional := strings.CutPrefix(s, "-")
	if rest == "~" {
		return WorkingDirectory{Home: true, Optional: optional}, nil
	}
	clean, err := cleanAbsolute(rest)
	if err != nil {
		return WorkingDirectory{}, fmt.Errorf("%w; write an absolute path, or \"~\" for the user's home", err)
	}
	return WorkingDirectory{Path: clean, Optional: optional}, nil
}

// ParseBind reads an entry of bind_paths: "source[:destination[:options]]",
// where "-" before the source lets it be missing, options are rbind (the
// default) and norbind, and "\:" is a colon of the path.
func ParseBind(s string) (Bind, error) {
	fields, err := splitColons(strings.Trim(s, blanks), 3)
	if err != nil {
		return Bind{}, fmt.Errorf("bind %q: %w", s, err)
	}
	bind := Bind{Recursive: true}
	source, optional := strings.CutPrefix(fields[0], "-")
	bind.Optional = optional
	if bind.Source, err = cleanAbsolute(source); err != nil {
		return Bind{}, fmt.Errorf("bind %q: source: %w", s, err)
	}
	bind.Destination = bind.Source
	if len(fields) > 1 && fields[1] != "" {
		if bind.Destination, err = cleanAbsolute(fields[1]); err != nil {
			return Bind{}, fmt.Errorf("bind %q: destination: %w", s, err)
		}
	}
	if len(fields) > 2 {
		bind.Recursive, err = bindRecursion(fields[2])
	}
	if err != nil {
		return Bind{}, fmt.Errorf("bind %q: %w", s, err)
	}
	if bind.Destination == "/" {
		return Bind{}, fmt.Errorf("bind %q: the destination is /; write root_directory for another root", s)
	}
	return bind, nil
}

func bindRecursion(option string) (bool, error) {
	switch option {
	case "rbind":
		return true, nil
	case "norbind":
		return false, nil
	}
	return false, fmt.Errorf("option %q: one of rbind, norbind", option)
}

// ParseTmpfs reads an entry of temporary_file_system: "path[:options]".
func ParseTmpfs(s string) (Tmpfs, error) {
	fields, err := splitColons(strings.Trim(s, blanks), 2)
	if err != nil {
		return Tmpfs{}, fmt.Errorf("temporary file system %q: %w", s, err)
	}
	clean, err := cleanAbsolute(fields[0])
	if err != nil {
		return Tmpfs{}, fmt.Errorf("temporary file system %q: %w", s, err)
	}
	if clean == "/" {
		return Tmpfs{}, fmt.Errorf("temporary file system %q: it would hide the whole root", s)
	}
	tmpfs := Tmpfs{Path: clean}
	if len(fields) > 1 {
		tmpfs.Options = fields[1]
	}
	return tmpfs, nil
}

// splitColons cuts s at colons into at most limit fields. "\:" is a colon and
// "\\" a backslash; any other backslash stays.
func splitColons(s string, limit int) ([]string, error) {
	var fields []string
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s) && (s[i+1] == ':' || s[i+1] == '\\'):
			i++
			b.WriteByte(s[i])
		case s[i] == ':':
			fields = append(fields, b.String())
			b.Reset()
		default:
			b.WriteByte(s[i])
		}
	}
	fields = append(fields, b.String())
	if len(fields) > limit {
		return nil, fmt.Errorf("more than %d parts; write \\: for a colon in a path", limit)
	}
	return fields, nil
}
