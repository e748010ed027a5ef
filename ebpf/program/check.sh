#!/usr/bin/env bash
# Proves that the committed BPF objects are what their source makes: builds them anew and compares.
#
# With the toolchain the objects were made with, the bytes must be equal. A newer toolchain may make other
# bytes; then the fresh objects must pass every test the committed ones pass.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
objects=$here/../object
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT

fail() {
    echo "BPF objects: $*" >&2
    echo "test result: FAILED. 0 passed; 1 failed;"
    exit 1
}

recorded=$(cat "$objects/provenance")
now=$("$here/provenance.sh" "$objects")
part() { grep "^$1 " <<<"$2"; }

[ "$(part source "$recorded")" = "$(part source "$now")" ] ||
    fail "stale: its source has changed since it was built; run \`make object\` and commit the result"
[ "$(part object "$recorded")" = "$(part object "$now")" ] ||
    fail "not the files that were built; run \`make object\` and commit the result"

"$here/build.sh" "$fresh"
if [ "$(part rustc "$recorded")$(part linker "$recorded")$(part objcopy "$recorded")" = \
    "$(part rustc "$now")$(part linker "$now")$(part objcopy "$now")" ]; then
    for name in $("$here/names.sh"); do
        cmp "$objects/$name.bpf.o" "$fresh/$name.bpf.o" ||
            fail "$name: the same source and toolchain made other bytes: the build is not reproducible"
    done
    echo "BPF objects: rebuilt, equal to the byte"
    echo "test result: ok. 1 passed; 0 failed;"
else
    echo "BPF objects: built by another toolchain than this machine's; testing fresh ones"
    diff <(echo "$recorded") <(echo "$now") || true
    VRFGATE_OBJECTS=$fresh cargo test -p vrfgate-ebpf
fi
