#!/bin/sh
# What udhcpc(8) calls when it has an address, and when it has lost it.
case $1 in
deconfig)
	ip link set dev "$interface" up
	ip addr flush dev "$interface"
	;;
bound | renew)
	ip addr replace "$ip/$mask" dev "$interface"
	for gateway in $router; do
		ip route replace default via "$gateway" dev "$interface"
		break
	done
	for server in $dns; do
		echo "nameserver $server"
	done >/etc/resolv.conf
	;;
esac
