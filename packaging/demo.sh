#!/bin/bash
# demo.sh: run examples/ on an instance of nsinit with directories of its own,
# show what it does, take it down, and check that nothing is left. DAEMONS=1 runs
# nginx, redis and postgresql of Debian instead, each answering its own client.
#
# Every statement that it prints as "ok" is checked; the first that fails ends it
# with status 1. The instance is stopped and removed whatever happens.
set -euo pipefail
cd "$(dirname "$0")/.."

[ "$(id -u)" = 0 ] || { echo "demo: namespaces and cgroups need root" >&2; exit 1; }

# A service's own /tmp, /run, /home and /root would hide what lies there.
dir=$(mktemp -d /var/lib/nsinit-demo.XXXXXX)
chmod 755 "$dir"
instance=nsinit-demo-$$
manager=

bold= plain=
if [ -t 1 ] && [ -z "${NO_COLOR-}" ]; then bold=$'\033[1m' plain=$'\033[0m'; fi
title() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
ok() { printf '   ok: %s\n' "$*"; }
die() { echo "demo: $*" >&2; exit 1; }
nsctl() { bin/nsctl --instance "$instance" --socket "$dir/run/control.sock" "$@"; }
show() { echo "\$ nsctl $*"; nsctl "$@"; }

finish() {
	local status=$?
	trap - EXIT
	if [ $status != 0 ] && [ -s "$dir/nsinit.log" ]; then
		echo "--- the manager said:" >&2
		tail -n 40 "$dir/nsinit.log" >&2
	fi
	stop_manager || status=1
	rm -rf "$dir"
	exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM

# await WHAT COMMAND...: until the command succeeds, for at most 30 s.
await() {
	local what=$1 deadline=$((SECONDS + 30))
	shift
	until "$@" >/dev/null 2>&1; do
		if [ -n "$manager" ] && ! kill -0 "$manager" 2>/dev/null; then
			die "$what: the manager has ended"
		fi
		[ $SECONDS -lt $deadline ] || die "$what: not within 30 s"
		sleep 0.05
	done
}

start_manager() {
	bin/nsinit --instance "$instance" --unit-path "$dir/units" --runtime-dir "$dir/run" \
		--log-dir "$dir/log" >>"$dir/nsinit.log" 2>&1 &
	manager=$!
	await "the manager answers" nsctl status
}

# SIGTERM is the orderly stop of the manager and of every service.
stop_manager() {
	[ -n "$manager" ] || return 0
	kill -TERM "$manager" 2>/dev/null || true
	local deadline=$((SECONDS + 60))
	while kill -0 "$manager" 2>/dev/null; do
		if [ $SECONDS -ge $deadline ]; then
			echo "demo: the manager did not stop within 60 s" >&2
			kill -KILL "$manager"
			break
		fi
		sleep 0.05
	done
	local status=0
	wait "$manager" || status=$?
	manager=
	return $status
}

main_pid() { nsctl show -p main_pid --value "$1"; }
active() { # UNIT...: all of them (is-active is content with one, as systemctl's is)
	local unit
	for unit in "$@"; do nsctl is-active "$unit" >/dev/null || return; done
}
restarted() { # UNIT OLD-PID
	local now
	now=$(main_pid "$1") && [ -n "$now" ] && [ "$now" != 0 ] && [ "$now" != "$2" ] && active "$1"
}

# isolated UNIT: each namespace and the host name differ from this shell's.
isolated() {
	local unit=$1 pid kind here there host
	pid=$(main_pid "$unit")
	printf '   %-8s %-22s %s\n' "" "this shell" "$unit (pid $pid)"
	for kind in mnt pid net ipc uts cgroup; do
		here=$(readlink "/proc/self/ns/$kind") there=$(readlink "/proc/$pid/ns/$kind")
		printf '   %-8s %-22s %s\n' "$kind" "${here#*:}" "${there#*:}"
		[ "$here" != "$there" ] || die "$unit shares the $kind namespace with the host"
	done
	host=$(nsctl exec "$unit" cat /proc/sys/kernel/hostname)
	printf '   %-8s %-22s %s\n' hostname "$(cat /proc/sys/kernel/hostname)" "$host"
	[ "$host" = "$unit" ] || die "the host name of $unit is $host"
	ok "$unit has six namespaces and a host name of its own"
}

# survives UNIT: it comes back when its main process is killed.
survives() {
	local unit=$1 before
	before=$(main_pid "$unit")
	echo "\$ kill -KILL $before        # main process of $unit"
	kill -KILL "$before"
	await "$unit is restarted" restarted "$unit" "$before"
	ok "$unit runs again: main pid $before -> $(main_pid "$unit")"
}

# adopted UNIT...: the manager is killed, the next one finds the services running.
adopted() {
	local unit before after
	before=$(for unit in "$@"; do main_pid "$unit"; done)
	echo "\$ kill -KILL $manager        # the manager itself"
	kill -KILL "$manager"
	wait "$manager" 2>/dev/null || true
	for unit in $before; do
		kill -0 "$unit" || die "pid $unit died with the manager"
	done
	start_manager
	after=$(for unit in "$@"; do main_pid "$unit"; done)
	[ "$before" = "$after" ] || die "pids were $before, are $after"
	ok "the next manager found every service as it was: $*"
}

demo_examples() {
	local GO=${GO:-go}
	title "Units: examples/*.toml, and a drop-in that says where the web service lies"
	cp examples/*.toml "$dir/units/"
	CGO_ENABLED=0 "$GO" build -trimpath -o "$dir/hello" ./examples/hello
	mkdir "$dir/units/hello.toml.d"
	printf '[service]\nexec_start = "%s"\n' "$dir/hello" >"$dir/units/hello.toml.d/10-path.toml"
	start_manager
	await "the examples run" active hello ticker worker@1 worker@2

	title "What runs"
	show status
	show status hello
	nsctl exec hello "$dir/hello" -get http://127.0.0.1:8080/
	ok "the web service answers in its own network namespace"

	title "Isolation"
	isolated hello
	isolated ticker

	title "A killed service is restarted"
	survives hello
	show status hello

	title "A killed manager takes nothing with it"
	adopted hello ticker worker@1 worker@2
	nsctl exec hello "$dir/hello" -get http://127.0.0.1:8080/healthz
	show logs -u ticker -n 3
}

demo_daemons() {
	title "Units: examples/daemons/*.toml; the packages are Debian's, unmodified"
	cp examples/daemons/*.toml "$dir/units/"
	start_manager
	show start nginx redis postgresql
	await "the daemons run" active nginx redis postgresql

	title "What runs"
	show status

	title "Each answers its own client, from inside"
	clients
	for unit in nginx redis postgresql; do
		isolated "$unit"
	done

	title "Killed and restarted"
	for unit in nginx redis postgresql; do
		survives "$unit"
	done
	clients
	adopted nginx redis postgresql
	clients
}

client() { # WANT COMMAND...: nsctl exec COMMAND answers with a line that begins with WANT
	local want=$1 line
	shift
	await "$*" nsctl exec "$@"
	line=$(nsctl exec "$@" | head -n 1)
	echo "\$ nsctl exec $*"
	echo "$line"
	[ "${line#"$want"}" != "$line" ] || die "$*: answered '$line', not '$want...'"
}

clients() {
	client "HTTP/1.1 200" nginx curl -sI http://127.0.0.1/
	client PONG redis redis-cli ping
	client "PostgreSQL 15" postgresql psql -Atc "select version()"
	ok "nginx, redis and postgresql answer"
}

mkdir "$dir/units" "$dir/run" "$dir/log"
if [ "${DAEMONS:-0}" = 1 ]; then what=demo_daemons; else what=demo_examples; fi
[ "$what" = demo_examples ] || packaging/deps.sh nginx redis-server postgresql curl procps
packaging/leaks.sh >"$dir/before"
"$what"

title "Stop"
stop_manager
ok "the manager and all services have ended"
packaging/leaks.sh >"$dir/after"
packaging/leaks.sh --compare "$dir/before" "$dir/after" || die "something was left behind"
ok "no cgroup, mount, process, link or file is left"
