#!/bin/bash
# test.sh [LANE...]: run the tests, all lanes by default, one after the other.
#
#	deps       install the Debian packages that the tests drive
#	vet        gofmt, go vet, shell syntax
#	build      nsinit and nsctl, and the arm64 check
#	pure       packages that make no system call of note, with the race detector
#	fuzz       each fuzz target of the unit loader and the notify parser, FUZZTIME each
#	root       everything else, as root: namespaces, cgroups, real daemons, scripts
#	machine    nsinit as process 1 of machines that QEMU boots, with Debian's kernel
#	packaging  make install, systemd-analyze verify, manual pages, nsctl verify of examples/
#	leaks      nothing of the above is left on the machine (cgroups, mounts, links, processes, files)
#
# NSINIT_BIN_DIR names the directory of the built binaries for tests that drive them.
set -u
cd "$(dirname "$0")/.." || exit 1
GO=${GO:-go}
FUZZTIME=${FUZZTIME:-60s}
export NSINIT_BIN_DIR=$PWD/bin

all="deps vet build pure fuzz root machine packaging leaks"
lanes=${*:-$all}
for lane in $lanes; do
	case " $all " in
	*" $lane "*) ;;
	*) echo "test.sh: no lane $lane; there are: $all" >&2; exit 2 ;;
	esac
done

# Unix sockets have 108 bytes of path and go test adds long names: keep this short.
work=$(mktemp -d /tmp/nst.XXXXXX) || exit 1
export TMPDIR=$work/t
mkdir "$TMPDIR" && chmod 755 "$work" "$TMPDIR" # tests become other users and run what they built there
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# packages PATTERN...: those of the patterns that exist by now.
packages() { "$GO" list -e -f '{{if or .GoFiles .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' "$@" 2>/dev/null; }

pure_patterns=(./unit/... ./isolate ./supervisor/machine/... ./supervisor/condition/... ./supervisor/compile/...
	./supervisor/logs/... ./supervisor/notify/... ./supervisor/control/... ./packaging/... ./examples/...)
machine_pattern=./packaging/machine
fuzz_patterns=(./unit ./unit/systemd ./supervisor/notify)

testlane() { # NAME GO-TEST-ARGUMENT...
	local name=$1
	shift
	"$GO" run ./packaging/testlane -name "$name" -skips packaging/skips.txt "$GO" test -json "$@"
}

lane_deps() {
	packaging/deps.sh gcc libc6-dev procps systemd curl nginx rsyslog logrotate python3-minimal redis-server postgresql \
		cron memcached dnsmasq vsftpd lighttpd haproxy tinyproxy mosquitto unbound dns-root-data busybox-static squashfs-tools zstd cpio iproute2 nftables
}

lane_vet() {
	local unformatted script ok=0
	unformatted=$(gofmt -l . 2>&1)
	if [ -n "$unformatted" ]; then
		echo "not formatted by gofmt:"
		echo "$unformatted"
		ok=1
	fi
	"$GO" vet ./... || ok=1
	for script in packaging/*.sh packaging/compat/systemctl packaging/appliance/*.sh packaging/bench/boots/*.sh .ci/run; do
		bash -n "$script" || ok=1
	done
	return $ok
}

lane_build() { make -s build build-arm64; }

lane_pure() {
	local list
	mapfile -t list < <(packages "${pure_patterns[@]}" | grep -vxFf <(packages "$machine_pattern"))
	CGO_ENABLED=1 testlane pure -race -timeout 10m "${list[@]}"
}

lane_fuzz() {
	local package target ok=0 n=0
	while read -r package; do
		while read -r target; do
			n=$((n + 1))
			echo "fuzz $package $target for $FUZZTIME"
			"$GO" test -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZTIME" -parallel 2 "$package" >"$work/fuzz" 2>&1 || {
				cat "$work/fuzz"
				ok=1
			}
			tail -n 3 "$work/fuzz" | grep -m1 -o 'execs: [0-9]*' || true
		done < <("$GO" test -list '^Fuzz' "$package" | grep '^Fuzz')
	done < <(packages "${fuzz_patterns[@]}")
	echo "fuzz: $n targets"
	[ "$n" -ge "${#fuzz_patterns[@]}" ] || { echo "fuzz: fewer targets than packages (${fuzz_patterns[*]})"; ok=1; }
	return $ok
}

# The packages of the pure lane have run; all others run here, built as they
# are shipped (no race detector: it needs cgo and PIE, which launching refuses).
lane_root() {
	local list
	[ "$(id -u)" = 0 ] || { echo "root: these tests need root"; return 1; }
	mapfile -t list < <(packages ./... | grep -vxFf <(packages "${pure_patterns[@]}" "$machine_pattern"))
	CGO_ENABLED=0 testlane root -p 1 -count 1 -timeout 20m "${list[@]}"
}

# The machines see nothing of this one, and need no root. The kernel is kept in
# bin/appliance/kernel.
lane_machine() {
	packaging/deps.sh qemu-system-x86 squashfs-tools zstd busybox-static e2fsprogs nginx redis-server nftables iproute2 || return 1
	CGO_ENABLED=0 testlane machine -count 1 -timeout 20m "$machine_pattern"
}

lane_packaging() {
	local root=$work/install ok=0
	make -s install DESTDIR="$root" || return 1
	verify_systemd "$root" || ok=1
	verify_group "$root" || ok=1
	verify_manual || ok=1
	bin/nsctl verify examples/*.toml examples/daemons/*.toml packaging/units/*.toml || ok=1
	rm -rf "$root"
	return $ok
}

# The installed file makes the group of operators in an empty root.
verify_group() {
	mkdir -p "$1/etc"
	systemd-sysusers --root="$1" nsinit.conf >/dev/null && grep -q '^nsinit:' "$1/etc/group" &&
		echo "systemd-sysusers: nsinit.conf makes the group nsinit" || { echo "systemd-sysusers makes no group nsinit"; return 1; }
}

# systemd-analyze wants the executable of ExecStart= to exist under that name.
verify_systemd() {
	local root=$1 dir=$work/systemd said
	mkdir "$dir"
	for unit in nsinit.service nsinit.slice; do
		sed "s,/usr/s*bin/nsinit,$root/usr/sbin/nsinit,; s,/usr/bin/nsctl,$root/usr/bin/nsctl," \
			"$root/usr/lib/systemd/system/$unit" >"$dir/$unit"
	done
	said=$(systemd-analyze verify --man=no "$dir/nsinit.service" "$dir/nsinit.slice" 2>&1)
	local status=$?
	said=$(grep -F "$dir" <<<"$said")
	[ -z "$said" ] || echo "$said"
	[ $status = 0 ] && [ -z "$said" ] && echo "systemd-analyze verify: nsinit.service and nsinit.slice pass"
}

# The manual has every command.
verify_manual() {
	local command ok=0
	while read -r command; do
		grep -qF "**$command**" packaging/man/nsctl.1.md || { echo "nsctl(1) lacks the command $command"; ok=1; }
	done < <(bin/nsctl __complete '' 2>/dev/null | cut -f1 | grep -E '^[a-z]' | grep -vx help)
	return $ok
}

lane_leaks() {
	local ok=0 left
	packaging/leaks.sh >"$work/after"
	packaging/leaks.sh --compare "$work/before" "$work/after" || ok=1
	left=$(find "$TMPDIR" -mindepth 1 -maxdepth 1)
	[ -z "$left" ] || { echo "temporary files left behind:"; echo "$left"; ok=1; }
	[ $ok != 0 ] || echo "leaks: nothing left behind ($(wc -l <"$work/after") things looked at)"
	return $ok
}

failed=
table=
total=$SECONDS
case " $lanes " in *" deps "*) ;; *) packaging/leaks.sh >"$work/before" ;; esac
for lane in $lanes; do
	echo "== $lane"
	start=$SECONDS
	if "lane_$lane"; then verdict=ok; else verdict=FAILED failed="$failed $lane"; fi
	table+=$(printf '%-10s %5d s  %s' "$lane" $((SECONDS - start)) "$verdict")$'\n'
	# What the packages bring to /run and /var/log is theirs, not the tests'.
	[ "$lane" != deps ] || packaging/leaks.sh >"$work/before"
	[ "$lane/$verdict" != deps/FAILED ] || break
done

echo "== lanes"
printf '%s%-10s %5d s\n' "$table" all $((SECONDS - total))
[ -z "$failed" ] || { echo "FAILED:$failed"; exit 1; }
