#!/bin/sh
# vm.sh DIR: boot the image in DIR with QEMU, its serial console on this
# terminal (Ctrl-A X ends it). Port 8080 here is port 80 there. An emulated
# processor on a busy machine fails the kernel's check of its timer.
set -eu
dir=$1
accel=${ACCEL:-$("$(dirname "$0")/accel.sh" "$dir/vmlinuz")}
echo "vm.sh: booting $dir with $accel; Ctrl-A X ends it" >&2
exec qemu-system-x86_64 -M q35 -accel "$accel" -cpu max -smp 2 -m "${MEMORY:-512}" -nodefaults -no-user-config -nographic \
	-kernel "$dir/vmlinuz" -initrd "$dir/initramfs.cpio.zst" -append "console=ttyS0 loglevel=4 nsinit.rescue=shell panic=-1 no_timer_check ${APPEND:-}" \
	-netdev "user,id=net,hostfwd=tcp:127.0.0.1:${PORT:-8080}-:80" -device virtio-net-pci,netdev=net,romfile= \
	-device virtio-rng-pci -serial mon:stdio -no-reboot
