#!/bin/bash
# Owns cargo-cyclonedx, which writes what a program is made of (SBOM). Prints one line:
#
#   CARGO_CYCLONEDX=PATH
#
# The one on PATH, or built once, some two minutes, and kept:
#
#   $CACHE/cargo-cyclonedx/VERSION/bin/cargo-cyclonedx
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

version=0.5.9
built=$CACHE/cargo-cyclonedx/$version

if found=$(command -v cargo-cyclonedx); then
    echo "CARGO_CYCLONEDX=$found"
    exit
fi
lock_cache cargo-cyclonedx
if ! [ -x "$built/bin/cargo-cyclonedx" ]; then
    say "building cargo-cyclonedx $version (some two minutes, once)"
    quietly cargo install --locked --root "$built" --version "$version" cargo-cyclonedx ||
        die "could not build cargo-cyclonedx"
fi
echo "CARGO_CYCLONEDX=$built/bin/cargo-cyclonedx"
