# A service's connection by the plugins of the container network interface.
# up and down: $1 is the container's name, $2 its number.

prepare() {
	mkdir -p /run/netns /run/cni
	ip link set lo up
	cat >/run/cni/bridge.json <<-EOF
		{"cniVersion": "1.0.0", "name": "nsb", "type": "bridge", "bridge": "nsb0", "isGateway": true, "ipMasq": true,
		 "ipam": {"type": "host-local", "subnet": "10.98.0.0/22", "dataDir": "/run/cni/data", "routes": [{"dst": "0.0.0.0/0"}]}}
	EOF
}

plugin() { # COMMAND NAME PLUGIN
	CNI_COMMAND=$1 CNI_CONTAINERID=$2 CNI_NETNS=/run/netns/$2 CNI_IFNAME=eth0 CNI_PATH=/usr/lib/cni /usr/lib/cni/"$3"
}

portmap() { # NUMBER, the result of bridge on standard input
	printf '{"cniVersion": "1.0.0", "name": "nsb", "type": "portmap", "capabilities": {"portMappings": true}, "runtimeConfig": {"portMappings": [{"hostPort": %d, "containerPort": 80, "protocol": "tcp"}]}, "prevResult": ' $((20000 + $1))
	cat
	echo '}'
}

up() {
	ip netns add "$1"
	plugin ADD "$1" bridge </run/cni/bridge.json >/run/cni/"$1"
	portmap "$2" </run/cni/"$1" | plugin ADD "$1" portmap >/dev/null
}

down() {
	portmap "$2" </run/cni/"$1" | plugin DEL "$1" portmap
	plugin DEL "$1" bridge </run/cni/bridge.json
	ip netns del "$1"
	rm /run/cni/"$1"
}
