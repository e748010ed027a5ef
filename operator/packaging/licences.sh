#!/bin/bash
# Writes the licences of everything that is linked into the programs, each text once, with the packages it belongs to.
#
#   licences.sh TARGET >FILE      TARGET: Rust's name
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

[ $# = 1 ] || die "usage: licences.sh TARGET"
"$tools/packages.sh" image
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$root"

# Of all packages in the lock file, those that are linked in: no build tools, no tests.
cargo tree --quiet --locked --package vrfgate-operator --package vrfgate-cni --edges normal --target "$1" \
    --prefix none --format '{p}' | sed -nE 's/^([^ ]+) v([^ ]+).*/\1 \2/p' | sort -u >"$work/linked"
cargo metadata --quiet --locked --format-version 1 --filter-platform "$1" |
    jq --raw-output '.packages[] | select(.source != null) |
        [.name + " " + .version, .license // "see its texts", .manifest_path, .repository // ""] | @tsv' |
    LC_ALL=C sort >"$work/known"

mkdir "$work/texts"
echo "Programs of others that are linked into vrfgate and vrfgate-cni, and their licences. The texts follow.
Beside these: Rust's standard library (MIT OR Apache-2.0), and the GNU C library (LGPL-2.1-or-later); whoever wants to
link another one builds vrfgate from its source, which is open.
"
while IFS=$'\t' read -r package licence manifest repository; do
    grep -qxF "$package" "$work/linked" || continue
    echo "* $package: $licence${repository:+, $repository}"
    while read -r file; do
        sum=$(sha256sum "$file")
        sum=${sum%% *}
        [ -e "$work/texts/$sum" ] || cp "$file" "$work/texts/$sum"
        echo "$package, ${file##*/}" >>"$work/texts/$sum.of"
    done < <(find "${manifest%/*}" -maxdepth 1 -type f \
        \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'copyright*' -o -iname 'notice*' \) | LC_ALL=C sort)
done <"$work/known"
for of in "$work"/texts/*.of; do
    printf '\n%s\n' "$(printf '=%.0s' {1..100})"
    cat "$of"
    printf '%s\n\n' "$(printf -- '-%.0s' {1..100})"
    cat "${of%.of}"
done
