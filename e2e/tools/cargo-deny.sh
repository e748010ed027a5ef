#!/bin/bash
# Owns cargo-deny, which looks through the licences, sources and known flaws of what we depend on. Prints one line:
#
#   CARGO_DENY=PATH
#
# The one on PATH, or built once, some four minutes, and kept:
#
#   $CACHE/cargo-deny/VERSION/bin/cargo-deny
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

version=0.20.2
built=$CACHE/cargo-deny/$version

if found=$(command -v cargo-deny); then
    echo "CARGO_DENY=$found"
    exit
fi
lock_cache cargo-deny
if ! [ -x "$built/bin/cargo-deny" ]; then
    say "building cargo-deny $version (some four minutes, once)"
    quietly cargo install --locked --root "$built" --version "$version" cargo-deny || die "could not build cargo-deny"
fi
echo "CARGO_DENY=$built/bin/cargo-deny"
