package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nsinit/nsinit/network/filter"
	"github.com/nsinit/nsinit/unit"
)

// unitDirectory is where an image has its units.
const unitDirectory = "/etc/nsinit/units"

// loadUnits reads the units of one directory as the image's manager will, and
// refuses all if one of them is wrong.
func loadUnits(dir, hostname string) ([]*unit.Unit, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("cannot read the units: %w", err)
	}
	machine := unit.ReadMachine()
	machine.Host, machine.MachineID, machine.BootID, machine.OSRelease = hostname, "", "", nil
	// Who may write to them here does not matter: in the image they are root's.
	set := unit.LoadSet([]string{dir}, unit.Options{Machine: &machine, Lax: true})
	var problems []error
	for _, list := range set.Problems() {
		problems = append(problems, list)
	}
	if len(problems) > 0 {
		slices.SortFunc(problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
		return nil, errors.Join(problems...)
	}
	var units []*unit.Unit
	for _, name := range set.Names() {
		u, err := set.Resolve(name)
		if err != nil {
			return nil, err
		}
		units = append(units, u)
	}
	return units, nil
}

// owners lists the users and groups that a unit names.
func owners(u *unit.Unit) (users, groups []string) {
	users, groups = []string{u.Service.User}, append([]string{u.Service.Group}, u.Service.SupplementaryGroups...)
	f := u.Filesystem
	for _, list := range [][]unit.Directory{f.RuntimeDirectory, f.StateDirectory, f.CacheDirectory, f.LogsDirectory, f.ConfigurationDirectory} {
		for _, d := range list {
			users, groups = append(users, d.User), append(groups, d.Group)
		}
	}
	unset := func(s string) bool { return s == "" }
	return slices.DeleteFunc(users, unset), slices.DeleteFunc(groups, unset)
}

// programs lists what a unit runs, of the image's own tree.
func programs(u *unit.Unit) (paths []string) {
	if u.Filesystem.RootDirectory != "" {
		return nil
	}
	s := u.Service
	for _, list := range [][]unit.Command{s.ExecCondition, s.ExecStartPre, s.ExecStart, s.ExecStartPost, s.ExecReload, s.ExecStop, s.ExecStopPost} {
		for _, c := range list {
			paths = append(paths, c.Path)
		}
	}
	return paths
}

// networkModules lists the kernel modules that the links of a unit need.
func networkModules(u *unit.Unit) (names []string) {
	for _, l := range u.Network.AllLinks() {
		switch l.Mode {
		case unit.NetworkVeth:
			names = append(append(names, "bridge", "veth"), filter.Modules...)
		case unit.NetworkMacvlan:
			names = append(names, "macvlan")
		case unit.NetworkVlan:
			names = append(names, "8021q")
		}
	}
	return names
}

// copyUnits copies a directory of units with drop-ins and links.
func copyUnits(t *tree, dir string) error {
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("cannot copy the units: %w", err)
		}
		rel, _ := filepath.Rel(dir, path)
		at := filepath.Join(unitDirectory, rel)
		switch {
		case d.IsDir():
			return t.dir(at, 0o755)
		case d.Type()&os.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return fmt.Errorf("cannot copy the units: %w", err)
			}
			return t.link(at, target)
		case strings.HasSuffix(rel, ".toml"):
			return t.file(at, path, 0o644)
		}
		return nil
	})
}
