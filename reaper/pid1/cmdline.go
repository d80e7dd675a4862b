package pid1

import (
	"os"
	"strconv"
	"strings"
	"time"
)

// cmdline is what the kernel's command line says to process 1.
type cmdline struct {
	quiet, debug bool
	unit         string        // nsinit.unit: what the first start aims at
	watchdog     time.Duration // nsinit.watchdog: for the manager
	rescueFirst  bool          // nsinit.rescue: a shell before anything else
	rescueShell  bool          // nsinit.rescue=shell: that, also where root has no password
	onFailure    ending        // nsinit.rescue=ACTION where the manager cannot be kept; stay is a shell
	stopTimeout  time.Duration

	root, rootFlags, init string
	rootTypes             []string
	rootWrite             bool
	overlay               bool          // nsinit.overlay: what is written to the root stays in memory
	rootWait              time.Duration // for the device to appear
}

const (
	// A unit's default is 90 s; one that uses all of it is still stopped in order.
	defaultStop = 120 * time.Second
	// Drivers find disks while process 1 runs already.
	defaultRootWait = 10 * time.Second
	forever         = 365 * 24 * time.Hour
)

func readCmdline(say *reporter, container bool) cmdline {
	if container {
		return cmdline{stopTimeout: defaultStop} // the kernel's is the host's
	}
	b, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		say.warn("cannot read the kernel's command line: %v; going on with defaults", err)
	}
	c, wrong := parseCmdline(string(b))
	for _, w := range wrong {
		say.warn("cannot use %s on the kernel's command line; going on without", w)
	}
	return c
}

// parseCmdline reads the words of a command line (kernel-parameters.txt,
// "quoted values" included). wrong are those of ours that it cannot use.
func parseCmdline(line string) (c cmdline, wrong []string) {
	c.stopTimeout, c.rootWait = defaultStop, defaultRootWait
	for _, word := range splitWords(line) {
		if word == "--" {
			break // what follows is process 1's own command line
		}
		key, value, has := strings.Cut(word, "=")
		ok := true
		switch key {
		case "quiet":
			c.quiet = true
		case "nsinit.debug":
			c.debug = true
		case "nsinit.unit":
			c.unit, ok = value, value != ""
		case "nsinit.watchdog":
			c.watchdog, ok = seconds(value, 0)
		case "nsinit.rescue":
			ok = c.setRescue(value, has)
		case "nsinit.overlay":
			c.overlay = true
		case "nsinit.stop_timeout":
			c.stopTimeout, ok = seconds(value, c.stopTimeout)
		case "root":
			c.root = value
		case "rootfstype":
			c.rootTypes = strings.Split(value, ",")
		case "rootflags":
			c.rootFlags = value
		case "ro", "rw":
			c.rootWrite = key == "rw"
		case "rootwait":
			if c.rootWait = forever; has {
				c.rootWait, ok = seconds(value, c.rootWait)
			}
		case "init":
			c.init = value
		default:
			ok = !strings.HasPrefix(key, "nsinit.")
		}
		if !ok {
			wrong = append(wrong, word)
		}
	}
	return c, wrong
}

func (c *cmdline) setRescue(value string, has bool) bool {
	if !has {
		c.rescueFirst = true
		return true
	}
	for _, e := range []ending{halt, powerOff, reboot} {
		if value == e.String() {
			c.onFailure = e
			return true
		}
	}
	c.rescueShell = value == "shell"
	return c.rescueShell
}

// seconds reads a whole number of seconds above 0, else gives the default.
func seconds(value string, otherwise time.Duration) (time.Duration, bool) {
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil || n == 0 {
		return otherwise, false
	}
	return time.Duration(n) * time.Second, true
}

// splitWords splits at spaces that are not in double quotes, and drops those.
func splitWords(line string) (words []string) {
	var word strings.Builder
	quoted := false
	for _, c := range line + " " {
		switch {
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ' ' || c == '\n' || c == '\t'):
			if word.Len() > 0 {
				words = append(words, word.String())
				word.Reset()
			}
		default:
			word.WriteRune(c)
		}
	}
	if word.Len() > 0 { // a quote that nothing ends
		words = append(words, strings.TrimSpace(word.String()))
	}
	return words
}
