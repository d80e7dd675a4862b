// Package names makes the files that services resolve names by: a hosts file for
// each bridge, with the units that are on it, and a resolv.conf. They are bound
// into the services, so they are rewritten in place when an address comes or goes,
// or the machine's own files change.
package names

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Domain is what a unit's name has after it in its long form: db.nsinit.
const Domain = "nsinit"

// Entry is a unit on a bridge.
type Entry struct {
	Hostname  string // the unit's own, another name of it; "": none
	Addresses []netip.Addr
}

// Hosts gives the hosts(5) file of a bridge: what the machine's says of others,
// and a line for each address of the units. machine is the text of the
// machine's file and host its name. A unit's name goes before another's host name.
func Hosts(machine, host string, units map[string]Entry) string {
	given := map[string]bool{}
	var b strings.Builder
	b.WriteString(ofMachine(machine, host))
	for _, unit := range slices.Sorted(maps.Keys(units)) {
		e, names := units[unit], unit+" "+unit+"."+Domain
		if _, taken := units[e.Hostname]; e.Hostname != "" && e.Hostname != host && !taken && !given[e.Hostname] {
			given[e.Hostname] = true
			names += " " + e.Hostname
		}
		for _, a := range e.Addresses {
			b.WriteString(a.String() + "\t" + names + "\n")
		}
	}
	return b.String()
}

// ofMachine keeps of a hosts file what is true in another network namespace: of
// the loopback addresses only the names that mean oneself everywhere, for a
// service's 127.0.0.1 is not the machine's.
func ofMachine(text, host string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		words, _, _ := strings.Cut(line, "#")
		fields := strings.Fields(words)
		if len(fields) < 2 {
			continue
		}
		a, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		names := fields[1:]
		if a.IsLoopback() {
			names = slices.DeleteFunc(names, func(n string) bool { return !means(n, host) })
		}
		if len(names) > 0 {
			b.WriteString(fields[0] + "\t" + strings.Join(names, " ") + "\n")
		}
	}
	return b.String()
}

// means reports whether a name is that of whoever asks: localhost in its
// spellings, and the machine's name, which a service of profile daemon bears.
func means(name, host string) bool {
	return name == "localhost" || strings.HasPrefix(name, "localhost.") || strings.HasPrefix(name, "localhost4") ||
		strings.HasPrefix(name, "localhost6") || strings.HasPrefix(name, "ip6-") ||
		host != "" && (name == host || strings.HasPrefix(name, host+"."))
}
