#!/bin/sh
# images.sh DIR: make the images that nsbench boots (-boots DIR), one for each
# init: nsinit, and finit, runit, s6 and busybox from Debian's packages, which
# are unpacked and not installed. All are made by packaging/appliance with the
# same kernel and without modules, and have twenty services that note when they
# ran, twenty more to start later, and one that reports.
set -eu
dir=$1
here=$(dirname "$0")
appliance=packaging/appliance
kernel=bin/appliance/kernel
go=${GO:-go}
packages="finit libite5 libuev3 runit s6 libs6-2.11 libskarnet2.13 libexecline2.9 libcap2 libcrypt1 libc6 libc-bin busybox-static"

"$appliance/kernel.sh" "$kernel"

# The root that programs are copied from.
root=$dir/root
if [ ! -e "$root/.complete" ]; then
	rm -rf "$root"
	mkdir -p "$root/.get"
	get() { (cd "$root/.get" && apt-get -o APT::Sandbox::User=root download $packages >log 2>&1); }
	get || { apt-get update >/dev/null && get; } || { cat "$root/.get/log" >&2; echo "images.sh: cannot download the packages of the peers" >&2; exit 1; }
	for package in "$root"/.get/*.deb; do
		dpkg -x "$package" "$root"
	done
	rm -rf "$root/.get"
	touch "$root/.complete"
fi

# What all images share, and the services of each.
work=$dir/work
rm -rf "$work"
mkdir -p "$work"
cp "$here/common.list" "$here/report" "$here/mounts" "$work"
bare="-Os -s -static -nostdlib -fno-stack-protector -mgeneral-regs-only -Wl,--build-id=none"
# shellcheck disable=SC2086 # a list of options
gcc $bare -DNAMED -DHOLD -o "$work/hold" cmd/nsbench/probe/probe.c
# shellcheck disable=SC2086
gcc $bare -o "$work/stamp" cmd/nsbench/probe/probe.c
numbers="01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 17 18 19 20"
hold=/usr/lib/boots/hold

# script FILE: a shell script from standard input.
script() {
	{ echo '#!/usr/bin/busybox sh'; cat; } >"$1"
	chmod 755 "$1"
}

# image NAME OPTION...: the image of one init, from NAME.list.
image() {
	name=$1
	shift
	"$go" run "./$appliance" -root "$root" -kernel "$kernel" -squashfs=false -o "$dir/$name" "$@" "$work/common.list" "$work/$name/list"
}
peer() { image "$1" -nsinit '' -nsctl ''; }

nsinit() {
	mkdir -p "$work/nsinit/units"
	for n in $numbers; do
		printf '[service]\nexec_start = "%s"\n[install]\nwanted_by = "default"\n' $hold >"$work/nsinit/units/s$n.toml"
		printf '[service]\nexec_start = "%s"\n' $hold >"$work/nsinit/units/m$n.toml"
	done
	printf '[service]\nexec_start = "/usr/lib/boots/report"\n[isolation]\nprofile = "host"\n[install]\nwanted_by = "default"\n' >"$work/nsinit/units/report.toml"
	echo "nsctl start $(for n in $numbers; do printf 'm%s ' "$n"; done)" | script "$work/nsinit/more"
	cat >"$work/nsinit/list" <<-END
		units units
		file /usr/lib/boots/more more 0755
	END
	image nsinit
}

finit() {
	mkdir -p "$work/finit"
	for n in $numbers; do
		echo "service :$n [S123456789] $hold -- service $n" >>"$work/finit/finit.conf"
		echo "service :m$n [S123456789] $hold -- service $n" >>"$work/finit/more.conf"
	done
	echo "service [S123456789] /usr/lib/boots/report -- report" >>"$work/finit/finit.conf"
	script "$work/finit/more" <<-END
		mv /etc/more.conf /etc/finit.d/more.conf
		initctl reload
	END
	cat >"$work/finit/list" <<-END
		program /sbin/finit /lib/finit/initctl /lib/finit/logit
		link /init sbin/finit
		link /sbin/init finit
		link /usr/sbin/initctl /lib/finit/initctl
		directory /etc/finit.d
		file /etc/finit.conf finit.conf
		file /etc/more.conf more.conf
		file /usr/lib/boots/more more 0755
	END
	peer finit
}

# scanned NAME: the service directories that runit and s6 share.
scanned() {
	mkdir -p "$work/$1"
	for n in $numbers; do
		echo "link /etc/service/s$n/run $hold"
		echo "link /etc/more/m$n/run $hold"
	done >"$work/$1/list"
	cat >>"$work/$1/list" <<-END
		link /etc/service/report/run /usr/lib/boots/report
		file /usr/lib/boots/more more 0755
	END
}

runit() {
	scanned runit
	script "$work/runit/1" <<-END
		. /usr/lib/boots/mounts
	END
	script "$work/runit/2" <<-END
		exec env - PATH=/usr/bin:/usr/sbin runsvdir -P /etc/service
	END
	script "$work/runit/3" </dev/null
	echo 'mv /etc/more/* /etc/service' | script "$work/runit/more"
	cat >>"$work/runit/list" <<-END
		program /sbin/runit /usr/bin/runsvdir /usr/bin/runsv
		link /init sbin/runit
		link /sbin/init runit
		file /etc/runit/1 1 0755
		file /etc/runit/2 2 0755
		file /etc/runit/3 3 0755
	END
	peer runit
}

s6() {
	scanned s6
	script "$work/s6/init" <<-END
		. /usr/lib/boots/mounts
		export PATH=/usr/bin:/usr/sbin
		exec s6-svscan -c 100 /etc/service
	END
	echo 'mv /etc/more/* /etc/service; s6-svscanctl -a /etc/service' | script "$work/s6/more"
	cat >>"$work/s6/list" <<-END
		program /usr/bin/s6-svscan /usr/bin/s6-supervise /usr/bin/s6-svscanctl
		file /init init 0755
	END
	peer s6
}

# Lines of inittab that run the same command are one.
busybox() {
	mkdir -p "$work/busybox"
	{
		echo "::sysinit:/usr/lib/boots/mounts"
		for n in $numbers; do echo "::respawn:/usr/lib/boots/s$n"; done
		echo "::respawn:/usr/lib/boots/report"
	} >"$work/busybox/inittab"
	script "$work/busybox/more" <<-END
		for n in $numbers; do echo "::respawn:/usr/lib/boots/m\$n"; done >>/etc/inittab
		kill -HUP 1
	END
	cat >"$work/busybox/list" <<-END
		link /init usr/bin/busybox
		link /sbin/init ../bin/busybox
		file /etc/inittab inittab
		file /usr/lib/boots/more more 0755
	END
	for n in $numbers; do printf 'link /usr/lib/boots/%s hold\n' "s$n" "m$n"; done >>"$work/busybox/list"
	peer busybox
}

for init in nsinit finit runit s6 busybox; do
	$init
done
