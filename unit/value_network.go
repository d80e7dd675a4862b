package unit

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// The kinds of [network] and [bridge.NAME]. None is ever written to.
var (
	networkMode     = strictly("private, host, veth, macvlan, vlan, unit:NAME or path:PATH", false, parseNetworkMode)
	publishedPorts  = strictly("ADDRESS:PORT:PORT/tcp", true, parsePublishedPort)
	addresses       = strictly("IP addresses", true, parseAddr)
	address         = strictly("IP address", false, parseAddr)
	domains         = strictly("domains", true, parseDomain)
	peers           = strictly("PEER:PORT/tcp", true, parsePeer)
	bridgeName      = strictly("name of a bridge", false, parseBridgeName)
	linkAddresses   = strictly("auto, or addresses with prefix lengths", true, parseLinkAddress)
	hardwareAddress = strictly("hardware address", false, parseMAC)
	routes          = strictly("DESTINATION via ADDRESS", true, parseRoute)
	interfaceName   = strictly("name of a link", false, parseInterfaceName)
	pools           = strictly("networks", true, parsePool)
)

func parseNetworkMode(s string) (Network, error) {
	mode, rest, arg := strings.Cut(s, ":")
	switch {
	case slices.Contains([]string{NetworkPrivate, NetworkHost, NetworkVeth, NetworkMacvlan, NetworkVlan}, s):
		return Network{Mode: s}, nil
	case mode == NetworkUnit && arg:
		names, err := parseUnitNames(rest)
		if err == nil && len(names) != 1 {
			err = fmt.Errorf("unit: needs one unit, such as \"unit:vpn\"")
		}
		if err != nil {
			return Network{}, err
		}
		return Network{Mode: mode, Unit: names[0]}, nil
	case mode == NetworkPath && arg:
		p, err := ParsePath(rest)
		return Network{Mode: mode, Path: p}, err
	}
	return Network{}, fmt.Errorf("%q: one of private, host, veth, macvlan, vlan, unit:NAME, path:PATH", s)
}

// parseAddr takes an address that can be somebody's, without a zone.
func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return netip.Addr{}, fmt.Errorf("%q is no IP address", s)
	case a.Zone() != "":
		return netip.Addr{}, fmt.Errorf("%q: an address without a zone", s)
	case a.IsUnspecified() || a.IsMulticast():
		return netip.Addr{}, fmt.Errorf("%q is nobody's address", s)
	}
	return a.Unmap(), nil
}

// parsePrefix takes "10.80.0.5/24".
func parsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err == nil && p.Addr().Is4In6() {
		err = fmt.Errorf("an IPv4 address")
	}
	if err != nil {
		if a, aerr := netip.ParseAddr(s); aerr == nil {
			return netip.Prefix{}, fmt.Errorf("%q has no prefix length; write %q if its network has that", s, fmt.Sprintf("%s/%d", a, pick(a.Is4(), 24, 64)))
		}
		return netip.Prefix{}, fmt.Errorf("%q is no address with a prefix length, such as \"10.80.0.5/24\"", s)
	}
	return p, nil
}

func parseLinkAddress(s string) (LinkAddress, error) {
	if s == "auto" {
		return LinkAddress{Auto: true}, nil
	}
	p, err := parsePrefix(s)
	if err != nil {
		return LinkAddress{}, err
	}
	_, err = parseAddr(p.Addr().String())
	last := 0
	if p.Addr().Is4() {
		last = 31 // of a pair, or alone, both addresses are hosts' (RFC 3021)
	} else {
		last = 127
	}
	if err == nil && p.Bits() < last && p.Masked().Addr() == p.Addr() {
		err = fmt.Errorf("%q is the address of the network; a host's has more than that", s)
	}
	return LinkAddress{Prefix: p}, err
}

// parseNet takes a network without bits of a host.
func parseNet(s string) (netip.Prefix, error) {
	p, err := parsePrefix(s)
	if err == nil && p.Masked() != p {
		err = fmt.Errorf("%q has bits of a host; the network is %q", s, p.Masked())
	}
	return p, err
}

// parsePool takes a network that has room for a gateway and a service.
func parsePool(s string) (netip.Prefix, error) {
	p, err := parseNet(s)
	if err == nil && (p.Bits() > p.Addr().BitLen()-2 || p.Bits() < 8) {
		err = fmt.Errorf("%q: a pool has a prefix length from 8 to %d", s, p.Addr().BitLen()-2)
	}
	if err == nil && (p.Addr().IsLoopback() || p.Addr().IsMulticast() || p.Addr().IsLinkLocalUnicast()) {
		err = fmt.Errorf("%q is no network of hosts", s)
	}
	return p, err
}

// parseMAC takes the address of one host (IEEE 802: not that of a group).
func parseMAC(s string) (net.HardwareAddr, error) {
	mac, err := net.ParseMAC(s)
	switch {
	case err != nil || len(mac) != 6:
		return nil, fmt.Errorf("%q is no hardware address, such as \"02:00:00:00:00:01\"", s)
	case mac[0]&1 != 0:
		return nil, fmt.Errorf("%q is the address of a group: its first byte is odd", s)
	case bytes.Equal(mac, make([]byte, 6)):
		return nil, fmt.Errorf("%q is nobody's address", s)
	}
	return mac, nil
}

func parseRoute(s string) (Route, error) {
	words := strings.Fields(s)
	metric := len(words) == 5 && words[3] == "metric"
	if len(words) != 3 && !metric || words[1] != "via" {
		return Route{}, fmt.Errorf("%q: write \"10.0.0.0/8 via 10.80.0.1\", and \"metric 100\" after it where it matters", s)
	}
	if words[0] == "default" {
		return Route{}, fmt.Errorf("%q: the default route is gateway = %q", s, words[2])
	}
	to, err := parseNet(words[0])
	if err != nil {
		return Route{}, err
	}
	via, err := parseAddr(words[2])
	if err == nil && via.Is4() != to.Addr().Is4() {
		err = fmt.Errorf("%q: one is IPv4 and the other IPv6", s)
	}
	r := Route{To: to, Via: via}
	if metric && err == nil {
		n, perr := strconv.ParseUint(words[4], 10, 31)
		if perr != nil || n == 0 {
			err = fmt.Errorf("%q: a metric is a number from 1", s)
		}
		r.Metric = int(n)
	}
	return r, err
}

// parseInterfaceName checks what the kernel takes as the name of a link
// (dev_valid_name of net/core/dev.c: 15 bytes, no slash, colon or blank).
func parseInterfaceName(s string) (string, error) {
	if s == "" || len(s) > 15 || s == "." || s == ".." || strings.ContainsAny(s, "/:%") ||
		strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", fmt.Errorf("%q is no name of a link: at most 15 letters, digits and signs, without / : and blanks", s)
	}
	return s, nil
}

// parseBridgeName checks the name of a [bridge.NAME].
func parseBridgeName(s string) (string, error) {
	if err := ValidateName(s); err != nil || len(s) > 64 || strings.ContainsAny(s, `@:\`) {
		return "", fmt.Errorf("%q is no name of a bridge: letters, digits, \"-\", \"_\" and \".\"", s)
	}
	return s, nil
}

// parseDomain takes a domain of resolv.conf(5); "." is none.
func parseDomain(s string) (string, error) {
	if s == "." {
		return s, nil
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if err := ValidateHostname(label); err != nil || len(s) > 254 {
			return "", fmt.Errorf("%q is no domain", s)
		}
	}
	return s, nil
}

// cutProtocol takes "/tcp" or "/udp" off the end.
func cutProtocol(s string) (rest, protocol string) {
	for _, p := range []string{"tcp", "udp"} {
		if rest, ok := strings.CutSuffix(s, "/"+p); ok {
			return rest, p
		}
	}
	return s, ""
}

// parsePorts reads "80" or "8000-8010".
func parsePorts(s string) (first, last uint16, err error) {
	from, to, isRange := strings.Cut(s, "-")
	if !isRange {
		to = from
	}
	a, aerr := strconv.ParseUint(from, 10, 16)
	b, berr := strconv.ParseUint(to, 10, 16)
	switch {
	case aerr != nil || berr != nil || a == 0:
		return 0, 0, fmt.Errorf("%q is no port: a number from 1 to 65535, or a range such as \"8000-8010\"", s)
	case b < a || isRange && a == b:
		return 0, 0, fmt.Errorf("%q: the end of the range is not above its start", s)
	}
	return uint16(a), uint16(b), nil
}

// parsePublishedPort reads [ADDRESS:]PORT:PORT[/tcp|/udp].
func parsePublishedPort(s string) (PublishedPort, error) {
	rest, protocol := cutProtocol(s)
	p := PublishedPort{Protocol: pick(protocol == "", "tcp", protocol)}
	i := strings.LastIndexByte(rest, ':')
	if i < 0 {
		return p, fmt.Errorf("%q: write the machine's port and the service's, such as \"80:80/tcp\"", s)
	}
	host, inside := rest[:i], rest[i+1:]
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		a, err := parseAddr(strings.TrimSuffix(strings.TrimPrefix(host[:i], "["), "]"))
		if err != nil || a.Is6() != (host[0] == '[') {
			return p, fmt.Errorf("%q: %q is no address of the machine; an IPv6 one is in brackets", s, host[:i])
		}
		if a == netip.IPv6Loopback() {
			return p, fmt.Errorf("%q: the kernel cannot lead ::1 elsewhere; publish on 127.0.0.1", s)
		}
		p.Host, host = a, host[i+1:]
	}
	var to uint16
	var err error
	if p.First, p.Last, err = parsePorts(host); err != nil {
		return p, fmt.Errorf("%q: %w", s, err)
	}
	if p.To, to, err = parsePorts(inside); err != nil {
		return p, fmt.Errorf("%q: %w", s, err)
	}
	if to-p.To != p.Last-p.First {
		err = fmt.Errorf("%q: %d ports of the machine lead to %d of the service", s, int(p.Last)-int(p.First)+1, int(to)-int(p.To)+1)
	}
	return p, err
}

// overlaps reports whether one connection could mean both.
func (p PublishedPort) overlaps(q PublishedPort) bool {
	anywhere := !p.Host.IsValid() || !q.Host.IsValid()
	return p.Protocol == q.Protocol && p.First <= q.Last && q.First <= p.Last && (anywhere || p.Host == q.Host)
}

// parsePeer reads PEER[:PORT[-PORT]][/tcp|/udp].
func parsePeer(s string) (Peer, error) {
	rest, protocol := cutProtocol(s)
	p := Peer{Protocol: protocol}
	who, port, isPort := cutPort(rest)
	if isPort {
		var err error
		if p.First, p.Last, err = parsePorts(port); err != nil {
			return p, fmt.Errorf("%q: %w", s, err)
		}
	}
	return p, p.setWho(s, who)
}

// cutPort takes the port off the end; an IPv6 address with one is in brackets.
func cutPort(s string) (who, port string, ok bool) {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		who, rest, closed := strings.Cut(inner, "]")
		port, ok := strings.CutPrefix(rest, ":")
		_, err := netip.ParsePrefix(who)
		_, one := netip.ParseAddr(who)
		if closed && (ok || rest == "") && (err == nil || one == nil) {
			return who, port, ok
		}
		return s, "", false
	}
	_, one := netip.ParseAddr(s)
	if _, err := netip.ParsePrefix(s); err == nil || one == nil {
		return s, "", false
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 || s[:i] == PeerBridge {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func (p *Peer) setWho(written, who string) error {
	if a, err := netip.ParseAddr(who); err == nil {
		if a, err = parseAddr(who); err == nil {
			p.Kind, p.Net = PeerNet, netip.PrefixFrom(a, a.BitLen())
		}
		return err
	}
	name, isBridge := strings.CutPrefix(who, PeerBridge+":")
	var err error
	switch {
	case who == PeerHost || who == PeerOutside || who == PeerAny:
		p.Kind = who
	case isBridge:
		p.Kind = PeerBridge
		p.Name, err = parseBridgeName(name)
	case strings.Contains(who, "/"):
		p.Kind = PeerNet
		p.Net, err = parseNet(who)
	default:
		p.Kind, p.Name = PeerUnit, BareName(who)
		err = ValidateName(p.Name)
		if err == nil && strings.Contains(p.Name, ":") {
			err = fmt.Errorf("%q: a unit whose name has a colon cannot be named here", who)
		}
		if err == nil && strings.HasSuffix(p.Name, "@") {
			err = fmt.Errorf("%q is a template; name an instance, such as %q", who, who+"x")
		}
	}
	if err != nil {
		return fmt.Errorf("%q: %w", written, err)
	}
	return nil
}
