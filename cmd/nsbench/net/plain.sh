# A service's connection by ip(8) and nft(8), as a person would write it who
# knows the service's number: $1 is its name, $2 its number.

prepare() {
	mkdir -p /run/netns
	ip link set lo up
	ip link add nsb0 type bridge
	ip addr add 10.98.0.1/22 dev nsb0
	ip link set nsb0 up
	sysctl -qw net.ipv4.ip_forward=1
	nft -f - <<-EOF
		table ip nsb {
			map ports {
				type inet_proto . inet_service : ipv4_addr . inet_service
			}
			chain prerouting {
				type nat hook prerouting priority dstnat
				fib daddr type local dnat ip to meta l4proto . th dport map @ports
			}
			chain postrouting {
				type nat hook postrouting priority srcnat
				ip saddr 10.98.0.0/22 ip daddr != 10.98.0.0/22 masquerade
			}
		}
	EOF
}

address() { echo 10.98.$((($1 + 2) / 256)).$((($1 + 2) % 256)); }

up() {
	address=$(address "$2")
	ip netns add "$1"
	ip link add nsbv"$2" type veth peer name eth0 netns "$1"
	ip link set nsbv"$2" master nsb0 up
	ip -n "$1" -batch - <<-EOF
		link set lo up
		addr add $address/22 dev eth0
		link set eth0 up
		route add default via 10.98.0.1
	EOF
	nft add element ip nsb ports "{ tcp . $((20000 + $2)) : $address . 80 }"
}

down() {
	nft delete element ip nsb ports "{ tcp . $((20000 + $2)) : $(address "$2") . 80 }"
	ip link del nsbv"$2"
	ip netns del "$1"
}
