package names

import (
	"fmt"
	"net/netip"
	"strings"
)

// Resolver is what a unit says about resolving, instead of the machine's.
type Resolver struct {
	DNS    []netip.Addr
	Search []string
}

// ResolvConf gives a resolv.conf(5). machine is the text of the machine's, and
// upstream that of the one with the servers behind a resolver on loopback, as
// systemd-resolved has it; "" if there is none. problem says which servers cannot
// be reached by a service and stand for nothing; "" if there are none.
func ResolvConf(machine, upstream string, own Resolver) (text, problem string) {
	servers, lost := serversOf(machine)
	if len(lost) > 0 {
		behind, _ := serversOf(upstream)
		if servers = append(servers, behind...); len(servers) > 0 {
			lost = nil
		}
	}
	if len(own.DNS) > 0 {
		servers, lost = nil, nil
		for _, a := range own.DNS {
			servers = append(servers, a.String())
		}
	}
	var b strings.Builder
	for _, s := range servers {
		b.WriteString("nameserver " + s + "\n")
	}
	if len(own.Search) > 0 {
		b.WriteString("search " + strings.Join(own.Search, " ") + "\n")
	}
	for line := range strings.Lines(machine) {
		switch fields := strings.Fields(line); {
		case len(fields) < 2 || strings.ContainsAny(fields[0][:1], "#;") || fields[0] == "nameserver" || fields[0] == "sortlist":
		case (fields[0] == "search" || fields[0] == "domain") && len(own.Search) > 0:
		default:
			b.WriteString(strings.Join(fields, " ") + "\n")
		}
	}
	if len(lost) > 0 {
		problem = fmt.Sprintf("the machine's name server %s listens on its loopback alone, where no service reaches it: name others in dns of [network]", strings.Join(lost, ", "))
	}
	return b.String(), problem
}

// Servers are the name servers of a resolv.conf, for rules that let them through.
func Servers(text string) (list []netip.Addr) {
	servers, _ := serversOf(text)
	for _, s := range servers {
		if a, err := netip.ParseAddr(s); err == nil {
			list = append(list, a)
		}
	}
	return list
}

// serversOf lists the name servers of a resolv.conf, and apart from them those
// that only the machine itself reaches: on loopback, or by one of its links.
func serversOf(text string) (servers, lost []string) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		a, err := netip.ParseAddr(fields[1])
		switch {
		case err != nil:
		case a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified():
			lost = append(lost, fields[1])
		default:
			servers = append(servers, a.String())
		}
	}
	return servers, lost
}
