package boot

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// account is a line of sysusers.d(5).
type account struct {
	line
	kind               byte   // u: user and group; g: group; m: membership; r: range of IDs
	name               string // r: "-"
	id                 string // "", UID, UID:GID, UID:GROUP, /PATH whose owner it is; m: the group; r: FIRST-LAST
	gecos, home, shell string
}

// accountName is what systemd and useradd take (valid_user_group_name, strict).
var accountName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z_A-Z][a-zA-Z0-9_-]{0,30}$`) })

// parseAccounts reads the lines.
func parseAccounts(lines []line) (accounts []account, problems []error) {
	for _, l := range lines {
		a, err := parseAccount(l)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		accounts = append(accounts, a)
	}
	return accounts, problems
}

func parseAccount(l line) (account, error) {
	words, rest, err := fields(l.text, 6)
	if err != nil {
		return account{}, l.errorf("cannot read the line: %w", err)
	}
	words = append(words, make([]string, 6-len(words))...)
	for i, w := range words {
		if w == "-" && i > 1 {
			words[i] = ""
		}
	}
	a := account{line: l, name: words[1], id: words[2], gecos: words[3], home: words[4], shell: words[5]}
	switch words[0] {
	case "u", "u!", "g", "m", "r": // u! locks the account; without a password all of them are
		a.kind = words[0][0]
	default:
		return a, l.errorf("cannot use a line of type %q: u, g, m and r are known", words[0])
	}
	switch {
	case rest != "":
		return a, l.errorf("cannot use what follows the sixth field: %q", rest)
	case strings.ContainsRune(a.name+a.id+a.gecos+a.home+a.shell, '%'):
		return a, l.errorf("cannot use specifiers (%%) here")
	case a.kind != 'r' && !accountName().MatchString(a.name):
		return a, l.errorf("cannot use %q as a name", a.name)
	case a.kind == 'm' && !accountName().MatchString(a.id):
		return a, l.errorf("cannot use %q as a name", a.id)
	case strings.ContainsAny(a.gecos+a.home+a.shell, ":\n"):
		return a, l.errorf("cannot use a colon or a line break in a field of passwd(5)")
	}
	return a, nil
}

// accounts that exist, and what is to be added to them.
type accounts struct {
	root          string
	uids, gids    map[string]int // by name
	uidSet        map[int]bool
	gidSet        map[int]bool
	ranges        [][2]int
	passwd, group []string // lines to append
	shadow        []string // names to append
	gshadow       []string
	members       map[string][]string // of groups, to add
}

// systemIDs is where IDs are taken from unless an r line says otherwise, the
// highest first.
var systemIDs = [2]int{1, 999}

// sysusers makes the users and groups that are missing.
func sysusers(root string) []error {
	lines, problems := readAll(root, "sysusers")
	list, errs := parseAccounts(lines)
	problems = append(problems, errs...)
	if len(list) == 0 {
		return problems
	}
	db, err := readAccounts(root)
	if err != nil {
		return append(problems, err)
	}
	problems = append(problems, db.add(list)...)
	if err := db.write(); err != nil {
		problems = append(problems, fmt.Errorf("cannot add users and groups: %w", err))
	}
	return problems
}

func readAccounts(root string) (*accounts, error) {
	db := &accounts{root: root, members: map[string][]string{}}
	var err error
	if db.uids, err = readIDs(filepath.Join(root, "etc/passwd")); err != nil {
		return nil, err
	}
	if db.gids, err = readIDs(filepath.Join(root, "etc/group")); err != nil {
		return nil, err
	}
	db.uidSet, db.gidSet = map[int]bool{}, map[int]bool{}
	for _, id := range db.uids {
		db.uidSet[id] = true
	}
	for _, id := range db.gids {
		db.gidSet[id] = true
	}
	return db, nil
}

// readIDs reads the names and IDs of passwd(5) or group(5).
func readIDs(path string) (map[string]int, error) {
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	ids := map[string]int{}
	for l := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimSpace(l), ":")
		if len(f) > 3 {
			if id, err := strconv.Atoi(f[2]); err == nil {
				ids[f[0]] = id
			}
		}
	}
	return ids, nil
}

// add decides what each line leads to: ranges first, then groups, then users,
// which may ask for a group's ID, then memberships. Both sides of a membership
// are made where they are missing, after the ones that have lines of their own.
func (db *accounts) add(list []account) (problems []error) {
	for _, step := range []struct {
		kind byte
		do   func(account) error
	}{
		{'r', db.addRange}, {'g', db.addGroup}, {'m', func(a account) error { return db.addGroup(account{name: a.id}) }},
		{'u', db.addUser}, {'m', func(a account) error { return db.addUser(account{name: a.name}) }}, {'m', db.addMember},
	} {
		for _, a := range list {
			if a.kind != step.kind {
				continue
			}
			if err := step.do(a); err != nil {
				problems = append(problems, a.errorf("cannot add %q: %w", a.name, err))
			}
		}
	}
	return problems
}

func (db *accounts) addRange(a account) error {
	first, last, has := strings.Cut(a.id, "-")
	if !has {
		last = first
	}
	lo, err1 := strconv.Atoi(first)
	hi, err2 := strconv.Atoi(last)
	if err1 != nil || err2 != nil || lo < 1 || lo > hi {
		return fmt.Errorf("%q is no range of IDs", a.id)
	}
	db.ranges = append(db.ranges, [2]int{lo, hi})
	return nil
}

func (db *accounts) addGroup(a account) error {
	if _, known := db.gids[a.name]; known {
		return nil
	}
	gid, fixed, err := db.fixedID(a.id, func(st *unix.Stat_t) uint32 { return st.Gid })
	if err != nil {
		return err
	}
	if !fixed || db.gidSet[gid] { // one that is taken is no reason not to have the group
		if gid, err = db.freeID(); err != nil {
			return err
		}
	}
	db.newGroup(a.name, gid)
	return nil
}

func (db *accounts) addUser(a account) error {
	if _, known := db.uids[a.name]; known {
		return nil
	}
	uidText, gidText, pair := strings.Cut(a.id, ":")
	if uidText == "-" {
		uidText = ""
	}
	uid, fixed, err := db.fixedID(uidText, func(st *unix.Stat_t) uint32 { return st.Uid })
	if err != nil {
		return err
	}
	gid, hasGroup := db.gids[a.name]
	if pair {
		if gid, hasGroup = db.gids[gidText]; !hasGroup {
			if gid, err = strconv.Atoi(gidText); err != nil {
				return fmt.Errorf("there is no group %q", gidText)
			}
			if !db.gidSet[gid] {
				return fmt.Errorf("there is no group with ID %d", gid)
			}
			hasGroup = true
		}
	}
	if !fixed && hasGroup && !pair && !db.uidSet[gid] {
		uid, fixed = gid, true
	}
	if !fixed || db.uidSet[uid] {
		if uid, err = db.freeID(); err != nil {
			return err
		}
	}
	if !hasGroup {
		if gid = uid; db.gidSet[gid] {
			if gid, err = db.freeID(); err != nil {
				return err
			}
		}
		db.newGroup(a.name, gid)
	}
	home, shell := a.home, a.shell
	if home == "" {
		home = "/"
	}
	if shell == "" {
		if shell = "/usr/sbin/nologin"; uid == 0 {
			shell = "/bin/sh"
		}
	}
	db.uids[a.name], db.uidSet[uid] = uid, true
	db.passwd = append(db.passwd, fmt.Sprintf("%s:x:%d:%d:%s:%s:%s", a.name, uid, gid, a.gecos, home, shell))
	db.shadow = append(db.shadow, a.name)
	return nil
}

func (db *accounts) addMember(a account) error {
	db.members[a.id] = append(db.members[a.id], a.name)
	return nil
}

func (db *accounts) newGroup(name string, gid int) {
	db.gids[name], db.gidSet[gid] = gid, true
	db.group = append(db.group, fmt.Sprintf("%s:x:%d:", name, gid))
	db.gshadow = append(db.gshadow, name)
}

// fixedID reads an ID that is a number or a path whose owner has it.
func (db *accounts) fixedID(text string, owner func(*unix.Stat_t) uint32) (id int, fixed bool, err error) {
	if text == "" {
		return 0, false, nil
	}
	if text[0] == '/' {
		var st unix.Stat_t
		if unix.Stat(filepath.Join(db.root, text), &st) != nil || owner(&st) == 0 {
			return 0, false, nil
		}
		return int(owner(&st)), true, nil
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 1<<16-1 || n == 1<<32-1 {
		return 0, false, fmt.Errorf("%q is no ID", text)
	}
	return int(n), true, nil
}

// freeID gives the highest ID that neither a user nor a group has.
func (db *accounts) freeID() (int, error) {
	ranges := db.ranges
	if len(ranges) == 0 {
		ranges = [][2]int{systemIDs}
	}
	for i := len(ranges) - 1; i >= 0; i-- {
		for id := ranges[i][1]; id >= ranges[i][0]; id-- {
			if !db.uidSet[id] && !db.gidSet[id] {
				return id, nil
			}
		}
	}
	return 0, fmt.Errorf("no ID is free in %v", ranges)
}
