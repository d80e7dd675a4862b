package unit

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// exitStatusNames are the names of exit statuses in systemd.exec(5): those of
// the C library, LSB, BSD (sysexits(3)) and systemd's own from 200.
func exitStatusNames() map[string]int {
	return map[string]int{
		"SUCCESS": 0, "FAILURE": 1, "INVALIDARGUMENT": 2, "NOTIMPLEMENTED": 3, "NOPERMISSION": 4,
		"NOTINSTALLED": 5, "NOTCONFIGURED": 6, "NOTRUNNING": 7,
		"USAGE": 64, "DATAERR": 65, "NOINPUT": 66, "NOUSER": 67, "NOHOST": 68, "UNAVAILABLE": 69,
		"SOFTWARE": 70, "OSERR": 71, "OSFILE": 72, "CANTCREAT": 73, "IOERR": 74, "TEMPFAIL": 75,
		"PROTOCOL": 76, "NOPERM": 77, "CONFIG": 78,
		"CHDIR": 200, "NICE": 201, "FDS": 202, "EXEC": 203, "MEMORY": 204, "LIMITS": 205,
		"OOM_ADJUST": 206, "SIGNAL_MASK": 207, "STDIN": 208, "STDOUT": 209, "CHROOT": 210,
		"IOPRIO": 211, "TIMERSLACK": 212, "SECUREBITS": 213, "SETSCHEDULER": 214, "CPUAFFINITY": 215,
		"GROUP": 216, "USER": 217, "CAPABILITIES": 218, "CGROUP": 219, "SETSID": 220, "CONFIRM": 221,
		"STDERR": 222, "PAM": 224, "NETWORK": 225, "NAMESPACE": 226, "NO_NEW_PRIVILEGES": 227,
		"SECCOMP": 228, "SELINUX_CONTEXT": 229, "PERSONALITY": 230, "APPARMOR": 231,
		"ADDRESS_FAMILIES": 232, "RUNTIME_DIRECTORY": 233, "CHOWN": 235, "SMACK_PROCESS_LABEL": 236,
		"KEYRING": 237, "STATE_DIRECTORY": 238, "CACHE_DIRECTORY": 239, "LOGS_DIRECTORY": 240,
		"CONFIGURATION_DIRECTORY": 241, "NUMA_POLICY": 242, "CREDENTIALS": 243, "BPF": 244,
		"EXCEPTION": 255,
	}
}

// ExitStatusName returns systemd's name of an exit status, "" if it has none.
func ExitStatusName(code int) string {
	for name, n := range exitStatusNames() {
		if n == code {
			return name
		}
	}
	return ""
}

// ParseExitStatusSet reads success_exit_status and its like: each entry holds
// exit statuses (0-255), their names, or names of signals, separated by
// blanks. A number is always an exit status.
func ParseExitStatusSet(list []string) (ExitStatusSet, error) {
	var set ExitStatusSet
	names := exitStatusNames()
	for _, word := range strings.Fields(strings.Join(list, " ")) {
		if err := set.add(word, names); err != nil {
			return ExitStatusSet{}, err
		}
	}
	slices.Sort(set.Codes)
	slices.Sort(set.Signals)
	set.Codes, set.Signals = slices.Compact(set.Codes), slices.Compact(set.Signals)
	return set, nil
}

func (s *ExitStatusSet) add(word string, names map[string]int) error {
	if n, err := strconv.Atoi(word); err == nil {
		if n < 0 || n > 255 {
			return fmt.Errorf("exit status %d: they go from 0 to 255", n)
		}
		s.Codes = append(s.Codes, n)
		return nil
	}
	if n, known := names[word]; known {
		s.Codes = append(s.Codes, n)
		return nil
	}
	signal, err := ParseSignal(word)
	if err != nil {
		return fmt.Errorf("unknown exit status %q; a number, a signal such as SIGKILL, or a name such as TEMPFAIL", word)
	}
	s.Signals = append(s.Signals, signal)
	return nil
}
