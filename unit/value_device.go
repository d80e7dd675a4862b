package unit

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// ParseDeviceAllow reads an entry of device_allow: a node below /dev, or a
// class "char-NAME" or "block-NAME" of /proc/devices, then any of the letters
// r, w and m (mknod); none means all three.
func ParseDeviceAllow(s string) (DeviceRule, error) {
	words, err := splitWords(s, wordsUnquote)
	if err != nil {
		return DeviceRule{}, err
	}
	if len(words) == 0 || len(words) > 2 {
		return DeviceRule{}, fmt.Errorf("device %q: write a device and its access, such as \"/dev/sda rw\"", s)
	}
	rule := DeviceRule{Path: words[0], Class: isDeviceClass(words[0])}
	if _, err := path.Match(words[0], ""); err != nil {
		return DeviceRule{}, fmt.Errorf("device %q: %w", words[0], err)
	}
	if !rule.Class {
		if rule.Path, err = cleanAbsolute(words[0]); err != nil {
			return DeviceRule{}, err
		}
		if !strings.HasPrefix(rule.Path, "/dev/") {
			return DeviceRule{}, fmt.Errorf("device %q is not below /dev, nor char-NAME or block-NAME", words[0])
		}
	}
	access := "rwm"
	if len(words) == 2 {
		access = words[1]
	}
	return rule, rule.setAccess(access)
}

func isDeviceClass(s string) bool {
	kind, name, found := strings.Cut(s, "-")
	return found && name != "" && (kind == "char" || kind == "block")
}

// MatchesClass reports whether r is a class that a device of that kind ("char",
// "block") is in: its driver's name or its major number matches the pattern.
func (r *DeviceRule) MatchesClass(kind string, drivers []string, major uint32) bool {
	own, pattern, _ := strings.Cut(r.Path, "-")
	if !r.Class || own != kind {
		return false
	}
	if pattern == "*" || pattern == strconv.Itoa(int(major)) {
		return true
	}
	return slices.ContainsFunc(drivers, func(name string) bool {
		match, err := path.Match(strings.ReplaceAll(pattern, "/", "\x00"), strings.ReplaceAll(name, "/", "\x00"))
		return err == nil && match // a slash is a character like others (cpu/msr)
	})
}

func (r *DeviceRule) setAccess(letters string) error {
	for _, c := range letters {
		switch c {
		case 'r':
			r.Read = true
		case 'w':
			r.Write = true
		case 'm':
			r.Mknod = true
		default:
			return fmt.Errorf("device %q: access %q is not made of r, w and m", r.Path, letters)
		}
	}
	return nil
}
