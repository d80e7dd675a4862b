package unit

import (
	"fmt"
	"strings"
)

// capabilityTable has the name of capability n of capabilities(7) at n, as of
// Linux 5.9, the last to add one.
func capabilityTable() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID",
		"CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE",
		"CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK",
		"CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE",
		"CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
		"CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE",
		"CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG",
		"CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF",
		"CAP_CHECKPOINT_RESTORE",
	}
}

// AllCapabilities is the mask of every capability that has a name.
const AllCapabilities uint64 = 1<<41 - 1

// CapabilityName returns the name of capability n, "" if it has none.
func CapabilityName(n int) string {
	names := capabilityTable()
	if n < 0 || n >= len(names) {
		return ""
	}
	return names[n]
}

// ParseCapability returns the number of a capability: "CAP_NET_ADMIN" is 12.
func ParseCapability(name string) (int, error) {
	want := strings.ToUpper(name)
	if !strings.HasPrefix(want, "CAP_") {
		want = "CAP_" + want
	}
	for n, known := range capabilityTable() {
		if known == name {
			return n, nil
		}
		if known == want {
			return 0, fmt.Errorf("unknown capability %q; write %q", name, want)
		}
	}
	return 0, fmt.Errorf("unknown capability %q; see capabilities(7)", name)
}

// ParseCapabilities reads a list of capabilities into a mask. CAP_X entries
// list the set; +CAP_X and ~CAP_X change it, or base if nothing is listed. nil
// leaves base; a list that is empty, or only "", is the empty set. An entry
// may hold several names separated by blanks, each with its own prefix.
func ParseCapabilities(list []string, base uint64) (uint64, error) {
	if list == nil {
		return base, nil
	}
	var listed, added, removed uint64
	written, changed := false, false
	for _, entry := range list {
		words := strings.Fields(entry)
		if err := checkCapabilityEntry(entry, words); err != nil {
			return 0, err
		}
		for _, word := range words {
			n, err := ParseCapability(strings.TrimLeft(word, "+~"))
			if err != nil {
				return 0, err
			}
			bit := uint64(1) << n
			switch word[0] {
			case '+':
				added, removed, changed = added|bit, removed&^bit, true
			case '~':
				added, removed, changed = added&^bit, removed|bit, true
			default:
				listed, written = listed|bit, true
			}
		}
	}
	if written || !changed {
		base = listed
	}
	return base&^removed | added, nil
}

// checkCapabilityEntry refuses "~CAP_A CAP_B": in systemd the ~ is for both,
// and here CAP_B would start a list that drops everything else.
func checkCapabilityEntry(entry string, words []string) error {
	prefixed := 0
	for _, word := range words {
		if word[0] == '+' || word[0] == '~' {
			prefixed++
		}
		if len(strings.TrimLeft(word, "+~"))+1 < len(word) {
			return fmt.Errorf("capability %q has more than one prefix", word)
		}
	}
	if prefixed != 0 && prefixed != len(words) {
		return fmt.Errorf("capabilities %q mix names with and without a prefix; give each name its own + or ~", entry)
	}
	return nil
}
