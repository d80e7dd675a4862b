package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/nsinit/nsinit/supervisor/control"
)

// renderNetwork prints a tree for each bridge, and a line for each other network.
func renderNetwork(w io.Writer, v view, st control.NetworkStatus) {
	for _, b := range st.Bridges {
		fmt.Fprintln(w, cut(clean(bridgeLine(b)), v.Width))
		networkUnits(w, v, b.Units)
	}
	for _, parent := range parentsOf(st.Others) {
		fmt.Fprintln(w, clean(parent))
		networkUnits(w, v, on(st.Others, parent))
	}
	for _, group := range []struct {
		name  string
		units []string
	}{{"host", st.Host}, {"private", st.Private}, {"joined", st.Joined}} {
		if len(group.units) > 0 {
			fmt.Fprintln(w, cut(pad(group.name, 10, false)+clean(strings.Join(group.units, ", ")), v.Width))
		}
	}
	if len(st.Foreign) > 0 {
		var links []string
		for _, l := range st.Foreign {
			links = append(links, strings.Join(append([]string{l.Name}, l.Addresses...), " "))
		}
		fmt.Fprintln(w, cut(pad("foreign", 10, false)+clean(strings.Join(links, " · "))+" (not ours, left alone)", v.Width))
	}
	for _, p := range st.Problems {
		fmt.Fprintln(w, v.paint(yellow, "problem: "+clean(p)))
	}
}

// bridgeLine is "nsbr0  10.80.0.1/24  bridge, pool 10.80.0.0/24 (3 of 253 used),
// NAT via eth0".
func bridgeLine(b control.BridgeStatus) string {
	kind := "bridge"
	if b.Name != "default" {
		kind += " " + b.Name
	}
	parts := []string{kind}
	for _, p := range b.Pools {
		text := "pool " + p.Prefix + fmt.Sprintf(" (%d used)", p.Used)
		if p.Size > 0 {
			text = "pool " + p.Prefix + fmt.Sprintf(" (%d of %d used)", p.Used, p.Size)
		}
		parts = append(parts, text)
	}
	switch {
	case b.Internal:
		parts = append(parts, "internal")
	case b.NAT && b.Uplink != "":
		parts = append(parts, "NAT via "+b.Uplink)
	case b.NAT:
		parts = append(parts, "NAT, and no way outside")
	case b.Uplink != "":
		parts = append(parts, "routed via "+b.Uplink)
	}
	if b.Spoofed > 0 {
		parts = append(parts, fmt.Sprintf("%d packets with a false sender dropped", b.Spoofed))
	}
	return strings.Join(nonEmpty(b.Link, strings.Join(b.Gateways, " "), strings.Join(parts, ", ")), "  ")
}

// parentsOf lists the links of the machine that links of units are on.
func parentsOf(units []control.NetworkUnit) (names []string) {
	for _, u := range units {
		if name := u.Network.Link; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func on(units []control.NetworkUnit, parent string) []control.NetworkUnit {
	return slices.DeleteFunc(slices.Clone(units), func(u control.NetworkUnit) bool { return u.Network.Link != parent })
}

// networkColumns are name, addresses, links, state, ports and rules, in, out.
const networkColumns = 7

// networkUnits prints the units below a bridge or a parent, in columns; one that
// has nothing in a column leaves it to the others.
func networkUnits(w io.Writer, v view, units []control.NetworkUnit) {
	var rows [][networkColumns]string
	var widths [networkColumns]int
	for _, u := range units {
		row := networkRow(u)
		for i := range row {
			row[i] = clean(row[i])
			if u.State == "up" || i < 4 { // what is said of the others goes over the columns
				widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
			}
		}
		rows = append(rows, row)
	}
	for i, row := range rows {
		line := "├─ "
		if i == len(rows)-1 {
			line = "└─ "
		}
		for c, cell := range row {
			if widths[c] > 0 || cell != "" {
				line += pad(cell, widths[c], false) + "  "
			}
		}
		fmt.Fprintln(w, cut(strings.TrimRight(line, " "), v.Width))
	}
}

func networkRow(u control.NetworkUnit) [networkColumns]string {
	n := u.Network
	var addresses, links []string
	for _, l := range n.Links {
		for _, a := range l.Addresses {
			host, _, _ := strings.Cut(a, "/")
			addresses = append(addresses, host)
		}
		links = append(links, strings.TrimSpace(l.Kind+" "+l.HostLink))
	}
	row := [networkColumns]string{u.Unit, strings.Join(addresses, " "), strings.Join(links, ", "), u.State}
	if u.State != "up" {
		row[4] = "(service stopped; address held until its unit is gone)"
		return row
	}
	row[4] = strings.Join(nonEmpty(portsText(n.Publish), prefixed("from: ", strings.Join(n.AllowFrom, ", ")), prefixed("to: ", strings.Join(n.AllowTo, ", "))), "; ")
	row[5], row[6] = "in "+short(n.RxBytes), "out "+short(n.TxBytes)
	var refused []string
	for _, r := range n.Refused {
		refused = append(refused, fmt.Sprintf("%d from %s", r.Count, r.From))
	}
	if len(refused) > 0 {
		row[6] += "  (refused " + strings.Join(refused, ", ") + ")"
	}
	return row
}

// short is size, but 0 for nothing.
func short(n uint64) string {
	if n == 0 {
		return "0"
	}
	return size(n)
}

// publishedPort is "127.0.0.1:8080:80/tcp", taken apart.
func publishedPort(text string) (host, inside, protocol string) {
	rest, protocol, _ := strings.Cut(text, "/")
	if i := strings.LastIndexByte(rest, ':'); i >= 0 {
		return rest[:i], rest[i+1:], protocol
	}
	return rest, rest, protocol
}

// portsText is "80/tcp -> :80, 443/tcp -> :443": what is inside, and where it
// is on the machine.
func portsText(publish []string) string {
	var out []string
	for _, p := range publish {
		host, inside, protocol := publishedPort(p)
		if !strings.Contains(host, ":") {
			host = ":" + host
		}
		out = append(out, inside+"/"+protocol+" -> "+host)
	}
	return strings.Join(out, ", ")
}

// publishText is "80,443 -> host 80,443" of status.
func publishText(publish []string) string {
	var from, to []string
	for _, p := range publish {
		host, inside, protocol := publishedPort(p)
		if protocol != "tcp" {
			inside += "/" + protocol
		}
		from, to = append(from, inside), append(to, host)
	}
	if len(from) == 0 {
		return ""
	}
	return strings.Join(from, ",") + " -> host " + strings.Join(to, ",")
}
