package compile

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/moby/sys/user"

	"github.com/nsinit/nsinit/isolate"
)

// Accounts are the users and groups of a root directory: its /etc/passwd and
// /etc/group. No other name service is asked.
type Accounts struct {
	Users  []user.User
	Groups []user.Group
}

// account is a user with its groups, resolved.
type account struct {
	set       bool // user, group or supplementary_groups was given
	userGiven bool
	uid, gid  uint32
	groups    []uint32 // supplementary, ascending
	name      string
	home      string
	shell     string
}

// resolveAccount finds a user and groups by name or number. Numbers need no
// entry: they have no name, / as home and /bin/sh then.
func (c *compiler) resolveAccount(userName, groupName string, supplementary []string) (account, error) {
	a := account{set: userName != "" || groupName != "" || len(supplementary) > 0, userGiven: userName != "",
		name: "root", home: "/root", shell: "/bin/sh"}
	if userName == "" {
		userName = "0"
	}
	if err := c.setUser(&a, userName); err != nil {
		return account{}, err
	}
	if groupName != "" {
		gid, ok := c.facts.Accounts.group(groupName)
		if !ok {
			return account{}, c.fail("service.group", isolate.ClassGroup, "group %q is not in /etc/group%s", groupName, c.ofRoot())
		}
		a.gid = gid
	}
	if a.userGiven {
		a.groups = c.facts.Accounts.groupsOf(a.name, a.gid)
	}
	for _, name := range supplementary {
		gid, ok := c.facts.Accounts.group(name)
		if !ok {
			return account{}, c.fail("service.supplementary_groups", isolate.ClassGroup, "group %q is not in /etc/group%s", name, c.ofRoot())
		}
		a.groups = append(a.groups, gid)
	}
	slices.Sort(a.groups)
	a.groups = slices.Compact(a.groups)
	return a, nil
}

func (c *compiler) setUser(a *account, name string) error {
	entry, found := c.facts.Accounts.user(name)
	switch {
	case found:
		a.uid, a.gid, a.name = uint32(entry.Uid), uint32(entry.Gid), entry.Name
		a.home, a.shell = orDefault(entry.Home, "/"), orDefault(entry.Shell, "/bin/sh")
	case isNumber(name):
		id, _ := parseID(name)
		a.uid, a.gid = id, id
		if id != 0 {
			a.name, a.home = name, "/"
		}
	default:
		return c.fail("service.user", isolate.ClassUser, "user %q is not in /etc/passwd%s", name, c.ofRoot())
	}
	return nil
}

// ofRoot says whose files were read, where that is not obvious.
func (c *compiler) ofRoot() string {
	if root := c.unit.Filesystem.RootDirectory; root != "" && root != "/" {
		return " of " + root
	}
	return ""
}

func (a Accounts) user(name string) (user.User, bool) {
	id, err := parseID(name)
	for _, u := range a.Users {
		if u.Name == name || err == nil && u.Uid == int(id) {
			return u, true
		}
	}
	return user.User{}, false
}

func (a Accounts) group(name string) (uint32, bool) {
	if id, err := parseID(name); err == nil {
		return id, true
	}
	for _, g := range a.Groups {
		if g.Name == name {
			return uint32(g.Gid), true
		}
	}
	return 0, false
}

// groupsOf returns the groups of a user as initgroups(3) does.
func (a Accounts) groupsOf(name string, primary uint32) []uint32 {
	list := []uint32{primary}
	for _, g := range a.Groups {
		if slices.Contains(g.List, name) {
			list = append(list, uint32(g.Gid))
		}
	}
	return list
}

// parseID reads a user or group id. The two highest mean "no change" to system
// calls and are no ids.
func parseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, err
	}
	if n >= 0xffff_ffff || n == 0xffff {
		return 0, fmt.Errorf("%s is no id: system calls take it for \"no change\"", s)
	}
	return uint32(n), nil
}

func isNumber(s string) bool {
	_, err := parseID(s)
	return err == nil
}

func orDefault(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
