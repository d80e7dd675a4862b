package compile

import (
	"path"
	"slices"
	"strings"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/unit"
)

// paths returns the unit's own changes to its tree, in the order of the keys.
func (c *compiler) paths() ([]isolate.PathRule, error) {
	f := &c.unit.Filesystem
	var rules []isolate.PathRule
	for _, t := range f.TemporaryFileSystem {
		list, err := c.tmpfs(t)
		if err != nil {
			return nil, err
		}
		rules = append(rules, list...)
	}
	for _, list := range []struct {
		key      string
		binds    []unit.Bind
		readOnly bool
	}{{"filesystem.bind_paths", f.BindPaths, false}, {"filesystem.bind_read_only_paths", f.BindReadOnlyPaths, true}} {
		for _, b := range list.binds {
			rule, err := c.bind(list.key, b, list.readOnly)
			if err != nil {
				return nil, err
			}
			rules = append(rules, rule)
		}
	}
	for _, list := range []struct {
		action  isolate.PathAction
		entries []unit.PathEntry
	}{
		{isolate.PathReadWrite, f.ReadWritePaths}, {isolate.PathReadOnly, f.ReadOnlyPaths}, {isolate.PathExec, f.ExecPaths},
		{isolate.PathNoExec, f.NoExecPaths}, {isolate.PathInaccessible, f.InaccessiblePaths},
	} {
		for _, entry := range list.entries {
			rules = append(rules, isolate.PathRule{Action: list.action, Path: entry.Path, Optional: entry.Optional})
		}
	}
	for _, file := range OutputFiles(c.unit) {
		rules = append(rules, isolate.PathRule{Action: isolate.PathReadWrite, Path: file, Optional: true})
	}
	return append(append(rules, c.bridges()...), c.nameFiles()...), nil
}

// OutputFiles lists the files of the host that standard_output and standard_error
// name and that the service could not open, since its tree is read-only there:
// systemd opens them before there is such a tree. They are made on the host where
// they are missing, and writable in the tree; what the service may write anyway
// is its own to make.
func OutputFiles(u *unit.Unit) (list []string) {
	f := &u.Filesystem
	if !u.Isolation.Namespaces.Mount || f.RootDirectory != "" && f.RootDirectory != "/" {
		return nil
	}
	for _, s := range []unit.Stream{u.Log.StandardOutput, u.Log.StandardError} {
		own := s.Path == "" || slices.Contains(list, s.Path) || WritableAbove(u, s.Path) != "" ||
			f.PrivateTmp && (within(s.Path, "/tmp") || within(s.Path, "/var/tmp")) ||
			f.PrivateDevices && within(s.Path, "/dev") || f.PrivateRun && within(s.Path, "/run")
		if !own {
			list = append(list, s.Path)
		}
	}
	return list
}

// bridges are what leads from a private /run and /dev to the machine: the
// notify and log sockets, and files of /run that links of the host lead to.
func (c *compiler) bridges() []isolate.PathRule {
	var rules []isolate.PathRule
	bind := func(source, target string, optional bool) {
		rules = append(rules, isolate.PathRule{Action: isolate.PathBind, Path: target, Source: source, ReadOnly: true, Optional: optional})
	}
	root := c.unit.Filesystem.RootDirectory
	if c.facts.NotifySocket != "" && (c.unit.Filesystem.PrivateRun || root != "" && root != "/") {
		bind(c.facts.NotifySocket, c.notifyPath(), false)
	}
	if c.unit.Filesystem.PrivateRun {
		for _, target := range c.facts.RunTargets {
			if !c.isOwnDirectory(target) && !c.named(target) {
				bind(target, target, true)
			}
		}
	}
	if c.unit.Filesystem.PrivateDevices && c.facts.LogSocket != "" {
		bind(c.facts.LogSocket, "/dev/log", false)
		if c.unit.Filesystem.PrivateRun && !c.isOwnDirectory(journalSocket) && !c.isBound(journalSocket) {
			bind(c.facts.LogSocket, journalSocket, false)
		}
	}
	return rules
}

// journalSocket is where sd_journal_send(3) sends to.
const journalSocket = "/run/systemd/journal/socket"

// isBound reports whether p lies in what the unit binds from elsewhere.
func (c *compiler) isBound(p string) bool {
	covers := func(b unit.Bind) bool { return within(p, b.Destination) }
	return slices.ContainsFunc(c.unit.Filesystem.BindPaths, covers) || slices.ContainsFunc(c.unit.Filesystem.BindReadOnlyPaths, covers)
}

// isOwnDirectory reports whether p lies in a runtime directory of the unit,
// which is bound in whole.
func (c *compiler) isOwnDirectory(p string) bool {
	return slices.ContainsFunc(c.unit.Filesystem.RuntimeDirectory, func(d unit.Directory) bool {
		return within(p, path.Join("/run", d.Path))
	})
}

// bind compiles an entry of bind_paths. Sources are the host's; those that
// are the service's own fresh directories are bound inside, where they exist.
func (c *compiler) bind(key string, b unit.Bind, readOnly bool) (isolate.PathRule, error) {
	f, inside := &c.unit.Filesystem, false
	for _, fresh := range []struct {
		dir string
		own bool
	}{{"/tmp", f.PrivateTmp}, {"/var/tmp", f.PrivateTmp}, {"/dev/pts", f.PrivateDevices}, {"/dev/log", f.PrivateDevices}} {
		if fresh.own && b.Source != fresh.dir && within(b.Source, fresh.dir) {
			return isolate.PathRule{}, c.fail(key, isolate.ClassNamespace,
				"bind source %s is in the service's own %s, which begins empty; bind %[2]s itself", b.Source, fresh.dir)
		}
		inside = inside || fresh.own && b.Source == fresh.dir
	}
	return isolate.PathRule{Action: isolate.PathBind, Path: b.Destination, Source: b.Source, SourceInside: inside,
		Recursive: b.Recursive, ReadOnly: readOnly, Optional: b.Optional}, nil
}

// tmpfs compiles an entry of temporary_file_system. Options of mount(8) become
// rules of their own; those of tmpfs(5) go to the file system.
func (c *compiler) tmpfs(t unit.Tmpfs) ([]isolate.PathRule, error) {
	options, hasMode := []string{}, false
	rules := []isolate.PathRule{{Action: isolate.PathTmpfs, Path: t.Path}}
	for _, option := range strings.FieldsFunc(t.Options, func(r rune) bool { return r == ',' }) {
		name, _, _ := strings.Cut(option, "=")
		switch name {
		case "ro":
			rules = append(rules, isolate.PathRule{Action: isolate.PathReadOnly, Path: t.Path})
		case "noexec":
			rules = append(rules, isolate.PathRule{Action: isolate.PathNoExec, Path: t.Path})
		case "rw", "exec", "nodev", "nosuid", "strictatime", "relatime":
			// the state that it has anyway, or no difference to files in memory
		case "mode", "size", "nr_blocks", "nr_inodes", "uid", "gid", "huge":
			options, hasMode = append(options, option), hasMode || name == "mode"
		default:
			return nil, c.fail("filesystem.temporary_file_system", isolate.ClassNamespace,
				"temporary_file_system %s: unknown option %q", t.Path, option)
		}
	}
	if !hasMode {
		options = append([]string{"mode=0755"}, options...)
	}
	rules[0].Options = strings.Join(options, ",")
	return rules, nil
}

// WritableAbove gives the outermost directory of the host above p that u names
// as writable, "" if there is none: what the service put there at an earlier
// start must not choose what is opened for it at this one.
func WritableAbove(u *unit.Unit, p string) (dir string) {
	f := &u.Filesystem
	var list []string
	for _, b := range f.BindPaths {
		list = append(list, b.Source)
	}
	if f.RootDirectory != "" {
		list = append(list, f.RootDirectory)
	} else {
		for _, w := range f.ReadWritePaths {
			list = append(list, w.Path)
		}
	}
	for _, kind := range directoryKinds(u) {
		for _, entry := range kind.entries {
			first, _, _ := strings.Cut(entry.Path, "/")
			list = append(list, path.Join(kind.base, first))
		}
	}
	for _, d := range list {
		if p != d && within(p, d) && (dir == "" || len(d) < len(dir)) {
			dir = d
		}
	}
	return dir
}

// within reports whether p is dir or below it.
func within(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}
