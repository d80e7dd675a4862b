#!/bin/sh
# install.sh: what `make install` does, with its variables in the environment.
# Nothing is started or enabled.
set -eu
here=$(dirname "$0")
bin=$here/../bin

install -d "$DESTDIR$SBINDIR" "$DESTDIR$BINDIR" "$DESTDIR$UNITDIR" "$DESTDIR$SYSTEMDDIR" \
	"$DESTDIR$SYSCONFDIR/nsinit/units"
install -m 755 "$bin/nsinit" "$DESTDIR$SBINDIR/nsinit"
install -m 755 "$bin/nsctl" "$DESTDIR$BINDIR/nsctl"

# halt(8) and its like are links to nsctl. Where another init has put its own, as
# on an ordinary host, they stay: MACHINE=1 is for the image of a machine.
if [ "${MACHINE:-0}" = 1 ]; then
	for name in poweroff reboot halt shutdown; do
		ln -sf "$BINDIR/nsctl" "$DESTDIR$SBINDIR/$name"
	done
fi

# What Debian's packages call. It takes the place of systemd's own systemctl, which
# is not replaced: on a machine whose init is systemd this one would be wrong.
if [ "${COMPAT:-0}" = 1 ]; then
	if [ -e "$DESTDIR$BINDIR/systemctl" ] && ! grep -qs "nsinit's systemctl" "$DESTDIR$BINDIR/systemctl"; then
		echo "install.sh: cannot install $DESTDIR$BINDIR/systemctl: another one is there; remove the package systemd first" >&2
		exit 1
	fi
	install -m 755 "$here/compat/systemctl" "$DESTDIR$BINDIR/systemctl"
	install -d "$DESTDIR$PREFIX/lib/tmpfiles.d"
	install -m 644 "$here/compat/tmpfiles.conf" "$DESTDIR$PREFIX/lib/tmpfiles.d/nsinit-compat.conf"
fi

for unit in nsinit.service nsinit.slice; do
	sed -e "s,/usr/sbin/nsinit,$SBINDIR/nsinit," -e "s,/usr/bin/nsctl,$BINDIR/nsctl," \
		"$here/$unit" >"$DESTDIR$SYSTEMDDIR/$unit"
	chmod 644 "$DESTDIR$SYSTEMDDIR/$unit"
done

# The group of operators is made by whoever reads sysusers.d(5): systemd, or nsinit
# as process 1. A package calls systemd-sysusers. systemd has no place for it
# below another prefix than /usr.
install -d "$DESTDIR/usr/lib/sysusers.d"
install -m 644 "$here/sysusers.conf" "$DESTDIR/usr/lib/sysusers.d/nsinit.conf"

# Shells and logins on terminals. No target that a boot reaches wants them until
# somebody enables them.
install -m 644 "$here"/units/*.toml "$DESTDIR$UNITDIR/"
install -d "$DESTDIR$UNITDIR/console-getty.toml.d"
install -m 644 "$here"/units/console-getty.toml.d/*.toml "$DESTDIR$UNITDIR/console-getty.toml.d/"

for page in "$bin"/man/*.[1-8]; do
	section=${page##*.}
	install -d "$DESTDIR$MANDIR/man$section"
	install -m 644 "$page" "$DESTDIR$MANDIR/man$section/"
done

completion() { # SHELL FILE
	install -d "$(dirname "$DESTDIR$PREFIX/share/$2")"
	"$bin/nsctl" completion "$1" >"$DESTDIR$PREFIX/share/$2"
}
completion bash bash-completion/completions/nsctl
completion zsh zsh/site-functions/_nsctl
completion fish fish/vendor_completions.d/nsctl.fish
