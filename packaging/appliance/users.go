package main

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"os"
	"slices"
	"strconv"
	"strings"
)

// account is a line of passwd(5) or group(5); home and shell are a user's.
type account struct {
	name        string
	id, gid     int
	home, shell string
	hash        string // of a user's password (crypt(5)), "" for none
}

// accounts are the users and groups of the image.
type accounts struct {
	users, groups map[string]account
	host          struct{ passwd, group map[string][]string }
}

// System accounts have ids below 1000; those below 100 are the distribution's.
const firstID, endID = 100, 1000

func newAccounts(s source) *accounts {
	a := &accounts{users: map[string]account{}, groups: map[string]account{}}
	a.host.passwd, a.host.group = colonFile(s.file("/etc/passwd")), colonFile(s.file("/etc/group"))
	a.groups["root"] = account{name: "root"}
	a.groups["nogroup"] = account{name: "nogroup", id: 65534}
	a.users["root"] = account{name: "root", home: "/root", shell: "/bin/sh"}
	a.users["nobody"] = account{name: "nobody", id: 65534, gid: 65534, home: "/nonexistent", shell: nologin}
	return a
}

const nologin = "/usr/sbin/nologin"

// colonFile reads passwd or group by name; a file that is not there is empty.
func colonFile(path string) map[string][]string {
	out := map[string][]string{}
	data, _ := os.ReadFile(path)
	for line := range strings.Lines(string(data)) {
		if f := strings.Split(strings.TrimSpace(line), ":"); len(f) >= 4 {
			out[f[0]] = f
		}
	}
	return out
}

// group makes a group: with the id that was asked for, the source's, or one
// made from its name.
func (a *accounts) group(name string, id int) error {
	if _, ok := a.groups[name]; ok || isID(name) {
		return nil
	}
	id, err := a.choose(name, id, a.host.group[name], a.groups)
	if err != nil {
		return fmt.Errorf("cannot make group %s: %w", name, err)
	}
	a.groups[name] = account{name: name, id: id}
	return nil
}

// user makes a user, and its group: the source's, or one of its own name.
func (a *accounts) user(name string, id int, home, shell string) error {
	if _, ok := a.users[name]; ok || isID(name) {
		return nil
	}
	known := a.host.passwd[name]
	if len(known) >= 7 {
		home, shell = or(home, known[5]), or(shell, known[6])
	}
	group := name
	for _, g := range a.host.group {
		if len(known) >= 7 && g[2] == known[3] {
			group = g[0]
		}
	}
	id, err := a.choose(name, id, known, a.users)
	if err != nil {
		return fmt.Errorf("cannot make user %s: %w", name, err)
	}
	if err := a.group(group, -1); err != nil {
		return err
	}
	a.users[name] = account{name: name, id: id, gid: a.groups[group].id, home: or(home, "/nonexistent"), shell: or(shell, nologin)}
	return nil
}

// password gives a user of the image one, as shadow(5) has it. A word that is no
// hash would be a password that anybody can read, and that nobody could use.
func (a *accounts) password(name, hash string) error {
	if _, err := a.uid(name); err != nil || isID(name) {
		return cmp.Or(err, fmt.Errorf("%s is no user's name", name))
	}
	if !strings.HasPrefix(hash, "$") || strings.Count(hash, "$") < 3 || strings.Contains(hash, ":") {
		return fmt.Errorf("%s's is not a hash, such as \"openssl passwd -6\" makes", name)
	}
	u := a.users[name]
	u.hash = hash
	a.users[name] = u
	return nil
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func isID(name string) bool {
	_, err := strconv.ParseUint(name, 10, 32)
	return err == nil
}

// choose gives an id: the one asked for (-1: none), the source's, or a free one
// that hangs on the name, so that a user more in the image does not give the
// others new ids, which files on a disk that stays would not follow.
func (a *accounts) choose(name string, id int, known []string, taken map[string]account) (int, error) {
	used := map[int]string{}
	for _, t := range taken {
		used[t.id] = t.name
	}
	if id < 0 && len(known) > 2 {
		n, err := strconv.Atoi(known[2])
		if err != nil {
			return 0, err
		}
		id = n
	}
	if id >= 0 {
		if by := used[id]; by != "" {
			return 0, fmt.Errorf("its id %d is %s's", id, by)
		}
		return id, nil
	}
	h := fnv.New32a()
	h.Write([]byte(name))
	for i := range endID - firstID {
		n := firstID + (int(h.Sum32()%(endID-firstID))+i)%(endID-firstID)
		if used[n] == "" {
			return n, nil
		}
	}
	return 0, fmt.Errorf("all ids from %d to %d are taken", firstID, endID-1)
}

// uid and gid look up an owner that a list names.
func (a *accounts) uid(name string) (int, error) { return lookUp(a.users, name, "user") }
func (a *accounts) gid(name string) (int, error) { return lookUp(a.groups, name, "group") }

func lookUp(in map[string]account, name, what string) (int, error) {
	if isID(name) {
		return strconv.Atoi(name)
	}
	found, ok := in[name]
	if !ok {
		return 0, fmt.Errorf("the image has no %s %s: name it in a unit, or with: %s %s", what, name, what, name)
	}
	return found.id, nil
}

func byID(in map[string]account) []account {
	var list []account
	for _, x := range in {
		list = append(list, x)
	}
	slices.SortFunc(list, func(x, y account) int { return x.id - y.id })
	return list
}

// write makes passwd, group and shadow.
func (a *accounts) write(t *tree) error {
	var passwd, shadow, group strings.Builder
	for _, u := range byID(a.users) {
		fmt.Fprintf(&passwd, "%s:x:%d:%d::%s:%s\n", u.name, u.id, u.gid, u.home, u.shell)
		fmt.Fprintf(&shadow, "%s:%s:::::::\n", u.name, or(u.hash, "!*"))
	}
	for _, g := range byID(a.groups) {
		fmt.Fprintf(&group, "%s:x:%d:\n", g.name, g.id)
	}
	for _, f := range []struct {
		path, text string
		mode       uint32
	}{{"/etc/passwd", passwd.String(), 0o644}, {"/etc/group", group.String(), 0o644}, {"/etc/shadow", shadow.String(), 0o600}} {
		if t.get(f.path) != nil {
			continue // the list brought one
		}
		if err := t.text(f.path, f.text, f.mode); err != nil {
			return err
		}
	}
	return nil
}
