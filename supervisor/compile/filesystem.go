package compile

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/unit"
)

// fileSystem fills everything of spec that is about files and directories.
func (c *compiler) fileSystem(spec *isolate.Spec) error {
	var err error
	if spec.Directory, err = c.directories(); err != nil {
		return err
	}
	if !c.namespaces.Has(isolate.Mount) {
		return c.refuseWithoutMount()
	}
	if spec.Tree, err = c.tree(); err != nil {
		return err
	}
	if spec.Paths, err = c.paths(); err != nil {
		return err
	}
	c.resolveMissing(spec)
	if err = c.devices(spec); err != nil {
		return err
	}
	if spec.Devices, err = c.terminalDevice(spec.Devices); err != nil {
		return err
	}
	s := &c.unit.Security
	if s.ProtectProc != "default" {
		spec.Proc.HidePID = s.ProtectProc
	}
	if s.ProcSubset != "all" {
		spec.Proc.Subset = s.ProcSubset
	}
	spec.Kernel = isolate.KernelRules{
		Tunables: s.ProtectKernelTunables,
		Logs:     s.ProtectKernelLogs,
		Clock:    s.ProtectClock,
		Masks:    c.unit.Isolation.Profile != unit.ProfileHost,
	}
	spec.Cgroup = c.cgroupView()
	spec.Files = c.files(spec.Hostname)
	return nil
}

// refuseWithoutMount refuses what a file of the unit asks for and only a mount
// namespace can give, where the loader has not done so already.
func (c *compiler) refuseWithoutMount() error {
	s := &c.unit.Security
	for _, asked := range []struct {
		key string
		on  bool
	}{
		{"filesystem.root_directory", c.unit.Filesystem.RootDirectory != ""},
		{"security.device_policy", s.DevicePolicy != "auto"},
		{"security.device_allow", len(s.DeviceAllow) > 0},
	} {
		if asked.on && c.written(asked.key) {
			_, name, _ := strings.Cut(asked.key, ".")
			return c.fail(asked.key, isolate.ClassNamespace,
				"%s needs the mount namespace; write namespaces = [\"+mount\"] in [isolation]", name)
		}
	}
	return nil
}

// tree returns the part of the mount tree that units of one kind share.
func (c *compiler) tree() (isolate.Tree, error) {
	f := &c.unit.Filesystem
	if f.MountFlags == "shared" {
		return isolate.Tree{}, c.fail("filesystem.mount_flags", isolate.ClassNamespace,
			"mount_flags = \"shared\" would let the service's mounts reach the machine; write \"slave\" to see the machine's")
	}
	tree := isolate.Tree{
		Root: f.RootDirectory,
		System: map[string]isolate.SystemAccess{"true": isolate.SystemUsrReadOnly, "full": isolate.SystemFullReadOnly,
			"strict": isolate.SystemStrictReadOnly}[f.ProtectSystem],
		Home: map[string]isolate.Visibility{"true": isolate.Hidden, "read-only": isolate.ReadOnly,
			"tmpfs": isolate.Empty}[f.ProtectHome],
		PrivateTmp: f.PrivateTmp,
		PrivateRun: f.PrivateRun,
		PrivateDev: f.PrivateDevices,
		Slave:      f.MountFlags == "slave",
	}
	if tree.Root == "/" {
		tree.Root = ""
	}
	if tree.System == isolate.SystemStrictReadOnly {
		tree.Boot = isolate.Hidden
	}
	if c.unit.Security.ProtectKernelModules {
		tree.Modules = isolate.Hidden
	}
	return tree, nil
}

// cgroupView says what the service sees at /sys/fs/cgroup.
func (c *compiler) cgroupView() isolate.CgroupView {
	switch {
	case !c.namespaces.Has(isolate.Cgroup):
		return isolate.CgroupHost
	case c.unit.Resources.Delegate.Enabled || !c.unit.Security.ProtectControlGroups:
		return isolate.CgroupWritable
	}
	return isolate.CgroupReadOnly
}

// directoryKind is one of the *_directory keys.
type directoryKind struct {
	kind     isolate.DirectoryKind
	key      string
	base     string
	variable string
	entries  []unit.Directory
}

func directoryKinds(u *unit.Unit) []directoryKind {
	f := &u.Filesystem
	return []directoryKind{
		{isolate.RuntimeDirectory, "runtime_directory", "/run", "RUNTIME_DIRECTORY", f.RuntimeDirectory},
		{isolate.StateDirectory, "state_directory", "/var/lib", "STATE_DIRECTORY", f.StateDirectory},
		{isolate.CacheDirectory, "cache_directory", "/var/cache", "CACHE_DIRECTORY", f.CacheDirectory},
		{isolate.LogsDirectory, "logs_directory", "/var/log", "LOGS_DIRECTORY", f.LogsDirectory},
		{isolate.ConfigurationDirectory, "configuration_directory", "/etc", "CONFIGURATION_DIRECTORY", f.ConfigurationDirectory},
	}
}

// directories returns what is made on the host before the start. Owners
// default to the unit's user and group; configuration is root's, as in
// systemd.exec(5), because a service should not change its own.
func (c *compiler) directories() ([]isolate.Directory, error) {
	var list []isolate.Directory
	for _, kind := range directoryKinds(c.unit) {
		for _, entry := range kind.entries {
			d := isolate.Directory{
				Kind:     kind.kind,
				Path:     path.Join(kind.base, entry.Path),
				Base:     kind.base,
				Mode:     entry.Mode,
				Preserve: entry.Preserve == "yes",
			}
			if kind.kind != isolate.ConfigurationDirectory {
				d.UID, d.GID = c.account.uid, c.account.gid
			}
			if err := c.owner(&d, entry, "filesystem."+kind.key); err != nil {
				return nil, err
			}
			list = append(list, d)
		}
	}
	return list, nil
}

func (c *compiler) owner(d *isolate.Directory, entry unit.Directory, key string) error {
	if entry.User != "" {
		a := account{}
		if err := c.setUser(&a, entry.User); err != nil {
			return c.fail(key, isolate.ClassDirectory, "owner of %s: user %q is not in /etc/passwd%s", d.Path, entry.User, c.ofRoot())
		}
		d.UID, d.GID = a.uid, a.gid
	}
	if entry.Group != "" {
		gid, ok := c.facts.Accounts.group(entry.Group)
		if !ok {
			return c.fail(key, isolate.ClassDirectory, "owner of %s: group %q is not in /etc/group%s", d.Path, entry.Group, c.ofRoot())
		}
		d.GID = gid
	}
	return nil
}

// files returns the small files that replace the machine's: /etc/hosts with the
// service's own host name, without which it could not resolve itself.
func (c *compiler) files(hostname string) []isolate.File {
	if hostname == "" || hostname == c.facts.MachineName || c.facts.Hosts == "" || c.named("/etc/hosts") {
		return nil
	}
	for line := range strings.Lines(c.facts.Hosts) {
		text, _, _ := strings.Cut(line, "#")
		if slices.Contains(strings.Fields(text), hostname) {
			return nil
		}
	}
	content := strings.TrimSuffix(c.facts.Hosts, "\n") + fmt.Sprintf("\n127.0.1.1\t%s\n", hostname)
	return []isolate.File{{Path: "/etc/hosts", Content: content, Mode: 0o644}}
}
