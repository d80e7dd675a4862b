#!/bin/sh
# deps.sh PACKAGE...: install the Debian packages that are missing.
#
# Nothing is asked of the network when all are there. Daemons among the packages
# (nginx, runit) must not be started by their maintainer scripts: unless the
# machine has a policy-rc.d of its own, one that denies every start stands there
# while apt runs.
set -eu

missing=
for package in "$@"; do
	state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
	[ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "deps.sh: cannot install$missing: no apt-get here; install them by hand" >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "deps.sh: cannot install$missing: not root; run: apt-get install$missing" >&2
	exit 1
fi

guard=/usr/sbin/policy-rc.d
if [ ! -e "$guard" ]; then
	trap 'rm -f "$guard"' EXIT
	trap 'exit 1' INT TERM
	printf '#!/bin/sh\nexit 101\n' >"$guard"
	chmod 755 "$guard"
fi

log=$(mktemp)
install_missing() {
	export DEBIAN_FRONTEND=noninteractive
	# shellcheck disable=SC2086 # a list of package names
	apt-get update && apt-get install -y --no-install-recommends $missing
}
if ! install_missing >"$log" 2>&1; then
	cat "$log" >&2
	rm -f "$log"
	echo "deps.sh: cannot install$missing" >&2
	exit 1
fi
rm -f "$log"
echo "installed:$missing"
