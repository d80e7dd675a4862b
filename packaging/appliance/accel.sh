#!/bin/sh
# accel.sh KERNEL: print kvm where a machine with that kernel comes up on
# /dev/kvm, and tcg (slower, and always there) where not. /dev/kvm alone proves
# little: within some virtual machines it is there, and the kernel hangs.
set -eu
if [ -r /dev/kvm ] && [ -w /dev/kvm ] && timeout 5 qemu-system-x86_64 -M q35 -accel kvm -cpu max -m 256 -nodefaults \
	-no-user-config -display none -no-reboot -kernel "$1" -append 'panic=-1 quiet' >/dev/null 2>&1; then
	echo kvm # the kernel found no root, and gave up: it had come that far
else
	echo tcg
fi
