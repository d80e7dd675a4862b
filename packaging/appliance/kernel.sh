#!/bin/sh
# kernel.sh DIR [PACKAGE]: unpack Debian's kernel package, of which
# linux-image-cloud-amd64 names the newest, into DIR; it is not installed.
# Nothing is asked of the network when DIR has one.
set -eu
dir=$1
package=${2:-linux-image-cloud-amd64}
[ ! -e "$dir/.complete" ] || exit 0

depends() { apt-cache depends --important "$1" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1; }
command -v apt-get >/dev/null || { echo "kernel.sh: cannot get $package: no apt-get here; unpack a kernel into $dir by hand" >&2; exit 1; }
real=$(depends "$package")
if [ -z "$real" ]; then
	apt-get update >/dev/null
	real=$(depends "$package")
fi
[ -n "$real" ] || real=$package # not a meta package

rm -rf "$dir"
mkdir -p "$dir/.get"
here=$(cd "$dir" && pwd)
log=$here/.get/log
get() { (cd "$here/.get" && apt-get -o APT::Sandbox::User=root download "$real") >"$log" 2>&1; }
# A list of packages that is a day old names packages that are no longer there.
get || { apt-get update >/dev/null && get; } || { cat "$log" >&2; echo "kernel.sh: cannot download $real" >&2; exit 1; }
dpkg -x "$here"/.get/*.deb "$here"
rm -rf "$here/.get"
touch "$here/.complete"
echo "kernel: $real"
