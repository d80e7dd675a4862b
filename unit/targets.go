package unit

// builtinTarget is a target that is there without a file.
type builtinTarget struct {
	name         string
	aliases      []string
	wants, after []string
	early        bool // before basic: no default dependencies
}

// builtinTargets are the synchronisation points of systemd.special(7) that
// units name. They want each other as far as that makes the early ones part
// of every boot, and are otherwise empty.
func builtinTargets() []builtinTarget {
	return []builtinTarget{
		{name: "default", aliases: []string{"multi-user", "graphical"}, wants: []string{"basic"}, after: []string{"basic"}},
		{name: "basic", early: true, wants: []string{"sysinit", "sockets", "timers", "paths"}, after: []string{"sysinit", "sockets", "timers", "paths"}},
		{name: "sysinit", early: true, wants: []string{"local-fs"}, after: []string{"local-fs"}},
		{name: "sockets", early: true, after: []string{"sysinit"}},
		{name: "timers", early: true, after: []string{"sysinit"}},
		{name: "paths", early: true, after: []string{"sysinit"}},
		{name: "getty", after: []string{"getty-pre"}},
		{name: "getty-pre"},
		{name: "network-pre", early: true},
		{name: "network", early: true, after: []string{"network-pre"}},
		{name: "network-online", early: true, after: []string{"network"}},
		{name: "local-fs", early: true},
		{name: "remote-fs", early: true},
		{name: "nss-lookup", early: true},
		{name: "nss-user-lookup", early: true},
		{name: "time-set", early: true},
		{name: "time-sync", early: true, after: []string{"time-set"}},
		{name: "shutdown", early: true},
		{name: "rescue", early: true},
		{name: "emergency", early: true},
	}
}
