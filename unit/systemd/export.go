package systemd

import (
	"fmt"
	"io"
	"strings"

	sd "github.com/coreos/go-systemd/v22/unit"

	"github.com/nsinit/nsinit/unit"
)

// Export writes the unit as it is in force as a unit of systemd: what its files
// say, and what its profile protects, which systemd would not by itself. It
// returns what systemd has no directive for.
func Export(u *unit.Unit) (text string, cannot []string, err error) {
	values, err := u.Values()
	if err != nil {
		return "", nil, fmt.Errorf("cannot export %s: %w", u.Name, err)
	}
	var options []*sd.UnitOption
	for _, v := range values {
		if !v.Written && !protective(v) {
			continue // systemd has the same default
		}
		added, why := exported(v)
		options = append(options, added...)
		if why != "" && v.Written {
			cannot = append(cannot, fmt.Sprintf("%s = %s: %s", v.Key.ID(), strings.Join(v.Value, " "), why))
		}
	}
	f := &u.Filesystem
	for _, of := range []struct {
		list []unit.Directory
		mode uint32
	}{
		{f.RuntimeDirectory, f.RuntimeDirectoryMode}, {f.StateDirectory, f.StateDirectoryMode}, {f.CacheDirectory, f.CacheDirectoryMode},
		{f.LogsDirectory, f.LogsDirectoryMode}, {f.ConfigurationDirectory, f.ConfigurationDirectoryMode},
	} {
		for _, d := range of.list {
			if d.Mode != of.mode || d.User != "" && d.User != u.Service.User {
				cannot = append(cannot, fmt.Sprintf("mode %04o and owner of the directory %s: systemd has one mode for all, and the unit's user", d.Mode, d.Path))
			}
		}
	}
	data, err := io.ReadAll(sd.Serialize(options))
	if err != nil {
		return "", nil, fmt.Errorf("cannot export %s: %w", u.Name, err)
	}
	head := "# from " + u.Name + ".toml\n"
	for _, c := range cannot {
		head += "# not carried over: " + comment(c) + "\n"
	}
	return head + string(data), cannot, nil
}

// protective says whether a default is one that systemd has not.
func protective(v unit.KeyValue) bool {
	switch id := v.Key.ID(); id {
	case "service.restart", "network.mode":
		return true
	case "filesystem.mount_flags", "filesystem.runtime_directory_preserve", "security.proc_subset":
		return false
	default:
		return (v.Key.Table == "filesystem" || v.Key.Table == "security") && !strings.HasSuffix(id, "_mode") &&
			!(id == "security.ambient_capabilities" && len(v.Value) == 0)
	}
}

// exported gives the directives of a key, or why there are none.
func exported(v unit.KeyValue) (options []*sd.UnitOption, why string) {
	id, name, section := v.Key.ID(), v.Key.Systemd, exportSection(v.Key)
	one := func(section, name, value string) ([]*sd.UnitOption, string) {
		return []*sd.UnitOption{sd.NewUnitOption(section, name, value)}, ""
	}
	switch {
	case id == "network.mode":
		switch kind, rest, _ := strings.Cut(v.Value[0], ":"); kind {
		case unit.NetworkPrivate:
			return one("Service", "PrivateNetwork", "yes")
		case unit.NetworkUnit:
			return one("Unit", "JoinsNamespaceOf", rest+".service")
		case unit.NetworkPath:
			return one("Service", "NetworkNamespacePath", rest)
		case unit.NetworkHost:
			return nil, ""
		}
		return nil, "systemd makes no such network"
	case name == "":
		return nil, "systemd has no such directive"
	case id == "security.capability_bounding_set" || id == "security.ambient_capabilities":
		return one(section, name, strings.Join(v.Value, " ")) // empty is none
	case id == "resources.slice":
		return one(section, name, v.Value[0]+".slice")
	}
	for _, value := range v.Value {
		options = append(options, sd.NewUnitOption(section, name, exportValue(v.Key, value)))
	}
	return options, ""
}

// exportSection is where systemd has a key.
func exportSection(k unit.Key) string {
	switch k.Table {
	case "unit":
		return "Unit"
	case "install":
		return "Install"
	}
	return "Service"
}

// exportValue gives unit names their suffix back, and the log its name.
func exportValue(k unit.Key, value string) string {
	switch {
	case k.Type == "unit names" && unit.BuiltinTarget(value):
		return strings.Replace(value+".target", "default.target", "multi-user.target", 1)
	case k.Type == "unit names":
		return value + ".service"
	case k.Table == "log" && value == "log":
		return "journal"
	}
	return strings.ReplaceAll(value, "\n", " ")
}
