package systemd

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/nsinit/nsinit/unit"
)

// directory is one that the service needs, by tmpfiles.d or by being there.
type directory struct {
	path, mode, user, group string
	from                    string
}

// directoriesOfPackage declares what the package makes for its service, which
// is read-only inside otherwise.
func (c *converter) directoriesOfPackage(s *source) {
	if c.host.Root == "-" || c.profile == unit.ProfileHost {
		return
	}
	for _, f := range c.packageFiles(s.files[0], "tmpfiles.d") {
		data, err := readFile(c.host.Root + f)
		if err != nil {
			continue
		}
		for i, line := range strings.Split(string(data), "\n") {
			c.tmpfilesLine(f, i+1, line)
		}
	}
	for _, d := range c.foundDirectories(s) {
		c.declare(d)
	}
	c.rotatedLogs(s)
	c.missingUser(s)
}

// rotatedLogs makes /var/log writable for what logs to files of its own right
// there: the package has logrotate(8) take care of them, and they may not exist yet.
// Where it has rules for rsyslog, that writes them.
func (c *converter) rotatedLogs(s *source) {
	if len(c.packageFiles(s.files[0], "rsyslog.d")) > 0 {
		return
	}
	for _, f := range c.packageFiles(s.files[0], "logrotate.d") {
		data, err := readFile(c.host.Root + f)
		if err != nil {
			continue
		}
		for _, word := range strings.Fields(string(data)) {
			word = strings.Trim(word, "\"'{}")
			if filepath.Dir(word) != "/var/log" || c.covered("/var/log") {
				continue
			}
			c.addItem("filesystem", "read_write_paths", unit.QuoteTOML("/var/log"))
			c.get("filesystem", "read_write_paths").comment = word + " is its own (" + f + ")"
		}
	}
}

// packageFiles lists files of a kind that belong to the unit: those of its
// Debian package, and those that have its name.
func (c *converter) packageFiles(unitFile, kind string) []string {
	found := map[string]bool{}
	lists, _ := filepath.Glob(c.host.Root + "/var/lib/dpkg/info/*.list")
	short := strings.TrimPrefix(unitFile, "/usr")
	for _, l := range lists {
		data, err := os.ReadFile(l)
		if err != nil || !bytes.Contains(data, []byte(short+"\n")) {
			continue
		}
		for _, path := range strings.Split(string(data), "\n") {
			if strings.HasPrefix(path, "/usr/lib/"+kind+"/") && strings.HasSuffix(path, ".conf") || strings.HasPrefix(path, "/etc/"+kind+"/") {
				found[path] = true
			}
		}
	}
	prefix, _, _ := strings.Cut(c.name, "@")
	for _, dir := range []string{"/usr/lib/", "/etc/"} {
		if path := dir + kind + "/" + prefix + ".conf"; exists(c.host.Root + path) {
			found[path] = true
		}
	}
	return sortedNames(found)
}

// tmpfilesLine reads a line of tmpfiles.d(5): directories are declared.
func (c *converter) tmpfilesLine(file string, line int, text string) {
	f := strings.Fields(text)
	if len(f) < 2 || strings.HasPrefix(f[0], "#") {
		return
	}
	for len(f) < 5 {
		f = append(f, "-")
	}
	from := fmt.Sprintf("%s:%d", filepath.Base(file), line)
	path := strings.TrimRight(strings.Replace(f[1], "/var/run/", "/run/", 1), "/")
	if strings.IndexByte("dDvqQe", f[0][0]) < 0 || strings.Contains(path, "%") || strings.ContainsAny(path, "*?[") {
		c.notices = append(c.notices, fmt.Sprintf("%s is not carried over: %s", from, strings.Join(strings.Fields(text), " ")))
		return
	}
	dash := func(s string) string { return strings.TrimPrefix(s, "-") }
	c.declare(directory{path, dash(strings.TrimLeft(f[2], "~:")), dash(f[3]), dash(f[4]), from})
}

// foundDirectories are those of /var that have the name of the unit, its
// program or its user, and that its user can write to.
func (c *converter) foundDirectories(s *source) []directory {
	names := map[string]bool{}
	prefix, _, _ := strings.Cut(c.name, "@")
	names[prefix] = true
	if _, n := s.assignment("ExecStart"); n > 0 {
		a, _ := s.assignment("ExecStart")
		if program := filepath.Base(programOf(a.Value)); program != "." && program != "sh" {
			names[program] = true
		}
	}
	user := s.value("User")
	if user != "" && user != "root" {
		names[user] = true
	}
	var out []directory
	for _, name := range sortedNames(names) {
		for _, base := range []string{"/var/lib/", "/var/log/", "/var/cache/", "/var/spool/"} {
			info, err := os.Stat(c.host.Root + base + name)
			if err != nil || !info.IsDir() || strings.ContainsAny(name, "/%") {
				continue
			}
			owner, group := ownerOf(c.host.Root, info)
			if user != "" && user != "root" && owner == "root" {
				continue // it cannot write there in any case
			}
			if c.bindsBelow(base + name) {
				continue // a jail: what is missing of it is made in a tree that is not the machine's alone
			}
			mode := fmt.Sprintf("%04o", info.Mode().Perm())
			out = append(out, directory{base + name, mode, owner, group, ""})
		}
	}
	return out
}

// bindsBelow says whether the unit mounts something into the directory.
func (c *converter) bindsBelow(dir string) bool {
	for _, key := range []string{"bind_paths", "bind_read_only_paths"} {
		if e := c.get("filesystem", key); e != nil && strings.Contains(e.value, ":"+dir+"/") {
			return true
		}
	}
	return false
}

// declare adds a directory to the key of its kind, else to the writable paths,
// unless the unit says it already.
func (c *converter) declare(d directory) {
	if c.covered(d.path) {
		return
	}
	for _, kind := range []struct{ base, key string }{
		{"/run/", "runtime_directory"}, {"/var/lib/", "state_directory"}, {"/var/cache/", "cache_directory"}, {"/var/log/", "logs_directory"},
	} {
		name, ok := strings.CutPrefix(d.path, kind.base)
		if !ok || name == "" || strings.HasPrefix(name, "lock/") {
			continue
		}
		c.addItem("filesystem", kind.key, d.entry(name, c.owner()))
		return
	}
	if strings.HasPrefix(d.path, "/var/") || strings.HasPrefix(d.path, "/srv/") {
		c.addItem("filesystem", "read_write_paths", unit.QuoteTOML(d.path))
	}
}

// owner is what a directory's owner is without being written.
func (c *converter) owner() string {
	user, group := "root", ""
	if e := c.get("service", "user"); e != nil {
		user = strings.Trim(e.value, `"`)
	}
	if e := c.get("service", "group"); e != nil {
		group = strings.Trim(e.value, `"`)
	}
	if group == "" {
		group = user
	}
	return user + ":" + group
}

func (d directory) entry(name, owner string) string {
	text := unit.QuoteTOML(name)
	user, group := d.user, d.group
	if user == "" {
		user = "root"
	}
	if group == "" {
		group = user
	}
	var more string
	if m := strings.TrimLeft(d.mode, "0"); m != "" && m != "755" {
		more += fmt.Sprintf(", mode = \"%04s\"", m)
	}
	if user+":"+group != owner {
		more += ", owner = " + unit.QuoteTOML(user+":"+group)
	}
	if more == "" {
		return text
	}
	return "{ path = " + text + more + " }"
}

// covered says whether a key makes the path writable already.
func (c *converter) covered(path string) bool {
	for key, base := range map[string]string{"runtime_directory": "/run/", "state_directory": "/var/lib/", "cache_directory": "/var/cache/",
		"logs_directory": "/var/log/", "read_write_paths": "", "bind_paths": ""} {
		e := c.get("filesystem", key)
		if e == nil {
			continue
		}
		for _, quoted := range strings.FieldsFunc(e.value, func(r rune) bool { return r == '"' || r == '\'' }) {
			if have := base + strings.TrimLeft(quoted, "-+"); have == path || strings.HasPrefix(path, have+"/") && have != "/" {
				return true
			}
		}
	}
	return false
}

// addItem lengthens an array.
func (c *converter) addItem(table, key, item string) {
	e := c.get(table, key)
	if e == nil {
		if strings.HasPrefix(item, "{") {
			item = "[" + item + "]"
		}
		c.set(table, key, item).added = true
		return
	}
	old := e.value
	if strings.HasPrefix(old, "[") {
		old = strings.TrimSuffix(strings.TrimPrefix(old, "["), "]")
	}
	e.value = "[" + old + ", " + item + "]"
}

// missingUser says that the user is one that sysusers.d would make.
func (c *converter) missingUser(s *source) {
	user := s.value("User")
	if user == "" || userExists(c.host.Root, user) {
		return
	}
	for _, f := range c.packageFiles(s.files[0], "sysusers.d") {
		data, err := readFile(c.host.Root + f)
		if err == nil && bytes.Contains(data, []byte(" "+user+" ")) {
			c.notices = append(c.notices, fmt.Sprintf("The user %s is not there yet: systemd-sysusers %s makes it.", user, f))
			return
		}
	}
}
