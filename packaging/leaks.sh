#!/bin/sh
# leaks.sh: print, one a line and sorted, what a run of nsinit could leave behind
# on this machine. Two snapshots, compared, are the leak check of the tests.
#
#	cgroup PATH   process NAME PID   mount FSTYPE POINT   link NAME
#	nft TABLE     file PATH (entries of /run, /run/netns, /var/log, /dev/shm, /dev/mqueue, and ours in /tmp and /var/lib)
set -eu

if [ "${1:-}" = --compare ]; then
	new=$(LC_ALL=C comm -13 "$2" "$3" | sed 's/^/left behind: /')
	gone=$(LC_ALL=C comm -23 "$2" "$3" | grep -E '^(mount|link) ' | sed 's/^/gone: /' || true)
	[ -n "$new$gone" ] || exit 0
	printf '%s\n' "$new" "$gone" | grep .
	exit 1
fi

cgroup2=$(awk '{ for (i = 7; i < NF; i++) if ($i == "-" && $(i + 1) == "cgroup2") { print $5; exit } }' /proc/self/mountinfo)

cgroups() {
	[ -z "$cgroup2" ] || find "$cgroup2" -mindepth 1 -type d 2>/dev/null | sed 's/^/cgroup /'
}

# A reaper is a fork of the manager, and so is the keeper: its executable is
# nsinit, whatever its name, or a copy in memory.
processes() {
	for dir in /proc/[0-9]*; do
		exe=$(readlink "$dir/exe" 2>/dev/null) || continue
		exe=${exe% (deleted)}
		exe=${exe##*/}
		exe=${exe#memfd:}
		case $exe in
		nsinit | nsctl | nsbench | nsinit-* | hold | hello)
			echo "process $exe ${dir#/proc/}" ;;
		esac
	done
}

mounts() {
	awk '{ for (i = 7; i < NF; i++) if ($i == "-") print "mount", $(i + 1), $5 }' /proc/self/mountinfo
}

links() {
	for dir in /sys/class/net/*; do echo "link ${dir##*/}"; done
}

tables() {
	! command -v nft >/dev/null || nft list tables 2>/dev/null | sed 's/^table /nft /'
}

files() {
	find /run /var/log /run/netns /dev/shm /dev/mqueue -mindepth 1 -maxdepth 1 2>/dev/null
	find /tmp /var/tmp /var/lib -mindepth 1 -maxdepth 1 -name 'ns*' 2>/dev/null
}

{
	cgroups
	processes
	mounts
	links
	tables
	files | sed 's/^/file /'
} | LC_ALL=C sort -u
