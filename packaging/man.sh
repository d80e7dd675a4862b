#!/bin/sh
# man.sh OUTDIR: convert packaging/man/NAME.SECTION.md into OUTDIR/NAME.SECTION.
#
# nsinit.unit(5) ends in the reference of every key, generated from the table
# that the loader itself reads (packaging/man/keys), so the two cannot differ.
set -eu
out=$1
here=$(dirname "$0")
go=${GO:-go}
md2man=github.com/cpuguy83/go-md2man/v2@v2.0.7

mkdir -p "$out"
for page in "$here"/man/*.md; do
	name=$(basename "$page" .md)
	markdown=$out/$name.md
	cp "$page" "$markdown"
	if [ "$name" = nsinit.unit.5 ] && [ -d "$here/man/keys" ]; then
		"$go" run "./$here/man/keys" >>"$markdown"
	fi
	"$go" run "$md2man" -in "$markdown" -out "$out/$name"
	rm -f "$markdown"
done
