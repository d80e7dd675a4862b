package unit

import (
	"fmt"
	"os"
	"time"
)

// InstanceConfig is nsinit.toml: what holds for all units of an instance that
// do not say otherwise.
type InstanceConfig struct {
	DefaultNetwork string        // mode of profile daemon: private, host or veth
	Bridges        []Bridge      // that of the instance first; nil: not known, as nothing was read
	SyslogSocket   string        // where [log] forward = "syslog" leads; "" is /dev/log
	JournalSocket  string        // "journal"; "" is /run/systemd/journal/socket
	WatchdogSec    time.Duration // of the machine's hardware watchdog; 0 is none
	defaults       settings
}

// LoadConfig reads nsinit.toml. A file that is not there is an empty one. It
// has default_network, syslog_socket, journal_socket, watchdog_sec, tables [defaults.service], [defaults.unit],
// [defaults.resources] and [defaults.log] with keys of units, and [bridge.NAME].
func LoadConfig(path string) (InstanceConfig, error) {
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return InstanceConfig{Bridges: instanceBridges()}.withDefaults(), nil
	}
	if err != nil {
		return InstanceConfig{}, fmt.Errorf("cannot read the instance's configuration: %w", err)
	}
	c, errs := parseConfig(path, string(data))
	if len(errs) > 0 {
		return InstanceConfig{}, errs
	}
	return c, nil
}

// instanceBridges is what an instance has without a word of nsinit.toml.
func instanceBridges() []Bridge { return []Bridge{{Name: DefaultBridge, Nat: true}} }

func (c InstanceConfig) withDefaults() InstanceConfig {
	if c.DefaultNetwork == "" {
		c.DefaultNetwork = NetworkHost
	}
	return c
}

func parseConfig(path, src string) (InstanceConfig, List) {
	c := InstanceConfig{defaults: settings{}, Bridges: instanceBridges()}
	doc, errs := readDocument(path, src)
	if doc.root == nil || doc.values == nil {
		return c, errs
	}
	for _, n := range doc.root.fields {
		switch n.key {
		case "default_network":
			errs = append(errs, c.readNetwork(doc, n)...)
		case "syslog_socket":
			errs = append(errs, readSocket(&c.SyslogSocket, doc, n)...)
		case "journal_socket":
			errs = append(errs, readSocket(&c.JournalSocket, doc, n)...)
		case "watchdog_sec":
			errs = append(errs, c.readWatchdog(doc, n)...)
		case "defaults":
			errs = append(errs, c.readDefaults(doc, n)...)
		case "bridge":
			errs = append(errs, c.readBridges(doc, n)...)
		default:
			e := doc.atKey(n)
			e.Msg = fmt.Sprintf("unknown key %s", printable(n.key))
			if near := nearest(n.key, configKeys); near != "" {
				e.Hint = "did you mean " + near + "?"
			}
			errs = append(errs, e)
		}
	}
	return c.withDefaults(), errs
}

func (c *InstanceConfig) readNetwork(doc *document, n *node) List {
	v := doc.values[n.key]
	if s, ok := v.(string); ok && (s == NetworkPrivate || s == NetworkHost || s == NetworkVeth) {
		c.DefaultNetwork = s
		return nil
	}
	e := doc.atValue(n)
	e.Key, e.Msg = n.key, fmt.Sprintf("default_network = %s: one of private, host, veth", tomlText(v))
	if v == any(NetworkMacvlan) || v == any(NetworkVlan) {
		e.Msg += "; a " + v.(string) + " needs more than that, which units have in [network]"
	}
	return List{e}
}

// readSocket reads the path of a Unix socket (unix(7): at most 107 bytes).
func readSocket(to *string, doc *document, n *node) List {
	v := doc.values[n.key]
	p, ok := v.(string)
	if ok && len(p) <= 107 {
		if clean, err := cleanAbsolute(p); err == nil {
			*to = clean
			return nil
		}
	}
	e := doc.atValue(n)
	e.Key, e.Msg = n.key, fmt.Sprintf("%s = %s: an absolute path of at most 107 bytes", n.key, tomlText(v))
	return List{e}
}

// readWatchdog reads a number of seconds or a time span, between a second and an
// hour: devices do not take less, and more is none.
func (c *InstanceConfig) readWatchdog(doc *document, n *node) List {
	v := doc.values[n.key]
	d, err := ParseTimespan(fmt.Sprint(v))
	_, text := v.(string)
	_, number := v.(int64)
	if err == nil && (text || number) && (d == 0 || d >= time.Second && d <= time.Hour) {
		c.WatchdogSec = d
		return nil
	}
	e := doc.atValue(n)
	e.Key, e.Msg = n.key, fmt.Sprintf("watchdog_sec = %s: a time from 1s to 1h, or 0 for no watchdog", tomlText(v))
	return List{e}
}

// readDefaults reads the tables below [defaults] as those of a unit, and
// tries every value on a unit that has nothing else.
func (c *InstanceConfig) readDefaults(doc *document, n *node) List {
	tables, _ := doc.values[n.key].(map[string]any)
	var errs List
	for _, t := range n.fields {
		if t.key != "service" && t.key != "unit" && t.key != "resources" && t.key != "log" {
			e := doc.atKey(t)
			e.Msg = fmt.Sprintf("[defaults.%s]: only service, unit, resources and log have defaults here", printable(t.key))
			errs = append(errs, e)
			continue
		}
		values, _ := tables[t.key].(map[string]any)
		part := &document{file: doc.file, src: doc.src, lines: doc.lines, root: doc.root, values: map[string]any{t.key: values}}
		errs = append(errs, part.readTable(c.defaults, t, values)...)
	}
	return append(errs, c.checkDefaults(doc)...)
}

// checkDefaults refuses keys that belong to one unit, and bad values.
func (c *InstanceConfig) checkDefaults(doc *document) List {
	b := &builder{unit: &Unit{Name: "defaults", Path: doc.file}, says: c.defaults, context: SpecifierContext{Name: "defaults"}}
	for _, id := range sortedKeys(c.defaults) {
		if k := keyTable().byID[id]; perUnit(k) {
			b.failKey(id, "%s belongs to a unit and has no default for all", k.Name)
		} else {
			b.decode(k)
		}
	}
	sortErrors(b.errs)
	return b.errs
}

// perUnit says whether a key describes one service rather than a policy.
func perUnit(k *Key) bool {
	switch k.kind.label {
	case commands.label, conditions.label, unitNames.label, absolutePaths.label, pathEntries.label, filePatterns.label:
		return true
	}
	switch k.ID() {
	case "unit.description", "unit.documentation", "service.type", "service.activation", "service.user", "service.group", "service.timeout_sec",
		"service.open_file", "service.working_directory", "resources.slice", "resources.delegate", "log.syslog_identifier", "log.reopen_signal":
		return true
	}
	return false
}
