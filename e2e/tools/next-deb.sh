#!/bin/bash
# Makes the next version of an existing package, with the same files in it, for tests of upgrades.
#
#   next-deb.sh DEB INTO
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

[ $# = 2 ] || die "usage: next-deb.sh DEB INTO"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
dpkg-deb --raw-extract "$1" "$work/package"
sed -i 's/^Version: .*/&+next/' "$work/package/DEBIAN/control"
# Not compressed: a VM is slow enough.
quietly dpkg-deb --root-owner-group -Znone --build "$work/package" "$2" || die "could not make the next version of $1"
