package unit

// networkKeys is the [network] table. mode is the first: it sets the table as a
// whole.
func networkKeys() []*Key {
	keys := []*Key{
		key("mode", networkMode, "", `"host"`, "private, host, veth, macvlan, vlan, unit:NAME (and after it) or path:PATH.").ours().note("private; in profile daemon the instance's; in host host"),
		key("publish", publishedPorts, "", `["80:80/tcp", "127.0.0.1:8000-8009:9000-9009/udp"]`, "Ports of the machine that lead to ports of the service.").ours(),
		key("dns", addresses, "", `["10.80.0.1"]`, "Name servers in the service's resolv.conf.").ours().note("the machine's"),
		key("search", domains, "", `["example.org"]`, "Search domains in the service's resolv.conf.").ours().note("the machine's"),
		key("allow_from", peers, "", `["nginx", "10.0.0.0/8:5432/tcp"]`, "Who may connect in, published ports included: PEER:PORT/tcp, where PEER is a unit, an address, host, outside, bridge:NAME or any.").ours().note("units on the same bridge, the machine, and outside what is published"),
		key("allow_to", peers, "", `["db", "outside:443/tcp"]`, "Where the service may connect to, its name servers aside.").ours().note("units on the same bridge, and outside"),
	}
	return append(keys, sharedLinkKeys()...)
}

// linkKeys are the [network.link.NAME] tables.
func linkKeys() []*Key {
	mode := key("mode", choice(NetworkVeth, NetworkMacvlan, NetworkVlan), `"veth"`, `"macvlan"`, "Kind of the link, which the service sees as NAME.").ours()
	return append([]*Key{mode}, sharedLinkKeys()...)
}

// sharedLinkKeys describe a link, be it that of the mode or a further one.
func sharedLinkKeys() []*Key {
	return []*Key{
		key("bridge", bridgeName, "", `"default"`, "Bridge of a veth: a name of nsinit.toml.").ours().note("default, the instance's"),
		key("address", linkAddresses, "", `["10.80.0.5/24"]`, "Addresses of the link with their prefix lengths; auto is one of each pool of the bridge.").ours().note("auto for a veth"),
		key("gateway", address, "", `"192.0.2.1"`, "Where the default route leads.").ours().note("the bridge of a veth; else none"),
		key("mtu", integer(68, 65535), "", "1400", "MTU of the link.").ours().note("the bridge's, or the parent's"),
		key("mac", hardwareAddress, "", `"02:00:00:00:00:01"`, "Hardware address of the link.").ours().note("one that stays the same over restarts"),
		key("routes", routes, "", `["10.0.0.0/8 via 10.80.0.1"]`, "Further routes: DESTINATION via ADDRESS metric NUMBER.").ours(),
		key("parent", interfaceName, "", `"eth0"`, "Link of the machine below a macvlan or vlan.").ours(),
		key("macvlan_mode", choice("bridge", "private", "vepa", "passthru"), "", `"private"`, "Whom a macvlan reaches on its parent (ip-link(8)).").ours().note("bridge"),
		key("vlan_id", integer(1, 4094), "", "100", "Number of a vlan.").ours(),
	}
}
